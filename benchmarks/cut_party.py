"""One side of `benchmarks.cuts`: a call, a seat, a stream that it hosts and one that it watches; a process.

Reads lines of JSON from standard input. The first is where it takes part and as what: `far` is the side that is
cut off, `near` the other. Then {"do": ...}: `begin` (a fault), `mended` (since when sound and picture count),
`state`, `mute`. Each is answered by a line of JSON. Times are `time.monotonic()`, the same in all processes.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy

from utdstream import (
    Connection,
    ConnectionState,
    Devices,
    IncomingCallInbox,
    SessionClosed,
    UTDAudioRoomSession,
    UTDCallSession,
    UTDCallStatus,
    UTDLiveStreamSession,
    UTDStreamClient,
    UTDStreamException,
    UTDStreamType,
)
from utdstream.models import PEER_AWAY
from utdstream.synthetic import PatternCamera, ToneMicrophone

KINDS = ("call", "seat", "host", "viewer")
"""What is cut off: a party of a call, a speaker of a room, the host of a live stream, a viewer of one."""
LOUD = 1000
PICTURE_S = 60.0
Session = UTDCallSession | UTDAudioRoomSession | UTDLiveStreamSession


class Senses:
    """When a session was last heard and seen, and told."""

    def __init__(self, kind: str, session: Session, *, hears: bool, sees: bool) -> None:
        self.kind, self.session, self.hears, self.sees = kind, session, hears, sees
        self.told_at = self.peer_told_at = 0.0
        """Since the fault began: the own link is lost; the other side is away."""
        self.heard_at = self.seen_at = 0.0
        self.gap_s = 0.0
        """The longest time without sound since the fault began."""
        self._mended_at: float | None = None
        self._first: dict[str, float] = {}
        self._was_over = False
        self._lock = threading.Lock()
        """Over the longest gap, which the thread that hears lengthens while a fault begins anew."""
        session.connection.subscribe(lambda change: self._note(change.new))
        for perceive, wanted in ((self._hear, hears), (self._see, sees)):
            if wanted:
                threading.Thread(target=self._always, args=(perceive,), daemon=True).start()

    def begin(self) -> None:
        self.told_at = self.peer_told_at = 0.0
        self._mended_at, self._was_over = None, False
        with self._lock:
            self.gap_s = 0.0

    def mended(self, at: float) -> None:
        self._first.clear()
        self._mended_at = at

    def state(self) -> dict[str, object]:
        """What was sensed; `sound` and `picture`: seconds from the mend to the first, None: none yet."""
        return {
            "told": self.told_at,
            "peer_told": self.peer_told_at,
            "sound": self._since_mended("sound", self.hears),
            "picture": self._since_mended("picture", self.sees),
            "gap": round(max(self.gap_s, time.monotonic() - self.heard_at if self.hears else 0.0), 2),
            "connected": self.session.connected.value,
            "lost": self._is_lost(),
        }

    def is_perceived(self) -> bool:
        return (not self.hears or self.heard_at > 0) and (not self.sees or self.seen_at > 0)

    def _since_mended(self, what: str, is_expected: bool) -> float | None:
        if not is_expected or self._mended_at is None:
            return 0.0
        first = self._first.get(what)
        return None if first is None else round(first - self._mended_at, 3)

    def _is_lost(self) -> bool:
        session = self.session
        if isinstance(session, UTDCallSession) and session.status.value is not UTDCallStatus.ACTIVE:
            return True
        return self._was_over or (isinstance(session, UTDAudioRoomSession) and session.seat.value is None)

    def _note(self, now: Connection) -> None:
        if now.is_over:
            self._was_over = True
        elif now.state is ConnectionState.RECONNECTING and now.reason == PEER_AWAY:
            self.peer_told_at = self.peer_told_at or time.monotonic()
        elif now.state is ConnectionState.RECONNECTING:
            self.told_at = self.told_at or time.monotonic()

    def _always(self, perceive: Callable[[], None]) -> None:
        while True:
            try:
                perceive()
            except SessionClosed:
                time.sleep(0.02)
            except UTDStreamException:
                continue

    def _hear(self) -> None:
        for frame in self.session.audio_frames():
            if int(numpy.abs(numpy.frombuffer(frame.data, dtype=numpy.int16)).max(initial=0)) > LOUD:
                now = time.monotonic()
                with self._lock:
                    self.gap_s = max(self.gap_s, now - (self.heard_at or now))
                    self.heard_at = now
                self._perceived("sound", now)

    def _see(self) -> None:
        for _ in self.session.video_frames(timeout=PICTURE_S):
            self.seen_at = time.monotonic()
            self._perceived("picture", self.seen_at)

    def _perceived(self, what: str, now: float) -> None:
        if self._mended_at is not None and now > self._mended_at:
            self._first.setdefault(what, now)


class Party:
    """All that one side takes part in."""

    def __init__(self, wish: Mapping[str, Any]) -> None:
        self.side, self.number = wish["side"], wish["number"]
        self.kinds: list[str] = wish["kinds"]
        self._where = {key: wish[key] for key in ("app_id", "app_key", "base_url")}
        self.senses: list[Senses] = []
        self.inbox: IncomingCallInbox | None = None
        self.inbox_down_at = self.inbox_up_at = 0.0

    def client(self, what: str) -> tuple[UTDStreamClient, str]:
        """One client for each kind: a room and a call have devices of their own."""
        devices = Devices(microphone=ToneMicrophone(), camera=PatternCamera(160, 120, 10))
        if what == "watches":
            devices = Devices()
        return UTDStreamClient(**self._where, devices=devices), f"{self.side}-{what}-{self.number}"

    def name(self, side: str, what: str) -> str:
        return f"{side}-{what}-{self.number}"

    def listen_for_calls(self) -> None:
        client, identity = self.client("call")
        client.authenticate(identity=identity)
        self.inbox = client.incoming_calls()
        self.inbox.connected.wait_for(True, timeout=20)
        self.inbox.connected.subscribe(lambda change: self._note_inbox(change.new))
        self._caller = client
        if self.side == "near":
            self.inbox.ringing.subscribe(lambda ring: self._add("call", ring.accept(), hears=True, sees=True))

    def open(self) -> None:
        """Opens what this side is the first in."""
        if "call" in self.kinds:
            self.listen_for_calls()
            if self.side == "far":
                call = self._caller.call_session(UTDStreamType.VIDEO_CALL)
                call.start(callee_identity=self.name("near", "call"))
                call.wait_for_answer(timeout=20)
                self._add("call", call, hears=True, sees=True)
        if "seat" in self.kinds:
            self._sit()
        hosted = "host" if self.side == "far" else "viewer"
        if hosted in self.kinds:
            client, identity = self.client("hosts")
            stream = client.join_live_stream(identity=identity, room_name=identity, as_host=True)
            stream.go_live()
            self._add(hosted, stream, hears=False, sees=False)

    def watch(self) -> None:
        """Watches what the other side hosts."""
        watched, host = ("viewer", "near") if self.side == "far" else ("host", "far")
        if watched in self.kinds:
            client, identity = self.client("watches")
            stream = client.join_live_stream(identity=identity, room_name=self.name(host, "hosts"))
            self._add(watched, stream, hears=True, sees=True)

    def _sit(self) -> None:
        client, identity = self.client("sits")
        hall = f"hall-{self.number}"
        if self.side == "near":
            room = client.join_audio_room(identity=identity, room_name=hall, as_host=True, seat_count=4)
        else:
            room = client.join_audio_room(identity=identity, room_name=hall)
        room.take_seat(0 if self.side == "near" else 1)
        self._add("seat", room, hears=True, sees=False)

    def _add(self, kind: str, session: Session, *, hears: bool, sees: bool) -> None:
        self.senses.append(Senses(kind, session, hears=hears, sees=sees))

    def _note_inbox(self, up: bool) -> None:
        if up:
            self.inbox_up_at = time.monotonic()
        else:
            self.inbox_down_at = self.inbox_down_at or time.monotonic()

    def state(self) -> dict[str, object]:
        return {
            "kinds": {senses.kind: senses.state() for senses in self.senses},
            "inbox": {
                "down": self.inbox_down_at,
                "up": self.inbox_up_at,
                "connected": self.inbox is None or self.inbox.connected.value,
            },
            "ready": all(senses.is_perceived() for senses in self.senses),
        }

    def do(self, told: Mapping[str, Any]) -> dict[str, object]:
        what = told["do"]
        if what == "open":
            self.open()
        elif what == "watch":
            self.watch()
        elif what == "begin":
            self.inbox_down_at = self.inbox_up_at = 0.0
            for senses in self.senses:
                senses.begin()
        elif what == "mended":
            for senses in self.senses:
                senses.mended(told["at"])
        elif what == "mute":
            for senses in self.senses:
                senses.session.set_microphone(False)
                senses.session.set_camera(False)
        return self.state()


def main() -> int:
    party: Party | None = None
    for line in sys.stdin:
        told = json.loads(line)
        if party is None:
            party = Party(told)
            told = {"do": "open"}
        print(json.dumps(party.do(told)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
