"""Remote media for a program that reads: sound on a steady clock, the newest picture, a snapshot.

Owns: the iterators behind `audio_frames()` and `video_frames()`, the PNG of a picture. Thread: the
reader's own. The native core and numpy are reached late.

An iterator attaches its consumer with its first step and detaches it with its end, in the same frame: one that is
never read downloads nothing, and there is nothing of it to take back.
"""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from utdstream._threads.deadline import Deadline
from utdstream.errors import DeadlineExceeded, SessionClosed
from utdstream.media import PcmFormat, PcmFrame, PixelFormat, RawFrame

if TYPE_CHECKING:
    from utdstream._livekit.subscribing import AudioConsumer, VideoConsumer

READ_FORMAT = PcmFormat(48_000, 1)
FRAME_S = 0.010
MAX_LATENESS_S = 0.2


class Receiver(Protocol):
    """What the iterators need of a room."""

    def attach_audio(self, identity: str | None) -> AudioConsumer: ...

    def attach_video(self, identity: str | None) -> VideoConsumer: ...

    def detach(self, consumer: AudioConsumer | VideoConsumer) -> None: ...

    def is_over(self) -> bool: ...


def audio_frames(receiver: Receiver, identity: str | None) -> Iterator[PcmFrame]:
    """Iterates over 48 kHz mono, 10 ms each, paced by the monotonic clock; ends when the room does."""
    try:
        consumer = receiver.attach_audio(identity)
    except SessionClosed:
        return  # the room ended before the first step
    try:
        due = time.monotonic()
        while not receiver.is_over():
            due += FRAME_S
            wait_s = due - time.monotonic()
            if wait_s > 0:
                time.sleep(wait_s)
            elif wait_s < -MAX_LATENESS_S:  # a reader that slept: what it missed is gone, as on a radio
                due = time.monotonic()
            yield PcmFrame(
                data=consumer.mixer.pull(READ_FORMAT.samples_per_frame),
                sample_rate_hz=READ_FORMAT.sample_rate_hz,
                channels=READ_FORMAT.channels,
                captured_at_us=time.monotonic_ns() // 1000,
            )
    finally:
        receiver.detach(consumer)


def video_frames(receiver: Receiver, identity: str | None, timeout_s: float) -> Iterator[RawFrame]:
    """Iterates over the newest picture each time, I420; ends when the room does."""
    try:
        consumer = receiver.attach_video(identity)
    except SessionClosed:
        return  # the room ended before the first step
    try:
        while True:
            frame = consumer.take(timeout_s)
            if frame is not None:
                yield frame
            elif consumer.over:
                return
            else:
                raise DeadlineExceeded(
                    f"video_frames: no picture came within {timeout_s:g} s; is the other side's camera on?"
                )
    finally:
        receiver.detach(consumer)


def take_snapshot(receiver: Receiver, identity: str | None, deadline: Deadline) -> bytes:
    """Returns the newest picture as PNG, upright. Raises: DeadlineExceeded when none comes."""
    consumer = receiver.attach_video(identity)
    try:
        frame = consumer.take(deadline.remaining())
    finally:
        receiver.detach(consumer)
    if frame is None:
        raise deadline.error("no picture came; is the other side's camera on?")
    return to_png(frame)


def to_png(frame: RawFrame) -> bytes:
    """Returns `frame` as an 8-bit RGB PNG, turned upright. Colours: BT.601, as WebRTC's raw pictures are."""
    import numpy

    width, height = frame.width, frame.height
    if frame.pixel_format is not PixelFormat.I420:
        raise ValueError(f"to_png takes I420, not {frame.pixel_format.value}")
    flat = numpy.frombuffer(frame.data, dtype=numpy.uint8).astype(numpy.float32)
    half_w, half_h = (width + 1) // 2, (height + 1) // 2
    luma = flat[: width * height].reshape(height, width)
    chroma = flat[width * height :].reshape(2, half_h, half_w)
    blue, red = (plane.repeat(2, axis=0).repeat(2, axis=1)[:height, :width] - 128.0 for plane in chroma)
    bright = 1.164 * (luma - 16.0)
    rgb = numpy.stack(
        (bright + 1.596 * red, bright - 0.392 * blue - 0.813 * red, bright + 2.017 * blue), axis=-1
    )
    picture = numpy.clip(rgb, 0, 255).astype(numpy.uint8)
    picture = numpy.ascontiguousarray(numpy.rot90(picture, k=-(frame.rotation // 90)))
    return _png(picture.shape[1], picture.shape[0], lambda row: picture[row].tobytes())


def _png(width: int, height: int, row: Callable[[int], bytes]) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    lines = b"".join(b"\x00" + row(index) for index in range(height))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(lines, 6))
        + chunk(b"IEND", b"")
    )
