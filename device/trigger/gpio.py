"""A button on a GPIO pin, through gpiozero.

Owns: `GpioButton`. gpiozero calls on its own thread; what is called must hand over and return. Imported late.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from device.config import MachineConfig
from device.errors import PackageMissing, TriggerFailed
from device.trigger.debounce import Debounce


def import_gpiozero() -> Any:
    """The driver's module. Raises: PackageMissing."""
    try:
        import gpiozero
    except ImportError as error:
        raise PackageMissing(
            "a button or relay on a pin needs gpiozero: `sudo apt install python3-gpiozero python3-lgpio`, "
            "or `pip install utdstream[gpio]`"
        ) from error
    return gpiozero


def open_pin(make: Callable[[Any], Any], pin: int, what: str) -> Any:
    """A device of gpiozero. Raises: PackageMissing, TriggerFailed."""
    gpiozero = import_gpiozero()
    try:
        return make(gpiozero)
    except gpiozero.BadPinFactory as error:
        raise TriggerFailed(
            f"the {what} on GPIO {pin} cannot be used: this machine has no GPIO that gpiozero can reach; on a "
            "Raspberry Pi install python3-lgpio and add the user to the group gpio"
        ) from error
    except Exception as error:
        raise TriggerFailed(f"the {what} on GPIO {pin} cannot be used: {error}; is the pin taken?") from error


class GpioButton:
    """The button on `[button] pin`, debounced."""

    def __init__(self, config: MachineConfig) -> None:
        self._settings = config.button
        self._lock = threading.Lock()
        self._button: Any = None
        self.problem: str | None = None

    def start(self, pressed: Callable[[], None], released: Callable[[], None] | None = None) -> None:
        """Raises: PackageMissing, TriggerFailed."""
        settings = self._settings
        debounce = Debounce(settings.bounce_ms / 1000)
        try:
            button = open_pin(
                lambda gpiozero: gpiozero.Button(settings.pin, pull_up=settings.pull_up),
                settings.pin,
                "button",
            )
        except (PackageMissing, TriggerFailed) as error:
            self.problem = error.message
            raise

        def edge(*, down: bool) -> None:
            with self._lock:
                if self._button is None:
                    return
                counted = debounce.edge(down=down)
            if counted is True:
                pressed()
            elif counted is False and released is not None:
                released()

        with self._lock:
            self._button = button
        button.when_pressed = lambda: edge(down=True)
        button.when_released = lambda: edge(down=False)

    def stop(self) -> None:
        with self._lock:
            button, self._button = self._button, None
        if button is not None:
            button.close()
