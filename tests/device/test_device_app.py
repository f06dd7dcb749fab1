"""The worker that doorbell and kiosk share, without an engine."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest
from bell import Button
from facts import eventually

from device import app as apps
from device.app import DeviceApp
from device.config import MachineConfig, parse
from device.doorbell.calls import aside
from device.link import Link
from device.service import Service
from utdstream import Devices


class Counter(DeviceApp[str]):
    """Keeps the words it is given; `bug` raises."""

    name = "the counter"

    def __init__(
        self, config: MachineConfig, button: Button, closers: Sequence[Callable[[], object]] = ()
    ) -> None:
        super().__init__(config, devices=None, button=button)
        self.heard: list[str] = []
        self._given_closers = closers

    def press(self) -> None:
        self.put("pressed")

    def release(self) -> None:
        self.put("released")

    def _connect(self) -> Link:
        return Link(self._config, self._devices)

    def _handle(self, event: str) -> None:
        if event == "bug":
            raise AttributeError("a bug")
        if event == "limit":
            self._limit(0.01)
        self.heard.append(event)

    def _time_up(self) -> None:
        self.heard.append("time up")

    def _state_words(self, link: Link | None) -> str:
        return f"{len(self.heard)} heard"

    def _closers(self) -> Sequence[Callable[[], object]]:
        return self._given_closers


@pytest.fixture
def config(tmp_path: Path) -> MachineConfig:
    """No engine answers at port 9, and there is no such camera."""
    (tmp_path / "app_key").write_text("key")
    return parse(
        {
            "engine": {"base_url": "http://127.0.0.1:9", "app_id": "1", "app_key_file": "app_key"},
            "device": {"identity": "counter"},
            "audio": {"adapter": "none"},
            "camera": {"adapter": "pyav", "source": "test", "width": 640, "height": 360},
            "button": {"adapter": "none"},
        },
        tmp_path / "doorbell.toml",
    )


@contextmanager
def running(app: DeviceApp[str]) -> Iterator[Service]:
    service = Service({})
    thread = threading.Thread(target=lambda: app.run(service), name="counter")
    thread.start()
    try:
        yield service
    finally:
        app.stop()
        thread.join(10)
        assert not thread.is_alive()


def test_worker_when_an_event_has_a_bug_logs_it_and_takes_the_next(
    config: MachineConfig, caplog: pytest.LogCaptureFixture
) -> None:
    """The next press must still ring."""
    button = Button()
    app = Counter(config, button)
    with running(app):
        app.put("bug")
        eventually(lambda: button.release is not None, "the button is started")
        button.press()
        assert button.release is not None
        button.release()
        eventually(lambda: app.heard == ["pressed", "released"], "both are heard, in order")
    assert "an event could not be handled; the counter goes on" in caplog.text


def test_worker_when_its_time_limit_passes_is_told_once(config: MachineConfig) -> None:
    """A limit is set by the app, and a later one takes its place."""
    app = Counter(config, Button())
    with running(app):
        app.put("limit")
        eventually(lambda: app.heard == ["limit", "time up"], "it is told")
        app.put("more")
        eventually(lambda: app.heard == ["limit", "time up", "more"], "it is told once")


def test_status_when_a_device_fails_says_so_behind_the_state(config: MachineConfig) -> None:
    """And no longer, once it works again."""
    button = Button()
    app = Counter(config, button)
    with running(app) as service:
        eventually(lambda: service.last_status == "0 heard", "all is well")
        button.problem = "the pin is taken"
        app.press()
        eventually(lambda: service.last_status == "1 heard; button: the pin is taken", "it is said")
        button.problem = None
        app.press()
        eventually(lambda: service.last_status == "2 heard", "it is well again")


class Resting(Counter):
    """Is at rest, and all is well with its link."""

    def _at_rest(self) -> bool:
        return True

    def _connect(self) -> Link:
        return cast(Link, WellLink(super()._connect()))


class WellLink:
    """A link of which nothing is missing."""

    is_well = True

    def __init__(self, link: Link) -> None:
        self._link = link

    def __getattr__(self, name: str) -> object:
        return getattr(self._link, name)


def test_worker_when_all_is_well_sleeps_until_it_is_told_to_look(
    config: MachineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A status that changes without a word is looked at each second only while something is missing."""
    monkeypatch.setattr(apps, "LOOK_S", 0.01)
    monkeypatch.setattr(apps, "WELL_LOOK_S", 3600.0)
    button = Button()
    app = Resting(config, button)
    with running(app) as service:
        eventually(lambda: app._look_s == 3600.0, "it sleeps")
        button.problem = "the button is broken"
        app.look()
        eventually(lambda: "the button is broken" in service.last_status, "it looked")
        button.problem = None
        eventually(lambda: "the button is broken" not in service.last_status, "it looks again and again")
        eventually(lambda: app._look_s == 3600.0, "it sleeps again")


def test_worker_when_a_device_cannot_even_be_asked_goes_on(
    config: MachineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of the user's own may raise whatever it likes; the next press rings all the same."""

    class Broken(Button):
        @property
        def problem(self) -> str | None:  # type: ignore[override]
            raise OSError("no such device")

    monkeypatch.setattr(apps, "LOOK_S", 0.01)
    button = Broken()
    app = Resting(config, button)
    with running(app):
        button.press()
        eventually(lambda: app.heard == ["pressed"], "it is heard")


def test_stop_when_a_device_hangs_is_bounded(config: MachineConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not close in time is left to the end of the process."""
    monkeypatch.setattr(apps, "STOP_S", 0.1)
    hanging, closed = threading.Event(), threading.Event()
    with running(Counter(config, Button(), closers=[hanging.wait, closed.set])):
        pass
    hanging.set()
    assert closed.is_set(), "one that hangs does not keep the others"
    eventually(lambda: not any(each.name == "utd-close" for each in threading.enumerate()), "all ended")


def test_aside_when_its_work_has_a_bug_shows_where(caplog: pytest.LogCaptureFixture) -> None:
    """A camera without a picture is a warning; a mistake in a camera's own code is a traceback."""

    def work() -> None:
        raise AttributeError("a bug of the camera's")

    aside(work, "the picture of a press")
    eventually(lambda: caplog.records, "it is logged")
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None


def test_devices_when_the_app_has_no_camera_open_none(config: MachineConfig) -> None:
    """A kiosk leaves the camera to other programs."""
    app = Counter(config, Button())
    with running(app):
        eventually(lambda: app._link is not None, "the devices are open")
        assert app._devices == Devices()
