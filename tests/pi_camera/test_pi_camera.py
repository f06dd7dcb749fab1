"""The Pi camera's adapter on the real picamera2 and libcamera."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy
import pytest
from conftest import VirtualCamera  # type: ignore[attr-defined] # mypy sees the conftest of tests/
from device_contract import SnapshotCameraContract
from facts import eventually

from device.camera import capture
from device.camera import picamera2 as adapter
from device.camera.encoder import EncodedCamera
from device.camera.picamera2 import Picamera2Camera, open_camera, opened
from device.config import parse
from device.errors import DeviceBusy, DeviceNotFound
from utdstream import Camera, Devices, UTDCallSession, UTDStreamClient, UTDStreamType
from utdstream.media import EncodedFrame, RawFrame

SIZE = (640, 480, 30)


class TestPicamera2(SnapshotCameraContract):
    @pytest.fixture(params=["software", "none"])
    def camera(self, request: pytest.FixtureRequest) -> Camera:
        size = {"width": SIZE[0], "height": SIZE[1], "frames_per_second": SIZE[2]}
        tables = {
            "engine": {"app_id": "x"},
            "device": {"identity": "door"},
            "camera": {"adapter": "picamera2", "encoder": request.param, **size},
        }
        return open_camera(parse(tables, Path("/etc/utdstream/doorbell.toml")))


def test_pictures_when_started_are_tightly_packed_and_paced() -> None:
    """Whatever format and stride the driver gave."""
    camera, frames = Picamera2Camera(0, *SIZE), []
    camera.start(frames.append)
    eventually(lambda: len(frames) >= 30, "a second of pictures", within_s=20)
    camera.stop()
    frame = frames[-1]
    assert isinstance(frame, RawFrame)
    assert len(frame.data) == frame.pixel_format.size_bytes(640, 480)
    luma = numpy.frombuffer(frame.data, dtype=numpy.uint8)[: 640 * 480]
    assert luma.std() > 10, "the colour bars are not one grey"
    assert camera.problem is None


def test_key_frame_when_asked_for_is_the_next_unit() -> None:
    """Through our own encoder, as on a Pi 5."""
    camera, units = EncodedCamera(Picamera2Camera(0, *SIZE)), []
    camera.start(units.append)
    eventually(lambda: len(units) >= 10, "it is encoded", within_s=20)
    before = len(units)
    camera.request_key_frame()
    eventually(lambda: any(unit.is_key_frame for unit in units[before:]), "a key frame", within_s=5)
    key = next(number for number, unit in enumerate(units[before:]) if unit.is_key_frame)
    camera.stop()
    assert all(isinstance(unit, EncodedFrame) for unit in units)
    assert key <= 1, "within a picture of the request"


def test_exception_when_raised_by_a_callback_is_healed_by_opening_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It kills picamera2's event thread: no picture comes, and its own stop() would hang."""
    monkeypatch.setattr(adapter, "FRAME_S", 1.0)
    opened_cameras: list[Any] = []
    original = VirtualCamera.__init__

    def init(self: Any, *arguments: Any, **named: Any) -> None:
        original(self, *arguments, **named)
        opened_cameras.append(self)

    monkeypatch.setattr(VirtualCamera, "__init__", init)
    camera, frames = Picamera2Camera(0, *SIZE), []
    camera.start(frames.append)
    eventually(lambda: len(frames) > 5, "it runs", within_s=20)

    def broken(_request: object) -> None:
        raise ValueError("a callback's fault")

    opened_cameras[0].post_callback = broken
    eventually(lambda: camera.problem, "the silence is noticed", within_s=10)
    count = len(frames)
    eventually(lambda: len(frames) > count + 5, "it works again", within_s=30)
    camera.stop()
    assert len(opened_cameras) >= 2


def test_camera_when_in_use_or_missing_is_a_typed_error_and_is_opened_when_free() -> None:
    """One process may hold a camera; the other waits for it."""
    with opened(0):
        with pytest.raises(DeviceBusy, match="in use"), opened(0):
            pass
        waiting, frames = Picamera2Camera(0, *SIZE), []
        waiting.start(frames.append)
        eventually(lambda: waiting.problem, "it says so", within_s=10)
        assert "in use" in str(waiting.problem)
    eventually(lambda: frames, "it is opened when it is free", within_s=20)
    waiting.stop()
    with pytest.raises(DeviceNotFound, match="there is no camera 5"), opened(5):
        pass


def test_camera_when_stopped_and_started_again_runs() -> None:
    """Three lives, and a picture in between."""
    camera = Picamera2Camera(0, *SIZE)
    for _ in range(3):
        frames: list[object] = []
        camera.start(frames.append)
        eventually(lambda frames=frames: len(frames) > 3, "it runs", within_s=20)
        camera.stop()
    assert camera.snapshot(timeout=10).startswith(b"\xff\xd8")


def test_pictures_when_in_a_call_reach_a_house() -> None:
    """The real camera class, our encoder, the real servers: the house decodes what the door sees."""
    settings = (os.environ["UTD_APP_ID"], os.environ["UTD_APP_KEY"])
    url = os.environ["UTD_BASE_URL"]
    camera = EncodedCamera(Picamera2Camera(0, *SIZE))
    with (
        UTDStreamClient(*settings, base_url=url, devices=Devices(camera=camera)) as door,
        UTDStreamClient(*settings, base_url=url) as house,
    ):
        door.authenticate(identity="pi-door")
        house.authenticate(identity="pi-house")
        answered: list[UTDCallSession] = []
        inbox = house.incoming_calls()
        inbox.ringing.subscribe(lambda incoming: answered.append(incoming.accept()))
        inbox.connected.wait_for(True, timeout=10)
        with door.call_session(UTDStreamType.VIDEO_CALL) as call:
            call.start(callee_identity="pi-house")
            call.wait_for_answer(timeout=20)
            eventually(lambda: answered, "the house is in the call")
            frames = answered[0].video_frames(timeout=20)
            seen = [next(frames) for _ in range(30)]
            assert {(frame.width, frame.height) for frame in seen} == {(640, 480)}
            luma = numpy.frombuffer(seen[-1].data, dtype=numpy.uint8)[: 640 * 480]
            assert luma.std() > 10, "the colour bars are seen"


def test_stop_when_the_driver_hangs_returns_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step of the end has a time limit."""
    monkeypatch.setattr(adapter, "CLOSE_STEP_S", 0.3)
    released = threading.Event()
    original = VirtualCamera.stop

    def hang(self: Any) -> None:
        released.wait(20)
        original(self)

    camera, frames = Picamera2Camera(0, *SIZE), []
    camera.start(frames.append)
    eventually(lambda: frames, "it runs", within_s=20)
    with monkeypatch.context() as patched:
        patched.setattr(VirtualCamera, "stop", hang)
        begun = time.monotonic()
        camera.stop()
        assert time.monotonic() - begun < 5 * capture.JOIN_S
    released.set()
    for thread in threading.enumerate():
        if thread.name == "utd-camera-close":
            thread.join(10)
