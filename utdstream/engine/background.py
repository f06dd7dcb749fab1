"""Work beside the requests: in order for each key, at a later time, or because something happened.

Owns: `Lanes`, `Timers`, `Repeated`, `Occasion`. Runs on the loop thread. Knows nothing of calls or rooms. A
failure of one piece of work is logged and stops nothing else.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Generic, ParamSpec

from utdstream.backoff import Backoff

_log = logging.getLogger(__name__)

Work = Callable[[], Coroutine[object, object, None]]
_Facts = ParamSpec("_Facts")
_LONGEST_SLEEP_S = 3600.0


class Lanes:
    """Runs work of one key strictly in order, work of different keys side by side."""

    def __init__(self) -> None:
        self._tails: dict[str, asyncio.Task[None]] = {}

    def put(self, key: str, work: Work) -> None:
        """Runs `work` after everything put under this key before."""
        task = asyncio.get_running_loop().create_task(self._run(key, self._tails.get(key), work))
        self._tails[key] = task
        task.add_done_callback(lambda done: self._forget(key, done))

    async def stop(self) -> None:
        """Cancels what is under way."""
        tasks = list(self._tails.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, key: str, previous: asyncio.Task[None] | None, work: Work) -> None:
        if previous is not None:
            await asyncio.wait((previous,))
        await _logged(work, key)

    def _forget(self, key: str, task: asyncio.Task[None]) -> None:
        if self._tails.get(key) is task:
            del self._tails[key]


class Timers:
    """Runs work at a later time of the monotonic clock, from one task."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._due: list[tuple[float, int, str, Work]] = []
        self._order = count()
        self._changed = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to run what is due."""
        self._task = self._loop.create_task(self._run())

    async def stop(self) -> None:
        """Forgets what is not yet due and cancels what is under way."""
        tasks = [*self._running, *([self._task] if self._task is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def after(self, delay_s: float, name: str, work: Work) -> None:
        """Runs `work` in `delay_s` seconds (at once when that is past). It is never taken back: `work`
        looks whether there is still something to do.
        """
        heapq.heappush(self._due, (self._loop.time() + max(0.0, delay_s), next(self._order), name, work))
        self._changed.set()

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            while self._due and self._due[0][0] <= self._loop.time():
                _, _, name, work = heapq.heappop(self._due)
                task = self._loop.create_task(_logged(work, name))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
            sleep_s = self._due[0][0] - self._loop.time() if self._due else _LONGEST_SLEEP_S
            try:
                async with asyncio.timeout(max(0.0, sleep_s)):
                    await self._changed.wait()
            except TimeoutError:
                continue


class Repeated:
    """Does something again and again: every so often, and after growing pauses while it fails."""

    def __init__(
        self,
        timers: Timers,
        name: str,
        attempt: Callable[[], Coroutine[object, object, bool]],
        *,
        every_s: float,
        after_failure: Backoff,
    ) -> None:
        """`attempt` returns whether it succeeded; one that raises is made again after `every_s`."""
        self._timers = timers
        self._name = name
        self._attempt = attempt
        self._every_s = every_s
        self._after_failure = after_failure
        self._failures = 0

    def start(self) -> None:
        """Begins at once."""
        self._timers.after(0.0, self._name, self._once)

    async def _once(self) -> None:
        pause_s = self._every_s
        try:
            if await self._attempt():
                self._failures = 0
            else:
                pause_s = self._after_failure.pause_s(self._failures)
                self._failures += 1
        finally:
            self._timers.after(pause_s, self._name, self._once)


class Occasion(Generic[_Facts]):
    """Something that happens in one service and matters to another. It is made before both of them, so that each
    gets it when it is made: the one calls it, the other listens.
    """

    def __init__(self) -> None:
        self._listeners: list[Callable[_Facts, None]] = []

    def listen(self, listener: Callable[_Facts, None]) -> None:
        """Has `listener` called each time, after those that listened before."""
        self._listeners.append(listener)

    def __call__(self, *facts: _Facts.args, **more: _Facts.kwargs) -> None:
        """It happened."""
        for listener in self._listeners:
            listener(*facts, **more)


async def _logged(work: Work, name: str) -> None:
    try:
        await work()
    except Exception:  # noqa: BLE001  # the outermost frame of a background task
        _log.exception("background work %s failed", name)
