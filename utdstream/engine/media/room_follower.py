"""The media server follows the room states: rights, metadata, messages, in this order.

Owns: what happens on the media server because of a room's state. Runs on the loop thread, one piece of work
at a time for each room. Decides nothing: it reads the newest committed state and makes the room follow, so
changes that come fast are followed together.

1. Rights that are taken go first, then rights that are given, then the room metadata, then the messages.
2. What could not be done is tried again, with the whole room looked at (a request that timed out may have
   been carried out, and an older one may have come after a newer one).
3. Room metadata is written from the state alone: the engine's keys, and the application's.
4. An empty room is told nothing: the next mint brings it up to date.
5. A muted participant's microphone track is muted on the server whenever it is seen unmuted: at the mute, when
   it is published again, and by every look at the room. The right to publish stays: a mute is lifted
   without a new publication, and the client unmutes itself (LiveKit refuses to unmute from the server).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from utdstream._wire import messages
from utdstream.backoff import Backoff
from utdstream.engine.background import Lanes, Timers
from utdstream.engine.media.sfu import Participant, Sfu, SfuNotFound, SfuUnavailable
from utdstream.engine.media.tokens import KEY_ATTRIBUTE
from utdstream.engine.rules import keys, room_views, rooms
from utdstream.engine.rules.grants import Rights, is_host, rights
from utdstream.engine.rules.room_state import Notice, RoomState
from utdstream.engine.rules.room_views import Views
from utdstream.engine.rules.rooms import MICROPHONE, Room
from utdstream.engine.store.contract import Presence, Store
from utdstream.limits import MAX_RELIABLE_BYTES

MAX_NOTICES = 200
READY_WITHIN_S = 1.0
RETRY = Backoff(first_s=0.4, most_s=2.0)
"""Half of it on average; a media server that comes back finds each room within two seconds."""
GAP_S = 0.05
"""A room that has just followed waits so long before it follows again: fast changes go together."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Todo:
    """What a room has not followed yet."""

    people: set[str] = field(default_factory=set)
    """Participants whose rights may have changed."""
    looks: set[str] = field(default_factory=set)
    """Participants to be looked at: role in the metadata, muted tracks."""
    notices: list[Notice] = field(default_factory=list)
    everybody: bool = False
    waiting: list[asyncio.Event] = field(default_factory=list)
    """Mints that wait for the metadata, so that the participant finds the room as it is."""

    def add(self, other: _Todo) -> None:
        self.people |= other.people
        self.looks |= other.looks
        self.notices = [*other.notices, *self.notices][-MAX_NOTICES:]
        self.everybody |= other.everybody


class RoomFollower:
    """Makes the media server follow the states of all rooms."""

    def __init__(self, app_id: str, store: Store, sfu: Sfu, lanes: Lanes, timers: Timers) -> None:
        self._app_id = app_id
        self._store = store
        self._sfu = sfu
        self._lanes = lanes
        self._timers = timers
        self._todo: dict[str, _Todo] = {}
        self._queued: set[str] = set()
        self._failures: dict[str, int] = {}
        self._told: dict[str, Views] = {}

    def livekit_name(self, name: str) -> str:
        """The room's name on the media server."""
        return rooms.livekit_name(name, self._app_id)

    def is_told(self, name: str) -> bool:
        """True when the room has been told a state (perhaps not the newest: that is under way)."""
        return name in self._told

    def changed(
        self, room: Room, before: RoomState, after: RoomState, notices: Iterable[Notice] = ()
    ) -> None:
        """The state of a room is another one: its media room follows, in the background."""
        todo = self._todo.setdefault(room.name, _Todo())
        todo.people |= {
            identity
            for identity in _concerned(before, after)
            if rights(room, before, identity) != rights(room, after, identity)
        }
        if before.muted is not after.muted:
            todo.looks |= after.muted - before.muted
        if before.roles is not after.roles:
            todo.looks |= {who for who, _ in before.roles.items() ^ after.roles.items()}
        todo.notices = [*todo.notices, *notices][-MAX_NOTICES:]
        self._queue(room.name)

    async def ready(self, room: Room) -> None:
        """Returns when the room metadata says the newest state, or after a second without that."""
        if self._told.get(room.name) == self._views(room):
            return
        written = asyncio.Event()
        self._todo.setdefault(room.name, _Todo()).waiting.append(written)
        self._queue(room.name)
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                await written.wait()
        except TimeoutError:
            _log.debug("room %s is entered before its metadata is written", room.name)

    def look(self, name: str, identities: Collection[str] = ()) -> None:
        """Compares these participants (none given: all, and the metadata) with the state, and repairs."""
        todo = self._todo.setdefault(name, _Todo())
        todo.looks |= set(identities)
        todo.everybody |= not identities
        self._queue(name)

    def metadata(self, room: Room, state: RoomState) -> str:
        """The room metadata that says this state."""
        return room_views.of(room, state, self._names(room, state)).metadata

    async def mute(self, name: str, identity: str, track_sid: str) -> None:
        """Mutes a track that a muted participant published."""
        try:
            await self._sfu.mute(self.livekit_name(name), identity, track_sid)
        except SfuUnavailable:
            self.look(name, {identity})

    # --- one room at a time

    def _queue(self, name: str) -> None:
        if name not in self._queued:
            self._queued.add(name)
            self._lanes.put(f"state of {name}", lambda: self._follow(name))

    async def _follow(self, name: str) -> None:
        self._queued.discard(name)
        todo = self._todo.pop(name, None)
        room = self._store.rooms.get(name)
        if room is None:
            self._told.pop(name, None)
            self._failures.pop(name, None)
            return
        if todo is None:
            return
        try:
            await self._do(room, todo)
        except SfuNotFound:
            self._told.pop(name, None)  # the media server has no such room: nothing has to follow
            self._failures.pop(name, None)
        except SfuUnavailable:
            self._again(name, todo)
        else:
            if self._failures.pop(name, 0):
                _log.info("room %s follows again", name)
        finally:
            for written in todo.waiting:
                written.set()
            todo.waiting = []
        await asyncio.sleep(GAP_S)

    def _again(self, name: str, todo: _Todo) -> None:
        todo.everybody, todo.people, todo.looks = True, set(), set()
        self._todo.setdefault(name, _Todo()).add(todo)
        failures = self._failures.get(name, 0)
        self._failures[name] = failures + 1
        if failures == 0:
            _log.warning("room %s: the media server did not follow; it is asked again", name)
        self._timers.after(RETRY.pause_s(failures), name, lambda: self._retry(name))

    async def _retry(self, name: str) -> None:
        if name in self._todo:
            self._queue(name)

    async def _do(self, room: Room, todo: _Todo) -> None:
        if not todo.everybody and not self._store.people.is_anybody_here(room.name):
            await self._prepare(room, todo)
            return
        failed = await self._permit(room, todo.people)
        if todo.everybody:
            failed |= await self._look_at_all(room)
        else:
            for identity in todo.looks:
                failed |= await self._look_at_one(room, identity)
        await self._tell(room)
        await self._send(room, todo)
        if failed:
            raise SfuUnavailable("some rights could not be set")

    async def _prepare(self, room: Room, todo: _Todo) -> None:
        self._told.pop(room.name, None)
        if todo.waiting:
            views = self._views(room)
            await self._sfu.set_metadata(self.livekit_name(room.name), views.metadata)
            self._told[room.name] = views

    async def _permit(self, room: Room, people: Collection[str]) -> bool:
        """True when one of them failed. Participants who lose rights go first."""
        state = self._store.states.get(room)
        silent = {identity for identity in people if not rights(room, state, identity).sources}
        failed = False
        for group in (silent, set(people) - silent):
            asked = [self._permit_one(room, identity) for identity in sorted(group)]
            failed |= any(await asyncio.gather(*asked))
        return failed

    def rights_of(self, room: Room, state: RoomState, person: Participant) -> Rights:
        """What this participant may do now, in the room by the key that its media token was minted with."""
        key = self._store.keys.get(person.attributes.get(KEY_ATTRIBUTE, ""))
        return rights(room, state, person.identity, may_host=keys.may_host(key))

    async def _permit_one(self, room: Room, identity: str) -> bool:
        if is_host(room, self._store.states.get(room), identity):
            return await self._look_at_one(room, identity)  # its key is asked too
        if self._store.people.presence(room.name, identity) is not Presence.HERE:
            return False  # the arrival comes by a webhook, and is compared with the state then
        wanted = rights(room, self._store.states.get(room), identity)
        try:
            await self._sfu.permit(self.livekit_name(room.name), identity, wanted)
        except SfuUnavailable:
            return True
        return False

    async def _look_at_one(self, room: Room, identity: str) -> bool:
        person = await self._sfu.participant(self.livekit_name(room.name), identity)
        return False if person is None else await self._repair(room, person)

    async def _look_at_all(self, room: Room) -> bool:
        name = self.livekit_name(room.name)
        found = (await self._sfu.rooms([name])).get(name)
        if found is None:
            raise SfuNotFound(name)
        failed = False
        state = self._store.states.get(room)
        people = await self._sfu.participants(name)
        for person in sorted(people, key=lambda found: bool(rights(room, state, found.identity).sources)):
            failed |= await self._repair(room, person)
        self._told[room.name] = room_views.read(found.metadata)
        return failed

    async def _repair(self, room: Room, person: Participant) -> bool:
        """Gives a participant what the newest state says. True when that failed."""
        name = self.livekit_name(room.name)
        state = self._store.states.get(room)
        wanted = self.rights_of(room, state, person)
        metadata = room_views.person_metadata(person.metadata, room, state, person.identity)
        try:
            if wanted != person.rights or metadata is not None:
                await self._sfu.permit(name, person.identity, wanted, metadata=metadata or "")
            if person.identity in state.muted:
                for track in person.tracks:
                    if track.source == MICROPHONE and not track.muted:
                        await self._sfu.mute(name, person.identity, track.sid)
        except SfuUnavailable:
            return True
        return False

    # --- telling

    def _names(self, room: Room, state: RoomState) -> dict[str, str]:
        return self._store.people.names(room.name, room_views.named(room, state))

    def _views(self, room: Room) -> Views:
        state = self._store.states.get(room)
        return room_views.of(room, state, self._names(room, state))

    async def _tell(self, room: Room) -> None:
        views = self._views(room)
        told = self._told.get(room.name)
        if told == views:
            return
        name = self.livekit_name(room.name)
        await self._sfu.set_metadata(name, views.metadata)
        for kind, fields in views.changes_since(told):
            data = messages.encode(kind, fields)
            if len(data) <= MAX_RELIABLE_BYTES:  # a larger grid travels in the metadata alone
                await self._sfu.send_data(name, data)
        self._told[room.name] = views

    async def _send(self, room: Room, todo: _Todo) -> None:
        name = self.livekit_name(room.name)
        while todo.notices:
            notice = todo.notices[0]
            if notice.to is None or notice.to:
                await self._sfu.send_data(name, messages.encode(notice.type, notice.fields), notice.to or ())
            todo.notices.pop(0)


def _concerned(before: RoomState, after: RoomState) -> set[str]:
    """The identities whose rights may differ between two states. (Each part is shared when it did not change.)"""
    found: set[str | None] = set()
    if before.seats is not after.seats:
        found |= {seat.identity for seat in before.seats} ^ {seat.identity for seat in after.seats}
    if before.stage is not after.stage:
        found |= set(before.stage) ^ set(after.stage)
    if before.forbidden is not after.forbidden:
        found |= before.forbidden ^ after.forbidden
    for old, new in ((before.roles, after.roles), (before.overrides, after.overrides)):
        if old is not new:
            found |= {who for who in {*old, *new} if old.get(who) != new.get(who)}
    return {identity for identity in found if identity is not None}
