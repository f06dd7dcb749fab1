"""A call says that it is there: for a party that has muted all sends nothing, and is missed after 20 s only.

Owns: `Heartbeat`, one a connection of a call's room. Thread: the loop. Must not import sessions.

1. Each side sends a lossy data message of 20 bytes every 1.5 s while anybody else is in the room: a tenth of what
   the room's STUN checks and feedback send. It is no message of the program's.
2. Who has never sent one (a browser, an older SDK) is not expected to. So the first ones to newcomers follow each
   other quickly: a side that goes silent a second after it came is missed too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from livekit import rtc

from utdstream._livekit.loop import LoopThread
from utdstream._wire.messages import HEARTBEAT, HEARTBEAT_TOPIC

__all__ = ["HEARTBEAT_TOPIC", "Heartbeat"]

BEAT_S = 1.5
FIRST_BEATS, FIRST_BEAT_S = 6, 0.3
"""To others who have just come, of whom some may not hear yet."""
SEND_S = 1.0


class Heartbeat:
    """Sends its own from `start` to `stop`, and hears those of the others. `heard_one` is told each."""

    def __init__(self, loop: LoopThread, heard_one: Callable[[], None]) -> None:
        self._loop = loop
        self._heard_one = heard_one
        self._room: rtc.Room | None = None
        self._beating: set[str] = set()
        """Who has been heard: the SIDs, another one for each join."""
        self._task: asyncio.Task[None] | None = None

    @property
    def is_expected(self) -> bool:
        """Whether somebody is in the room who has been heard before."""
        return self._room is not None and any(
            other.sid in self._beating for other in self._room.remote_participants.values()
        )

    def start(self, room: rtc.Room, is_up: Callable[[], bool]) -> None:
        """Begins: the room is connected. Sends nothing while `is_up` says no."""
        self._room = room
        self._task = self._loop.spawn(self._run(room, is_up))

    def stop(self) -> None:
        """Ends. Idempotent."""
        self._room = None
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    def heard(self, sender: rtc.RemoteParticipant) -> None:
        """Hears one."""
        self._beating.add(sender.sid)
        self._heard_one()

    async def _run(self, room: rtc.Room, is_up: Callable[[], bool]) -> None:
        known: set[str] = set()
        quick = FIRST_BEATS
        while True:
            here = {other.sid for other in room.remote_participants.values()}
            quick = FIRST_BEATS if here - known else quick
            known = here
            if here and is_up():
                quick = max(0, quick - 1)
                await self._beat(room)
            await asyncio.sleep(BEAT_S if here and not quick else FIRST_BEAT_S)

    async def _beat(self, room: rtc.Room) -> None:
        sending = room.local_participant.publish_data(HEARTBEAT, reliable=False, topic=HEARTBEAT_TOPIC)
        beat = self._loop.spawn(sending)
        await asyncio.wait({beat}, timeout=SEND_S)
        if not beat.done():
            beat.cancel()
        elif not beat.cancelled():
            beat.exception()  # not allowed, or the room is going: the other side does without
