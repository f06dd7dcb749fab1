"""Whether the own camera is watched: the three questions, the benefit of an arrival, the camera's fault."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from utdstream._livekit.loop import LoopThread, loop_thread
from utdstream._livekit.viewers import BENEFIT_S, ViewerWatch
from utdstream._threads.deadline import Deadline
from utdstream.synthetic import PatternCamera


class RestingCamera(PatternCamera):
    """Notes what it is told."""

    def __init__(self) -> None:
        super().__init__(320, 240, 15)
        self.told: list[bool] = []
        self.fails = False

    def set_watched(self, watched: bool) -> None:
        self.told.append(watched)
        if self.fails:
            raise OSError("the encoder is gone")


class Hall:
    """The room as a watch sees it, on a clock of its own."""

    def __init__(self) -> None:
        self.now = 100.0
        self.alone = True
        self.reconnecting = False
        self.active: bool | None = None
        self.asked = 0
        self.camera = RestingCamera()
        self._loop: LoopThread = loop_thread()
        self.watch = ViewerWatch(
            self._loop,
            self.camera,
            is_alone=lambda: self.alone,
            is_reconnecting=lambda: self.reconnecting,
            layer_is_active=self._layer,
            clock=lambda: self.now,
        )

    async def _layer(self) -> bool | None:
        self.asked += 1
        return self.active

    def look(self, *, after_s: float = 0.0) -> bool:
        """What the watch holds after one look."""
        self.now += after_s
        self._loop.run(self.watch.look, deadline=Deadline(5, 5, "looking"))
        return self.watch.watched

    def close(self) -> None:
        self._loop.call(self.watch.close, deadline=Deadline(5, 5, "closing"))


@pytest.fixture
def hall() -> Iterator[Hall]:
    """A room with nobody else in it."""
    hall = Hall()
    yield hall
    hall.close()


def test_watch_when_nobody_else_is_there_lets_the_camera_rest_at_once(hall: Hall) -> None:
    """No figures are needed for that, and it is told once."""
    assert hall.watch.watched
    assert not hall.look()
    assert not hall.look()
    assert (hall.camera.told, hall.asked) == ([False], 0)


def test_watch_when_somebody_arrives_counts_a_viewer_for_a_while(hall: Hall) -> None:
    """Long enough to subscribe; then the figures decide."""
    hall.look()
    hall.alone, hall.active = False, False
    assert hall.look()
    assert hall.look(after_s=BENEFIT_S - 0.1)
    assert hall.asked == 0
    assert not hall.look(after_s=0.2)
    assert hall.camera.told == [False, True, False]


def test_watch_when_the_last_viewer_leaves_and_another_comes_gives_the_benefit_again(hall: Hall) -> None:
    """Each time that somebody comes to an empty room."""
    hall.alone, hall.active = False, False
    hall.look()
    assert not hall.look(after_s=BENEFIT_S + 0.1)
    hall.alone = True
    hall.look()
    hall.alone = False
    assert hall.look()


@pytest.mark.parametrize(("active", "watched"), [(True, True), (False, False), (None, True)])
def test_watch_when_the_benefit_is_over_believes_the_figures(
    hall: Hall, active: bool | None, watched: bool
) -> None:
    """No figures: when in doubt, encode."""
    hall.alone, hall.active = False, active
    hall.look()
    assert hall.look(after_s=BENEFIT_S + 0.1) is watched
    assert hall.asked == 1


def test_watch_when_reconnecting_changes_nothing(hall: Hall) -> None:
    """A room that lost its people for a moment is not an empty room."""
    hall.reconnecting = True
    assert hall.look()
    assert (hall.camera.told, hall.asked) == ([], 0)


def test_watch_when_closed_tells_a_resting_camera_that_it_is_watched(hall: Hall) -> None:
    """So that it is found as every camera that starts; a second close says nothing."""
    hall.look()
    hall.close()
    hall.close()
    assert hall.camera.told == [False, True]


def test_watch_when_the_camera_fails_goes_on(hall: Hall, caplog: pytest.LogCaptureFixture) -> None:
    """A driver's fault does not stop the loop; it is in the log."""
    hall.camera.fails = True
    hall.look()
    hall.alone = False
    assert hall.look()
    assert hall.camera.told == [False, True]
    assert "could not be told" in caplog.text
