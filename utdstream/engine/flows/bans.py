"""Bans, from a request to everything that follows from it.

Owns: writing bans, keeping banned identities out, removing banned participants. Runs on the loop thread. The
rules are in `rules/bans`, the bans in the store.

1. A ban is committed first: the next mint is refused whatever the media server does.
2. A banned participant loses the rights to publish and to hear, is told, has two seconds to leave, and is removed.
3. A media token is good for minutes and survives a ban: whoever comes back with one is removed by `keep_out`; a
   poll makes up for lost webhooks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

from utdstream._wire import messages
from utdstream.engine import clock
from utdstream.engine.background import Lanes, Timers
from utdstream.engine.flows.calls import CallService
from utdstream.engine.flows.room_states import RoomDesk
from utdstream.engine.flows.rooms import Place, RoomService
from utdstream.engine.flows.steady_clock import SteadyClock
from utdstream.engine.media.sfu import Sfu, SfuUnavailable
from utdstream.engine.media.tokens import REFRESHED_FOR_S
from utdstream.engine.rules import bans, keys, moderation, roles, rooms
from utdstream.engine.rules.bans import Ban
from utdstream.engine.rules.keys import AppKey
from utdstream.engine.rules.refusals import Refusal
from utdstream.engine.rules.rooms import Room
from utdstream.engine.store.contract import Store

POLL_S = 5.0
WATCHED_FOR = timedelta(seconds=REFRESHED_FOR_S, minutes=5)
"""How long after a ban a token from before it may still open the room."""

_log = logging.getLogger(__name__)


class BanService:
    """All bans of the project. `on_banned` is told each identity that is banned from the whole project."""

    def __init__(
        self,
        app_id: str,
        store: Store,
        sfu: Sfu,
        room_service: RoomService,
        calls: CallService,
        lanes: Lanes,
        timers: Timers,
        desk: RoomDesk,
        steady: SteadyClock,
        on_banned: Callable[[str], None],
    ) -> None:
        self._app_id = app_id
        self._store = store
        self._sfu = sfu
        self._rooms = room_service
        self._calls = calls
        self._lanes = lanes
        self._timers = timers
        self._desk = desk
        self._steady = steady
        self._leaving: set[tuple[str, str]] = set()
        self._looked = False
        self._on_banned = on_banned

    def start(self) -> None:
        """Begins to look for banned identities among the participants."""
        self._timers.after(0.0, "bans", self._look_and_again)

    def check(self, identity: str, room: str | None = None) -> None:
        """Raises: Refusal (`banned`) for an identity that may not enter `room`; None: the project."""
        ban = self.holding(identity, room)
        if ban is not None:
            raise bans.refusal(ban)

    def holding(self, identity: str, room: str | None = None) -> Ban | None:
        """The ban that keeps this identity out, or None."""
        if not self._store.bans.is_known(identity):
            return None
        now = self._steady.now()
        return bans.heaviest(self._store.bans.of(identity, now, room=room), now)

    def may_moderate(self, room: Room, identity: str) -> bool:
        """True for the owner, the hosts and the admins of the room, unless they are banned from it."""
        return self._role(room, identity) in ("host", "admin") and not self.holding(identity, room.name)

    def check_key(self, room: Room, identity: str, key: AppKey | None) -> None:
        """Raises: Refusal when this key is not for the room, or not for what the identity is in it."""
        if key is not None:
            keys.check_room(key.rooms, room.name)
        keys.check_host(key, is_host=self._role(room, identity) == "host")

    def rooms_moderated_by(self, identity: str, key: AppKey | None) -> list[str]:
        """The names of the rooms that this identity moderates with this key."""
        return [room.name for room in self._store.rooms.all() if self._moderates(room, identity, key)]

    def check_may_ban(self, room: Room, actor: str, target: str) -> None:
        """Raises: Refusal when this moderator may not ban this identity."""
        bans.check_may_ban(
            actor,
            target,
            owner=room.owner,
            actor_role=self._role(room, actor),
            target_role=self._role(room, target),
        )

    def page(self, in_rooms: Sequence[str] | None, *, page: int, per_page: int) -> tuple[list[Ban], int]:
        """One page of the bans in force, newest first, and their number; `in_rooms` None: all of them."""
        return self._store.bans.page(self._steady.now(), rooms=in_rooms, page=page, per_page=per_page)

    def ban(
        self, identity: str, room: str | None, *, reason: str | None, duration_s: int | None, by: str
    ) -> Ban:
        """Writes the ban and begins to remove the participant; the removal is not waited for."""
        name = None if room is None else self._desk.people.name(room, identity)
        now = self._steady.now()
        wanted = Ban(0, identity, room, now, bans.end_of(now, duration_s), reason, name)
        with self._store.transaction(lasts=True):
            ban = self._store.bans.put(wanted)
        _log.info(
            "%s banned from %s by %s%s",
            identity,
            "the project" if room is None else f"room {room}",
            by,
            "" if duration_s is None else f" for {duration_s} s",
        )
        for place in self._store.rooms.all():
            if room in (None, place.name):
                self._desk.mutate(place, lambda room, state: moderation.put_out(room, state, identity))
        if room is None:
            self._on_banned(identity)
            for record in self._store.calls.open_of(identity):
                self._calls.end(record.call_id, identity)
        self._lanes.put(f"ban {identity}", lambda: self._enforce(ban))
        return ban

    def lift(self, identity: str, room: str | None, by: str, *, everywhere: bool = False) -> int:
        """Lifts the ban of one room (None: of the project), or every ban; how many were in force."""
        with self._store.transaction(lasts=True):
            removed = self._store.bans.lift(identity, room, self._steady.now(), everywhere=everywhere)
        _log.info("%d bans of %s lifted by %s", removed, identity, by)
        return removed

    def keeps_out(self, livekit_name: str, identity: str) -> bool:
        """Whether a ban keeps this identity out of this room of the media server."""
        return self.holding(identity, rooms.own_name(livekit_name, self._app_id)) is not None

    async def _look_and_again(self) -> None:
        try:
            now = self._steady.now()
            recent = self._store.bans.since(now - WATCHED_FOR if self._looked else clock.EPOCH, now)
            self._looked = await self._sweep(recent) or self._looked
        finally:
            self._timers.after(POLL_S, "bans", self._look_and_again)

    async def _enforce(self, ban: Ban) -> None:
        await self._sweep([ban])

    async def _sweep(self, pronounced: list[Ban]) -> bool:
        """Removes the participants whom one of these bans keeps out; False when the server is away."""
        in_room: dict[str, dict[str, Ban]] = {}
        everywhere = {ban.identity: ban for ban in pronounced if ban.room is None}
        for ban in pronounced:
            if ban.room is not None:
                in_room.setdefault(ban.room, {})[ban.identity] = ban
        for room in self._store.rooms.all() if everywhere or in_room else ():
            wanted = {**in_room.get(room.name, {}), **everywhere}
            if not wanted:
                continue
            try:
                present = await self._sfu.identities(rooms.livekit_name(room.name, self._app_id))
            except SfuUnavailable:
                return False
            for identity in present & wanted.keys():
                self._put_out(room.name, wanted[identity])
        return True

    def _put_out(self, room: str, ban: Ban) -> None:
        if (room, ban.identity) not in self._leaving:
            self._leaving.add((room, ban.identity))
            self._lanes.put(f"ban {room} {ban.identity}", lambda: self._remove(room, ban))

    async def _remove(self, room: str, ban: Ban) -> None:
        notice: Mapping[str, object] = {**bans.notice(ban), "identity": ban.identity}
        place = Place(room, rooms.livekit_name(room, self._app_id), self._store.rooms.get(room))
        try:
            await self._rooms.remove(
                place, ban.identity, "a ban", notice=messages.encode(messages.BANNED, notice), deafen=True
            )
        except Refusal as refusal:
            _log.debug("%s is not removed from room %s now: %s", ban.identity, room, refusal.code)
        finally:
            self._leaving.discard((room, ban.identity))

    def _moderates(self, room: Room, identity: str, key: AppKey | None) -> bool:
        try:
            self.check_key(room, identity, key)
        except Refusal:
            return False
        return self.may_moderate(room, identity)

    def _role(self, room: Room, identity: str) -> str:
        return roles.role_of(room, self._desk.state(room), identity)
