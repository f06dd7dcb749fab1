"""A relay on a GPIO pin: the door opener.

Owns: `GpioRelay`, `let_go`, `left_behind`. A pulse ends on a timer thread `utd-relay`; whatever happens, the relay
lets go: a pin keeps its level when its program is killed, so the unit calls `let_go` behind it, and the program
begins with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from pathlib import Path
from typing import Any

from device.config import DoorSection, MachineConfig
from device.trigger.pins import open_pin


class GpioRelay:
    """The relay on `[door] pin`. Raises: PackageMissing, TriggerFailed when made."""

    def __init__(self, config: MachineConfig) -> None:
        settings = config.door
        _leave_behind(settings)
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


def let_go(door: DoorSection) -> None:
    """Lets the relay go that a program before left pulled in. Raises: PackageMissing, TriggerFailed."""
    open_pin(
        lambda gpiozero: gpiozero.OutputDevice(door.pin, active_high=door.active_high, initial_value=False),
        door.pin,
        "relay",
    ).close()


def left_behind() -> DoorSection | None:
    """Returns the relay of the service that has just ended; None when no service left a word.

    What the unit runs behind the doorbell may read neither its configuration, which is root's alone, nor the copy
    that the doorbell was given (systemd 252): so the doorbell leaves the pin in the unit's folder below /run.
    """
    path = _note()
    if path is None:
        return None
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return DoorSection("gpio", pin=int(said["pin"]), active_high=said["active_high"] is True)
    except (OSError, ValueError, LookupError, TypeError):  # none there, or half of one
        return None


def _leave_behind(door: DoorSection) -> None:
    path = _note()
    if path is not None:
        with contextlib.suppress(
            OSError
        ):  # no folder, or none of ours: `relay-off` then asks the configuration
            path.write_text(json.dumps({"pin": door.pin, "active_high": door.active_high}), encoding="utf-8")


def _note() -> Path | None:
    folder = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    return Path(folder) / "relay.json" if folder else None
