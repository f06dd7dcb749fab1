"""The two serial threads of an object: its events lane (user callbacks) and its work lane (the SDK's own).

Owns: order, isolation and end of callbacks. Imports the standard library and vocabulary only.

1. What is posted runs in order, one at a time, on one daemon thread that starts with the first post.
2. An exception is logged, reported and forgotten; the lane goes on.
3. The queue is bounded; when it is full the oldest entry is dropped, counted and said once.
4. `close()` lets what is queued finish within its time, may come twice, late, or from the lane itself.
5. The lock is entered as itself, not through its condition: an exception thrown into a thread of the program's
   between two lines of `Condition.__enter__` would leave it locked.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from utdstream.observe import CallbackError, Report

T = TypeVar("T")

_log = logging.getLogger(__name__)

MAX_QUEUED = 10_000


class EventsLane:
    """Runs user callbacks of one object: in order, never overlapping, unkillable.

    `name` is the thread's name. `report` is told of every exception (it must not raise or block).
    """

    def __init__(self, name: str, report: Report | None = None) -> None:
        self._name = name
        self._report = report
        self._lock = threading.RLock()
        self._condition = threading.Condition(self._lock)
        self._queue: deque[Callable[[], object]] = deque()
        self._thread: threading.Thread | None = None
        self._closed = False
        self.dropped = 0

    def post(self, callback: Callable[[T], object], argument: T) -> None:
        """Queues `callback(argument)`. Any thread, never blocks; after `close()` it does nothing."""
        self._append(lambda: callback(argument))

    def _append(self, job: Callable[[], object]) -> None:
        with self._lock:
            if self._closed:
                return
            if len(self._queue) >= MAX_QUEUED:
                self._queue.popleft()
                self.dropped += 1
                if self.dropped == 1:
                    _log.warning(
                        "%s: a callback is too slow, %d events wait; the oldest are dropped from now on",
                        self._name,
                        MAX_QUEUED,
                    )
            self._queue.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._condition.notify()

    def _run(self) -> None:
        while True:
            with self._lock:
                while not self._queue and not self._closed:
                    self._condition.wait()
                if not self._queue:
                    return
                job = self._queue.popleft()
            run_guarded(job, self._name, self._report)
            del job  # an idle lane must not keep the last event's objects alive

    def close(self, timeout: float = 1.0, *, forget_queued: bool = False) -> None:
        """Takes no new callbacks; queued ones may finish for `timeout` seconds, the rest is forgotten.

        With `forget_queued` nothing that is queued begins any more; only a running callback may finish.
        Blocks: at most `timeout`; not at all when called from the lane itself.
        """
        with self._lock:
            self._closed = True
            if forget_queued:
                self._queue.clear()
            self._condition.notify_all()
            thread = self._thread
        if thread is None or thread is threading.current_thread():
            return
        thread.join(timeout)
        if thread.is_alive():
            with self._lock:
                forgotten = len(self._queue)
                self._queue.clear()
            _log.warning(
                "%s: a callback is still running at close, %d events forgotten", self._name, forgotten
            )


class Timer:
    """A job that will run on a work lane; `cancel()` from any thread."""

    __slots__ = ("cancelled", "job")

    def __init__(self, job: Callable[[], object]) -> None:
        self.job = job
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class WorkLane:
    """Runs what the SDK does by itself for one object: polls, reactions, verification. One job at a time.

    Jobs may block to their deadlines. The thread starts with the first job and ends with `close()`.
    """

    def __init__(self, name: str, report: Report | None = None) -> None:
        self._name = name
        self._report = report
        self._lock = threading.RLock()
        self._condition = threading.Condition(self._lock)
        self._due: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._thread: threading.Thread | None = None
        self._closed = False

    def post(self, job: Callable[[], object]) -> Timer:
        """Runs `job()` as soon as what came before is done. Any thread, never blocks."""
        return self.call_later(0.0, job)

    def call_later(self, delay_s: float, job: Callable[[], object]) -> Timer:
        """Runs `job()` in `delay_s` seconds or, when the lane is busy then, after that."""
        timer = Timer(job)
        with self._lock:
            if self._closed:
                timer.cancelled = True
                return timer
            heapq.heappush(self._due, (time.monotonic() + delay_s, next(self._order), timer))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._condition.notify()
        return timer

    @property
    def is_here(self) -> bool:
        """True on the lane's own thread."""
        return threading.current_thread() is self._thread

    def _run(self) -> None:
        while True:
            with self._lock:
                while not self._closed:
                    wait_s = self._due[0][0] - time.monotonic() if self._due else None
                    if wait_s is not None and wait_s <= 0:
                        break
                    self._condition.wait(wait_s)
                if self._closed:
                    return
                timer = heapq.heappop(self._due)[2]
            if not timer.cancelled:
                run_guarded(timer.job, self._name, self._report)
            del timer

    def close(self, timeout: float = 1.0) -> None:
        """Forgets what has not begun. Blocks: at most `timeout`; not at all from the lane itself."""
        with self._lock:
            self._closed = True
            self._due.clear()
            self._condition.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)


def run_guarded(job: Callable[[], object], source: str, report: Report | None) -> None:
    """Runs `job`; whatever it raises is logged, reported and forgotten."""
    try:
        job()
    except BaseException as error:  # noqa: BLE001 - a thread's outermost frame
        _log.exception("%s: an exception in a callback was survived", source)
        if report is not None:
            try:
                report(CallbackError(error, source))
            except Exception:  # noqa: BLE001 - a report must not end the lane either
                _log.exception("%s: reporting the exception failed too", source)
