"""Requests to the core and the end of their room: nothing waits for an answer that cannot come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from livekit.rtc.participant import PublishTrackError

from utdstream import MediaError, PublishRefused, RoomLost
from utdstream._livekit.loop import loop_thread
from utdstream._livekit.room_end import RoomEnd
from utdstream._threads.deadline import Deadline

Story = Callable[[RoomEnd], Coroutine[Any, Any, None]]


def on_the_loop(story: Story) -> None:
    """Runs a test's story with an end of its own on the SDK's loop."""
    loop = loop_thread()

    async def run() -> None:
        await story(RoomEnd(loop))

    loop.run(run, deadline=Deadline(10, 10, "the story"))


async def never(cancelled: asyncio.Event | None = None) -> None:
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        if cancelled is not None:
            cancelled.set()


async def failing(error: Exception) -> None:
    raise error


def test_guarded_when_the_core_answers_returns_its_answer() -> None:
    """The ordinary case, and a time limit that is not reached."""

    async def answer() -> str:
        return "published"

    async def story(end: RoomEnd) -> None:
        assert await end.guarded(answer(), "publishing", 5.0) == "published"

    on_the_loop(story)


def test_guarded_when_the_room_ends_meanwhile_raises_room_lost() -> None:
    """At once, with the reason, and the request that nobody will answer is cancelled."""

    async def story(end: RoomEnd) -> None:
        cancelled = asyncio.Event()
        asyncio.get_running_loop().call_soon(lambda: end.come("ROOM_DELETED"))
        with pytest.raises(RoomLost, match="ROOM_DELETED"):
            await end.guarded(never(cancelled), "publishing", 5.0)
        await asyncio.wait_for(cancelled.wait(), 5)

    on_the_loop(story)


def test_guarded_when_nothing_answers_in_time_goes_on_until_the_room_ends() -> None:
    """The caller gets its error; the request is cancelled only when the room is gone."""

    async def story(end: RoomEnd) -> None:
        cancelled = asyncio.Event()
        with pytest.raises(MediaError, match="did not answer within 0 s"):
            await end.guarded(never(cancelled), "publishing", 0.0)
        assert not cancelled.is_set()
        await asyncio.sleep(0)
        assert not cancelled.is_set()
        end.come("CLIENT_INITIATED")
        await asyncio.wait_for(cancelled.wait(), 5)

    on_the_loop(story)


def test_guarded_when_the_core_refuses_raises_our_error() -> None:
    """Never one of livekit's."""

    async def story(end: RoomEnd) -> None:
        with pytest.raises(PublishRefused, match="publishing: no"):
            await end.guarded(failing(PublishTrackError("no")), "publishing", 5.0)

    on_the_loop(story)


def test_guarded_when_the_core_knows_of_the_end_first_raises_room_lost() -> None:
    """A request fails with `engine is closed` before the room says that it is over."""

    async def story(end: RoomEnd) -> None:
        asyncio.get_running_loop().call_later(0.01, lambda: end.come("SERVER_SHUTDOWN"))
        with pytest.raises(RoomLost, match="SERVER_SHUTDOWN"):
            await end.guarded(failing(PublishTrackError("engine is closed")), "publishing", 5.0)

    on_the_loop(story)


def test_ask_when_its_caller_is_cancelled_cancels_the_request() -> None:
    """A wait that ran out of time leaves nothing behind on the loop."""

    async def story(end: RoomEnd) -> None:
        cancelled = asyncio.Event()
        asking = asyncio.ensure_future(end.ask(never(cancelled), "stats"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait({asking})
        await asyncio.wait_for(cancelled.wait(), 5)

    on_the_loop(story)


def test_come_when_called_twice_keeps_the_first_reason() -> None:
    """Leaving a room that the server has ended does not rewrite why."""

    async def story(end: RoomEnd) -> None:
        end.come("ROOM_DELETED")
        end.come("CLIENT_INITIATED")
        assert (end.has_come, end.reason) == (True, "ROOM_DELETED")

    on_the_loop(story)
