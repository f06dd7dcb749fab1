"""What the core's figures of a connection say: how long nothing has been heard, and whether that is usual.

Owns: `Figures`, `figures`, `Hearing`. Pure, but for the reading of the core's figures. Used by `link`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from livekit import rtc

LOOK_S = 1.0
"""Between two looks while all is well: 3 ms of work each on the machine that the project is tested on."""
QUICK_S = 0.25
JUST_NOW_S = 0.2
FLOWING = 5
"""So many packets between two looks are media."""
FLOWING_S, FEEDBACK_S, CHECKS_S = 0.6, 1.2, 2.4
"""Silence is a question after this: while media flows, while we publish, and when there are STUN checks alone."""
BLOCKED_S, BLOCKED_LISTENER_S = 2.5, 5.0
"""... and an answer after this, though the door is open: when we publish, and when we do not."""
STUCK = 3
"""So many packets of a video track between two looks, and no picture of them: it waits for a key frame."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way (ICE candidate pair) to the media server: what came by it. After a cut there may be several."""

    packets: int
    checks: int
    age_s: float
    """How long ago the newest packet came."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What has been heard since the join."""

    ways: Mapping[str, Way]
    media: int
    """Packets of the tracks that are received."""
    pictures: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    """Of each video track that is received (by SSRC): its packets, and the pictures that were made of them."""


NOTHING_YET = Way(0, 0, 0.0)


def figures(stats: rtc.RtcStats) -> Figures:
    """Reads the core's figures, of both lists: with one peer connection everything is in the publisher's."""
    ways: dict[str, Way] = {}
    media = 0
    pictures: dict[int, tuple[int, int]] = {}
    for entry in (*stats.publisher_stats, *stats.subscriber_stats):
        kind = entry.WhichOneof("stats")
        if kind == "candidate_pair":
            pair, said = entry.candidate_pair.candidate_pair, entry.candidate_pair.rtc
            age_s = max(0.0, said.timestamp / 1e6 - pair.last_packet_received_timestamp / 1e3)
            ways[said.id] = Way(
                pair.packets_received, pair.requests_received + pair.responses_received, age_s
            )
        elif kind == "inbound_rtp":
            flow = entry.inbound_rtp
            media += flow.received.packets_received
            if flow.stream.kind == "video":
                pictures[flow.stream.ssrc] = (flow.received.packets_received, flow.inbound.frames_decoded)
    return Figures(ways, media, pictures)


class Hearing:
    """How long nothing has been heard, and whether that is usual. Times are the loop's, in seconds."""

    def __init__(self, now: float) -> None:
        self._last: Figures | None = None
        self._heard_at = now
        self._media_at = now
        self._is_flowing = False
        self.is_picture_stuck = False
        """Packets of a picture came between the last two looks, and no picture was made of them."""

    def take(self, heard: Figures, now: float) -> None:
        """Takes the figures of now. Ways come and go, with what came by them: each is compared with itself."""
        last, self._last = self._last, heard
        if last is None:
            return
        self.is_picture_stuck = any(
            packets - then[0] >= STUCK and pictures == then[1]
            for ssrc, (packets, pictures) in heard.pictures.items()
            if (then := last.pictures.get(ssrc)) is not None
        )
        before = [(way, last.ways.get(name, NOTHING_YET)) for name, way in heard.ways.items()]
        if any(way.checks > then.checks for way, then in before):
            self._heard_at = now
        if came := [(way, way.packets - then.packets) for way, then in before if way.packets > then.packets]:
            self._heard_at = max(self._heard_at, now - min(way.age_s for way, _ in came))
            self._is_flowing = sum(packets for _, packets in came) >= FLOWING
        if heard.media > last.media:
            self._media_at = now

    def pass_over(self, seconds: float) -> None:
        """Leaves time out of account of which nothing is known: the figures are late."""
        self._heard_at += seconds
        self._media_at += seconds

    def silent_s(self, now: float) -> float:
        """How long nothing at all has come."""
        return now - self._heard_at

    def left_s(self, now: float, *, publishes: bool) -> float:
        """How long the silence may go on before it is something to ask about."""
        usual_s = FLOWING_S if self._is_flowing else FEEDBACK_S if publishes else CHECKS_S
        return usual_s - self.silent_s(now)

    def next_look_s(self, now: float, *, publishes: bool) -> float:
        """When to look again, while there is nothing to ask about."""
        if self.silent_s(now) < JUST_NOW_S:
            return LOOK_S
        return min(LOOK_S, max(QUICK_S, self.left_s(now, publishes=publishes)))

    def is_blocked(self, now: float, *, publishes: bool) -> bool:
        """Whether it is a loss whatever else can be reached."""
        return self.silent_s(now) >= (BLOCKED_S if publishes else BLOCKED_LISTENER_S)

    def others_silent_s(self, now: float) -> float:
        """How long no media of others has come."""
        return now - self._media_at

    def excuse_others(self, now: float) -> None:
        """Begins to count anew: no media of others could be expected until now."""
        self._media_at = now
