"""How long a thread that computes keeps the interpreter from the others, while a room is joined.

Owns: `SwitchInterval`, one a process. Thread: one at a time.

Sound needs the interpreter for some microseconds every 10 ms, on several threads in turn. Beside a thread that
computes in Python each of them waits for one switch interval, 5 ms unless somebody sets it: sound breaks.
"""

from __future__ import annotations

import math
import sys


class SwitchInterval:
    """The interpreter's switch interval, lowered while anybody wants it, given back when nobody does.

    It is never raised. A program that sets it meanwhile has the last word.
    """

    def __init__(self) -> None:
        self._wishes: dict[object, float] = {}
        self._before_s = 0.0
        self._lowered_s: float | None = None
        """What we set; None: nothing is lowered."""

    def lower(self, user: object, seconds: float | None) -> None:
        """Has it at most this long until `restore(user)`. None: leaves it as it is."""
        if seconds is None:
            return
        self._wishes[user] = seconds
        if self._lowered_s is None:
            self._before_s = sys.getswitchinterval()
        elif not self._is_ours():
            return
        self._set(min(self._before_s, *self._wishes.values()))

    def restore(self, user: object) -> None:
        """Ends what `lower` began; does nothing when nothing was begun."""
        if self._wishes.pop(user, None) is None or self._lowered_s is None:
            return
        ours = self._is_ours()
        if ours:
            self._set(min([self._before_s, *self._wishes.values()]))
        if not self._wishes:
            self._lowered_s = None

    def _is_ours(self) -> bool:
        """Whether nobody else has set it since. The interpreter keeps whole microseconds."""
        return self._lowered_s is not None and math.isclose(
            sys.getswitchinterval(), self._lowered_s, abs_tol=2e-6
        )

    def _set(self, seconds: float) -> None:
        sys.setswitchinterval(seconds)
        self._lowered_s = seconds
