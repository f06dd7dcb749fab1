"""Edges of a contact that bounces, made into presses.

Owns: `Debounce`. Standard library only; one thread at a time. gpiozero's own debounce is not used: its mock
ignores it, so it could not be tested.

1. The first edge is the press: no delay is added to it.
2. Edges that follow a counted edge within `bounce_s` are the contact bouncing.
3. When that time is over, `settle` counts the level that was left: the release of a short tap is told, and the
   next press is not taken for the same one.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class Debounce:
    """Feed `edge` with each level, and ask `settle` after `left_s`. True is a press, False a release."""

    def __init__(self, bounce_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._bounce_s = bounce_s
        self._clock = clock
        self._level = False
        self._counted = False
        self._quiet_until = float("-inf")

    def edge(self, *, down: bool) -> bool | None:
        """Takes an edge: the contact is now down, or up. Returns what counts; None: nothing does."""
        self._level = down
        return self.settle()

    def settle(self) -> bool | None:
        """Returns what the level means, once the contact has had its time to bounce."""
        now = self._clock()
        if self._level == self._counted or now < self._quiet_until:
            return None
        self._counted = self._level
        self._quiet_until = now + self._bounce_s
        return self._counted

    def left_s(self) -> float | None:
        """Seconds until `settle` has something to say; None: not before the next edge."""
        if self._level == self._counted:
            return None
        return max(0.0, self._quiet_until - self._clock())
