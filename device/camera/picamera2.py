"""The Raspberry Pi's camera through picamera2: raw pictures everywhere, the board's own H.264 where it has one.

Owns: `Picamera2Camera` (raw), `Picamera2Encoder` (the Pi 4's, 3's and Zero 2 W's hardware H.264). Both run on
`utd-camera` (`capture.py`), which pulls; picamera2 is imported when the camera is opened.

1. The adapter pulls with `capture_request` and registers no callback: an exception in one kills picamera2's event
   thread, and then `stop()` hangs (picamera2 0.3.38). The one callback that is needed, the encoder's output, is
   wrapped.
2. A camera may give another format than it was asked for: format, size and stride are read back after `configure`.
3. The end is `stop_preview`, `stop`, `close`, each on a thread of its own with a time limit: that order works
   with a dead event thread too.
4. A Pi 5 has no H.264 hardware; picamera2's software encoder cannot make key frames on request with PyAV 14 and
   newer. So software H.264 is always ours (`encoder.py`).
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import queue
import struct
import threading
import time
from collections.abc import Callable, Iterator
from importlib import util
from typing import Any

import numpy

from device.camera.capture import CapturingCamera, Frame, need_even
from device.camera.encoder import encoded_unless_none
from device.camera.port import SnapshotCamera
from device.config import CameraSection, MachineConfig
from device.errors import CameraFailed, DeviceBusy, DeviceNotFound, PackageMissing
from utdstream.checks import Check, CheckState
from utdstream.media import EncodedFrame, PixelFormat, RawFrame

_log = logging.getLogger(__name__)

SOURCES = {"`0`, `1`": "a Pi camera; needs `python3-picamera2` from apt"}
"""What `[camera] source` may be, and its pictures: a row each on the page of cameras."""
FRAME_S = 2.0
"""Longest wait for one picture; the watchdog of `capture.py` is as patient."""
CLOSE_STEP_S = 2.0
KEY_FRAME_EVERY_S = 4
QUEUE_UNITS = 8
_FORMATS = {"YUV420": PixelFormat.I420, "NV12": PixelFormat.NV12}
_VIDIOC_S_CTRL = 0xC008561C
_V4L2_CID_MPEG_VIDEO_BITRATE = 0x009909CF


def import_picamera2() -> Any:
    """Returns the driver's module. Raises: PackageMissing."""
    try:
        import picamera2
    except ImportError as error:
        raise PackageMissing(
            "the Pi camera needs picamera2: `sudo apt install python3-picamera2`, and a venv made with "
            f"`--system-site-packages` of the system's Python ({error})"
        ) from error
    return picamera2


def open_camera(config: MachineConfig) -> SnapshotCamera:
    """Opens the configured camera: hardware H.264 where there is some, else ours. Raises: PackageMissing."""
    camera = config.camera
    try:
        number = int(camera.source)
    except ValueError as error:
        raise DeviceNotFound(
            f'[camera] source: a Pi camera is named by its number, like "0", not "{camera.source}"'
        ) from error
    size = (camera.width, camera.height, camera.frames_per_second)
    if camera.encoder in ("auto", "hardware") and has_hardware_h264():
        return Picamera2Encoder(number, *size, rotation=camera.rotation, bitrate_bps=camera.bitrate_bps)
    if camera.encoder == "hardware":
        raise CameraFailed('this board has no H.264 hardware; set [camera] encoder = "auto"')
    raw = Picamera2Camera(number, *size, rotation=camera.rotation)
    return encoded_unless_none(raw, camera)


def examine(camera: CameraSection) -> Iterator[Check]:
    """Lists the cameras that libcamera sees, for the doctor."""
    if util.find_spec("picamera2") is None:
        return  # said with the packages
    found = import_picamera2().Picamera2.global_camera_info()
    names = ", ".join(str(each.get("Model")) for each in found)
    if camera.source.isdecimal() and int(camera.source) < len(found):
        yield Check("camera", CheckState.OK, names)
    else:
        remedy = "check the cable; rpicam-hello --list-cameras"
        yield Check("camera", CheckState.FAIL, f"cameras there are: {names or 'none'}", remedy)


def has_hardware_h264() -> bool:
    """Tells whether this board encodes H.264 by itself (Pi 4 and older, Zero 2 W)."""
    picamera2 = import_picamera2()
    platform = getattr(picamera2, "Platform", None)
    ask = getattr(picamera2, "get_platform", None)
    return platform is not None and ask is not None and ask() == platform.VC4


def picamera2_class() -> Any:
    """Returns the class that opens a camera; tests on a machine without one put a subclass here."""
    return import_picamera2().Picamera2


class Picamera2Camera(CapturingCamera):
    """Raw I420 or NV12 pictures, tightly packed."""

    def __init__(
        self, number: int, width: int, height: int, frames_per_second: int, *, rotation: int = 0
    ) -> None:
        need_even(width, height)
        super().__init__(width, height, frames_per_second)
        self.number = number
        self._turned = rotation == 180

    def frames(self, wanted: Callable[[], bool]) -> Iterator[Frame]:
        with opened(self.number) as camera:
            layout = self._configure(camera)
            camera.start()
            while wanted():
                try:
                    request = camera.capture_request(wait=FRAME_S)
                except TimeoutError as error:
                    raise CameraFailed(f"camera {self.number} gave no picture for {FRAME_S:g} s") from error
                try:
                    frame = layout.frame(request.make_buffer("main"))
                finally:
                    request.release()
                yield frame

    def _configure(self, camera: Any) -> _Layout:
        """Asks, and reads back what was given. Raises: CameraFailed."""
        from libcamera import Transform

        frame_us = 1_000_000 // self.frames_per_second
        asked = camera.create_video_configuration(
            main={"size": (self.width, self.height), "format": "YUV420"},
            transform=Transform(hflip=int(self._turned), vflip=int(self._turned)),
            buffer_count=4,
        )
        if "FrameDurationLimits" in camera.camera_controls:
            asked["controls"] = {"FrameDurationLimits": (frame_us, frame_us)}
        camera.configure(asked)
        given = camera.camera_configuration()["main"]
        if tuple(given["size"]) != (self.width, self.height) or given["format"] not in _FORMATS:
            raise CameraFailed(
                f"camera {self.number} gives {given['size']} as {given['format']}, not {self.width}x{self.height}"
                " as YUV420 or NV12; choose another size"
            )
        return _Layout(self.width, self.height, int(given["stride"]), _FORMATS[given["format"]])


class _Layout:
    """How the driver's buffers lie, and how a picture is taken out of one."""

    def __init__(self, width: int, height: int, stride: int, pixel_format: PixelFormat) -> None:
        self._width, self._height, self._stride = width, height, stride
        self._format = pixel_format

    def frame(self, buffer: Any) -> RawFrame:
        """Copies a picture without its padding."""
        now_us = time.monotonic_ns() // 1000
        data = packed(
            numpy.asarray(buffer).reshape(-1), self._width, self._height, self._stride, self._format
        )
        return RawFrame(data, self._width, self._height, self._format, now_us)


def packed(buffer: Any, width: int, height: int, stride: int, pixel_format: PixelFormat) -> bytes:
    """Returns a picture without the padding at the end of its rows."""
    luma = buffer[: stride * height].reshape(height, stride)[:, :width]
    rest = buffer[stride * height :]
    if pixel_format is PixelFormat.NV12:
        chroma = rest[: stride * (height // 2)].reshape(height // 2, stride)[:, :width]
        return bytes(luma.tobytes() + chroma.tobytes())
    half = stride // 2
    planes = rest[: half * height].reshape(height, half)[:, : width // 2]
    return bytes(luma.tobytes() + planes.tobytes())


class Picamera2Encoder(CapturingCamera):
    """The board's own H.264. `set_watched(False)` stops the encoder, the sensor goes on."""

    encoded = True

    def __init__(
        self,
        number: int,
        width: int,
        height: int,
        frames_per_second: int,
        *,
        rotation: int = 0,
        bitrate_bps: int = 1_500_000,
    ) -> None:
        super().__init__(width, height, frames_per_second)
        self._raw = Picamera2Camera(number, width, height, frames_per_second, rotation=rotation)
        self._bitrate_bps = bitrate_bps
        self._watched = True
        self._encoder: Any = None
        self._picture_wanted = threading.Event()
        self.units_dropped = 0

    def request_key_frame(self) -> None:
        encoder = self._encoder
        if encoder is not None:
            encoder.force_key_frame()

    def set_bitrate(self, bitrate_bps: int) -> None:
        """As well as the driver can: picamera2 has no such call, so it is the V4L2 control itself."""
        self._bitrate_bps = bitrate_bps
        encoder = self._encoder
        device = getattr(encoder, "vd", None)
        if device is not None:
            wish = struct.pack("Ii", _V4L2_CID_MPEG_VIDEO_BITRATE, bitrate_bps)
            with contextlib.suppress(OSError, ValueError):
                fcntl.ioctl(device, _VIDIOC_S_CTRL, wish)

    def set_watched(self, watched: bool) -> None:
        """Runs the encoder only while there are viewers; the first of them gets a key frame first."""
        self._watched = watched

    def snapshot(self, timeout: float = 3.0) -> bytes:
        """Returns the newest picture as JPEG, beside the encoder when it runs."""
        if self._sink is None:
            return self._raw.snapshot(timeout)
        self._picture_wanted.set()
        return super().snapshot(timeout)

    def frames(self, wanted: Callable[[], bool]) -> Iterator[Frame]:
        units: queue.Queue[EncodedFrame] = queue.Queue(QUEUE_UNITS)
        with opened(self._raw.number) as camera:
            layout = self._raw._configure(camera)
            camera.start()
            try:
                while wanted():
                    self._follow_viewers(camera, units)
                    if self._picture_wanted.is_set() or self._encoder is None:
                        yield from self._picture(camera, layout)
                    try:
                        yield units.get(timeout=0.05 if self._encoder is None else FRAME_S)
                    except queue.Empty:
                        if self._encoder is not None:
                            raise CameraFailed(f"the encoder gave nothing for {FRAME_S:g} s") from None
            finally:
                self._stop_encoder(camera)

    def _picture(self, camera: Any, layout: _Layout) -> Iterator[Frame]:
        """Keeps one raw picture for `snapshot`; the sink of an encoded camera takes none."""
        request = camera.capture_request(wait=FRAME_S)
        try:
            self._newest, self._newest_s = layout.frame(request.make_buffer("main")), time.monotonic()
        finally:
            request.release()
        self._picture_wanted.clear()
        life = self._life
        if life is not None:
            life.last_frame_s = time.monotonic()
        yield from ()

    def _follow_viewers(self, camera: Any, units: queue.Queue[EncodedFrame]) -> None:
        if self._watched and self._encoder is None:
            self._start_encoder(camera, units)
        elif not self._watched and self._encoder is not None:
            self._stop_encoder(camera)

    def _start_encoder(self, camera: Any, units: queue.Queue[EncodedFrame]) -> None:
        from picamera2.encoders import H264Encoder
        from picamera2.outputs import Output

        ours = self

        class Units(Output):  # type: ignore[misc]
            """Runs on the driver's thread: an exception here would kill it."""

            def outputframe(
                self,
                frame: Any,
                keyframe: bool = True,
                timestamp: int | None = None,
                packet: Any = None,
                audio: bool = False,
            ) -> None:
                now_us = time.monotonic_ns() // 1000
                unit = EncodedFrame(bytes(frame), ours.width, ours.height, "h264", keyframe, now_us)
                try:
                    units.put_nowait(unit)
                except queue.Full:  # after a lost unit only a key frame is of use; the SDK asks for it
                    ours.units_dropped += 1

        self._encoder = H264Encoder(
            bitrate=self._bitrate_bps,
            repeat=True,
            iperiod=self.frames_per_second * KEY_FRAME_EVERY_S,
            profile="constrained baseline",
        )
        camera.start_encoder(self._encoder, Units())

    def _stop_encoder(self, camera: Any) -> None:
        encoder, self._encoder = self._encoder, None
        if encoder is not None:
            limited("stop_encoder", lambda: camera.stop_encoder(encoder))


@contextlib.contextmanager
def opened(number: int) -> Iterator[Any]:
    """Opens one camera, and closes it however it ends. Raises: DeviceNotFound, DeviceBusy, CameraFailed."""
    make = picamera2_class()
    try:
        camera = make(number)
    except IndexError as error:
        raise DeviceNotFound(
            f"there is no camera {number}: is its cable in? `rpicam-hello --list-cameras`"
        ) from error
    except RuntimeError as error:
        reason = f"{error} {error.__cause__ or error.__context__ or ''}"
        if "busy" in reason.lower():
            raise DeviceBusy(f"camera {number} is in use by another program: close it") from error
        if "No camera number" in reason or "not found" in reason.lower():
            raise DeviceNotFound(
                f"there is no camera {number}: is its cable in? `rpicam-hello --list-cameras` shows them"
            ) from error
        raise CameraFailed(f"camera {number} could not be opened: {reason.strip()}") from error
    try:
        yield camera
    finally:
        for step in ("stop_preview", "stop", "close"):
            limited(step, getattr(camera, step))


def limited(name: str, step: Callable[[], object]) -> bool:
    """Runs a step that may hang or raise; True when it ended in time."""

    def run() -> None:
        try:
            step()
        except Exception as error:  # noqa: BLE001 - closing goes on whatever a step says
            _log.debug("picamera2 %s: %s", name, error)

    thread = threading.Thread(target=run, name="utd-camera-close", daemon=True)
    thread.start()
    thread.join(CLOSE_STEP_S)
    if thread.is_alive():
        _log.warning("picamera2's %s hangs; it is left behind", name)
    return not thread.is_alive()
