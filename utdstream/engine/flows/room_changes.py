"""What requests with an Idempotency-Key changed in rooms, as long as it may be taken back.

Owns: `RoomChanges`, the newest such change of each subject of each room. Runs on the loop thread; in memory,
bounded: of what is forgotten it is not known any more whether something newer was decided, so it stands.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from utdstream.engine.rules.room_state import RoomState
from utdstream.engine.rules.rooms import Room
from utdstream.engine.rules.undoing import Subject, parts_of, touched

MOST = 20_000
"""Subjects of changes that may be taken back."""


@dataclass(eq=False, slots=True)
class RoomChange:
    """One change: what its subjects were before."""

    parts: Mapping[Subject, object]
    is_newest: bool = True
    """Whether nothing newer was decided about any of its subjects."""


class RoomChanges:
    """The changes of all rooms."""

    def __init__(self) -> None:
        self._newest: OrderedDict[tuple[object, Subject], RoomChange] = OrderedDict()

    def note(
        self, room: Room, before: RoomState, after: RoomState, *, may_be_undone: bool
    ) -> RoomChange | None:
        """Writes a change down; returns it when it may be taken back, and there is something to take back."""
        if not (may_be_undone or self._newest):
            return None
        subjects = touched(before, after)
        places = [((room.name, room.created_at), subject) for subject in subjects]
        for place in places:
            self._end(self._newest.pop(place, None))
        if not (may_be_undone and subjects):
            return None
        change = RoomChange(parts_of(before, subjects))
        self._newest.update(dict.fromkeys(places, change))
        while len(self._newest) > MOST:
            self._end(self._newest.popitem(last=False)[1])
        return change

    @staticmethod
    def _end(change: RoomChange | None) -> None:
        if change is not None:
            change.is_newest = False
