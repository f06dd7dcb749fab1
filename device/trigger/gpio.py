"""A button on a GPIO pin, through gpiozero.

Owns: `GpioButton`. gpiozero calls on a thread of its own, which hands the level over and returns; the
thread `utd-button` counts presses (`debounce.py`) and tells them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from queue import Empty
from typing import Any

from device.config import MachineConfig
from device.errors import PackageMissing, TriggerFailed
from device.trigger.debounce import Debounce
from device.trigger.pins import open_pin
from utdstream.mailbox import Mailbox

_log = logging.getLogger(__name__)


class GpioButton:
    """The button on `[button] pin`, debounced."""

    def __init__(self, config: MachineConfig) -> None:
        self._settings = config.button
        self._button: Any = None
        self._levels: Mailbox[bool | None] = Mailbox()
        self._thread: threading.Thread | None = None
        self.problem: str | None = None

    def start(self, pressed: Callable[[], None], released: Callable[[], None] | None = None) -> None:
        """Raises: PackageMissing, TriggerFailed."""
        settings = self._settings
        try:
            button = open_pin(
                lambda gpiozero: gpiozero.Button(settings.pin, pull_up=settings.pull_up),
                settings.pin,
                "button",
            )
        except (PackageMissing, TriggerFailed) as error:
            self.problem = error.message
            raise
        self.problem = None
        levels: Mailbox[bool | None] = Mailbox()
        told: dict[bool, Callable[[], None] | None] = {True: pressed, False: released}
        self._button, self._levels = button, levels
        self._thread = threading.Thread(
            target=_count, args=(levels, settings.bounce_ms / 1000, told), name="utd-button", daemon=True
        )
        self._thread.start()
        button.when_pressed = lambda: levels.put(True)
        button.when_released = lambda: levels.put(False)

    def stop(self) -> None:
        button, self._button = self._button, None
        thread, self._thread = self._thread, None
        if button is None or thread is None:
            return
        button.close()
        self._levels.put(None)
        if thread is not threading.current_thread():
            thread.join(2.0)


def _count(
    levels: Mailbox[bool | None],
    bounce_s: float,
    told: Mapping[bool, Callable[[], None] | None],
) -> None:
    """Tells presses and releases in order, until a None. Thread: `utd-button`."""
    debounce = Debounce(bounce_s)
    while True:
        try:
            level = levels.get(timeout=debounce.left_s())
        except Empty:
            counted = debounce.settle()
        else:
            if level is None:
                return
            counted = debounce.edge(down=level)
        tell = None if counted is None else told[counted]
        if tell is None:
            continue
        try:
            tell()
        except Exception:  # noqa: BLE001 - the thread's outermost frame: the next press must still count
            _log.exception("a press could not be handed over; the button goes on")
