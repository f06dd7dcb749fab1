"""Joins take turns, identity by identity."""

from __future__ import annotations

import asyncio

import pytest

from utdstream._livekit import joining
from utdstream._livekit.loop import loop_thread
from utdstream._threads.deadline import Deadline


def token(room: str, identity: str, issued: int = 1) -> str:
    """A join token: each is new, its room and identity are not."""
    import base64
    import json

    claims = json.dumps({"sub": identity, "video": {"room": room}, "nbf": issued}).encode()
    return f"head.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.signature"


def order_of(first: str, second: str, *, fails: bool = False) -> list[str]:
    """What happens when a second join begins while the first is under way."""
    log: list[str] = []

    async def story() -> None:
        first_may_end, second_is_in = asyncio.Event(), asyncio.Event()

        async def join_first() -> None:
            async with joining.in_turn(first):
                log.append("first in")
                await first_may_end.wait()
                log.append("first out")
                if fails:
                    raise OSError("no server")

        async def join_second() -> None:
            async with joining.in_turn(second):
                log.append("second in")
                second_is_in.set()

        one = asyncio.ensure_future(join_first())
        await asyncio.sleep(0)
        two = asyncio.ensure_future(join_second())
        for _ in range(10):
            await asyncio.sleep(0)
        first_may_end.set()
        await asyncio.gather(one, two, return_exceptions=True)
        assert second_is_in.is_set()
        assert joining.under_way() == 0

    loop_thread().run(story, deadline=Deadline(5, 5, "the story"))
    return log


@pytest.mark.parametrize("fails", [False, True])
def test_in_turn_when_the_identity_is_the_same_waits(fails: bool) -> None:
    """Also with another token, and after a join that failed."""
    order = order_of(token("hall", "door"), token("hall", "door", 2), fails=fails)
    assert order == ["first in", "first out", "second in"]


@pytest.mark.parametrize("other", [("hall", "house"), ("attic", "door")])
def test_in_turn_when_room_or_identity_differs_does_not_wait(other: tuple[str, str]) -> None:
    """Nobody throws the other out."""
    assert order_of(token("hall", "door"), token(*other)) == ["first in", "second in", "first out"]


@pytest.mark.parametrize("unreadable", ["", "one", "a.b.c", "a.bnVsbA.c", "a.e30.c"])
def test_in_turn_when_the_token_is_unreadable_goes_by_its_text(unreadable: str) -> None:
    """The server will refuse it; until then it is its own identity."""
    assert order_of(unreadable, unreadable) == ["first in", "first out", "second in"]
    assert order_of(unreadable, "other") == ["first in", "second in", "first out"]
