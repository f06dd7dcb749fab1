"""Buttons and relays: one press is one press."""

from __future__ import annotations

import contextlib
import os
import pty
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gpiozero
import pytest
from device_contract import ButtonContract
from facts import eventually
from gpiozero.pins.mock import MockFactory

from device.__main__ import main
from device.config import MachineConfig, load, parse
from device.errors import AlreadyRunning, PackageMissing, TriggerFailed
from device.trigger import command
from device.trigger.command import CommandButton, press, socket_path
from device.trigger.debounce import Debounce
from device.trigger.gpio import GpioButton
from device.trigger.keyboard import KeyboardButton
from device.trigger.pins import import_gpiozero
from device.trigger.port import Button
from device.trigger.relay import GpioRelay

PROGRAMS = Path(__file__).with_name("programs")
NOBODY = 65534


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
    """However long, and with nothing to wait for."""
    clock = Clock()
    debounce = Debounce(0.04, clock)
    assert debounce.edge(down=True) is True
    clock.now += 60
    assert debounce.left_s() is None
    assert debounce.settle() is None
    assert debounce.edge(down=True) is None
    assert debounce.edge(down=False) is False


def test_press_when_shorter_than_the_bounce_is_released_and_the_next_one_counts() -> None:
    """A tap of 20 ms, let go while edges do not count: the release is told late, never lost."""
    clock = Clock()
    debounce = Debounce(0.04, clock)
    assert debounce.edge(down=True) is True
    clock.now = 0.02
    assert debounce.edge(down=False) is None
    assert debounce.left_s() == pytest.approx(0.02)
    clock.now = 0.04
    assert debounce.settle() is False
    clock.now = 1.0
    assert debounce.edge(down=True) is True


@pytest.fixture
def pins() -> Iterator[MockFactory]:
    """gpiozero's own pretended pins."""
    before = gpiozero.Device.pin_factory
    factory = MockFactory()
    gpiozero.Device.pin_factory = factory
    yield factory
    factory.reset()
    gpiozero.Device.pin_factory = before


class TestGpioButton(ButtonContract):
    @pytest.fixture
    def button(self, pins: MockFactory) -> Button:
        return GpioButton(config_of(button={"pin": 17, "bounce_ms": 0}))

    @pytest.fixture
    def press(self, pins: MockFactory) -> Callable[[], None]:
        def tap() -> None:
            pins.pin(17).drive_low()
            pins.pin(17).drive_high()

        return tap


def test_gpio_button_when_tapped_and_then_held_tells_two_presses(pins: MockFactory) -> None:
    """Pulled up, to ground when pressed. A tap shorter than its bounce is released too; the next press counts."""
    button, told = GpioButton(config_of(button={"pin": 17, "bounce_ms": 250})), []
    button.start(lambda: told.append("pressed"), lambda: told.append("released"))
    pin = pins.pin(17)
    for _ in range(3):
        pin.drive_low()
        pin.drive_high()
    eventually(lambda: told == ["pressed", "released"], "one tap, however it bounced")
    pin.drive_low()
    eventually(lambda: told == ["pressed", "released", "pressed"], "the next one")
    pin.drive_high()
    eventually(lambda: told == ["pressed", "released"] * 2, "is let go")
    button.stop()
    button.stop()


def test_gpio_button_when_stopped_from_its_own_press_stops(pins: MockFactory) -> None:
    """And a handler that fails costs its own press alone."""
    button, told = GpioButton(config_of(button={"pin": 17, "bounce_ms": 0})), []

    def pressed() -> None:
        told.append(1)
        if len(told) == 1:
            raise RuntimeError("a handler that fails")
        button.stop()

    button.start(pressed)
    for presses in (1, 2):
        pins.pin(17).drive_low()
        eventually(lambda so_far=presses: len(told) == so_far, "it is told")
        if presses == 1:
            pins.pin(17).drive_high()


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


def test_relay_when_its_program_was_killed_in_a_pulse_is_let_go(
    pins: MockFactory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pin keeps its level; `relay-off`, which the unit runs behind the doorbell, and a new start lower it."""
    path = tmp_path / "doorbell.toml"
    path.write_text(
        '[engine]\napp_id = "1"\n[device]\nidentity = "door"\n[door]\nadapter = "gpio"\npin = 27\n'
    )
    pin = pins.pin(27)
    pin.output_with_state(1)
    assert main(["relay-off", "--config", str(path)]) == 0
    assert pin.state == 0
    assert capsys.readouterr().out == "the relay is off\n"
    pin.output_with_state(1)
    made = GpioRelay(load(path))
    assert pin.state == 0
    assert main(["relay-off", "--config", str(path)]) == 1, "the running doorbell holds the pin"
    assert "is the pin taken?" in capsys.readouterr().err
    made.close()
    path.write_text('[engine]\napp_id = "1"\n[device]\nidentity = "door"\n')
    assert main(["relay-off", "--config", str(path)]) == 0


def test_relay_when_its_configuration_cannot_be_read_is_known_from_the_services_folder(
    pins: MockFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs behind a unit has no right to the file; the doorbell left it the pin."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    GpioRelay(config_of(door={"adapter": "gpio", "pin": 22, "active_high": False})).close()
    levels = pins.pin(22)
    levels.output_with_state(0)
    assert main(["relay-off", "--config", str(tmp_path / "nothing.toml")]) == 0
    assert [each.state for each in levels.states][-1] == 1


def test_relay_when_no_thread_can_end_the_pulse_does_not_pull_in(
    pins: MockFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A door that stays open is worse than one that does not open."""
    relay = GpioRelay(config_of(door={"adapter": "gpio", "pin": 27}))

    def refuse(_timer: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            relay.pulse()
    assert pins.pin(27).state == 0
    relay.pulse()
    assert pins.pin(27).state == 1
    relay.close()


class TestKeyboardButton(ButtonContract):
    @pytest.fixture
    def pipe(self) -> Iterator[tuple[int, int]]:
        ends = os.pipe()
        yield ends
        for end in ends:
            os.close(end)

    @pytest.fixture
    def button(self, pipe: tuple[int, int]) -> Button:
        return KeyboardButton(config_of(), pipe[0])

    @pytest.fixture
    def press(self, pipe: tuple[int, int]) -> Callable[[], None]:
        def enter() -> None:
            os.write(pipe[1], b"\n")

        return enter


def test_keyboard_when_enter_is_typed_is_pressed() -> None:
    """Through a real terminal; a terminal that goes away is a problem, not a crash."""
    ours, theirs = pty.openpty()
    button, told = KeyboardButton(config_of(), theirs), []
    button.start(lambda: told.append(1))
    os.write(ours, b"\nhello\n")
    eventually(lambda: len(told) == 2, "two presses")
    os.close(ours)
    eventually(lambda: button.problem, "it says that the terminal is gone")
    button.stop()
    button.stop()
    os.close(theirs)


def test_keyboard_when_stopped_from_its_own_press_stops() -> None:
    """An app that ends on a press; its thread goes too, as the fixture sees."""
    reading, writing = os.pipe()
    button, told = KeyboardButton(config_of(), reading), []

    def pressed() -> None:
        told.append(1)
        button.stop()

    button.start(pressed)
    os.write(writing, b"\n")
    eventually(lambda: told == [1], "a press")
    os.close(writing)
    os.close(reading)


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


@pytest.mark.usefixtures("run_folder")
class TestCommandButton(ButtonContract):
    @pytest.fixture
    def button(self, run_folder: Path) -> Button:
        return CommandButton(config_of())

    @pytest.fixture
    def press(self) -> Callable[[], None]:
        def command() -> None:
            with contextlib.suppress(TriggerFailed):  # none runs: that is what a stopped one is
                press(config_of())

        return command


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
    assert not socket_path(config).exists()
    with pytest.raises(TriggerFailed, match="nothing is running for door"):
        press(config)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start a device as another user")
def test_command_when_the_device_runs_as_a_services_user_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sudo utd-device press` and a service with `DynamicUser`: pressed, and said so. Elsewhere: refused."""
    path = tmp_path / "doorbell.toml"
    path.write_text('[engine]\napp_id = "1"\n[device]\nidentity = "door"\n')
    with tempfile.TemporaryDirectory() as run:  # tmp_path is below a folder that is root's alone
        folder = os.path.join(run, "utd-doorbell")
        os.mkdir(folder, 0o700)
        os.chmod(run, 0o755)
        os.chown(folder, NOBODY, NOBODY)
        environment = {**os.environ, "RUNTIME_DIRECTORY": folder, "PYTHONPATH": os.pathsep.join(sys.path)}
        with subprocess.Popen(
            [sys.executable, str(PROGRAMS / "pressed_by_others.py"), str(path)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as device:
            assert device.stdin is not None
            assert device.stdout is not None
            assert device.stdout.readline() == "ready\n"
            shown = subprocess.run(
                [sys.executable, "-m", "device", "press", "--config", str(path)],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=30,
            )
            assert shown.returncode == 1
            assert f"{folder} belongs to another user (65534)" in shown.stderr
            monkeypatch.setattr(command, "RUN", Path(run))
            press(load(path))
            device.stdin.close()
            assert device.stdout.read() == "pressed\n"


@pytest.mark.parametrize(
    ("mode", "kind", "words"),
    [(0o777, "socket", "others may write"), (0o700, "file", "is no socket"), (0o700, "link", "is no socket")],
)
def test_press_when_somebody_else_may_have_put_the_socket_there_is_told_to_no_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, kind: str, words: str
) -> None:
    """It would say `pressed`, and no bell has rung."""
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(folder))
    path = socket_path(config_of())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as theirs:
        theirs.bind(str(tmp_path / "s" if kind == "link" else path))
        if kind == "link":
            path.symlink_to(tmp_path / "s")
        elif kind == "file":
            path.unlink()
            path.write_text("")
        folder.chmod(mode)
        with pytest.raises(TriggerFailed, match=words):
            press(config_of())
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(64)


def test_command_when_the_device_was_killed_takes_its_place_but_never_a_living_ones(
    run_folder: Path,
) -> None:
    """What a killed program left behind is in nobody's way; two doorbells of one name are refused."""
    config = config_of()
    run_folder.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as left_behind:
        left_behind.bind(str(socket_path(config)))
    first, second = CommandButton(config), CommandButton(config)
    first.start(lambda: None)
    with pytest.raises(AlreadyRunning, match="another program runs here as door"):
        second.start(lambda: None)
    second.stop()
    press(config)
    first.stop()


def test_doorbell_when_one_of_its_identity_runs_already_ends_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the other one was started from a desktop: both would ring, and neither hear all of its calls."""
    (tmp_path / "key").write_text("key")
    path = tmp_path / "door.toml"
    path.write_text(
        '[engine]\napp_id = "1"\napp_key_file = "key"\n[device]\nidentity = "door"\n'
        '[audio]\nadapter = "none"\n[camera]\nadapter = "none"\n[button]\nadapter = "none"\n'
    )
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    first = CommandButton(load(path))
    first.start(lambda: None)
    (tmp_path / "run").mkdir(mode=0o700)
    second = subprocess.run(
        [sys.executable, "-m", "device", "doorbell", "--config", str(path)],
        env={**os.environ, "TMPDIR": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    first.stop()
    assert second.returncode == 1
    assert second.stderr.startswith("utd-device: another program runs here as door")
    assert second.stderr.count("\n") == 1


def test_command_when_the_device_hangs_says_that_it_does_not_answer(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs: to say that it does not would send the reader the wrong way."""
    monkeypatch.setattr(command, "ANSWER_S", 0.2)
    config = config_of()
    run_folder.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hangs:
        hangs.bind(str(socket_path(config)))
        with pytest.raises(TriggerFailed, match="did not answer"):
            press(config)


def test_command_when_the_sender_has_no_address_is_pressed_too(run_folder: Path) -> None:
    """`socat` in a script, for one: no answer is wanted, and the next press works as well."""
    config, told = config_of(), []
    button = CommandButton(config)
    button.start(lambda: told.append(1))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as plain:
        plain.sendto(b"nonsense", str(socket_path(config)))
        plain.sendto(b"press", str(socket_path(config)))
    press(config)
    assert told == [1, 1]
    button.stop()


def test_command_when_others_may_write_to_its_folder_is_refused(run_folder: Path) -> None:
    """Whoever can put a socket there could press the bell."""
    run_folder.mkdir()
    run_folder.chmod(0o777)
    with pytest.raises(TriggerFailed, match="others may write"):
        CommandButton(config_of()).start(lambda: None)
