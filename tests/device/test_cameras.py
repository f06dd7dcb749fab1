"""Cameras that come and go: every source, every fault that can be had without a board."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy
import pytest
from device_contract import SnapshotCameraContract
from facts import eventually
from films import film

from device.camera import capture
from device.camera.capture import CapturingCamera, Frame
from device.camera.picamera2 import import_picamera2, packed
from device.camera.picamera2 import open_camera as open_picamera2
from device.camera.pyav import PyAvCamera, open_camera
from device.config import MachineConfig, parse
from device.errors import CameraFailed, DeviceNotFound, PackageMissing
from utdstream import Camera
from utdstream.media import PixelFormat, RawFrame

SIZE = (320, 240, 20)


class TestPyAvCamera(SnapshotCameraContract):
    @pytest.fixture(params=["software", "none"])
    def camera(self, request: pytest.FixtureRequest, tmp_path: Path) -> Camera:
        size = {"width": 320, "height": 240, "frames_per_second": 20}
        source = str(film(tmp_path / "film.mp4"))
        return open_camera(config_of(adapter="pyav", source=source, encoder=request.param, **size))


def test_address_when_it_is_a_cameras_name_in_a_sentence_holds_no_secret() -> None:
    """Status and errors name the camera by its place alone."""
    for address in (
        "rtsp://admin:S3cr3t/x@10.0.0.2/a",
        "http://10.0.0.2/a?pwd=S3cr3t",
        "rtsp://10.0.0.2/pw=S3cr3t",
    ):
        assert "S3cr3t" not in PyAvCamera(address, 640, 480, 10)._name


def test_file_when_it_ends_begins_again_at_its_own_pace(tmp_path: Path) -> None:
    """A film of one second shows more than one second's pictures, and no fault."""
    camera, frames = PyAvCamera(str(film(tmp_path / "film.mp4")), *SIZE), []
    camera.start(frames.append)
    eventually(lambda: len(frames) > 30, "the second round", within_s=10)
    camera.stop()
    assert camera.opened == 1


def test_picture_when_the_camera_hangs_upside_down_is_turned(tmp_path: Path) -> None:
    """180 degrees: the last byte of the luma plane comes first."""
    path = tmp_path / "half.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=20)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        half = numpy.zeros((240, 320, 3), dtype=numpy.uint8)
        half[:120] = 255
        for packet in (
            *stream.encode(av.VideoFrame.from_ndarray(half, format="rgb24")),
            *stream.encode(None),
        ):
            container.mux(packet)
    for rotation, bright_first in ((0, True), (180, False)):
        frames: list[Frame] = []
        camera = PyAvCamera(str(path), *SIZE, rotation=rotation)
        camera.start(frames.append)
        eventually(lambda frames=frames: frames, "a picture")
        camera.stop()
        assert (bytes(frames[0].data)[0] > 128) is bright_first


def test_live_source_when_it_dies_is_opened_again(tmp_path: Path) -> None:
    """A network camera goes away and comes back: the end of a live source is a failure, not an end."""
    film(tmp_path / "film.ts", 60)
    sound = (tmp_path / "film.ts").read_bytes()
    server = socket.create_server(("127.0.0.1", 0))
    served = []

    def serve() -> None:
        for _ in range(2):
            connection, _ = server.accept()
            served.append(1)
            with connection:
                connection.sendall(sound)

    thread = threading.Thread(target=serve)
    thread.start()
    camera, frames = PyAvCamera(f"tcp://127.0.0.1:{server.getsockname()[1]}", *SIZE), []
    camera.start(frames.append)
    eventually(lambda: len(served) == 2, "it is opened again", within_s=15)
    thread.join()
    server.close()
    eventually(lambda: camera.problem, "it says that nobody serves it", within_s=10)
    camera.stop()
    assert frames


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("/dev/video99", "there is no camera /dev/video99"),
        ("/no/film.mp4", "is not there"),
        ("rtsp://user:secret@127.0.0.1:9/x", "could not be opened"),
        (__file__, "could not be opened"),
    ],
)
def test_source_when_it_cannot_be_opened_says_why_and_no_password(source: str, words: str) -> None:
    """start() succeeds, `problem` is a sentence, and a password in an address is not in it."""
    camera = PyAvCamera(source, *SIZE)
    camera.start(lambda _frame: None)
    eventually(lambda: camera.problem, "it says what is wrong", within_s=10)
    problem = str(camera.problem)
    camera.stop()
    assert words in problem
    assert "secret" not in problem


class Scripted(CapturingCamera):
    """A driver whose every opening follows a script."""

    def __init__(self, *script: Callable[[Callable[[], bool]], Iterator[Frame]]) -> None:
        super().__init__(64, 48, 20)
        self._script = list(script)

    def frames(self, wanted: Callable[[], bool]) -> Iterator[Frame]:
        step = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        return step(wanted)


def picture() -> RawFrame:
    return RawFrame(bytes(64 * 48 * 3 // 2), 64, 48, PixelFormat.I420, 0)


def well(wanted: Callable[[], bool]) -> Iterator[Frame]:
    pause = threading.Event()
    while wanted():
        yield picture()
        pause.wait(0.02)


def test_driver_when_it_raises_anything_is_opened_again() -> None:
    """Not even a KeyError of a driver ends the camera."""

    def broken(wanted: Callable[[], bool]) -> Iterator[Frame]:
        yield picture()
        raise KeyError("bad")

    camera, frames = Scripted(broken, well), []
    camera.start(frames.append)
    eventually(lambda: len(frames) > 3, "it goes on")
    camera.stop()
    assert camera.opened == 2


def test_driver_when_it_hangs_is_left_behind_and_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """No picture for a while: another thread opens the camera; the hung one delivers nothing afterwards."""
    monkeypatch.setattr(capture, "SILENT_S", 0.3)
    released = threading.Event()

    def hang(wanted: Callable[[], bool]) -> Iterator[Frame]:
        yield picture()
        released.wait(20)
        yield picture()

    camera, frames = Scripted(hang, well), []
    camera.start(frames.append)
    eventually(lambda: len(frames) > 5, "it works again", within_s=10)
    assert camera.problem is None
    camera.stop()
    count = len(frames)
    released.set()
    eventually(lambda: not any(thread.name == "utd-camera" for thread in threading.enumerate()), "it ends")
    assert len(frames) == count


def test_rows_when_padded_are_packed_tightly() -> None:
    """800 pixels in rows of 832: a Pi pads both planes of NV12 and all three of I420."""
    width, height, stride = 10, 4, 16
    rows = numpy.arange(stride * height, dtype=numpy.uint8).reshape(height, stride)
    chroma = rows[: height // 2]
    made = packed(numpy.concatenate((rows, chroma)).reshape(-1), width, height, stride, PixelFormat.NV12)
    assert made == rows[:, :width].tobytes() + chroma[:, :width].tobytes()
    made = packed(numpy.concatenate((rows, chroma)).reshape(-1), width, height, stride, PixelFormat.I420)
    assert made == rows[:, :width].tobytes() + chroma.reshape(height, 8)[:, :5].tobytes()
    assert len(made) == PixelFormat.I420.size_bytes(width, height)


def config_of(**camera: object) -> MachineConfig:
    tables = {"engine": {"app_id": "x"}, "device": {"identity": "door"}, "camera": camera}
    return parse(tables, Path("/etc/utdstream/doorbell.toml"))


def test_picamera2_when_missing_is_said_with_the_command() -> None:
    """One sentence, not an ImportError."""
    with pytest.raises(PackageMissing, match="apt install python3-picamera2"):
        import_picamera2()
    with pytest.raises(DeviceNotFound, match="by its number"):
        open_picamera2(config_of(source="/dev/video0"))


def test_camera_when_configured_has_our_encoder_unless_none_is_wished() -> None:
    """`encoder = "none"` hands raw pictures over."""
    encoded = open_camera(config_of(adapter="pyav", source="test"))
    raw = open_camera(config_of(adapter="pyav", source="test", encoder="none"))
    assert (encoded.encoded, raw.encoded) == (True, False)
    with pytest.raises(CameraFailed, match="even"):
        PyAvCamera("test", 321, 240, 20)
