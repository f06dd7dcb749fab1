"""One deadline for a whole public call, and the guard against blocking where it must not.

Owns: `Deadline`, the mark on the loop thread. Any thread. Imports vocabulary only.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from queue import Empty
from typing import Any, TypeVar

from utdstream.errors import DeadlineExceeded, InvalidConfig, WrongThread
from utdstream.mailbox import Mailbox
from utdstream.observe import SIGNALS_SEEN_S

T = TypeVar("T")

_thread = threading.local()

FOREVER_S = float(threading.TIMEOUT_MAX) / 4
_CUT = object()


class Deadline:
    """A point on the monotonic clock; every step of a call asks it how long it may still wait.

    `timeout` is in seconds and covers the whole call. `math.inf` only where `may_be_infinite`. It passes early, by
    `cut`, when whoever waits for the whole call leaves, or when what the call is for is over.
    """

    __slots__ = ("_at", "_doing", "_waiting", "timeout")

    def __init__(
        self, timeout: float | None, default_s: float, doing: str, *, may_be_infinite: bool = False
    ) -> None:
        forbid_blocking_on_loop(doing)
        seconds = default_s if timeout is None else timeout
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or seconds != seconds:
            raise InvalidConfig(f"{doing}: timeout must be a number of seconds, not {seconds!r}")
        if seconds < 0:
            raise InvalidConfig(f"{doing}: timeout must not be negative, got {seconds!r}")
        if math.isinf(seconds) and not may_be_infinite:
            raise InvalidConfig(f"{doing}: an infinite timeout is allowed on waits only")
        self.timeout = float(seconds)
        self._at = time.monotonic() + min(self.timeout, FOREVER_S)
        self._doing = doing
        self._waiting: list[Mailbox[Any]] = []

    @classmethod
    def after(cls, seconds: float, doing: str) -> Deadline:
        """Returns the deadline of one step that the SDK takes by itself, `seconds` from now."""
        return cls(None, seconds, doing)

    def but(self, seconds: float) -> Deadline:
        """Returns the deadline of a step that leaves `seconds` to the next, at most a quarter of what is left."""
        step = Deadline.after(max(0.75 * self.remaining(), self.remaining() - seconds), self._doing)
        step.timeout = self.timeout  # what is said of it is what the program asked for
        return step

    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._at - time.monotonic())

    @property
    def passed(self) -> bool:
        return time.monotonic() >= self._at

    def cut(self) -> None:
        """Lets it pass now, and wakes what waits in `get`. Any thread, also a signal handler; takes no lock."""
        self._at = 0.0
        for queue in tuple(self._waiting):
            queue.put(_CUT)

    def get(self, queue: Mailbox[T]) -> T:
        """Takes the next thing out of a queue that nobody else reads. Raises: Empty when it passes first.

        Blocks in steps of `SIGNALS_SEEN_S`: a signal that comes just before the thread sleeps, or an exception
        that another thread throws into it, is noticed at the end of one.
        """
        self._waiting.append(queue)  # before looking at the clock: a cut is seen by one or the other
        try:
            thing = patiently(queue, self.remaining)
        finally:
            self._waiting.remove(queue)
        if thing is _CUT:
            raise Empty
        return thing

    def error(self, cause: str = "nothing answered in time") -> DeadlineExceeded:
        """Returns the error to raise when it passed."""
        return DeadlineExceeded(
            f"{self._doing}: {cause} (timeout {self.timeout:g} s); check that the server is "
            "reachable, or give a longer timeout"
        )


def mark_loop_thread() -> None:
    """Called once by the loop thread: from now on blocking SDK calls on it raise WrongThread."""
    _thread.is_loop = True


def forbid_blocking_on_loop(doing: str) -> None:
    """Raises WrongThread on the SDK's loop thread, where waiting would wait for itself."""
    if getattr(_thread, "is_loop", False):
        raise WrongThread(
            f"{doing}: this blocking call was made on the SDK's loop thread and would wait for "
            "itself for ever; subscribe with .subscribe(), whose callbacks may block, instead"
        )


def patiently(
    queue: Mailbox[T],
    remaining: Callable[[], float],
    *,
    step_s: float = SIGNALS_SEEN_S,
    look_up: Callable[[], object] = lambda: None,
) -> T:
    """Takes the next thing out of `queue` while there are seconds left. Raises: Empty. See `Deadline.get`.

    `look_up` is called after each step in which nothing came.
    """
    while True:
        left = remaining()
        try:
            return queue.get(timeout=min(left, step_s))
        except Empty:
            if left <= step_s:
                raise
            look_up()
