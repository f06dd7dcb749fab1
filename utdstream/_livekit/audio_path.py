"""The two ways of sound between this process and the core, behind one interface.

Owns: `AudioPath`, `PublicAudioPath` (livekit's documented names alone: each frame crosses the loop). The other way
is in `direct_audio`. Thread: the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from livekit import rtc

from utdstream._livekit.feed import Feed
from utdstream._livekit.loop import LoopThread
from utdstream._livekit.sources import PumpedMicrophoneFeed
from utdstream._livekit.streams import open_audio
from utdstream.media import Buffer, PcmFormat, PcmFrame
from utdstream.observe import Report


class Flow(Protocol):
    """One remote track flowing out of the core."""

    def close(self) -> asyncio.Future[None]:
        """Stops the flow at once; the future is settled when the core's end is closed too, or late."""
        ...


class AudioPath(Protocol):
    """How sound gets into the core and out of it."""

    def microphone_feed(self, pcm: PcmFormat, loop: LoopThread, report: Report) -> Feed[PcmFrame]:
        """Makes the way of one microphone into the core."""
        ...

    def open_stream(
        self, loop: LoopThread, track: rtc.Track, pcm: PcmFormat, push: Callable[[Buffer], None]
    ) -> Flow:
        """Brings the track's sound to `push` in the format `pcm`, on one thread at a time."""
        ...


class PublicAudioPath:
    """Sound by `AudioSource.capture_frame` and `AudioStream`: coroutines on the loop."""

    def microphone_feed(self, pcm: PcmFormat, loop: LoopThread, report: Report) -> Feed[PcmFrame]:
        return PumpedMicrophoneFeed(pcm, loop, report)

    def open_stream(
        self, loop: LoopThread, track: rtc.Track, pcm: PcmFormat, push: Callable[[Buffer], None]
    ) -> Flow:
        return open_audio(loop, track, pcm, push)
