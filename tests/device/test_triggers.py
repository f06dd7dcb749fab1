"""Buttons and relays: one press is one press."""

from __future__ import annotations

import os
import pty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gpiozero
import pytest
from facts import eventually
from gpiozero.pins.mock import MockFactory

from device.config import MachineConfig, parse
from device.errors import PackageMissing, TriggerFailed
from device.trigger.command import CommandButton, press, socket_path
from device.trigger.debounce import Debounce
from device.trigger.gpio import GpioButton, import_gpiozero
from device.trigger.keyboard import KeyboardButton
from device.trigger.relay import GpioRelay


def config_of(**sections: dict[str, Any]) -> MachineConfig:
    tables = {"engine": {"app_id": "x"}, "device": {"identity": "door"}, **sections}
    return parse(tables, Path("/etc/utdstream/doorbell.toml"))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_press_when_the_contact_bounces_counts_once_and_at_once() -> None:
    """Five pulses of 5 ms are one press, told by the first edge; two real presses are two."""
    clock = Clock()
    debounce = Debounce(0.04, clock)
    told = []
    for _ in range(2):
        for edge in (True, False, True, False, True):
            told.append(debounce.edge(down=edge))
            clock.now += 0.005
        clock.now += 0.2
        told.append(debounce.edge(down=False))
        clock.now += 0.2
    assert told == [True, None, None, None, None, False] * 2


def test_press_when_held_is_one_press() -> None:
    """However long."""
    clock = Clock()
    debounce = Debounce(0.04, clock)
    assert debounce.edge(down=True) is True
    clock.now += 60
    assert debounce.edge(down=True) is None
    assert debounce.edge(down=False) is False


@pytest.fixture
def pins() -> Iterator[MockFactory]:
    """gpiozero's own pretended pins."""
    before = gpiozero.Device.pin_factory
    factory = MockFactory()
    gpiozero.Device.pin_factory = factory
    yield factory
    factory.reset()
    gpiozero.Device.pin_factory = before


def test_gpio_button_when_the_pin_goes_low_is_pressed(pins: MockFactory) -> None:
    """The pin is pulled up; the button connects it to ground; bounces are swallowed; stop() ends it."""
    button, told = GpioButton(config_of(button={"pin": 17, "bounce_ms": 1000})), []
    button.start(lambda: told.append("pressed"), lambda: told.append("released"))
    for _ in range(3):
        pins.pin(17).drive_low()
        pins.pin(17).drive_high()
    assert told == ["pressed"]
    button.stop()
    button.stop()


def test_gpio_when_there_is_none_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """No traceback of a pin factory."""
    monkeypatch.setattr(gpiozero.Device, "pin_factory", None)
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "rpigpio")
    button = GpioButton(config_of())
    with pytest.raises(TriggerFailed, match="GPIO 17"):
        button.start(lambda: None)
    assert button.problem is not None
    monkeypatch.setitem(__import__("sys").modules, "gpiozero", None)
    with pytest.raises(PackageMissing, match="apt install python3-gpiozero"):
        import_gpiozero()


def test_relay_when_pulsed_lets_go_by_itself_and_at_close(pins: MockFactory) -> None:
    """A second pulse does not prolong the first; a closed relay is released."""
    relay = GpioRelay(config_of(door={"adapter": "gpio", "pin": 27, "pulse_ms": 50}))
    relay.pulse()
    relay.pulse()
    assert pins.pin(27).state == 1
    eventually(lambda: pins.pin(27).state == 0, "it lets go")
    relay.close()
    relay.close()
    relay.pulse()
    slow = GpioRelay(config_of(door={"adapter": "gpio", "pin": 22, "pulse_ms": 30_000}))
    slow.pulse()
    assert pins.pin(22).state == 1
    pin = pins.pin(22)
    slow.close()
    assert pin.state == 0


def test_keyboard_when_enter_is_typed_is_pressed() -> None:
    """Through a real terminal; a terminal that goes away is a problem, not a crash."""
    ours, theirs = pty.openpty()
    button, told = KeyboardButton(config_of(), theirs), []
    button.start(lambda: told.append(1))
    os.write(ours, b"\nhello\n")
    eventually(lambda: len(told) == 2, "two presses")
    button.stop()
    button.stop()
    os.close(ours)
    os.close(theirs)


def test_keyboard_when_its_input_ends_says_so() -> None:
    """A service has no keyboard."""
    reading, writing = os.pipe()
    button = KeyboardButton(config_of(), reading)
    button.start(lambda: None)
    os.close(writing)
    eventually(lambda: button.problem, "it says so")
    button.stop()
    os.close(reading)


@pytest.fixture
def run_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    return tmp_path / "run"


def test_command_when_given_presses_the_running_device(run_folder: Path) -> None:
    """`utd-device press` returns once the press was taken; the socket is this user's alone."""
    config, told = config_of(), []
    button = CommandButton(config)
    button.start(lambda: told.append(1))
    press(config)
    press(config)
    assert told == [1, 1]
    assert socket_path(config).stat().st_mode & 0o777 == 0o600
    button.stop()
    button.stop()
    with pytest.raises(TriggerFailed, match="nothing is running for door"):
        press(config)


def test_command_when_others_may_write_to_its_folder_is_refused(run_folder: Path) -> None:
    """Whoever can put a socket there could press the bell."""
    run_folder.mkdir()
    run_folder.chmod(0o777)
    with pytest.raises(TriggerFailed, match="others may write"):
        CommandButton(config_of()).start(lambda: None)
