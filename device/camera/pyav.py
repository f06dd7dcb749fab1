"""V4L2 cameras, RTSP cameras, files and a test picture, all through PyAV.

Owns: `PyAvCamera`. Runs on `utd-camera` (`capture.py`). PyAV is imported late.

`/dev/video0` is a V4L2 camera, `rtsp://...` a network camera (over TCP), `test` FFmpeg's test picture,
anything else a file, which is played again from its beginning and paced by its own clock.
"""

from __future__ import annotations

import contextlib
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy

from device.camera.capture import CapturingCamera, Frame, need_even
from device.camera.encoder import EncodedCamera, import_av
from device.config import MachineConfig
from device.errors import CameraFailed, DeviceBusy, DeviceNotFound
from utdstream import Camera
from utdstream.media import PixelFormat, RawFrame

NETWORK_S = (5.0, 3.0)
"""Longest wait for a network camera: to open, for its next packet."""


def open_camera(config: MachineConfig) -> Camera:
    """Opens the configured source, through our encoder unless it is `none`. Raises: PackageMissing."""
    camera = config.camera
    import_av()
    raw = PyAvCamera(
        camera.source, camera.width, camera.height, camera.frames_per_second, rotation=camera.rotation
    )
    return raw if camera.encoder == "none" else EncodedCamera(raw, bitrate_bps=camera.bitrate_bps)


class PyAvCamera(CapturingCamera):
    """Raw I420 pictures of one source, scaled to `width` x `height`, at most `frames_per_second` of them."""

    def __init__(
        self, source: str, width: int, height: int, frames_per_second: int, *, rotation: int = 0
    ) -> None:
        need_even(width, height)
        super().__init__(width, height, frames_per_second)
        self.source = source
        self._turned = rotation == 180

    @property
    def is_live(self) -> bool:
        """The source paces itself, and its end is a failure."""
        return self.source.startswith(
            ("/dev/", "rtsp://", "rtsps://", "tcp://", "udp://", "http://", "https://")
        )

    def frames(self, wanted: Callable[[], bool]) -> Iterator[Frame]:
        av = import_av()
        pace = _Pace(self.frames_per_second)
        while wanted():
            with self._open(av) as container:
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                try:
                    for picture in container.decode(stream):
                        if not wanted():
                            return
                        if self.is_live:
                            if pace.is_early():
                                continue
                        elif not pace.wait(wanted):
                            return
                        yield self._frame(picture)
                except av.FFmpegError as error:
                    raise CameraFailed(f"{self._name} stopped: {reason_of(error)}") from error
            if self.is_live:
                raise CameraFailed(f"{self._name} ended: the camera or the network to it is gone")

    @contextlib.contextmanager
    def _open(self, av: Any) -> Iterator[Any]:
        source, how = self.source, {}
        options: dict[str, str] = {}
        if source == "test":
            source = f"testsrc2=size={self.width}x{self.height}:rate={self.frames_per_second}"
            how["format"] = "lavfi"
        elif source.startswith("/dev/"):
            how["format"] = "v4l2"
            options = {
                "video_size": f"{self.width}x{self.height}",
                "framerate": str(self.frames_per_second),
            }
            self._check_node(Path(source))
        elif source.startswith("rtsp"):
            options = {"rtsp_transport": "tcp"}
        try:
            container = av.open(source, options=options, timeout=NETWORK_S, **how)
        except FileNotFoundError as error:
            raise DeviceNotFound(f"{self._name} is not there; is the path right?") from error
        except PermissionError as error:
            raise DeviceBusy(
                f"{self._name} may not be opened by this user; `sudo usermod -aG video $USER`, "
                "then sign in again"
            ) from error
        except (av.FFmpegError, OSError) as error:
            if "busy" in str(error).lower():
                raise DeviceBusy(f"{self._name} is in use by another program: close it") from error
            raise CameraFailed(f"{self._name} could not be opened: {reason_of(error)}") from error
        try:
            if not container.streams.video:
                raise CameraFailed(f"{self._name} holds no video")
            yield container
        finally:
            container.close()

    def _check_node(self, path: Path) -> None:
        try:
            mode = path.stat().st_mode
        except OSError as error:
            there = ", ".join(sorted(map(str, Path("/dev").glob("video*")))) or "none"
            raise DeviceNotFound(f"there is no camera {path}; those there are: {there}") from error
        if not stat.S_ISCHR(mode):
            raise DeviceNotFound(f"{path} is no camera")

    @property
    def _name(self) -> str:
        """The source in a sentence; a password in its address is not shown."""
        head, at, tail = self.source.rpartition("@")
        return f"the camera {head.split('://', 1)[0]}://...@{tail}" if at and "://" in head else self.source

    def _frame(self, picture: Any) -> RawFrame:
        fitting = picture.reformat(width=self.width, height=self.height, format="yuv420p")
        planes = []
        for plane in fitting.planes:
            rows = numpy.frombuffer(plane, dtype=numpy.uint8).reshape(plane.height, plane.line_size)
            rows = rows[:, : plane.width]
            planes.append((rows[::-1, ::-1] if self._turned else rows).tobytes())
        return RawFrame(
            b"".join(planes), self.width, self.height, PixelFormat.I420, time.monotonic_ns() // 1000
        )


def reason_of(error: Exception) -> str:
    """FFmpeg's words without the address, which may hold a password."""
    return str(getattr(error, "strerror", None) or type(error).__name__)


class _Pace:
    """When the next picture is due; no drift."""

    def __init__(self, frames_per_second: int) -> None:
        self._period_s = 1 / frames_per_second
        self._due_s: float | None = None
        self._pause = threading.Event()

    def is_early(self) -> bool:
        """Tells whether a live picture came sooner than the wished rate: then it is left out."""
        now = time.monotonic()
        if self._due_s is None or now - self._due_s > 1:
            self._due_s = now
        if now < self._due_s - self._period_s / 2:
            return True
        self._due_s += self._period_s
        return False

    def wait(self, wanted: Callable[[], bool]) -> bool:
        """Waits until a file's next picture is due; False when it is not wanted any more."""
        now = time.monotonic()
        if self._due_s is None or now - self._due_s > 1:
            self._due_s = now
        while (left_s := self._due_s - time.monotonic()) > 0:
            if not wanted():
                return False
            self._pause.wait(min(left_s, 0.1))
        self._due_s += self._period_s
        return True
