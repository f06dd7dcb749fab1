"""The desk where every change of a room's state is made: read, rule, write, in one transaction.

Owns: `mutate`, the only way a room state changes, what takes such a change back, and reading it. Runs on the loop
thread; nothing here waits, so an answer never depends on the media server: `RoomFollower` makes that follow in the
background.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from utdstream.engine.flows.room_changes import RoomChange, RoomChanges
from utdstream.engine.media.room_follower import RoomFollower
from utdstream.engine.rules import rooms, undoing
from utdstream.engine.rules.refusals import no_room
from utdstream.engine.rules.room_state import Outcome, RoomState
from utdstream.engine.rules.rooms import Room
from utdstream.engine.store.contract import Presence, Store

_log = logging.getLogger(__name__)

Rule = Callable[[Room, RoomState], Outcome]
Undo = Callable[[], bool]
"""Takes back what a request did; False: it stands."""


class RoomDesk:
    """States of all rooms of the project."""

    def __init__(self, app_id: str, store: Store, follower: RoomFollower) -> None:
        self._app_id = app_id
        self._store = store
        self._follower = follower
        self._changes = RoomChanges()
        self.people = store.people

    def room(self, spelling: str) -> Room:
        """The live stream or audio room of this name in either spelling. Raises: Refusal."""
        room = self._store.rooms.get(rooms.room_name(spelling, self._app_id))
        if room is None:
            raise no_room()
        return room

    def state(self, room: Room) -> RoomState:
        """The newest state of a room."""
        return self._store.states.get(room)

    def metadata(self, room: Room) -> str:
        """The room metadata that says the newest state (an empty room is told it with the next mint)."""
        return self._follower.metadata(room, self.state(room))

    def mutate(self, room: Room, rule: Rule, undos: list[Undo] | None = None) -> Outcome:
        """What `rule` made of the room's state: committed when this returns, followed soon after.

        `room` must have been read without an `await` in between. A rule that raises changes nothing.
        The outcome's state carries the new `rev`. `undos` gets what takes the change back. Raises: Refusal.
        """
        with self._store.transaction():
            before = self._store.states.get(room)
            outcome = rule(room, before)
            if outcome.state != before:
                outcome = replace(outcome, state=replace(outcome.state, rev=before.rev + 1))
                self._store.states.put(room, outcome.state)
        if outcome.state is not before or outcome.notices:
            self._follower.changed(room, before, outcome.state, outcome.notices)
        if outcome.state is not before:
            change = self._changes.note(room, before, outcome.state, may_be_undone=undos is not None)
            if change is not None and undos is not None:
                undos.append(lambda: self._undo(room, change))
        return outcome

    def is_here(self, room: Room, identity: str) -> bool:
        """Whether this identity is in the room, or was admitted and is on the way."""
        return self.people.presence(room.name, identity) in (Presence.ADMITTED, Presence.HERE)

    def _undo(self, room: Room, change: RoomChange) -> bool:
        """Takes a change back unless something newer was decided. False: it stands."""
        now = self._store.rooms.get(room.name)
        if not change.is_newest or now is None or now.created_at != room.created_at:
            return False
        is_undone = True

        def rule(room: Room, state: RoomState) -> Outcome:
            nonlocal is_undone
            outcome = undoing.undo(state, change.parts, lambda who: self.is_here(room, who))
            is_undone = outcome is not None
            return outcome or Outcome(state)

        self.mutate(now, rule)
        return is_undone
