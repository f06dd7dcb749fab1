"""Sound past asyncio: from a microphone's thread into the core, and from the core's thread into the rings.

Owns: `DirectAudioPath`, its feed and its flow, and which path a room takes. Threads: the loop makes and closes; a
microphone's thread pushes; remote sound is pushed by threads of the core. What is private of livekit is in `ffi`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from livekit import rtc

from utdstream._livekit.audio_path import AudioPath, PublicAudioPath
from utdstream._livekit.feed import Feed
from utdstream._livekit.ffi import DirectCore, DirectSource, DirectStream
from utdstream._livekit.loop import LoopThread
from utdstream._livekit.sources import MicrophoneFeed
from utdstream._livekit.streams import STREAM_CLOSE_S
from utdstream.errors import DeviceError
from utdstream.media import Buffer, PcmFormat, PcmFrame
from utdstream.observe import Report


class DirectMicrophoneFeed(MicrophoneFeed):
    """A microphone's frames into the core on the microphone's own thread: no queue, no hop."""

    def __init__(self, pcm: PcmFormat, loop: LoopThread, report: Report, core: DirectCore) -> None:
        super().__init__(pcm, loop, report)
        self._capture = DirectSource(core, self._source, pcm, self._answered)

    def _submit(self, pcm: Buffer) -> None:
        if self._capture.push(pcm):
            self.sent += 1
        else:
            self._dropped += 1

    def _answered(self, error: str) -> None:
        if error:  # on the core's thread, which must not wait for a log
            self._loop.post(self._refuse, DeviceError(f"the microphone's sound was refused: {error}"))

    async def close(self) -> None:
        self._capture.close()
        await super().close()


class DirectFlow:
    """One remote track's sound, pushed by the core's threads from its making to `close`."""

    def __init__(
        self,
        loop: LoopThread,
        core: DirectCore,
        track: rtc.Track,
        pcm: PcmFormat,
        push: Callable[[Buffer], None],
    ) -> None:
        self._loop = loop
        self._track = track  # lives as long as its stream, as with livekit's own
        over = self._over = asyncio.Event()
        self._receiver = DirectStream(core, push, lambda: loop.post(over.set))
        self._handle = core.open_stream(track, pcm, self._receiver)

    def close(self) -> asyncio.Future[None]:
        """Stops the flow at once; the future is settled with the core's last event, or late."""
        self._receiver.close()
        self._handle.dispose()
        return self._loop.spawn(self._end())

    async def _end(self) -> None:
        with contextlib.suppress(TimeoutError):  # what comes later is freed all the same
            await asyncio.wait_for(self._over.wait(), STREAM_CLOSE_S)


class DirectAudioPath:
    """Sound by the pieces of `ffi`."""

    def __init__(self, core: DirectCore) -> None:
        self._core = core

    def microphone_feed(self, pcm: PcmFormat, loop: LoopThread, report: Report) -> Feed[PcmFrame]:
        return DirectMicrophoneFeed(pcm, loop, report, self._core)

    def open_stream(
        self, loop: LoopThread, track: rtc.Track, pcm: PcmFormat, push: Callable[[Buffer], None]
    ) -> DirectFlow:
        return DirectFlow(loop, self._core, track, pcm, push)


def audio_path(loop: LoopThread, *, direct: bool) -> AudioPath:
    """Returns the way that sound takes: the direct one where it is wished and can be used."""
    core = loop.direct_core
    return DirectAudioPath(core) if direct and core is not None else PublicAudioPath()
