"""The two serial threads of an object: its events lane (user callbacks) and its work lane (the SDK's own).

Owns: order, isolation and end of callbacks. Imports the standard library and vocabulary only.

1. What is posted runs in order, one at a time, on one daemon thread that starts with the first post. A lane that
   had nothing to do for IDLE_S lets its thread go, and has another one with the next post: a session that is over
   holds none, whether it was disposed or not.
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
IDLE_S = 2.0
"""Longer than the pauses in a burst of events, shorter than those between two calls."""


class _Lane:
    """One thread that comes with work and goes without."""

    def __init__(self, name: str, report: Report | None = None) -> None:
        self._name = name
        self._report = report
        self._lock = threading.RLock()
        self._condition = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None
        """What serves the lane; under the lock."""
        self._closed = False

    def _serve(self) -> None:
        """Has a thread serve the lane. Under the lock. One whose start an exception prevented is replaced."""
        if self._thread is None or self._thread.ident is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._condition.notify()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            run_guarded(job, self._name, self._report)
            del job  # an idle lane must not keep the last event's objects alive

    def _next(self) -> Callable[[], object] | None:
        """Waits for the next job; None: this thread serves the lane no longer."""
        with self._lock:
            if self._thread is not threading.current_thread():
                return None  # another one was started in its place
            job = self._wait()
            if job is None:
                self._thread = None  # what is posted from now on has another one
            return job

    def _wait(self) -> Callable[[], object] | None:
        """Waits, under the lock, for the next job; None when there is none for IDLE_S, or the lane is closed."""
        raise NotImplementedError

    def _join(self, thread: threading.Thread | None, timeout: float) -> bool:
        """Waits for the end of that thread unless it is this one; True when it is over."""
        if thread is None or thread.ident is None or thread is threading.current_thread():
            return True
        thread.join(timeout)
        return not thread.is_alive()


class EventsLane(_Lane):
    """Runs user callbacks of one object: in order, never overlapping, unkillable.

    `name` is the thread's name. `report` is told of every exception (it must not raise or block).
    """

    def __init__(self, name: str, report: Report | None = None) -> None:
        super().__init__(name, report)
        self._queue: deque[Callable[[], object]] = deque()
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
            self._serve()

    def _wait(self) -> Callable[[], object] | None:
        while not self._queue and not self._closed:
            if not self._condition.wait(IDLE_S):
                break
        return self._queue.popleft() if self._queue else None

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
        if not self._join(thread, timeout):
            with self._lock:
                forgotten = len(self._queue)
                self._queue.clear()
            _log.warning(
                "%s: a callback is still running at close, %d events forgotten", self._name, forgotten
            )


class Timer:
    """A job that will run on a work lane; `cancel()` from any thread, does not block."""

    __slots__ = ("_forget", "cancelled", "job")

    def __init__(self, job: Callable[[], object], forget: Callable[[], object]) -> None:
        self.job = job
        self.cancelled = False
        self._forget = forget

    def cancel(self) -> None:
        self.cancelled = True
        self._forget()

    def run(self) -> None:
        if not self.cancelled:
            self.job()


class WorkLane(_Lane):
    """Runs what the SDK does by itself for one object: polls, reactions, verification. One job at a time.

    Jobs may block to their deadlines. The thread stays as long as something is planned.
    """

    def __init__(self, name: str, report: Report | None = None) -> None:
        super().__init__(name, report)
        self._due: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()

    def post(self, job: Callable[[], object]) -> Timer:
        """Runs `job()` as soon as what came before is done. Any thread, never blocks."""
        return self.call_later(0.0, job)

    def call_later(self, delay_s: float, job: Callable[[], object]) -> Timer:
        """Runs `job()` in `delay_s` seconds or, when the lane is busy then, after that."""
        timer = Timer(job, self._forget_cancelled)
        with self._lock:
            if self._closed:
                timer.cancelled = True
                return timer
            heapq.heappush(self._due, (time.monotonic() + delay_s, next(self._order), timer))
            self._serve()
        return timer

    def _forget_cancelled(self) -> None:
        """Lets what was cancelled go now, with all that it holds."""
        with self._lock:
            self._due = [entry for entry in self._due if not entry[2].cancelled]
            heapq.heapify(self._due)
            self._condition.notify()

    @property
    def is_here(self) -> bool:
        """True on the lane's own thread."""
        return threading.current_thread() is self._thread

    def _wait(self) -> Callable[[], object] | None:
        while not self._closed:
            wait_s = self._due[0][0] - time.monotonic() if self._due else IDLE_S
            if wait_s <= 0:
                return heapq.heappop(self._due)[2].run
            if not self._condition.wait(wait_s) and not self._due:
                break
        return None

    def close(self, timeout: float = 1.0) -> None:
        """Forgets what has not begun. Blocks: at most `timeout`; not at all from the lane itself."""
        with self._lock:
            self._closed = True
            self._due.clear()
            self._condition.notify_all()
            thread = self._thread
        self._join(thread, timeout)


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
