"""A relay on a GPIO pin: the door opener.

Owns: `GpioRelay`, `let_go`. A pulse ends on a timer thread `utd-relay`; whatever happens, the relay lets go: a pin
keeps its level when its program is killed, so the unit calls `let_go` behind it, and the program begins with it.
"""

from __future__ import annotations

import threading
from typing import Any

from device.config import MachineConfig
from device.trigger.pins import open_pin


class GpioRelay:
    """The relay on `[door] pin`. Raises: PackageMissing, TriggerFailed when made."""

    def __init__(self, config: MachineConfig) -> None:
        settings = config.door
        self._pulse_s = settings.pulse_ms / 1000
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._closed = False
        self._relay: Any = open_pin(
            lambda gpiozero: gpiozero.OutputDevice(
                settings.pin, active_high=settings.active_high, initial_value=False
            ),
            settings.pin,
            "relay",
        )

    def pulse(self) -> None:
        """Pulls in for `pulse_ms`. A pulse under way is not prolonged."""
        with self._lock:
            if self._closed or self._timer is not None:
                return
            timer = threading.Timer(self._pulse_s, self._let_go)
            timer.name = "utd-relay"
            timer.daemon = True
            timer.start()  # first: where no thread can be had, the door must not stay open
            self._timer = timer
            self._relay.on()

    def _let_go(self) -> None:
        with self._lock:
            self._timer = None
            if not self._closed:
                self._relay.off()

    def close(self) -> None:
        """Lets go at once. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            timer, self._timer = self._timer, None
            try:
                self._relay.off()
            finally:
                self._relay.close()
        if timer is not None:
            timer.cancel()
            timer.join(1.0)


def let_go(config: MachineConfig) -> None:
    """Lets the relay go that a program before left pulled in. Raises: PackageMissing, TriggerFailed."""
    GpioRelay(config).close()
