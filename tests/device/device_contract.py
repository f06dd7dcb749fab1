"""What every camera and button of the machine promises, beyond the SDK's ports. Each adapter inherits.

`tests/device/test_adapters.py` finds the adapter that does not.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator

import pytest
from media_contract import PATIENCE_S, CameraContract

from device.camera.port import SnapshotCamera
from device.trigger.port import Button
from utdstream import Camera

JPEG = b"\xff\xd8\xff"


class SnapshotCameraContract(CameraContract):
    """Inherit, and give the fixture `camera`: what `open_camera(config)` of the adapter returns."""

    @pytest.fixture
    def snapshots(self, camera: Camera) -> SnapshotCamera:
        """The camera as the apps see it."""
        assert isinstance(camera, SnapshotCamera), f"{camera!r} lacks a member of device/camera/port.py"
        return camera

    def test_snapshot_when_the_camera_rests_is_a_jpeg_and_leaves_it_resting(
        self, snapshots: SnapshotCamera
    ) -> None:
        """A press outside a call has a picture too; the camera can be started afterwards."""
        assert snapshots.snapshot(timeout=PATIENCE_S).startswith(JPEG)
        came = threading.Event()
        snapshots.start(lambda _frame: came.set())
        assert came.wait(PATIENCE_S), "it starts after a snapshot"
        snapshots.stop()

    def test_snapshot_when_the_camera_runs_is_a_jpeg_beside_the_frames(
        self, snapshots: SnapshotCamera
    ) -> None:
        """Frames go on after it."""
        frames: queue.Queue[object] = queue.Queue()
        snapshots.start(frames.put)
        frames.get(timeout=PATIENCE_S)
        assert snapshots.snapshot(timeout=PATIENCE_S).startswith(JPEG)
        while not frames.empty():
            frames.get_nowait()
        frames.get(timeout=PATIENCE_S)
        snapshots.stop()

    def test_problem_when_frames_come_is_none(self, snapshots: SnapshotCamera) -> None:
        """Before the start, while pictures come, and after the stop."""
        assert snapshots.problem is None
        came = threading.Event()
        snapshots.start(lambda _frame: came.set())
        assert came.wait(PATIENCE_S)
        assert snapshots.problem is None
        snapshots.stop()
        assert snapshots.problem is None


class ButtonContract:
    """Inherit, and give the fixtures `button` (new, not started) and `press` (a press and its release)."""

    @pytest.fixture
    def button(self) -> Button:
        raise NotImplementedError(f"{type(self).__name__}: give the fixture `button`")

    @pytest.fixture
    def press(self) -> Callable[[], None]:
        raise NotImplementedError(f"{type(self).__name__}: give the fixture `press`")

    @pytest.fixture
    def told(self, button: Button) -> Iterator[queue.Queue[str]]:
        """What a started button tells."""
        heard: queue.Queue[str] = queue.Queue()
        button.start(lambda: heard.put("pressed"), lambda: heard.put("released"))
        yield heard
        button.stop()

    def test_press_when_made_is_told_with_its_release(
        self, press: Callable[[], None], told: queue.Queue[str], button: Button
    ) -> None:
        """One press, one release, in this order; nothing is wrong."""
        press()
        assert [told.get(timeout=PATIENCE_S) for _ in range(2)] == ["pressed", "released"]
        assert button.problem is None

    def test_press_when_the_button_is_stopped_is_not_told(
        self, press: Callable[[], None], told: queue.Queue[str], button: Button
    ) -> None:
        """No handler is called after stop() returned."""
        button.stop()
        press()
        with pytest.raises(queue.Empty):
            told.get(timeout=0.1)

    def test_press_when_no_release_is_asked_for_is_told_alone(
        self, press: Callable[[], None], button: Button
    ) -> None:
        """A doorbell does not ask when the finger leaves."""
        heard: queue.Queue[str] = queue.Queue()
        button.start(lambda: heard.put("pressed"))
        press()
        assert heard.get(timeout=PATIENCE_S) == "pressed"
        button.stop()
        assert heard.empty()

    def test_stop_when_called_twice_early_or_by_the_press_is_fine(
        self, press: Callable[[], None], button: Button
    ) -> None:
        """Idempotent, also before the first start, and on the adapter's own thread."""
        button.stop()
        stopped = threading.Event()

        def stop() -> None:
            button.stop()
            stopped.set()

        button.start(stop)
        press()
        assert stopped.wait(PATIENCE_S)
        button.stop()
