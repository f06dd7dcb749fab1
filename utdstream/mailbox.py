"""What one thread hands to another, which waits for it: for the SDK, the engine and the devices.

Owns: `Mailbox`. Any thread puts, one reads. Imports the standard library only.

1. `put` may come from anywhere, also from a signal handler in the middle of the reader's own wait: it is two steps
   of the interpreter that block nothing. What is thrown between them delays a wake-up, to the reader's next look.
2. It is no `queue.SimpleQueue`: up to Python 3.12 that one's `get` waits for ever when its time is over before it
   sleeps (a microsecond was left, the machine was busy, a signal's handler took longer than that).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from queue import Empty
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """A queue without a bound, for one reader."""

    __slots__ = ("_bell", "_items")

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._bell = threading.Lock()
        """Free when something was put since the reader last slept."""
        self._bell.acquire()

    def put(self, item: T) -> None:
        """Hands `item` over. Never blocks."""
        self._items.append(item)
        try:
            self._bell.release()
        except RuntimeError:  # it was free: something else was put before
            return

    def empty(self) -> bool:
        """Whether there is nothing now."""
        return not self._items

    def get_nowait(self) -> T:
        """Takes the next thing. Raises: Empty when there is none now."""
        try:
            return self._items.popleft()
        except IndexError:
            raise Empty from None

    def get(self, timeout: float | None = None) -> T:
        """Takes the next thing within `timeout` seconds; None: however long that takes.

        Blocks: to the end of that time. Raises: queue.Empty when none came.
        """
        until = time.monotonic() + (timeout if timeout is not None else threading.TIMEOUT_MAX)
        while not self._items:
            left = until - time.monotonic()
            if left <= 0 or not self._bell.acquire(timeout=left):
                break
        return self.get_nowait()
