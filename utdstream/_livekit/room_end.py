"""The end of a room, and requests to the core that must not outlive it.

Owns: `RoomEnd`, one a connection. Thread: the loop.

The core's answers come through a queue that only the room's own task feeds: once the room is over a request
waits for ever (livekit 1.2.1). So each is raced against the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from utdstream._livekit.errors import room_lost, translate
from utdstream._livekit.loop import LoopThread
from utdstream.errors import MediaError

T = TypeVar("T")

END_TOLD_WITHIN_S = 1.0
"""The core knows of a room's end, and fails requests with it, before it says so."""


class RoomEnd:
    """Whether the room is over and why; wakes every request that waits for an answer."""

    def __init__(self, loop: LoopThread) -> None:
        self._loop = loop
        self._over: asyncio.Future[None] = loop.asyncio_loop.create_future()
        self.reason: str | None = None
        """LiveKit's name of the reason; None until the end has come."""

    @property
    def has_come(self) -> bool:
        return self._over.done()

    def come(self, reason: str) -> None:
        """Says that the room is over. Only the first reason counts."""
        if not self._over.done():
            self.reason = reason
            self._over.set_result(None)

    async def comes_within(self, seconds: float) -> bool:
        """Waits `seconds`, or until the room is over, and says whether it is."""
        await asyncio.wait({self._over}, timeout=max(0.0, seconds))
        return self.has_come

    async def guarded(self, work: Coroutine[Any, Any, T], doing: str, seconds: float) -> T:
        """Returns the answer to a publish or an unpublish, which is never cancelled while the room lives.

        Raises: RoomLost; MediaError when the core refuses, or has not answered after `seconds`.
        """
        task = self._loop.spawn(work)
        if not await self._answered(task, seconds):
            if not self.has_come:
                self._over.add_done_callback(lambda _: task.cancel())
                raise MediaError(f"{doing}: the media server did not answer within {seconds:g} s")
            task.cancel()  # the room is gone: nothing will ever answer
            raise room_lost(doing, self.reason)
        return await self._outcome(task, doing)

    async def ask(self, work: Coroutine[Any, Any, T], doing: str) -> T:
        """Returns the answer to a request that may be cancelled; it is when the caller of this is.

        Raises: RoomLost; MediaError when the core refuses.
        """
        task = self._loop.spawn(work)
        try:
            if not await self._answered(task, None):
                raise room_lost(doing, self.reason)
        finally:
            task.cancel()
        return await self._outcome(task, doing)

    async def _answered(self, task: asyncio.Task[T], seconds: float | None) -> bool:
        race: list[asyncio.Future[Any]] = [task, self._over]
        await asyncio.wait(race, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return task.done()

    async def _outcome(self, task: asyncio.Task[T], doing: str) -> T:
        try:
            return task.result()
        except Exception as error:
            if "engine is closed" in str(error):
                await self.comes_within(END_TOLD_WITHIN_S)
            if self.has_come:
                raise room_lost(doing, self.reason) from error
            raise translate(error, doing) from error
