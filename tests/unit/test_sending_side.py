"""Publishing and unpublishing on the real loop; the core's participant is a twin that notes when it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

from livekit import rtc

from utdstream._livekit.loop import loop_thread
from utdstream._livekit.room_end import RoomEnd
from utdstream._livekit.sending_side import SETTLED_S, SendingSide
from utdstream._threads.deadline import Deadline

LONG_AGO_S = 60.0


class Participant:
    """Notes at which time of the loop it was asked for what."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, float]] = []

    async def publish_track(self, track: str, _: object) -> SimpleNamespace:
        self._note(f"publish {track}")
        return SimpleNamespace(sid=f"sid of {track}")

    async def unpublish_track(self, sid: str) -> None:
        self._note(f"unpublish {sid}")

    def _note(self, what: str) -> None:
        self.asked.append((what, asyncio.get_running_loop().time()))


Story = Callable[[SendingSide, Participant], Coroutine[Any, Any, None]]


def on_the_loop(story: Story) -> None:
    loop, participant = loop_thread(), Participant()

    async def run() -> None:
        side = SendingSide(RoomEnd(loop))
        side.room = SimpleNamespace(local_participant=participant)  # type: ignore[assignment]  # a twin
        await story(side, participant)

    loop.run(run, deadline=Deadline(10, 10, "the story"))


async def publish(side: SendingSide) -> Any:
    return await side.publish("camera", "picture", rtc.TrackPublishOptions())  # type: ignore[arg-type]  # a twin


def test_unpublish_when_the_track_was_published_a_moment_ago_waits_until_the_others_have_its_media() -> None:
    """Their core would keep the room for ever if the media came in the moment the track goes."""

    async def story(side: SendingSide, participant: Participant) -> None:
        await side.unpublish("camera", await publish(side))
        (_, published_at), (what, unpublished_at) = participant.asked
        assert what == "unpublish sid of picture"
        assert unpublished_at - published_at >= SETTLED_S * 0.99

    on_the_loop(story)


def test_unpublish_when_the_track_was_published_long_ago_asks_at_once() -> None:
    """A call that lasted is left as soon as it is hung up."""

    async def story(side: SendingSide, participant: Participant) -> None:
        publication = await publish(side)
        side._published_at[publication.sid] -= LONG_AGO_S
        before = asyncio.get_running_loop().time()
        await side.unpublish("camera", publication)
        assert participant.asked[-1][1] - before < SETTLED_S / 5

    on_the_loop(story)


def test_unpublish_when_the_room_ends_while_it_waits_asks_at_once() -> None:
    """What is not unpublished when its room ends costs the core a thread."""

    async def story(side: SendingSide, participant: Participant) -> None:
        publication = await publish(side)
        going = asyncio.ensure_future(side.unpublish("camera", publication))
        await asyncio.sleep(0)
        side.end.come("ROOM_DELETED")
        before = asyncio.get_running_loop().time()
        await going
        assert asyncio.get_running_loop().time() - before < SETTLED_S / 5
        assert participant.asked[-1][0] == "unpublish sid of picture"

    on_the_loop(story)
