"""Live streams and audio rooms, and the participants of any room.

Owns: making, reading and closing rooms, removing participants, sending data; one after the other for each
room. Runs on the loop thread. The rules are in `rules/rooms`.

1. A room exists because the engine made it, at the mint (the media server makes none by itself).
2. No participant is removed without notice: message, up to two seconds, removal. The right to publish is
   taken first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from utdstream._wire import messages
from utdstream.engine.flows.room_states import RoomDesk
from utdstream.engine.media.room_follower import RoomFollower
from utdstream.engine.media.sfu import Participant, Sfu, SfuNotFound, SfuRoom, SfuUnavailable, Webhook
from utdstream.engine.rules import keys, roles, rooms, seats
from utdstream.engine.rules.grants import Rights, is_host, rights
from utdstream.engine.rules.refusals import Refusal, no_participant, no_room, unavailable
from utdstream.engine.rules.room_state import Outcome, RoomState
from utdstream.engine.rules.rooms import Room
from utdstream.engine.rules.seats import GridWish
from utdstream.engine.store.contract import Store
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
    may_host: bool = True
    """Whether the asker may make the room, and claim it for an owner."""
    display_name: str | None = None
    grid: GridWish = GridWish()  # noqa: RUF009  # frozen


@dataclass(frozen=True, slots=True)
class Entrance:
    """What a room mint grants."""

    place: Place
    role: str
    rights: Rights


class RoomService:
    """All rooms of the project."""

    def __init__(
        self,
        app_id: str,
        store: Store,
        sfu: Sfu,
        desk: RoomDesk,
        follower: RoomFollower,
        *,
        max_rooms: int = 100,
        max_people: int = 50,
    ) -> None:
        self._app_id = app_id
        self._max_rooms = max_rooms
        self._max_people = max_people
        self._opening: set[str] = set()
        self._store = store
        self._sfu = sfu
        self._desk = desk
        self._follower = follower
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    async def enter(self, wish: RoomWish) -> Entrance:
        """The room, made if need be, and what is granted in it. Raises: Refusal."""
        async with self._alone(wish.name), _sfu_refusals():
            before = self._store.rooms.get(wish.name)
            if before is not None:
                rooms.same_type(before, wish.type)
            owner = None
            if wish.may_host:
                owner = rooms.first_owner(wish.identity, wish.role, wish.room_owner_id)
            else:
                self._check_guest(before, wish.identity)
            room = before or Room(wish.name, wish.type, owner, datetime.now(timezone.utc))
            room = replace(room, owner=room.owner or owner)
            name = rooms.livekit_name(wish.name, self._app_id)
            expected = _admitted(room, self._desk.state(room), wish)[1]
            with self._counted(wish.name):
                await self._check_room_limit(wish.name)
                await self._sfu.create_room(
                    name,
                    empty_timeout_s=rooms.EMPTY_ROOM_TIMEOUT_S,
                    max_participants=rooms.max_participants(wish.type, self._max_people),
                    metadata=self._follower.metadata(room, expected),
                )
            with self._store.transaction():
                room = self._store.rooms.claim(room)
                self._desk.people.admit(room.name, wish.identity, wish.display_name)
            is_claimed = before is not None and before.owner != room.owner
            role, state = self._admit(room, wish, is_claimed=is_claimed)
            await self._follower.ready(room)
            if before is None:
                _log.info("room %s made by %s (%s)", wish.name, wish.identity, wish.type.wire)
            return Entrance(Place(wish.name, name, room), role, rights(room, state, wish.identity))

    def is_new(self, name: str) -> bool:
        """Whether a mint for this room, by its plain name, would make it."""
        return self._store.rooms.get(name) is None

    def _check_guest(self, room: Room | None, identity: str) -> None:
        is_hosting = room is not None and is_host(room, self._desk.state(room), identity)
        keys.check_guest(exists=room is not None, is_host=is_hosting)

    def _admit(self, room: Room, wish: RoomWish, *, is_claimed: bool) -> tuple[str, RoomState]:
        role = "audience"

        def rule(room: Room, state: RoomState) -> Outcome:
            nonlocal role
            role, after = _admitted(room, state, wish)
            # An owner who came late is shown: the host's seat is reserved from now on.
            return Outcome(replace(after, rev=after.rev + 1) if is_claimed else after)

        outcome = self._desk.mutate(room, rule)
        if is_claimed and room.owner is not None:
            self._follower.look(room.name, {room.owner})
        return role, outcome.state

    def place(self, spelling: str) -> Place:
        """The room of this name in either spelling, or the room of a call. Raises: Refusal."""
        call = self._store.calls.get(spelling)
        if call is not None and call.room_open:
            return Place(spelling, spelling, parties=(call.caller, call.callee))
        name = rooms.room_name(spelling, self._app_id)
        room = self._store.rooms.get(name)
        if room is None:
            raise no_room()
        return Place(name, rooms.livekit_name(name, self._app_id), room)

    async def page(self, *, page: int, per_page: int) -> tuple[list[tuple[Room, SfuRoom]], int]:
        """One page of the rooms that exist, newest first, and their number."""
        known = self._store.rooms.all()
        if not known:
            return [], 0
        async with _sfu_refusals():
            states = await self._sfu.rooms()
            found = [
                (room, states[name])
                for room in known
                if (name := rooms.livekit_name(room.name, self._app_id)) in states
            ]
            chosen = found[(page - 1) * per_page : page * per_page]
            counted = await asyncio.gather(*(self._with_count(room, state) for room, state in chosen))
        return list(zip((room for room, _ in chosen), counted, strict=True)), len(found)

    async def count(self) -> int:
        """How many rooms are open; while the media server does not answer, those that the engine knows of."""
        known = self._store.rooms.all()
        try:
            states = await self._sfu.rooms() if known else {}
        except SfuUnavailable:
            return len(known)
        return sum(rooms.livekit_name(room.name, self._app_id) in states for room in known)

    async def _with_count(self, room: Room, state: SfuRoom) -> SfuRoom:
        """The state with how many there are now: livekit-server's own count is up to 5 s old."""
        if state.participant_count == len(self._desk.people.here(room.name)):
            return state
        return replace(state, participant_count=len(await self._sfu.participants(state.name)))

    async def state(self, place: Place) -> tuple[SfuRoom, list[Participant]]:
        """What the media server knows of a room. Raises: Refusal."""
        async with _sfu_refusals():
            states = await self._sfu.rooms([place.livekit_name])
            if place.livekit_name not in states:
                raise Refusal("room_not_found", "The room is not open")
            people = await self._sfu.participants(place.livekit_name)
        return replace(states[place.livekit_name], participant_count=len(people)), people

    async def people(self, place: Place) -> list[Participant]:
        """The participants of a room. Raises: Refusal."""
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
            with (
                self._store.transaction()
            ):  # first: a client that asks about the notice must hear that it is true
                self._store.rooms.delete(place.name)
            if people:
                await self._sfu.send_data(name, messages.live_ended())
                await _until(lambda: self._is_empty(name))
            await self._sfu.delete_room(name)
            _log.info("room %s closed by %s", place.name, by)

    async def remove(
        self, place: Place, identity: str, by: str, *, notice: bytes = REMOVED, deafen: bool = False
    ) -> None:
        """Removes a participant: rights (`deafen`: to hear too), notice, a moment to leave, removal.

        Raises: Refusal.
        """
        async with _sfu_refusals():
            name = place.livekit_name
            if identity not in await self._sfu.identities(name):
                raise no_participant()
            if deafen:
                await self._sfu.permit(name, identity, Rights(can_subscribe=False, can_publish_data=False))
            else:
                await self._sfu.forbid_publishing(name, identity)
            await self._sfu.send_data(name, notice, [identity])
            await _until(lambda: self._is_absent(name, identity))
            await self._sfu.remove(name, identity)
            _log.info("%s removed from room %s by %s", identity, place.name, by)

    async def webhook(self, hook: Webhook) -> None:
        """Forgets a room that the media server closed because it was empty."""
        name = rooms.own_name(hook.room, self._app_id)
        if hook.event != "room_finished" or name is None:
            return
        async with self._alone(name):
            try:
                if hook.room in await self._sfu.rooms([hook.room]):
                    return
            except SfuUnavailable:
                return  # it is shutting down; the room and its owner are kept
            with self._store.transaction():
                self._store.rooms.delete(name)

    async def mute(self, place: Place, identity: str, track_sids: Sequence[str]) -> None:
        """Mutes tracks of a participant. Raises: Refusal."""
        async with _sfu_refusals():
            for sid in track_sids:
                await self._sfu.mute(place.livekit_name, identity, sid)

    async def set_person_metadata(self, place: Place, identity: str, metadata: str) -> None:
        """Replaces a participant's metadata. Raises: Refusal."""
        async with _sfu_refusals():
            if not await self._sfu.permit(place.livekit_name, identity, metadata=metadata):
                raise no_participant()

    async def is_present(self, name: str, identity: str) -> bool:
        """Whether the identity is in the room of this plain name now. Raises: Refusal."""
        async with _sfu_refusals():
            return identity in await self._sfu.identities(rooms.livekit_name(name, self._app_id))

    @contextmanager
    def _counted(self, name: str) -> Iterator[None]:
        """Counts a room while the media server makes it."""
        self._opening.add(name)
        try:
            yield
        finally:
            self._opening.discard(name)

    async def _check_room_limit(self, name: str) -> None:
        """Raises: Refusal when the room is not open and too many others are."""
        known = {room.name for room in self._store.rooms.all()} | self._opening
        if len(known | {name}) <= self._max_rooms:
            return
        # The store may hold rooms whose end was not reported: the media server knows.
        states = await self._sfu.rooms()
        opened = {other for other in known if rooms.livekit_name(other, self._app_id) in states}
        if name not in opened and len((opened | self._opening) - {name}) >= self._max_rooms:
            raise Refusal("room_limit_reached", "Maximum concurrent rooms reached")

    async def _is_empty(self, name: str) -> bool:
        return not await self._sfu.identities(name)

    async def _is_absent(self, name: str, identity: str) -> bool:
        return identity not in await self._sfu.identities(name)

    @asynccontextmanager
    async def _alone(self, name: str) -> AsyncIterator[None]:
        """One at a time for each room; a lock lives as long as it is needed."""
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


def _admitted(room: Room, state: RoomState, wish: RoomWish) -> tuple[str, RoomState]:
    """The role of the identity that enters, and the state after it; the host's mint may choose the grid."""
    role, after = roles.at_mint(room, state, wish.identity, wish.role, trusted=wish.trusted)
    if role == "host" and room.type is UTDStreamType.AUDIO_ROOM:
        after = seats.seed(after, wish.grid)
    return role, after


@asynccontextmanager
async def _sfu_refusals() -> AsyncIterator[None]:
    try:
        yield
    except SfuNotFound:
        raise Refusal("room_not_found", "The room is not open") from None
    except SfuUnavailable:
        raise unavailable() from None


async def _until(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Looks again and again, for as long as participants have to leave by themselves."""
    try:
        async with asyncio.timeout(LEAVE_GRACE_S):
            while not await is_so():
                await asyncio.sleep(_LOOK_AGAIN_S)
    except TimeoutError:
        return
