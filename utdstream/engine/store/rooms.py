"""The states of rooms and the people admitted to them, in SQLite.

Owns: two tables beside the rooms; both rows of a room go with it (a trigger). Runs on the loop thread,
inside the store's transactions. Must not import asyncio or anything that talks to a network.

1. This process alone writes the file, so a state that was read or written is kept in memory too, under the
   room's name and birth: a room that is made again begins anew.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import Enum

from utdstream.engine.rules import room_state
from utdstream.engine.rules.room_state import RoomState
from utdstream.engine.rules.rooms import Room
from utdstream.engine.store.database import Store

KEPT_IN_MEMORY = 1000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS room_states (
    name TEXT PRIMARY KEY, rev INTEGER NOT NULL, state TEXT NOT NULL, watched INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS room_states_watched ON room_states (name) WHERE watched = 1;
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


class Presence(Enum):
    """Where somebody stands whom a mint admitted to a room."""

    ADMITTED = "admitted"
    HERE = "here"
    LEFT = "left"


class RoomStore:
    """States and people of all rooms. Raises: sqlite3.Error whenever the disk does not do its part."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._db = store.db
        self._db.executescript(_SCHEMA)
        self._states: OrderedDict[tuple[str, datetime], RoomState] = OrderedDict()

    @contextmanager
    def changing(self, room: Room) -> Iterator[RoomChange]:
        """The room's state in a transaction of its own: what is given to `save` is committed at the end."""
        with self._store.transaction():
            change = RoomChange(self.state(room))
            yield change
            if change.saved is not None:
                self._write(room.name, change.saved)
        if change.saved is not None:
            self._keep(room, change.saved)

    def state(self, room: Room) -> RoomState:
        """The room's state as it is committed."""
        kept = self._states.get((room.name, room.created_at))
        if kept is not None:
            return kept
        row = self._db.execute("SELECT state FROM room_states WHERE name = ?", (room.name,)).fetchone()
        if row is None:
            return room_state.new_state(room)
        state = room_state.from_json(row[0])
        self._keep(room, state)
        return state

    def watched(self) -> list[str]:
        """The names of rooms in which somebody holds something that is taken from people who leave."""
        return [row[0] for row in self._db.execute("SELECT name FROM room_states WHERE watched = 1")]

    # --- people

    def admit(self, room: str, identity: str, name: str | None) -> None:
        """Writes down somebody who got a token; a name that is not given stays as it was."""
        self._db.execute(
            "INSERT INTO room_people (room, identity, name, presence) VALUES (?, ?, ?, 'admitted')"
            " ON CONFLICT (room, identity) DO UPDATE SET name = coalesce(excluded.name, name),"
            " presence = iif(presence = 'left', 'admitted', presence)",
            (room, identity, name),
        )

    def arrived(self, room: str, identity: str, name: str | None) -> None:
        """Writes down that somebody is in the room's media."""
        self._db.execute(
            "INSERT INTO room_people (room, identity, name, presence) VALUES (?, ?, ?, 'here')"
            " ON CONFLICT (room, identity) DO UPDATE SET presence = 'here' WHERE presence != 'here'",
            (room, identity, name),
        )

    def departed(self, room: str, identity: str) -> None:
        """Writes down that somebody was in the room and is not any more."""
        self._db.execute(
            "UPDATE room_people SET presence = 'left' WHERE room = ? AND identity = ?", (room, identity)
        )

    def presence(self, room: str, identity: str) -> Presence | None:
        """Where somebody stands; None: never admitted."""
        row = self._db.execute(
            "SELECT presence FROM room_people WHERE room = ? AND identity = ?", (room, identity)
        ).fetchone()
        return None if row is None else Presence(row[0])

    def is_anybody_here(self, room: str) -> bool:
        """Whether somebody is known to be in the room's media."""
        return (
            self._db.execute(
                "SELECT 1 FROM room_people WHERE room = ? AND presence = 'here' LIMIT 1", (room,)
            ).fetchone()
            is not None
        )

    def here(self, room: str) -> list[str]:
        """Everybody who was last known to be in the room's media."""
        rows = self._db.execute(
            "SELECT identity FROM room_people WHERE room = ? AND presence = 'here'", (room,)
        )
        return [row[0] for row in rows]

    def name(self, room: str, identity: str) -> str | None:
        """The display name of somebody, or None."""
        return self.names(room, (identity,)).get(identity)

    def names(self, room: str, identities: Iterable[str]) -> dict[str, str]:
        """The display names of these people, as far as they have one."""
        wanted = list(identities)
        marks = ", ".join("?" for _ in wanted)
        rows = self._db.execute(
            f"SELECT identity, name FROM room_people WHERE room = ? AND identity IN ({marks})"
            " AND name IS NOT NULL",
            (room, *wanted),
        )
        return {row[0]: row[1] for row in rows}

    # --- behind it

    def _write(self, name: str, state: RoomState) -> None:
        self._db.execute(
            "INSERT INTO room_states (name, rev, state, watched) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET"
            " rev = excluded.rev, state = excluded.state, watched = excluded.watched",
            (name, state.rev, room_state.to_json(state), bool(state.holders())),
        )

    def _keep(self, room: Room, state: RoomState) -> None:
        self._states[room.name, room.created_at] = state
        self._states.move_to_end((room.name, room.created_at))
        while len(self._states) > KEPT_IN_MEMORY:
            self._states.popitem(last=False)


class RoomChange:
    """One transaction on one room."""

    def __init__(self, state: RoomState) -> None:
        self.state = state
        self.saved: RoomState | None = None

    def save(self, state: RoomState) -> None:
        """Makes this the state of the room."""
        self.saved = state
