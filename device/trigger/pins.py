"""GPIO pins through gpiozero, which button and relay share.

Owns: the late import of the driver, and what its errors mean. Any thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from device.errors import PackageMissing, TriggerFailed
from utdstream.checks import requirement


def import_gpiozero() -> Any:
    """Returns the driver's module. Raises: PackageMissing."""
    try:
        import gpiozero
    except ImportError as error:
        raise PackageMissing(
            "a button or relay on a pin needs gpiozero: `sudo apt install python3-gpiozero python3-lgpio`, "
            f"or `pip install '{requirement('gpiozero')}'`"
        ) from error
    return gpiozero


def open_pin(make: Callable[[Any], Any], pin: int, what: str) -> Any:
    """Opens a device of gpiozero. Raises: PackageMissing, TriggerFailed."""
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
