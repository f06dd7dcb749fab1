"""What a button and a relay are to an app.

Owns: the two ports. Standard library only. An adapter's class is made with the `MachineConfig`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Button(Protocol):
    """Something that is pressed. Handlers are called on the adapter's own thread and must return at once."""

    problem: str | None
    """What is wrong now, as a sentence; None while presses arrive."""

    def start(self, pressed: Callable[[], None], released: Callable[[], None] | None = None) -> None:
        """Reports presses from now on. Raises: DeviceError when that can never work here."""
        ...

    def stop(self) -> None:
        """Stops: no handler is called after this returns. Idempotent."""
        ...


class Relay(Protocol):
    """Something that is pulled in for a moment."""

    def pulse(self) -> None:
        """Pulls in and lets go after the configured time. Returns at once; a pulse under way is not prolonged."""
        ...

    def close(self) -> None:
        """Lets go at once. Idempotent."""
        ...
