"""What a program wants published, through every connection of its session.

Owns: `Wish`, `Wishes`. Threads: any; the lock is held for one look or one change. Imports nothing of ours.

1. A wish belongs to the session: a connection reads it whenever it looks, and takes none of it along when it ends.
2. Each has a number, and the newest wins, whatever the order in which the calls that made them return.
3. A call that gives up takes back its own wish: what was wished before counts again, unless a newer wish came.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace


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


class Wishes:
    """The wishes of one session, by kind of device."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._wishes: dict[str, list[tuple[int, Wish]]] = {}
        """Of each kind the one that stands, and those of calls under way behind it, the newest last."""

    def of(self, kind: str) -> Wish:
        """Returns what is wanted now."""
        with self._lock:
            return self._newest(kind)

    def make(self, wishes: Mapping[str, Wish]) -> int:
        """Wants this from now on; returns the number to `settle` or `take_back`."""
        with self._lock:
            return self._make(wishes)

    def publish(self, kinds: Iterable[str]) -> int:
        """Wants these published, muted as they were wished before; returns the number."""
        with self._lock:
            return self._make({kind: replace(self._newest(kind), published=True) for kind in kinds})

    def withdraw(self) -> None:
        """Wants nothing published. What was muted will be muted when it is published again."""
        with self._lock:
            self._settle(
                self._make({kind: replace(self._newest(kind), published=False) for kind in self._wishes})
            )

    def change(self, kind: str, *, muted: bool) -> None:
        """Wants it muted or not when it is published: a word that nobody waits for."""
        with self._lock:
            self._settle(self._make({kind: replace(self._newest(kind), muted=muted)}))

    def settle(self, number: int) -> None:
        """Lets this wish stand: it cannot be taken back, nor what was before it."""
        with self._lock:
            self._settle(number)

    def take_back(self, number: int) -> None:
        """Forgets this wish and no other; does nothing when it stands."""
        with self._lock:
            for kind, made in self._wishes.items():
                if len(made) > 1 or made[0][0] != number:
                    self._wishes[kind] = [one for one in made if one[0] != number]

    def begin(self, publish: Mapping[str, bool]) -> None:
        """Forgets every wish, then wants these kinds on (True) or muted (False): another call, another room."""
        with self._lock:
            self._wishes.clear()
            self._settle(self._make({kind: Wish(True, muted=not on) for kind, on in publish.items()}))

    # -- with the lock ---------------------------------------------------------------------------

    def _newest(self, kind: str) -> Wish:
        made = self._wishes.get(kind)
        return made[-1][1] if made else NOTHING

    def _make(self, wishes: Mapping[str, Wish]) -> int:
        number = next(self._numbers)
        for kind, wish in wishes.items():
            self._wishes.setdefault(kind, [(0, NOTHING)]).append((number, wish))
        return number

    def _settle(self, number: int) -> None:
        for kind, made in self._wishes.items():
            if any(one[0] == number for one in made):
                self._wishes[kind] = [one for one in made if one[0] >= number]
