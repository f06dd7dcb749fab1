"""What a program wants published, through every connection of its session.

Owns: `Wish`, `Wishes`. Threads: any. Imports nothing of ours.

1. A wish belongs to the session: a connection reads it whenever it looks, and takes none of it along when it ends.
2. Each has a number, and the newest wins, whatever the order in which the calls that made them return.
3. A call that gives up takes back its own wish: what was wished before counts again, unless a newer wish came.
4. There is no lock: the loop reads what a program's thread writes, and that thread may be in a signal handler,
   between any two lines, that waits for the loop. Each table is written in single steps of the interpreter, what
   stands before what is pending; a reader looks the other way round.
5. A table is read as its `copy()`, one step too. `tuple(table.items())` is none up to Python 3.11: it makes things
   on the way, so that the garbage collector may run, and with it whoever writes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted of one device: to be published, and muted when it is."""

    published: bool = False
    muted: bool = False

    @property
    def is_on(self) -> bool:
        """Published and not muted."""
        return self.published and not self.muted


NOTHING = Wish()


@dataclass(frozen=True, slots=True)
class _Change:
    """What one call wants of one kind; None: as it was wished before."""

    published: bool | None = None
    muted: bool | None = None

    def of(self, before: Wish) -> Wish:
        return Wish(
            before.published if self.published is None else self.published,
            before.muted if self.muted is None else self.muted,
        )


class Wishes:
    """The wishes of one session, by kind of device."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._pending: dict[tuple[str, int], _Change] = {}
        """Those that a call waits for, or that came before one that does."""
        self._standing: dict[tuple[str, int], Wish] = {}
        """Those that cannot be taken back; of each kind the newest counts."""
        self._since = 0
        """What is older was forgotten."""

    def of(self, kind: str) -> Wish:
        """Returns what is wanted now."""
        return self._newest(kind)

    def number(self) -> int:
        """Returns the number of a wish that is about to be made: to take back also one that was interrupted."""
        return next(self._numbers)

    def make(self, wishes: Mapping[str, Wish], number: int | None = None) -> int:
        """Wants this from now on; returns the number to `settle` or `take_back`."""
        return self._make(
            {kind: _Change(wish.published, wish.muted) for kind, wish in wishes.items()}, number
        )

    def publish(self, kinds: Iterable[str], number: int | None = None) -> int:
        """Wants these published, muted as they were wished before; returns the number."""
        return self._make({kind: _Change(published=True) for kind in kinds}, number)

    def withdraw(self) -> None:
        """Wants nothing published. What was muted will be muted when it is published again."""
        kinds = {kind for kind, _ in (*self._pending.copy(), *self._standing.copy())}
        self.settle(self._make({kind: _Change(published=False) for kind in kinds}))

    def change(self, kind: str, *, muted: bool) -> None:
        """Wants it muted or not when it is published: a word that nobody waits for."""
        self.settle(self._make({kind: _Change(muted=muted)}))

    def settle(self, number: int) -> None:
        """Lets this wish stand: it cannot be taken back, nor what was before it."""
        for key in self._pending.copy():
            kind, of = key
            if of == number:
                self._standing[key] = self._newest(kind, until=number)
                self._forget(kind, before=number)
                self._pending.pop(key, None)

    def take_back(self, number: int) -> None:
        """Forgets this wish and no other; does nothing when it stands."""
        for key in self._pending.copy():
            if key[1] == number:
                self._pending.pop(key, None)

    def begin(self, publish: Mapping[str, bool]) -> None:
        """Forgets every wish, then wants these kinds on (True) or muted (False): another call, another room."""
        number = self.number()
        for kind, on in publish.items():
            self._standing[kind, number] = Wish(True, muted=not on)
        self._since = number
        for kind, _ in (*self._pending.copy(), *self._standing.copy()):
            self._forget(kind, before=number)

    # -- inside ----------------------------------------------------------------------------------

    def _make(self, changes: Mapping[str, _Change], number: int | None = None) -> int:
        number = self.number() if number is None else number
        for kind, change in changes.items():
            self._pending[kind, number] = change
        return number

    def _newest(self, kind: str, *, until: float = math.inf) -> Wish:
        """Returns the newest wish, or the newest of those up to a number."""
        since = self._since
        pending = sorted(
            ((number, change) for (of, number), change in self._pending.copy().items() if of == kind),
            key=lambda one: one[0],
        )
        stands, wish = 0, NOTHING
        for (of, number), standing in self._standing.copy().items():
            if of == kind and max(since, stands) <= number <= until:
                stands, wish = number, standing
        for number, change in pending:
            if max(since, stands) < number <= until:
                wish = change.of(wish)
        return wish

    def _forget(self, kind: str, *, before: int) -> None:
        for key in (*self._pending.copy(), *self._standing.copy()):
            if key[0] == kind and key[1] < before:
                self._pending.pop(key, None)
                self._standing.pop(key, None)
