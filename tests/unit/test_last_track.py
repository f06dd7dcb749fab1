"""The wait for the last track of the others, before a room that ends for all is left."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

from utdstream._livekit.loop import loop_thread
from utdstream._livekit.subscribing import Subscriber
from utdstream._threads.deadline import Deadline


def test_last_track_gone_when_the_others_unpublish_one_by_one_returns_with_the_last() -> None:
    """Also of a subscriber that is closed already, and of people who stay without a track."""
    loop = loop_thread()
    published = {"house": {"sound": 1, "picture": 2}, "guest": {}}
    people = {name: SimpleNamespace(track_publications=tracks) for name, tracks in published.items()}
    room = SimpleNamespace(remote_participants=people)

    async def story() -> None:
        subscriber = Subscriber(loop, adaptive=True, auto_subscribe=True, linger_s=1.0)
        await subscriber.close()
        waiting = asyncio.ensure_future(subscriber.last_track_gone(room))  # type: ignore[arg-type]  # a twin
        for sid in ("sound", "picture"):
            await asyncio.sleep(0)
            assert not waiting.done()
            del published["house"][sid]
            subscriber.track_unpublished(sid)
        await asyncio.wait_for(waiting, 5)

    loop.run(story, deadline=Deadline(5, 5, "the story"))
