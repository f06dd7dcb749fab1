"""V4L2 cameras, RTSP and MJPEG cameras, files and a test picture, all through PyAV.

Owns: `PyAvCamera`, and the doctor's look at one. Runs on `utd-camera` (`capture.py`). PyAV is imported late.

`/dev/video0` is a V4L2 camera, `rtsp://...` a network camera (over TCP), `http://...` one that sends MJPEG, `test`
FFmpeg's test picture, anything else a file, which is played again from its beginning and paced by its own clock.
"""

from __future__ import annotations

import contextlib
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from device.camera.capture import CapturingCamera, Frame, Pace, need_even
from device.camera.encoder import encoded_unless_none, import_av, raw_frame
from device.camera.port import SnapshotCamera
from device.config import CameraSection, MachineConfig
from device.errors import CameraFailed, DeviceBusy, DeviceNotFound
from utdstream.checks import Check, CheckState
from utdstream.settings import shown

SOURCES = {
    "`/dev/video0`": "a USB camera (V4L2)",
    "`rtsp://user:password@host/path`": "a network camera, over TCP; the password is shown nowhere",
    "`http://host/path`": "a network camera that sends MJPEG over HTTP",
    "a file": "played again and again",
    "`test`": "FFmpeg's test picture",
}
"""What `[camera] source` may be, and its pictures: a row each on the page of cameras."""
OK, FAIL = CheckState.OK, CheckState.FAIL
DEFAULT_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
LOOK_S = 3.0
NETWORK_S = (5.0, 3.0)
"""Longest wait for a network camera: to open, for its next packet."""


def open_camera(config: MachineConfig) -> SnapshotCamera:
    """Opens the configured source, through our encoder unless it is `none`. Raises: PackageMissing."""
    camera = config.camera
    import_av()
    raw = PyAvCamera(
        camera.source, camera.width, camera.height, camera.frames_per_second, rotation=camera.rotation
    )
    return encoded_unless_none(raw, camera)


def examine(camera: CameraSection) -> Iterator[Check]:
    """Looks whether the source is there: its node, its file, or a listener at its address. Blocks: to 3 s."""
    source = camera.source
    if source == "test":
        yield Check("camera", OK, "FFmpeg's test picture")
    elif "://" in source:
        yield _listener(source)
    elif Path(source).exists():
        yield Check("camera", OK, source)
    elif source.startswith("/dev/"):
        there = ", ".join(sorted(map(str, Path("/dev").glob("video*")))) or "none"
        remedy = "plug it in, or set [camera] source"
        yield Check("camera", FAIL, f"no {source}; there are: {there}", remedy)
    else:
        remedy = "set [camera] source to /dev/video0, an rtsp:// or http:// address, or a file"
        yield Check("camera", FAIL, f"there is no file {source}", remedy)


def _listener(source: str) -> Check:
    """Opens a connection to the address and closes it. What may be secret in the address is not shown."""
    place, address = shown(source), urlsplit(source)
    try:
        host, port = address.hostname, address.port or DEFAULT_PORTS.get(address.scheme)
    except ValueError:
        host, port = None, None
    if address.scheme == "udp":
        return Check("camera", OK, f"{place}: a sender over UDP cannot be asked whether it is there")
    if host is None or port is None or host not in place.lower():
        remedy = "write it like rtsp://user:password@host:554/path; in a password / is %2F and @ is %40"
        return Check("camera", FAIL, f"[camera] source {place} names no host and port", remedy)
    try:
        socket.create_connection((host, port), LOOK_S).close()
    except OSError as error:
        remedy = "is the camera on, and its address in [camera] source right?"
        return Check("camera", FAIL, f"nothing answers for {place} at port {port} ({error})", remedy)
    return Check("camera", OK, f"port {port} answers for {place}")


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
        pace = Pace(self.frames_per_second)
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
                        yield raw_frame(picture, self.width, self.height, is_turned=self._turned)
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
            raise DeviceNotFound(f"{path} is not a camera")

    @property
    def _name(self) -> str:
        """The source in a sentence; of an address only what is no secret."""
        return f"the camera {shown(self.source)}" if "://" in self.source else self.source


def reason_of(error: Exception) -> str:
    """FFmpeg's words without the address, which may hold a password."""
    return str(getattr(error, "strerror", None) or type(error).__name__)
