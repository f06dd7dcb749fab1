"""A camera that delivers H.264, for tests: the test pattern through libx264."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from fractions import Fraction

import av
from av.video.frame import PictureType

from utdstream.media import EncodedFrame, RawFrame
from utdstream.synthetic import PatternCamera


class H264Camera:
    """Baseline, no B-frames, SPS and PPS with every IDR; a wanted key frame is the next access unit.

    It counts `key_frame_requests`, `key_frames_sent` and `frames_sent`, and keeps `bitrates`. What it does
    not show: an encoder that takes a frame or two to obey, and one that leaves out SPS and PPS.
    """

    encoded = True

    def __init__(
        self,
        width: int = 640,
        height: int = 480,
        frames_per_second: int = 30,
        *,
        bitrate_bps: int = 1_500_000,
        key_frame_every: int = 300,
    ) -> None:
        self._pattern = PatternCamera(width, height, frames_per_second)
        self.width, self.height, self.frames_per_second = width, height, frames_per_second
        self._bitrate_bps = bitrate_bps
        self._key_frame_every = key_frame_every
        self._key_frame_wanted = threading.Event()
        self.bitrates: list[int] = []
        self.key_frame_requests = 0
        self.key_frames_sent = 0
        self.frames_sent = 0

    def start(self, sink: Callable[[RawFrame | EncodedFrame], None]) -> None:
        context = self._new_context()
        self._key_frame_wanted.set()

        def encode(frame: RawFrame | EncodedFrame) -> None:
            assert isinstance(frame, RawFrame)
            for unit in self._encode(context, frame):
                sink(unit)
                self.frames_sent += 1
                self.key_frames_sent += unit.is_key_frame

        self._pattern.start(encode)

    def stop(self) -> None:
        self._pattern.stop()

    def request_key_frame(self) -> None:
        self.key_frame_requests += 1
        self._key_frame_wanted.set()

    def set_bitrate(self, bitrate_bps: int) -> None:
        self.bitrates.append(bitrate_bps)

    def _new_context(self) -> av.VideoCodecContext:
        context = av.CodecContext.create("libx264", "w")
        assert isinstance(context, av.VideoCodecContext)
        context.width, context.height = self.width, self.height
        context.pix_fmt = "yuv420p"
        context.time_base = Fraction(1, 1_000_000)
        context.framerate = Fraction(self.frames_per_second)
        context.bit_rate = self._bitrate_bps
        context.gop_size = self._key_frame_every
        context.options = {
            "preset": "ultrafast",
            "tune": "zerolatency",
            "profile": "baseline",
            "forced-idr": "1",
            "x264-params": "repeat-headers=1:annexb=1:threads=1",
        }
        return context

    def _encode(self, context: av.VideoCodecContext, frame: RawFrame) -> list[EncodedFrame]:
        picture = _to_av(frame)
        picture.pts = frame.captured_at_us
        if self._key_frame_wanted.is_set():
            self._key_frame_wanted.clear()
            picture.pict_type = PictureType.I
        return [
            EncodedFrame(
                bytes(packet), self.width, self.height, "h264", packet.is_keyframe, frame.captured_at_us
            )
            for packet in context.encode(picture)
        ]


def decode(units: list[EncodedFrame]) -> list[RawFrame]:
    """The pictures of some access units, as I420."""
    context = av.CodecContext.create("h264", "r")
    assert isinstance(context, av.VideoCodecContext)
    context.thread_count = 1
    pictures = [picture for unit in units for picture in context.decode(av.Packet(bytes(unit.data)))]
    pictures += context.decode(None)
    return [_from_av(picture) for picture in pictures]


def collect(camera: H264Camera, count: int, timeout_s: float = 10.0) -> list[EncodedFrame]:
    """The first access units of a camera."""
    units: queue.Queue[EncodedFrame] = queue.Queue()

    def sink(unit: RawFrame | EncodedFrame) -> None:
        assert isinstance(unit, EncodedFrame)
        units.put(unit)

    camera.start(sink)
    try:
        return [units.get(timeout=timeout_s) for _ in range(count)]
    finally:
        camera.stop()


def _to_av(frame: RawFrame) -> av.VideoFrame:
    picture = av.VideoFrame(frame.width, frame.height, "yuv420p")
    pixels = memoryview(frame.data)
    start = 0
    for plane, width, height in _planes(picture, frame.width, frame.height):
        rows = b"".join(
            bytes(pixels[start + line * width : start + (line + 1) * width]).ljust(plane.line_size, b"\0")
            for line in range(height)
        )
        plane.update(rows.ljust(plane.buffer_size, b"\0"))
        start += width * height
    return picture


def _from_av(picture: av.VideoFrame) -> RawFrame:
    from utdstream.media import PixelFormat

    pixels = bytearray()
    for plane, width, height in _planes(picture, picture.width, picture.height):
        raw = bytes(plane)
        for line in range(height):
            pixels += raw[line * plane.line_size : line * plane.line_size + width]
    return RawFrame(pixels, picture.width, picture.height, PixelFormat.I420, 0)


def _planes(
    picture: av.VideoFrame, width: int, height: int
) -> list[tuple[av.video.plane.VideoPlane, int, int]]:
    luma, blue, red = picture.planes
    return [(luma, width, height), (blue, width // 2, height // 2), (red, width // 2, height // 2)]
