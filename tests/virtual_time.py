"""Time that passes when a test says so, and a work lane that lives in it."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable

from utdstream._threads.lanes import Timer


class VirtualTime:
    """The clock and the agenda; `monotonic` is what the keeper asks."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self._agenda: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()

    def monotonic(self) -> float:
        return self.now_s

    def at(self, when_s: float, job: Callable[[], object]) -> None:
        heapq.heappush(self._agenda, (max(when_s, self.now_s), next(self._order), job))

    @property
    def next_s(self) -> float:
        """When something is due next."""
        return self._agenda[0][0] if self._agenda else math.inf

    def run_until(self, when_s: float) -> None:
        while self._agenda and self._agenda[0][0] <= when_s:
            due_s, _, job = heapq.heappop(self._agenda)
            self.now_s = max(self.now_s, due_s)
            job()
        self.now_s = max(self.now_s, when_s)


class Lane:
    """The keeper's work lane: one job at a time, in order, none while the device is off."""

    def __init__(self, time: VirtualTime) -> None:
        self._time = time
        self._waiting: list[Timer] = []
        self._busy = False
        self.is_on = True

    def post(self, job: Callable[[], object]) -> Timer:
        return self.call_later(0.0, job)

    def call_later(self, delay_s: float, job: Callable[[], object]) -> Timer:
        timer = Timer(job, lambda: None)
        self._time.at(self._time.now_s + delay_s, lambda: self._due(timer))
        return timer

    def _due(self, timer: Timer) -> None:
        self._waiting.append(timer)
        self.work()

    def work(self) -> None:
        """Does what is due, unless it is being done (a question under way) or the device is off."""
        if self._busy or not self.is_on:
            return
        self._busy = True
        while self._waiting and self.is_on:
            timer = self._waiting.pop(0)
            timer.run()
        self._busy = False

    def close(self, timeout: float) -> None: ...
