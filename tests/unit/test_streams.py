"""A remote track's stream and its end: the core's side is closed whenever ours is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from utdstream._livekit import streams
from utdstream._livekit.loop import LoopThread, loop_thread
from utdstream._livekit.streams import Stream
from utdstream._threads.deadline import Deadline


class NativeTwin:
    """Stands where the core's stream stands: never ends by itself, and closes when it may."""

    def __init__(self) -> None:
        self.closed = False
        self.may_close = asyncio.Event()
        self.may_close.set()

    async def __aiter__(self) -> AsyncIterator[int]:
        while True:
            yield 1
            await asyncio.sleep(0)

    async def aclose(self) -> None:
        await self.may_close.wait()
        self.closed = True


@pytest.fixture
def loop() -> LoopThread:
    """The process's loop."""
    return loop_thread()


def limit() -> Deadline:
    return Deadline(5, 5, "the story")


@pytest.mark.parametrize("turns", [0, 1, 5])
def test_stream_when_closed_closes_the_cores_end(loop: LoopThread, turns: int) -> None:
    """Also when it was opened in the same turn of the loop and its task never took a step."""

    async def story() -> None:
        native, got = NativeTwin(), list[int]()

        async def pump() -> None:
            async for event in native:
                got.append(event)

        stream = Stream(loop, native, pump())  # type: ignore[arg-type]  # twin
        for _ in range(turns):
            await asyncio.sleep(0)
        await stream.close()
        heard = len(got)
        assert (heard > 0) == (turns > 0)
        await asyncio.sleep(0)
        assert (native.closed, len(got)) == (True, heard)

    loop.run(story, deadline=limit())


def test_stream_when_the_core_does_not_close_is_left_in_time(
    loop: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leaving a room is bounded."""
    monkeypatch.setattr(streams, "STREAM_CLOSE_S", 0.01)

    async def story() -> None:
        native = NativeTwin()
        native.may_close.clear()

        async def pump() -> None:
            async for _ in native:
                pass

        await Stream(loop, native, pump()).close()  # type: ignore[arg-type]  # a twin
        assert not native.closed

    loop.run(story, deadline=limit())
