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


def test_track_when_published_a_moment_ago_is_unsettled_until_the_others_have_its_media() -> None:
    """Their core would keep the room for ever if the media came in the moment the track goes."""

    async def story(side: SendingSide, participant: Participant) -> None:
        publication = await publish(side)
        now = asyncio.get_running_loop().time()
        assert SETTLED_S * 0.5 < side.unsettled_s(now) <= SETTLED_S
        assert side.unsettled_s(now - LONG_AGO_S) == 0.0
        await side.unpublish("camera", publication)
        assert [what for what, _ in participant.asked] == ["publish picture", "unpublish sid of picture"]

    on_the_loop(story)


def test_track_when_the_room_has_just_come_back_is_unsettled_whenever_it_was_published() -> None:
    """A full reconnect publishes all tracks anew, under other names."""

    async def story(side: SendingSide, _: Participant) -> None:
        side.reconnecting = True
        side.reconnected()
        assert not side.reconnecting
        assert side.unsettled_s(asyncio.get_running_loop().time() - LONG_AGO_S) > 0.0

    on_the_loop(story)
