"""Cameras in real calls: seen at the other side, resting while nobody watches."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from facts import eventually
from films import film
from people import People

from device.camera.encoder import EncodedCamera
from device.camera.pyav import PyAvCamera
from device.camera.synthetic import SyntheticCamera
from utdstream import Devices, UTDCallSession, UTDCallStatus, UTDLiveStreamSession
from utdstream.media import WatchedCamera
from utdstream.synthetic import read_counter

pytestmark = pytest.mark.integration


def test_camera_when_it_is_our_own_h264_is_seen_by_the_other_side(people: People) -> None:
    """The house reads the numbers that the door's camera paints."""
    camera = EncodedCamera(SyntheticCamera(640, 480, 30))
    door, house = people("door", devices=Devices(camera=camera)), people("house", devices=Devices())
    answered: list[UTDCallSession] = []
    house.inbox().ringing.subscribe(lambda incoming: answered.append(incoming.accept()))
    with door.call() as call:
        call.start(callee_identity=house.identity)
        call.wait_for_answer(timeout=20)
        eventually(lambda: answered, "the house is in the call")
        seen = []
        for frame in answered[0].video_frames(timeout=10):
            number = read_counter(frame)
            if number is not None:
                seen.append(number)
            if len(seen) == 30:
                break
        assert seen == sorted(seen)
        assert (camera.problem, door.errors) == (None, [])


def test_camera_when_the_last_viewer_goes_rests_and_begins_again_with_a_key_frame(people: People) -> None:
    """Encoding stops within seconds of the last viewer, though listeners stay; who looks again sees at once."""
    camera = EncodedCamera(SyntheticCamera(640, 480, 30))
    assert isinstance(camera, WatchedCamera)
    host, viewer = people("host", devices=Devices(camera=camera)), people("viewer", devices=Devices())
    room = f"watched-{host.identity}"
    with host.client.join_live_stream(identity=host.identity, room_name=room, as_host=True) as live:
        live.go_live()
        with viewer.client.join_live_stream(identity=viewer.identity, room_name=room) as stream:
            looks(stream, 5)
            assert live.stats().video_watched is True
            went = time.monotonic()
            eventually(lambda: live.stats().video_watched is False, "it rests", within_s=25)
            print(f"rests {time.monotonic() - went:.2f} s after the last viewer went")
            sent = live.stats().video_frames_sent
            assert sent == live.stats().video_frames_sent
            encoded = camera.frames_encoded
            came = time.monotonic()
            looks(stream, 1)
            print(f"seen {time.monotonic() - came:.2f} s after somebody looked again")
            assert camera.frames_encoded > encoded
        eventually(lambda: live.stats().video_watched is False, "nobody is there", within_s=10)


def looks(stream: UTDLiveStreamSession, pictures: int) -> None:
    """Watches some pictures and looks away."""
    frames = stream.video_frames(timeout=20)
    for _ in range(pictures):
        next(frames)
    frames.close()  # type: ignore[attr-defined]


def test_camera_when_its_file_is_missing_ends_no_call(people: People) -> None:
    """The call is answered without pictures, and it is reported."""
    camera = EncodedCamera(PyAvCamera("/no/such/film.mp4", 320, 240, 15))
    door, house = people("door", devices=Devices(camera=camera)), people("house", devices=Devices())
    house.inbox().ringing.subscribe(lambda incoming: incoming.accept())
    with door.call() as call:
        call.start(callee_identity=house.identity)
        call.wait_for_answer(timeout=20)
        eventually(lambda: door.errors, "it is reported")
        assert "the camera delivered no frame" in str(door.errors[0].error)
        assert call.status.value is UTDCallStatus.ACTIVE


def test_camera_when_it_comes_late_is_seen_from_its_first_picture(people: People, tmp_path: Path) -> None:
    """A camera that was not there at the call's start is reported, opened again, and published then."""
    path = tmp_path / "film.mp4"
    door = people("door", devices=Devices(camera=EncodedCamera(PyAvCamera(str(path), 320, 240, 20))))
    house = people("house", devices=Devices())
    answered: list[UTDCallSession] = []
    house.inbox().ringing.subscribe(lambda incoming: answered.append(incoming.accept()))
    with door.call() as call:
        call.start(callee_identity=house.identity)
        call.wait_for_answer(timeout=20)
        eventually(lambda: door.errors, "it is reported")
        assert not call.camera_on.value
        film(tmp_path / "new.mp4").rename(path)
        eventually(lambda: answered, "the house is in the call")
        assert next(answered[0].video_frames(timeout=15)).width == 320
        assert call.camera_on.value
