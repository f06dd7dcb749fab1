"""One remote track flowing out of the core through livekit's public streams: sound and pictures.

Owns: `Stream`, and the two ways to open one. Thread: the loop. Sound has another way too (`audio_path`).

The core's streams never end by themselves (livekit 1.2.1): each has its own task, and its owner closes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from livekit import rtc

from utdstream._livekit.loop import LoopThread, bounded
from utdstream.media import Buffer, PcmFormat, PixelFormat, RawFrame

STREAM_CLOSE_S = 2.0
AUDIO_CAPACITY = 10
"""Frames of 10 ms that wait while the loop is busy; then the oldest goes."""

_ROTATION: dict[object, int] = {
    rtc.VideoRotation.VIDEO_ROTATION_0: 0,
    rtc.VideoRotation.VIDEO_ROTATION_90: 90,
    rtc.VideoRotation.VIDEO_ROTATION_180: 180,
    rtc.VideoRotation.VIDEO_ROTATION_270: 270,
}


class Stream:
    """Flows from its making to `close`."""

    def __init__(
        self,
        loop: LoopThread,
        native: rtc.AudioStream | rtc.VideoStream,
        pump: Coroutine[Any, Any, None],
    ) -> None:
        self._loop = loop
        self._native = native
        self._pump = loop.spawn(pump)

    def close(self) -> asyncio.Future[None]:
        """Stops the flow at once; the future is settled when the core's end is closed too, or late."""
        self._pump.cancel()
        return self._loop.spawn(self._close_native())

    async def _close_native(self) -> None:
        """Closes the core's end. Not in the pump: one that is cancelled before its first step never runs."""
        await asyncio.wait({self._pump})
        closing = self._loop.spawn(self._native.aclose())
        if not await bounded(closing, STREAM_CLOSE_S):
            closing.cancel()


def open_audio(loop: LoopThread, track: rtc.Track, pcm: PcmFormat, push: Callable[[Buffer], None]) -> Stream:
    """Brings the track's sound to `push` on the loop, in the format `pcm` (the core resamples)."""
    native = rtc.AudioStream(
        track,
        sample_rate=pcm.sample_rate_hz,
        num_channels=pcm.channels,
        capacity=AUDIO_CAPACITY,
    )

    async def pump() -> None:
        async for event in native:
            push(event.frame.data.cast("B"))

    return Stream(loop, native, pump())


def open_video(loop: LoopThread, track: rtc.Track, put: Callable[[RawFrame], None]) -> Stream:
    """Brings the track's pictures to `put`, as I420, on the loop; one that comes while it is busy is replaced."""
    native = rtc.VideoStream(track, capacity=1)

    async def pump() -> None:
        async for event in native:
            put(_to_i420(event))

    return Stream(loop, native, pump())


def _to_i420(event: rtc.VideoFrameEvent) -> RawFrame:
    frame = event.frame
    if frame.type != rtc.VideoBufferType.I420:
        frame = frame.convert(rtc.VideoBufferType.I420)
    return RawFrame(
        data=bytes(frame.data),
        width=frame.width,
        height=frame.height,
        pixel_format=PixelFormat.I420,
        captured_at_us=event.timestamp_us,
        rotation=_ROTATION.get(event.rotation, 0),
    )
