"""Whether one track is muted: what it was told, what is heard of it, and whether the SFU knows.

Owns: `TrackMute`. Thread: the loop.

1. A mute is told, not asked for: on a signal connection that is lost soon after it may never arrive, and the core
   never tells again what it takes for told (livekit 1.2.1). So it is told once more behind a reconnect that came
   soon; and again a second later: what is told while the core ends its reconnect waits there, and may be sent in
   any order.
2. The server's mute is known by its words: the core says `track_muted` of a track that is muted already. It says a
   change of ours once, and in between always the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from livekit import rtc

DOUBT_S = 45.0
"""What was told longer before a reconnect has arrived: the core gives up a silent signal connection after 15 s."""
REPEAT_GAP_S = 0.1
"""The core sends each change by a task of its own: what follows at once might come first."""
AGAIN_S = 1.0
"""By then the core has sent all that waited for the end of its reconnect."""


class TrackMute:
    """The mute of one slot's track, from one publication to the next."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.muted = False
        """What the track was told last."""
        self.in_doubt = False
        """Whether the SFU may not know `muted`."""
        self._heard_muted = False
        self._repeats = 0
        """Since the doubt began."""
        self._told_at = clock() - DOUBT_S

    def begin(self, track: rtc.LocalTrack, *, muted: bool) -> None:
        """Begins a track that is about to be published; its publication tells whether it is muted."""
        if muted:
            track.mute()
        self.muted = self._heard_muted = muted
        self.in_doubt = False

    def tell(self, track: rtc.LocalTrack, *, muted: bool, reconnecting: bool) -> None:
        """Mutes or unmutes; does nothing when it was told so last."""
        if muted is self.muted:
            return
        self.muted = muted
        self._told_at = self._clock()
        self.in_doubt = self.in_doubt or reconnecting
        (track.mute if muted else track.unmute)()

    def hear(self, *, muted: bool) -> bool:
        """Takes what the core says of the track; True when it is the server that muted it."""
        by_the_server = muted and self._heard_muted
        self._heard_muted = muted
        return by_the_server

    def doubt(self) -> None:
        """The signal connection was lost: what was told a moment ago may have been told to nobody."""
        self._repeats = 0
        self.in_doubt = self.in_doubt or self._clock() - self._told_at < DOUBT_S

    async def repeat(self, track: rtc.LocalTrack) -> bool:
        """Tells once more, by way of the other: nothing may be sent meanwhile. True: again in `AGAIN_S`."""
        self.in_doubt = False
        self._repeats += 1
        muted = self.muted
        (track.unmute if muted else track.mute)()
        await asyncio.sleep(REPEAT_GAP_S)
        (track.mute if muted else track.unmute)()
        self._told_at = self._clock()
        return self._repeats == 1

    def doubt_again(self) -> None:
        """The time for the second repeat has come."""
        self.in_doubt = True
