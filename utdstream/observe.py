"""Facts and occurrences as a program sees them: `Watched[T]` has a value, `Signal[T]` happens.

Owns: how a program learns of change. Imports the standard library only; the SDK makes and writes them in
`_threads/facts.py`. Threads: any may read, wait and subscribe. Rules, each with a test:

1. The new value is visible before any callback about it runs.
2. Waits are woken by the thread that changed the fact, never by the events lane, so a callback may wait.
3. A wait sees every value the fact takes, also one that is gone again before the waiter ran.
4. No lock is held while calling out; predicates and callbacks run outside.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")

SIGNALS_SEEN_S = 0.5
"""A wait looks up so often: a signal that comes just before its thread sleeps, or to another thread, does not wake
it, and Ctrl-C would be lost for as long as the wait lasts."""


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """One change of a fact."""

    old: T
    new: T


@dataclass(frozen=True, slots=True)
class CallbackError:
    """An exception that escaped a callback or a background task of the SDK; `source` names which."""

    error: BaseException
    source: str


Report = Callable[[CallbackError], None]


class Lane(Protocol):
    """Where callbacks run: in the order they were posted, one at a time."""

    def post(self, callback: Callable[[T], object], argument: T) -> None: ...


class Subscription:
    """An open subscription; `close()` ends it, and so does leaving the `with` block.

    After `close()` no further callback begins; one that is running goes on.
    """

    __slots__ = ("_remove",)

    def __init__(self, remove: Callable[[], None]) -> None:
        self._remove: Callable[[], None] | None = remove

    def close(self) -> None:
        """Ends the subscription. Idempotent, any thread."""
        remove, self._remove = self._remove, None
        if remove is not None:
            remove()

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Watched(ABC, Generic[T]):
    """A fact: `.value` now, `.subscribe` for changes, `.wait_for` to block until it holds."""

    @property
    @abstractmethod
    def value(self) -> T:
        """The fact now. Any thread, never blocks."""

    @abstractmethod
    def subscribe(self, callback: Callable[[Change[T]], object]) -> Subscription:
        """Calls `callback(Change(old, new))` for every change from now on.

        Thread: the owner's events thread, in order, one at a time; it may call any blocking method.
        Raises: InvalidConfig when the callback cannot take one argument.
        """

    @abstractmethod
    def wait_for(self, value_or_predicate: T | Callable[[T], bool], *, timeout: float | None = None) -> T:
        """Returns the first value, from the present one on, that equals the given one or satisfies it.

        Blocks: until then, at most `timeout` seconds (None: 30; `math.inf` is allowed).
        Raises: DeadlineExceeded; SessionClosed when the owner was disposed meanwhile.
        """


class Signal(ABC, Generic[T]):
    """Occurrences: each is one frozen value given to every subscriber and every waiter."""

    @abstractmethod
    def subscribe(self, callback: Callable[[T], object]) -> Subscription:
        """Calls `callback(occurrence)` for every one from now on.

        Thread: the owner's events thread, in order, one at a time; it may call any blocking method.
        Raises: InvalidConfig when the callback cannot take one argument.
        """

    @abstractmethod
    def wait(self, predicate: Callable[[T], bool] | None = None, *, timeout: float | None = None) -> T:
        """Returns the next occurrence (for which `predicate` holds).

        Blocks: at most `timeout` seconds (None: 30; `math.inf` is allowed).
        Raises: DeadlineExceeded; SessionClosed when the owner was disposed meanwhile.
        """
