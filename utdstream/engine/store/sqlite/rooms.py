"""Rooms in SQLite: the room, its state, the people admitted to it.

Owns: three tables; the rows of a room go with it (a trigger). Loop thread. Must not import asyncio or anything
that talks to a network.

1. This process alone writes the file, so rooms and states that were read or written are kept in memory too. A
   state under the room's name and birth: a room that is made again begins anew.
2. What a transaction changed in memory is taken back when it is rolled back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime

from utdstream.engine.clock import from_ms, to_ms
from utdstream.engine.rules import room_state
from utdstream.engine.rules.room_state import RoomState
from utdstream.engine.rules.rooms import Room
from utdstream.engine.store.contract import Presence
from utdstream.engine.store.sqlite.connection import Row, SqliteConnection
from utdstream.models import UTDStreamType

KEPT_IN_MEMORY = 1000

_ROOMS = """
CREATE TABLE IF NOT EXISTS rooms (
    name TEXT PRIMARY KEY, type TEXT NOT NULL, owner TEXT, created_ms INTEGER NOT NULL
);
"""
_STATES = """
CREATE TABLE IF NOT EXISTS room_states (
    name TEXT PRIMARY KEY, rev INTEGER NOT NULL, state TEXT NOT NULL, watched INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS room_states_watched ON room_states (name) WHERE watched = 1;
"""
_PEOPLE = """
CREATE TABLE IF NOT EXISTS room_people (
    room TEXT NOT NULL, identity TEXT NOT NULL, name TEXT, presence TEXT NOT NULL,
    PRIMARY KEY (room, identity)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS room_people_here ON room_people (room) WHERE presence = 'here';
CREATE TRIGGER IF NOT EXISTS room_gone AFTER DELETE ON rooms BEGIN
    DELETE FROM room_states WHERE name = old.name;
    DELETE FROM room_people WHERE room = old.name;
END;
"""


class SqliteRooms:
    """The table of rooms."""

    def __init__(self, connection: SqliteConnection) -> None:
        self._db = connection
        self._db.script(_ROOMS)
        self._kept: OrderedDict[str, Room] = OrderedDict()

    def get(self, name: str) -> Room | None:
        """The room of this name, or None."""
        kept = self._kept.get(name)
        if kept is not None:
            return kept
        row = self._db.one("SELECT * FROM rooms WHERE name = ?", (name,))
        if row is None:
            return None
        self._kept[name] = room = _room(row)
        while len(self._kept) > KEPT_IN_MEMORY:
            self._kept.popitem(last=False)
        return room

    def all(self) -> list[Room]:
        """Every room, newest first."""
        return [
            _room(row) for row in self._db.many("SELECT * FROM rooms ORDER BY created_ms DESC, rowid DESC")
        ]

    def claim(self, room: Room) -> Room:
        """Makes the room unless it exists; gives it `room.owner` unless it has one. The room as it is."""
        self._changes(room.name)
        self._db.run(
            "INSERT INTO rooms (name, type, owner, created_ms) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET owner = coalesce(owner, excluded.owner)",
            (room.name, room.type.wire, room.owner, to_ms(room.created_at)),
        )
        return self.get(room.name) or room

    def delete(self, name: str) -> None:
        """Forgets a room: its owner, its state and its people too."""
        self._changes(name)
        self._db.run("DELETE FROM rooms WHERE name = ?", (name,))

    def _changes(self, name: str) -> None:
        def forget() -> None:
            self._kept.pop(name, None)

        forget()
        self._db.undo_with(forget)


class SqliteStates:
    """The table of room states, the newest thousand of them in memory too."""

    def __init__(self, connection: SqliteConnection) -> None:
        self._db = connection
        self._db.script(_STATES)
        self._kept: OrderedDict[tuple[str, datetime], RoomState] = OrderedDict()

    def get(self, room: Room) -> RoomState:
        """The newest state; that of a new room when none was written."""
        kept = self._kept.get((room.name, room.created_at))
        if kept is not None:
            return kept
        row = self._db.one("SELECT state FROM room_states WHERE name = ?", (room.name,))
        if row is None:
            return room_state.new_state(room)
        state = room_state.from_json(row[0])
        self._keep(room, state)
        return state

    def put(self, room: Room, state: RoomState) -> None:
        """Makes this the state of the room."""
        key = (room.name, room.created_at)
        before = self._kept.get(key)
        self._db.run(
            "INSERT INTO room_states (name, rev, state, watched) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET"
            " rev = excluded.rev, state = excluded.state, watched = excluded.watched",
            (room.name, state.rev, room_state.to_json(state), bool(state.holders())),
        )
        self._keep(room, state)

        def undo() -> None:
            self._kept.pop(key, None)
            if before is not None:
                self._keep(room, before)

        self._db.undo_with(undo)

    def watched(self) -> list[str]:
        """The names of the rooms with a participant who holds something that is lost by leaving."""
        return [row[0] for row in self._db.many("SELECT name FROM room_states WHERE watched = 1")]

    def _keep(self, room: Room, state: RoomState) -> None:
        key = (room.name, room.created_at)
        self._kept[key] = state
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT_IN_MEMORY:
            self._kept.popitem(last=False)


class SqlitePeople:
    """The table of the people admitted to rooms."""

    def __init__(self, connection: SqliteConnection) -> None:
        self._db = connection
        self._db.script(_PEOPLE)

    def admit(self, room: str, identity: str, name: str | None) -> None:
        """Writes down a participant who got a token; a display name that is not given stays as it was."""
        self._db.run(
            "INSERT INTO room_people (room, identity, name, presence) VALUES (?, ?, ?, 'admitted')"
            " ON CONFLICT (room, identity) DO UPDATE SET name = coalesce(excluded.name, name),"
            " presence = iif(presence = 'left', 'admitted', presence)",
            (room, identity, name),
        )

    def arrived(self, room: str, identity: str, name: str | None) -> None:
        """Writes down that a participant is in the room's media; the name counts for a new participant alone."""
        self._db.run(
            "INSERT INTO room_people (room, identity, name, presence) VALUES (?, ?, ?, 'here')"
            " ON CONFLICT (room, identity) DO UPDATE SET presence = 'here' WHERE presence != 'here'",
            (room, identity, name),
        )

    def departed(self, room: str, identity: str) -> None:
        """Writes down that a participant was in the room and has left; nothing for one who was never admitted."""
        self._db.run(
            "UPDATE room_people SET presence = 'left' WHERE room = ? AND identity = ?", (room, identity)
        )

    def presence(self, room: str, identity: str) -> Presence | None:
        """Where a participant stands; None: never admitted."""
        row = self._db.one(
            "SELECT presence FROM room_people WHERE room = ? AND identity = ?", (room, identity)
        )
        return None if row is None else Presence(row[0])

    def is_anybody_here(self, room: str) -> bool:
        """Whether any participant is known to be in the room's media."""
        found = self._db.one(
            "SELECT 1 FROM room_people WHERE room = ? AND presence = 'here' LIMIT 1", (room,)
        )
        return found is not None

    def here(self, room: str) -> list[str]:
        """Every participant who was last known to be in the room's media."""
        rows = self._db.many("SELECT identity FROM room_people WHERE room = ? AND presence = 'here'", (room,))
        return [row[0] for row in rows]

    def name(self, room: str, identity: str) -> str | None:
        """The display name of a participant, or None."""
        return self.names(room, (identity,)).get(identity)

    def names(self, room: str, identities: Iterable[str]) -> dict[str, str]:
        """The display names of these participants, as far as they have one."""
        wanted = list(identities)
        marks = ", ".join("?" for _ in wanted)
        rows = self._db.many(
            f"SELECT identity, name FROM room_people WHERE room = ? AND identity IN ({marks})"
            " AND name IS NOT NULL",
            (room, *wanted),
        )
        return {row[0]: row[1] for row in rows}


def _room(row: Row) -> Room:
    return Room(row["name"], UTDStreamType(row["type"]), row["owner"], from_ms(row["created_ms"]))
