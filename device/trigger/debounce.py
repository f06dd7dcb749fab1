"""Edges of a contact that bounces, made into presses.

Owns: `Debounce`. Standard library only; any one thread at a time. gpiozero's own debounce is not used: its mock
ignores it, so it could not be tested.

1. The first edge is the press: no delay is added to it.
2. Edges that follow a counted edge within `bounce_s` are the contact bouncing.
3. What a contact did while it bounced is settled by its level afterwards: a press cannot be lost or doubled.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class Debounce:
    """Feed `edge` with each level; it answers True for a press, False for a release, None for nothing."""

    def __init__(self, bounce_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._bounce_s = bounce_s
        self._clock = clock
        self._down = False
        self._quiet_until = float("-inf")

    def edge(self, *, down: bool) -> bool | None:
        """The contact is now down, or up."""
        now = self._clock()
        if now < self._quiet_until or down == self._down:
            return None
        self._down = down
        self._quiet_until = now + self._bounce_s
        return down
