"""The participants really in the media of live streams and audio rooms, and what those who left lose.

Owns: turning facts of the media server into presence, and presence into freed seats. Runs on the loop
thread.

1. A participant who joins is compared with the room's state at once: the webhook itself says their rights, so
   nothing is asked when these are right.
2. A participant who left is looked for after a short grace (a reconnect also reports a leave); one who is gone
   loses seat, request, invitation and stage. An admitted identity that never came loses nothing.
3. A poll makes up for lost webhooks, in one request for all rooms in which a participant holds something. The
   others cost nothing.
4. After a start of the engine every room that is there is looked at as a whole.
"""

from __future__ import annotations

import logging

from utdstream.engine.background import Repeated, Timers
from utdstream.engine.flows.call_watch import POLL_S, WHILE_DOWN
from utdstream.engine.flows.room_states import RoomDesk
from utdstream.engine.media.room_follower import RoomFollower
from utdstream.engine.media.sfu import Participant, Sfu, SfuRoom, SfuUnavailable, Webhook
from utdstream.engine.rules import calls, roles, room_views, rooms
from utdstream.engine.rules.rooms import MICROPHONE, Room
from utdstream.engine.store.contract import Presence, Store

REJOIN_WITHIN_S = 15.0
"""After the media server lost a room (restart) the participants may come back to what they hold."""

_log = logging.getLogger(__name__)


class RoomWatch:
    """Frees what participants who left hold, and has the media server follow after a start."""

    def __init__(
        self, app_id: str, store: Store, desk: RoomDesk, follower: RoomFollower, sfu: Sfu, timers: Timers
    ) -> None:
        self._app_id = app_id
        self._store = store
        self._desk = desk
        self._people = store.people
        self._follower = follower
        self._sfu = sfu
        self._timers = timers
        self._checks: set[tuple[str, str]] = set()
        self._counts: dict[str, int] = {}
        self._began = False
        self._polling = Repeated(
            timers, "poll of rooms", self._poll, every_s=POLL_S, after_failure=WHILE_DOWN
        )

    def start(self) -> None:
        """Begins to poll; the first time looks at every room."""
        self._polling.start()

    def webhook(self, hook: Webhook) -> None:
        """Takes one event of the media server about a live stream or an audio room."""
        name = rooms.own_name(hook.room, self._app_id)
        if name is None:
            return
        if hook.event == "room_finished":
            self._counts.pop(name, None)
            self._timers.after(0.0, name, lambda: self._finished(name))
            return
        room = self._store.rooms.get(name)
        if room is None:
            return
        if hook.event == "participant_joined" and hook.person is not None:
            self._arrived(room, hook.person)
        elif hook.event == "participant_left" and not hook.replaced:
            self._left(room, hook.identity, calls.LEFT_GRACE_S if hook.left_on_purpose else calls.LEG_GRACE_S)
        elif hook.event == "track_published" and hook.track is not None:
            track = hook.track
            if hook.identity in self._desk.state(room).muted and track.source == MICROPHONE:
                self._timers.after(0.0, name, lambda: self._follower.mute(name, hook.identity, track.sid))

    def _arrived(self, room: Room, person: Participant) -> None:
        if self._people.presence(room.name, person.identity) is not Presence.HERE:
            with self._store.transaction():
                self._people.arrived(room.name, person.identity, person.name or None)
        state = self._desk.state(room)
        metadata = room_views.person_metadata(person.metadata, room, state, person.identity)
        is_right = self._follower.rights_of(room, state, person) == person.rights and metadata is None
        if not is_right or not self._follower.is_told(room.name):
            self._follower.look(room.name, {person.identity})

    def _left(self, room: Room, identity: str, grace_s: float) -> None:
        if identity in self._desk.state(room).holders():
            self._check_in(grace_s, room.name, identity)
        else:
            with self._store.transaction():
                self._people.departed(room.name, identity)

    def _check_in(self, delay_s: float, name: str, identity: str) -> None:
        check = (name, identity)
        if check not in self._checks:
            self._checks.add(check)
            self._timers.after(delay_s, name, lambda: self._check(check))

    async def _check(self, check: tuple[str, str]) -> None:
        self._checks.discard(check)
        name, identity = check
        try:
            if await self._sfu.participant(self._follower.livekit_name(name), identity) is not None:
                return
        except SfuUnavailable:
            return  # the poll looks again
        room = self._store.rooms.get(name)
        if room is None:
            return
        with self._store.transaction():
            self._people.departed(name, identity)
        if identity in self._desk.state(room).holders():
            _log.info("room %s: %s has left: seat, request and stage are free", name, identity)
            self._desk.mutate(room, lambda room, state: roles.gone(room, state, identity))

    async def _finished(self, name: str) -> None:
        self._follower.look(name)

    # --- the poll

    async def _poll(self) -> bool:
        """Looks at the rooms once; False when the media server did not answer."""
        first = not self._began
        names = [room.name for room in self._store.rooms.all()] if first else self._store.states.watched()
        if not names:
            self._began = True
            return True
        try:
            states = await self._sfu.rooms([self._follower.livekit_name(name) for name in names])
            for name in names:
                await self._follow(name, states.get(self._follower.livekit_name(name)), first=first)
        except SfuUnavailable:
            return False
        self._began = True
        return True

    async def _follow(self, name: str, found: SfuRoom | None, *, first: bool) -> None:
        room = self._store.rooms.get(name)
        if room is None:
            return
        if found is None:
            # Lost in a restart of the media server: a mint makes it again, people may come back.
            self._look_for(room, frozenset(), REJOIN_WITHIN_S)
            return
        state = self._desk.state(room)
        if first:
            self._follower.look(name)  # whatever the count says: it may be seconds old
        elif state.muted:
            self._follower.look(name, state.muted & state.holders())
        holders = state.holders()
        unsettled = any(self._people.presence(name, who) is not Presence.HERE for who in holders)
        if not first and not unsettled and self._counts.get(name) == found.participant_count:
            return
        people = await self._sfu.participants(self._follower.livekit_name(name))
        self._counts[name] = found.participant_count
        room = self._store.rooms.get(name)
        if room is None:
            return
        for person in people:
            self._arrived(room, person)
        self._look_for(room, frozenset(person.identity for person in people), calls.LEFT_GRACE_S)
        if first:
            self._forget_absent(room, frozenset(person.identity for person in people) | holders)

    def _look_for(self, room: Room, present: frozenset[str], grace_s: float) -> None:
        """Looks, after a grace, for each holder who was here once and is not in `present`."""
        for identity in self._desk.state(room).holders() - present:
            if self._people.presence(room.name, identity) in (Presence.HERE, Presence.LEFT):
                self._check_in(grace_s, room.name, identity)

    def _forget_absent(self, room: Room, known: frozenset[str]) -> None:
        with self._store.transaction():
            for identity in self._people.here(room.name):
                if identity not in known:
                    self._people.departed(room.name, identity)
