"""Our own H.264: libx264 through PyAV, with key frames on request and a bitrate that can change.

Owns: `H264Encoder` (one thread at a time), `EncodedCamera` (a raw camera made an encoded one; its thread is
`utd-encode`), pictures to and from PyAV, which is imported when a camera starts.

1. No B-frames, SPS and PPS with every IDR, constrained baseline: what WebRTC can carry and every peer decode.
2. A wanted key frame is the very next access unit.
3. The bitrate follows the network only because the codec is opened with `maxrate` and `bufsize`: without them
   libx264 ignores a new `bit_rate` silently (PyAV 18.1).
4. The driver's thread only swaps the newest picture in: a slow encoder drops pictures, and stalls no driver.
5. Without viewers nothing is encoded; the first viewer gets a key frame first.
"""

from __future__ import annotations

import io
import logging
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy

from device.camera.port import SnapshotCamera
from device.errors import CameraFailed, PackageMissing
from utdstream import Camera, DeviceError, UTDStreamException
from utdstream.checks import requirement
from utdstream.media import EncodedFrame, PixelFormat, RawFrame

if TYPE_CHECKING:
    from device.config import CameraSection

_log = logging.getLogger(__name__)

KEY_FRAME_EVERY_S = 4
JOIN_S = 2.0
_AV_FORMATS = {
    PixelFormat.I420: "yuv420p",
    PixelFormat.NV12: "nv12",
    PixelFormat.RGB24: "rgb24",
    PixelFormat.RGBA: "rgba",
    PixelFormat.BGRA: "bgra",
}


def import_av() -> Any:
    """Returns PyAV. Raises: PackageMissing."""
    try:
        import av
    except ImportError as error:
        raise PackageMissing(
            "encoding and reading video needs PyAV, which is not installed here: "
            f"`sudo apt install python3-av`, or `pip install '{requirement('av')}'`"
        ) from error
    return av


def to_av(frame: RawFrame) -> Any:
    """Copies a picture into a frame of PyAV."""
    av = import_av()
    made = av.VideoFrame(frame.width, frame.height, _AV_FORMATS[frame.pixel_format])
    data = numpy.frombuffer(frame.data, dtype=numpy.uint8)
    at = 0
    for number, plane in enumerate(made.planes):
        width = plane.width * {"nv12": 1, "rgb24": 3, "rgba": 4, "bgra": 4}.get(made.format.name, 1)
        if made.format.name == "nv12" and number == 1:
            width *= 2
        size = width * plane.height
        rows = data[at : at + size].reshape(plane.height, width)
        target = numpy.frombuffer(plane, dtype=numpy.uint8).reshape(plane.height, plane.line_size)
        target[:, :width] = rows
        at += size
    return made


def raw_frame(picture: Any, width: int, height: int, *, is_turned: bool = False) -> RawFrame:
    """Makes a frame of PyAV an I420 picture of this size, taken now; `is_turned`: by 180 degrees."""
    fitting = picture.reformat(width=width, height=height, format="yuv420p")
    planes = []
    for plane in fitting.planes:
        rows = numpy.frombuffer(plane, dtype=numpy.uint8).reshape(plane.height, plane.line_size)
        rows = rows[:, : plane.width]
        planes.append((rows[::-1, ::-1] if is_turned else rows).tobytes())
    return RawFrame(b"".join(planes), width, height, PixelFormat.I420, time.monotonic_ns() // 1000)


def jpeg(frame: RawFrame) -> bytes:
    """Encodes a picture as JPEG."""
    av = import_av()
    source = to_av(frame).reformat(format="yuvj420p")
    context = av.CodecContext.create("mjpeg", "w")
    context.width, context.height, context.pix_fmt = frame.width, frame.height, "yuvj420p"
    context.time_base = Fraction(1, 25)
    context.options = {"q:v": "4"}
    made = io.BytesIO()
    for packet in (*context.encode(source), *context.encode(None)):
        made.write(bytes(packet))
    return made.getvalue()


class H264Encoder:
    """Pictures in, access units out. One thread encodes; wishes may come from any."""

    def __init__(self, width: int, height: int, frames_per_second: int, bitrate_bps: int) -> None:
        self.width, self.height = width, height
        self._frames_per_second = frames_per_second
        self._bitrate_bps = self._wished_bps = bitrate_bps
        self._key_frame_wanted = threading.Event()
        self._key_frame_wanted.set()
        self._count = 0
        self._picture_type = import_av().video.frame.PictureType
        self._context = self._open()

    def request_key_frame(self) -> None:
        """Makes the next access unit an IDR."""
        self._key_frame_wanted.set()

    def set_bitrate(self, bitrate_bps: int) -> None:
        """Changes the bitrate from the next picture on, in bits a second."""
        self._wished_bps = max(50_000, bitrate_bps)

    def encode(self, frame: RawFrame) -> EncodedFrame | None:
        """Encodes one access unit, Annex B. Raises: CameraFailed."""
        av = import_av()
        if self._wished_bps != self._bitrate_bps:
            self._bitrate_bps = self._wished_bps
            self._context.bit_rate = self._bitrate_bps
        picture = to_av(frame)
        if picture.format.name != "yuv420p":
            picture = picture.reformat(format="yuv420p")
        wanted = self._key_frame_wanted.is_set()
        if wanted:
            self._key_frame_wanted.clear()
        picture.pict_type = self._picture_type.I if wanted else self._picture_type.NONE
        picture.pts, self._count = self._count, self._count + 1
        try:
            packets = self._context.encode(picture)
        except av.FFmpegError as error:
            raise CameraFailed(f"H.264 encoding failed: {error}") from error
        if not packets:
            return None
        data = b"".join(bytes(packet) for packet in packets)
        is_key = any(packet.is_keyframe for packet in packets)
        return EncodedFrame(data, self.width, self.height, "h264", is_key, frame.captured_at_us)

    def _open(self) -> Any:
        av = import_av()
        context = av.CodecContext.create("libx264", "w")
        context.width, context.height, context.pix_fmt = self.width, self.height, "yuv420p"
        context.time_base = Fraction(1, self._frames_per_second)
        context.framerate = Fraction(self._frames_per_second)
        context.bit_rate = self._bitrate_bps
        context.gop_size = self._frames_per_second * KEY_FRAME_EVERY_S
        context.max_b_frames = 0
        context.thread_count = 2
        context.options = {
            "preset": "ultrafast",
            "tune": "zerolatency",
            "profile": "baseline",
            "forced-idr": "1",
            "maxrate": str(self._bitrate_bps),
            "bufsize": str(self._bitrate_bps // 2),
            "x264-params": "repeat-headers=1:annexb=1:colorprim=bt709:transfer=bt709:colormatrix=bt709",
        }
        try:
            context.open()
        except av.FFmpegError as error:
            raise CameraFailed(
                f"H.264 could not be set up for {self.width}x{self.height}: {error}; sizes must be even"
            ) from error
        return context


class EncodedCamera:
    """A raw camera that delivers H.264: a `utdstream.Camera` with `encoded` True, and `snapshot`."""

    encoded = True

    def __init__(self, camera: Camera, *, bitrate_bps: int = 1_500_000) -> None:
        self.device = camera
        self.width, self.height = camera.width, camera.height
        self.frames_per_second = camera.frames_per_second
        self._bitrate_bps = bitrate_bps
        self._encoder: H264Encoder | None = None
        self._slot: RawFrame | None = None
        self._came = threading.Condition()
        self._running = False
        self._watched = True
        self._thread: threading.Thread | None = None
        self.frames_encoded = 0
        self.frames_skipped = 0
        """Pictures that a newer one replaced before they were encoded."""

    @property
    def problem(self) -> str | None:
        """What is wrong with the camera now."""
        return getattr(self.device, "problem", None)

    def start(self, sink: Callable[[RawFrame | EncodedFrame], None]) -> None:
        """Raises: DeviceError when started, PackageMissing, CameraFailed."""
        if self._running:
            raise DeviceError("the camera is started already; stop it first")
        self._encoder = H264Encoder(self.width, self.height, self.frames_per_second, self._bitrate_bps)
        self._running, self._slot = True, None
        self._thread = threading.Thread(target=self._encode, args=(sink,), name="utd-encode", daemon=True)
        self._thread.start()
        try:
            self.device.start(self._take)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stops: no call of the sink begins after this returns. Idempotent."""
        self.device.stop()
        with self._came:
            self._running = False
            self._came.notify()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(JOIN_S)

    def request_key_frame(self) -> None:
        encoder = self._encoder
        if encoder is not None:
            encoder.request_key_frame()

    def set_bitrate(self, bitrate_bps: int) -> None:
        encoder = self._encoder
        if encoder is not None:
            encoder.set_bitrate(bitrate_bps)

    def set_watched(self, watched: bool) -> None:
        """Encodes only while there are viewers; the first of them gets a key frame first."""
        if watched and not self._watched:
            self.request_key_frame()
        self._watched = watched

    def snapshot(self, timeout: float = 3.0) -> bytes:
        """Returns the newest picture as JPEG; see `snapshot_of`."""
        return snapshot_of(self.device, timeout)

    def _take(self, frame: RawFrame | EncodedFrame) -> None:
        """Swaps the newest picture in, on the driver's thread."""
        if not self._watched or not isinstance(frame, RawFrame):
            return
        with self._came:
            if self._slot is not None:
                self.frames_skipped += 1
            self._slot = frame
            self._came.notify()

    def _encode(self, sink: Callable[[RawFrame | EncodedFrame], None]) -> None:
        encoder = self._encoder
        assert encoder is not None
        failed = False
        while True:
            with self._came:
                while self._running and self._slot is None:
                    self._came.wait()
                if not self._running:
                    return
                frame, self._slot = self._slot, None
            assert frame is not None
            try:
                unit = encoder.encode(frame)
                if unit is not None and self._running:
                    sink(unit)
                    self.frames_encoded += 1
            except Exception as error:  # noqa: BLE001 - the thread's outermost frame
                if not failed:
                    _log.warning("a picture was lost: %s", error)
                failed = True


def encoded_unless_none(raw: SnapshotCamera, wish: CameraSection) -> SnapshotCamera:
    """Returns a raw camera through our encoder; as it is when `[camera] encoder` is `none`."""
    return raw if wish.encoder == "none" else EncodedCamera(raw, bitrate_bps=wish.bitrate_bps)


def snapshot_of(camera: Any, timeout: float) -> bytes:
    """Returns the newest picture of a camera with `newest` (a RawFrame or None) as JPEG.

    A camera that is not running is started for one picture. Blocks: to `timeout` seconds.
    Raises: CameraFailed when none comes, DeviceError when it does not open.
    """
    frame = camera.newest
    if frame is None:
        came = threading.Event()
        found: list[RawFrame] = []

        def take(made: RawFrame | EncodedFrame) -> None:
            if isinstance(made, RawFrame) and not found:
                found.append(made)
                came.set()

        until = time.monotonic() + timeout
        try:
            camera.start(take)
        except UTDStreamException:  # it was started meanwhile: its own pictures come
            while camera.newest is None and time.monotonic() < until:
                came.wait(0.02)
        else:
            came.wait(timeout)
            camera.stop()
        frame = found[0] if found else camera.newest
    if frame is None:
        raise CameraFailed(f"the camera gave no picture within {timeout:g} s; is it connected?")
    return jpeg(frame)
