"""The desk where every change of a room's state is made: read, rule, write, in one transaction.

Owns: `mutate`, the only way a room state changes, and reading it. Runs on the loop thread; nothing here
waits, so an answer never depends on the media server: `RoomFollower` makes that follow in the background.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from utdstream.engine.media.room_follower import RoomFollower
from utdstream.engine.rules import rooms
from utdstream.engine.rules.refusals import no_room
from utdstream.engine.rules.room_state import Outcome, RoomState
from utdstream.engine.rules.rooms import Room
from utdstream.engine.store.contract import Store

_log = logging.getLogger(__name__)

Rule = Callable[[Room, RoomState], Outcome]


class RoomDesk:
    """States of all rooms of the project."""

    def __init__(self, app_id: str, store: Store, follower: RoomFollower) -> None:
        self._app_id = app_id
        self._store = store
        self._follower = follower
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

    def mutate(self, room: Room, rule: Rule) -> Outcome:
        """What `rule` made of the room's state: committed when this returns, followed soon after.

        `room` must have been read without an `await` in between. A rule that raises changes nothing.
        The outcome's state carries the new `rev`. Raises: Refusal.
        """
        with self._store.transaction():
            before = self._store.states.get(room)
            outcome = rule(room, before)
            if outcome.state != before:
                outcome = replace(outcome, state=replace(outcome.state, rev=before.rev + 1))
                self._store.states.put(room, outcome.state)
        if outcome.state is not before or outcome.notices:
            self._follower.changed(room, before, outcome.state, outcome.notices)
        return outcome
