"""The SDK's side of what a program watches: a `Fact` can be set, `Occurrences` emit.

Owns: the order in which callbacks are told, and what wakes waits (the rules are in `utdstream.observe`). Threads:
any may read, wait and subscribe; the SDK's threads set and emit. Imports vocabulary and `deadline` only.
"""

from __future__ import annotations

import contextlib
import inspect
import threading
from collections import deque
from collections.abc import Callable
from queue import Empty
from typing import Any, Generic, TypeVar

from utdstream._threads.deadline import Deadline
from utdstream.errors import InvalidConfig, SessionClosed
from utdstream.mailbox import Mailbox
from utdstream.observe import Change, Lane, Signal, Subscription, Watched

T = TypeVar("T")

_WAIT_TIMEOUT_S = 30.0


class _Callback(Generic[T]):
    """A subscribed callback with the switch that silences what is already queued."""

    __slots__ = ("active", "function")

    def __init__(self, function: Callable[[T], object]) -> None:
        self.function = function
        self.active = True

    def __call__(self, argument: T) -> None:
        if self.active:
            self.function(argument)


def _check_callback(function: object) -> None:
    """Refuses at subscription what would only fail at the first event."""
    if not callable(function):
        raise InvalidConfig(f"subscribe() needs a function of one argument, not {function!r}")
    if inspect.iscoroutinefunction(function):
        raise InvalidConfig("subscribe() needs a plain function: callbacks run on a thread, not in asyncio")
    try:
        inspect.signature(function).bind(None)
    except TypeError as error:
        name = getattr(function, "__name__", repr(function))
        raise InvalidConfig(f"subscribe(): {name} must take exactly one argument ({error})") from None
    except ValueError:
        return  # a builtin without a signature: nothing can be said in advance


class Fact(Watched[T]):
    """A fact as its owner holds it: what a program reads and waits for, `set` by the SDK's threads."""

    def __init__(self, value: T, lane: Lane) -> None:
        self._lock = threading.RLock()
        self._value = value
        self._lane = lane
        # Appended to and removed from in single steps, without the lock: a signal handler may dispose between
        # any two lines of a thread that subscribes or waits, and the loop, which sets, must not wait for it.
        self._callbacks: list[_Callback[Change[T]]] = []
        self._waiters: list[_Waiter[T]] = []
        self._watchers: tuple[Callable[[Change[T]], None], ...] = ()
        self._closed = False

    @property
    def value(self) -> T:
        return self._value

    def subscribe(self, callback: Callable[[Change[T]], object]) -> Subscription:
        _check_callback(callback)
        entry = _Callback(callback)
        self._callbacks.append(entry)

        def remove() -> None:
            entry.active = False
            with contextlib.suppress(ValueError):  # removed before
                self._callbacks.remove(entry)

        return Subscription(remove)

    def wait_for(self, value_or_predicate: T | Callable[[T], bool], *, timeout: float | None = None) -> T:
        return self.wait_until(
            value_or_predicate, Deadline(timeout, _WAIT_TIMEOUT_S, "wait_for", may_be_infinite=True)
        )

    def wait_until(self, value_or_predicate: T | Callable[[T], bool], deadline: Deadline) -> T:
        """Waits likewise, as a step of a longer call. Blocks: to the deadline, also when that is cut."""
        if callable(value_or_predicate):
            holds: Callable[[T], bool] = value_or_predicate
        else:
            wanted = value_or_predicate

            def holds(value: T) -> bool:
                return value == wanted

        waiter: _Waiter[T] = _Waiter((), closed=False)
        try:
            self._waiters.append(waiter)  # before looking: what is set since is pushed, or seen here
            waiter.push(self._value)
            if self._closed:
                waiter.close()
            return waiter.wait(holds, deadline)
        finally:
            with contextlib.suppress(ValueError):  # an exception thrown into this thread came first
                self._waiters.remove(waiter)

    def __repr__(self) -> str:
        return f"Watched({self._value!r})"

    # -- for the owner ---------------------------------------------------------------------------

    def set(self, value: T) -> bool:
        """Makes the fact so; False when it already was. Wakes waits before any callback."""
        with self._lock:
            change = self._take(value)
            if change is not None:
                self._tell(change)
        if change is not None:
            self._tell_watchers(change)
        return change is not None

    def _take(self, value: T) -> Change[T] | None:
        """Makes it so and tells nobody yet; None when it already was. The caller holds `_lock`."""
        old = self._value
        if old == value:
            return None
        self._value = value
        return Change(old, value)

    def _tell(self, change: Change[T]) -> None:
        """Wakes waits, then queues the callbacks. The caller holds `_lock`.

        Posting under the lock keeps the order of the lane equal to the order of the values; post() only appends to
        a queue.
        """
        callbacks = tuple(self._callbacks)
        for waiter in tuple(self._waiters):
            waiter.push(change.new)
        for callback in callbacks:
            self._lane.post(callback, change)

    def _tell_watchers(self, change: Change[T]) -> None:
        for watcher in self._watchers:
            watcher(change)

    def watch(self, watcher: Callable[[Change[T]], None]) -> None:
        """For the SDK itself: called by the thread that changed the fact; never blocks, never raises."""
        self._watchers = (*self._watchers, watcher)

    def close(self) -> None:
        """Ends present and future waits that would never come true with SessionClosed."""
        with self._lock:
            self._closed = True
            for waiter in tuple(self._waiters):
                waiter.close()


def set_together(*pairs: tuple[Fact[Any], Any]) -> None:
    """Makes facts so that say one thing between them, and then tells of each, in their order.

    No callback, and no wait that had begun, finds another as it was before: whoever is woken because a room
    reconnects, and then waits for it to be connected, waits for its return. The caller holds the lock of their
    owner, under which alone they are set.
    """
    changes: list[tuple[Fact[Any], Change[Any]]] = []
    for fact, value in pairs:
        with fact._lock:
            change = fact._take(value)
        if change is not None:
            changes.append((fact, change))
    for fact, change in changes:
        with fact._lock:
            fact._tell(change)
        fact._tell_watchers(change)


class _Waiter(Generic[T]):
    """The values one blocked thread has still to look at.

    A Mailbox, because its `put` is re-entrant: a signal handler in the waiting thread may set the fact.
    """

    __slots__ = ("_queue",)

    def __init__(self, values: tuple[T, ...], closed: bool) -> None:
        self._queue: Mailbox[tuple[T] | None] = Mailbox()
        for value in values:
            self.push(value)
        if closed:
            self.close()

    def push(self, value: T) -> None:
        self._queue.put((value,))

    def close(self) -> None:
        self._queue.put(None)

    def unseen(self) -> tuple[T, ...]:
        """Returns what was pushed and not looked at."""
        values: list[T] = []
        with contextlib.suppress(Empty):
            while True:
                item = self._queue.get_nowait()
                if item is not None:
                    values.append(item[0])
        return tuple(values)

    def wait(self, holds: Callable[[T], bool], deadline: Deadline) -> T:
        seen = "nothing happened"
        while True:
            try:
                item = deadline.get(self._queue)
            except Empty:
                raise deadline.error(f"what was waited for did not come, {seen}") from None
            if item is None:
                raise SessionClosed("wait_for: the object was disposed before the fact came true")
            if holds(item[0]):
                return item[0]
            seen = f"the last one seen was {item[0]!r}"


class Occurrences(Signal[T]):
    """Occurrences as their owner holds them: `emit` tells every subscriber and every waiter.

    Made with `hold` > 0 it keeps that many of the newest occurrences that came before anything listened, for the
    first that does.
    """

    def __init__(self, lane: Lane, *, hold: int = 0) -> None:
        self._lock = threading.RLock()
        self._lane = lane
        self._held: deque[T] = deque(maxlen=hold)
        self._callbacks: tuple[_Callback[T], ...] = ()
        self._waiters: list[_Waiter[T]] = []
        self._closed = False

    def subscribe(self, callback: Callable[[T], object]) -> Subscription:
        _check_callback(callback)
        entry = _Callback(callback)
        with self._lock:
            self._callbacks = (*self._callbacks, entry)
            while self._held:
                self._lane.post(entry, self._held.popleft())

        def remove() -> None:
            entry.active = False
            with self._lock:
                self._callbacks = tuple(other for other in self._callbacks if other is not entry)

        return Subscription(remove)

    def wait(self, predicate: Callable[[T], bool] | None = None, *, timeout: float | None = None) -> T:
        deadline = Deadline(timeout, _WAIT_TIMEOUT_S, "wait", may_be_infinite=True)
        with self._lock:
            waiter: _Waiter[T] = _Waiter(tuple(self._held), self._closed)
            self._held.clear()
            self._waiters.append(waiter)
        try:
            return waiter.wait(predicate or (lambda _: True), deadline)
        finally:
            with self._lock:
                self._waiters.remove(waiter)
                if not self.has_listeners:
                    # What came after the value that ended this wait is for the next one.
                    self._held.extend(waiter.unseen())

    # -- for the owner ---------------------------------------------------------------------------

    @property
    def has_listeners(self) -> bool:
        return bool(self._callbacks or self._waiters)

    def emit(self, occurrence: T) -> None:
        with self._lock:
            if not self.has_listeners:
                self._held.append(occurrence)
            for waiter in self._waiters:
                waiter.push(occurrence)
            for callback in self._callbacks:
                self._lane.post(callback, occurrence)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for waiter in self._waiters:
                waiter.close()

    def forget(self, predicate: Callable[[T], bool]) -> bool:
        """Drops what is held and satisfies `predicate` (which must not block); True when there was any."""
        with self._lock:
            kept = [occurrence for occurrence in self._held if not predicate(occurrence)]
            forgotten = len(kept) < len(self._held)
            self._held.clear()
            self._held.extend(kept)
        return forgotten
