"""A doorbell under test: the real app with devices without hardware, on the real servers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from facts import eventually

from device.config import MachineConfig, parse
from device.doorbell.app import Doorbell
from device.service import Service
from utdstream import Devices
from utdstream.synthetic import NullSpeaker, PatternCamera, ToneMicrophone
from utdstream.testing import LocalStack


class Button:
    """A button that the test presses."""

    problem: str | None = None

    def __init__(self) -> None:
        self.press: Callable[[], None] = lambda: None
        self.release: Callable[[], None] | None = None

    def start(self, pressed: Callable[[], None], released: Callable[[], None] | None = None) -> None:
        self.press, self.release = pressed, released

    def stop(self) -> None:
        self.press = lambda: None


class Relay:
    """A relay that counts."""

    def __init__(self) -> None:
        self.pulses = 0

    def pulse(self) -> None:
        self.pulses += 1

    def close(self) -> None:
        pass


def config_of(stack: LocalStack, folder: Path, identity: str, **sections: dict[str, Any]) -> MachineConfig:
    """A configuration for this stack, its key in a file of its own."""
    key = folder / "app_key"
    key.write_text(stack.app_key)
    tables: dict[str, Any] = {
        "engine": {"base_url": stack.base_url, "app_id": stack.app_id, "app_key_file": str(key)},
        "device": {"identity": identity},
        "audio": {"adapter": "synthetic"},
        "camera": {"adapter": "synthetic", "width": 320, "height": 240, "frames_per_second": 15},
        "button": {"adapter": "none"},
    }
    for name, values in sections.items():
        tables[name] = {**tables.get(name, {}), **values}
    return parse(tables, folder / "doorbell.toml")


class Bell:
    """The running doorbell."""

    def __init__(self, config: MachineConfig, devices: Devices | None = None) -> None:
        self.button, self.relay = Button(), Relay()
        self.service = Service({})
        self.app = Doorbell(
            config,
            devices=devices or Devices(ToneMicrophone(), NullSpeaker(), PatternCamera(320, 240, 15)),
            button=self.button,
            relay=self.relay,
        )
        self._thread = threading.Thread(target=lambda: self.app.run(self.service), name="bell")
        self._thread.start()

    @property
    def status(self) -> str:
        return self.service.last_status

    @property
    def is_idle(self) -> bool:
        """No session is held."""
        return self.app._calls is not None and self.app._calls.is_idle

    def wait(self, words: str, within_s: float = 15.0) -> None:
        eventually(
            lambda: words in self.status, f"{words!r} in the status, which is {self.status!r}", within_s
        )

    def press(self) -> None:
        self.button.press()

    def close(self) -> None:
        self.app.stop()
        self._thread.join(10)
        assert not self._thread.is_alive()


@contextmanager
def bell(config: MachineConfig, *, ready: bool = True, devices: Devices | None = None) -> Iterator[Bell]:
    """A doorbell for a while."""
    made = Bell(config, devices)
    try:
        if ready:
            made.wait("ready")
        yield made
    finally:
        made.close()
