"""Rooms that outlive a call: live streams and audio rooms, and the people in any room.

Owns: making, reading and closing rooms, removing people, sending data; one after the other for each
room. Runs on the loop thread. The rules are in `rooms`.

1. A room exists because the engine made it, at the mint (the media server makes none by itself).
2. Nobody is thrown out without notice: message, up to two seconds, removal. The right to publish is
   taken first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timezone

from utdstream._wire import messages
from utdstream.engine import rooms
from utdstream.engine.call_service import unavailable
from utdstream.engine.problems import Refusal
from utdstream.engine.rooms import Room
from utdstream.engine.sfu import Participant, RoomState, Sfu, SfuNotFound, SfuUnavailable, Webhook
from utdstream.engine.store import Store
from utdstream.models import UTDStreamType

LEAVE_GRACE_S = 2.0
REMOVED = messages.removed("removed")
_LOOK_AGAIN_S = 0.25

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """A room of the media server: `room` for a live stream or audio room, `parties` for a call."""

    name: str
    livekit_name: str
    room: Room | None = None
    parties: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RoomWish:
    """What a room mint asks for."""

    name: str
    type: UTDStreamType
    identity: str
    role: str | None
    room_owner_id: str | None
    trusted: bool


class RoomService:
    """All rooms of the project."""

    def __init__(self, app_id: str, store: Store, sfu: Sfu) -> None:
        self._app_id = app_id
        self._store = store
        self._sfu = sfu
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    async def enter(self, wish: RoomWish) -> tuple[Place, str]:
        """The room, made if need be, and the role granted in it. Raises: Refusal."""
        async with self._alone(wish.name), _sfu_refusals():
            before = self._store.room(wish.name)
            if before is not None:
                rooms.same_type(before, wish.type)
            owner = rooms.first_owner(wish.identity, wish.role, wish.room_owner_id)
            rooms.granted_role(wish.identity, wish.role, owner, trusted=wish.trusted)
            name = rooms.livekit_name(wish.name, self._app_id)
            await self._sfu.create_room(
                name,
                empty_timeout_s=rooms.EMPTY_ROOM_TIMEOUT_S,
                max_participants=rooms.MAX_PARTICIPANTS[wish.type],
            )
            with self._store.transaction():
                room = self._store.claim_room(Room(wish.name, wish.type, owner, datetime.now(timezone.utc)))
            role = rooms.granted_role(wish.identity, wish.role, room.owner, trusted=wish.trusted)
            if before is None:
                _log.info("room %s made by %s (%s)", wish.name, wish.identity, wish.type.wire)
            return Place(wish.name, name, room), role

    def place(self, spelling: str) -> Place:
        """The room of this name in either spelling, or the room of a call. Raises: Refusal."""
        call = self._store.call(spelling)
        if call is not None and call.room_open:
            return Place(spelling, spelling, parties=(call.caller, call.callee))
        name = rooms.room_name(spelling, self._app_id)
        room = self._store.room(name)
        if room is None:
            raise Refusal("room_not_found", "There is no such room")
        return Place(name, rooms.livekit_name(name, self._app_id), room)

    async def page(self, *, page: int, per_page: int) -> tuple[list[tuple[Room, RoomState]], int]:
        """One page of the rooms that exist, newest first, and their number."""
        known = self._store.rooms()
        if not known:
            return [], 0
        async with _sfu_refusals():
            states = await self._sfu.rooms()
        found = [
            (room, states[name])
            for room in known
            if (name := rooms.livekit_name(room.name, self._app_id)) in states
        ]
        return found[(page - 1) * per_page : page * per_page], len(found)

    async def state(self, place: Place) -> tuple[RoomState, list[Participant]]:
        """What the media server knows of a room. Raises: Refusal."""
        async with _sfu_refusals():
            states = await self._sfu.rooms([place.livekit_name])
            if place.livekit_name not in states:
                raise Refusal("room_not_found", "The room is not open")
            return states[place.livekit_name], await self._sfu.participants(place.livekit_name)

    async def people(self, place: Place) -> list[Participant]:
        """Who is in a room. Raises: Refusal."""
        async with _sfu_refusals():
            return await self._sfu.participants(place.livekit_name)

    async def send(self, place: Place, data: bytes, to: Sequence[str]) -> None:
        """Sends a data message. Raises: Refusal."""
        async with _sfu_refusals():
            await self._sfu.send_data(place.livekit_name, data, to)

    async def close(self, place: Place, by: str) -> None:
        """Ends a room: notice, a moment to leave, end. Returns when it is gone. Raises: Refusal."""
        async with self._alone(place.name), _sfu_refusals():
            name = place.livekit_name
            people = await self._sfu.identities(name)
            if people:
                await self._sfu.send_data(name, messages.live_ended())
                await _until(lambda: self._is_empty(name))
            await self._sfu.delete_room(name)
            with self._store.transaction():
                self._store.delete_room(place.name)
            _log.info("room %s closed by %s", place.name, by)

    async def remove(self, place: Place, identity: str, by: str, *, notice: bytes = REMOVED) -> None:
        """Removes somebody: rights, notice, a moment to leave, removal. Raises: Refusal."""
        async with _sfu_refusals():
            name = place.livekit_name
            if identity not in await self._sfu.identities(name):
                raise Refusal("participant_not_found", "Nobody of this identity is in the room")
            await self._sfu.forbid_publishing(name, identity)
            await self._sfu.send_data(name, notice, [identity])
            await _until(lambda: self._is_absent(name, identity))
            await self._sfu.remove(name, identity)
            _log.info("%s removed from room %s by %s", identity, place.name, by)

    async def webhook(self, hook: Webhook) -> None:
        """Forgets a room that the media server closed because nobody was in it."""
        prefix = rooms.livekit_name("", self._app_id)
        if hook.event != "room_finished" or not hook.room.startswith(prefix):
            return
        name = hook.room.removeprefix(prefix)
        async with self._alone(name):
            try:
                if hook.room in await self._sfu.rooms([hook.room]):
                    return
            except SfuUnavailable:
                return  # it is shutting down; the room and its owner are kept
            with self._store.transaction():
                self._store.delete_room(name)

    async def _is_empty(self, name: str) -> bool:
        return not await self._sfu.identities(name)

    async def _is_absent(self, name: str, identity: str) -> bool:
        return identity not in await self._sfu.identities(name)

    @asynccontextmanager
    async def _alone(self, name: str) -> AsyncIterator[None]:
        """One at a time for each room; a lock lives as long as somebody needs it."""
        lock, users = self._locks.get(name, (asyncio.Lock(), 0))
        self._locks[name] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[name]
            if users == 1:
                del self._locks[name]
            else:
                self._locks[name] = (lock, users - 1)


@asynccontextmanager
async def _sfu_refusals() -> AsyncIterator[None]:
    try:
        yield
    except SfuNotFound:
        raise Refusal("room_not_found", "The room is not open") from None
    except SfuUnavailable:
        raise unavailable() from None


async def _until(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Looks again and again, for as long as people get to leave by themselves."""
    try:
        async with asyncio.timeout(LEAVE_GRACE_S):
            while not await is_so():
                await asyncio.sleep(_LOOK_AGAIN_S)
    except TimeoutError:
        return
