"""What the engine must not forget, in SQLite.

Owns: the database file and the table of rooms (those of calls and bans are in `call_store` and `ban_store`).
Runs on the loop thread, synchronously: one process, one connection, WAL, each statement some ten
microseconds. `transaction()` is the atomic check-and-set.
Must not import asyncio or anything that talks to a network.

A commit survives `kill -9` of the engine (WAL, synchronous=NORMAL); a power cut may lose the last
commits, never the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from utdstream.engine.clock import from_ms, to_ms
from utdstream.engine.rules.rooms import Room
from utdstream.engine.store.bans import BanStore
from utdstream.engine.store.calls import CallStore
from utdstream.models import UTDStreamType

SCHEMA_VERSION = 3

_SCHEMA = """
CREATE TABLE IF NOT EXISTS rooms (
    name TEXT PRIMARY KEY, type TEXT NOT NULL, owner TEXT, created_ms INTEGER NOT NULL
);
"""


class Store:
    """The open database. Raises: sqlite3.Error whenever the disk does not do its part."""

    def __init__(self, path: str) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, timeout=5.0)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._undo: list[Callable[[], None]] = []
        version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if version > SCHEMA_VERSION:
            raise sqlite3.DatabaseError(
                f"{path} was written by a newer engine (schema {version}, this one knows {SCHEMA_VERSION})"
            )
        self._db.executescript(_SCHEMA)
        if version == 1:  # calls ring in groups since 2
            self._db.execute("ALTER TABLE calls ADD COLUMN call_group TEXT")
        if 0 < version < 3:  # open calls are in memory since 3
            self._db.execute("DROP INDEX IF EXISTS calls_open")
        self.calls = CallStore(self._db, self._undo_with)
        self.bans = BanStore(self._db)
        self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    @property
    def db(self) -> sqlite3.Connection:
        """The connection, for tables of other files; to be used inside `transaction()`."""
        return self._db

    def close(self) -> None:
        """Closes the file; the store is of no use afterwards."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, and nobody else in between. Must not be held across an `await`."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # some failures of the disk have rolled it back already
                self._db.execute("ROLLBACK")
            for undo in reversed(self._undo):
                undo()
            raise
        finally:
            self._undo.clear()

    def _undo_with(self, undo: Callable[[], None]) -> None:
        """Has `undo` called when the transaction that is under way does not come to be."""
        if self._db.in_transaction:
            self._undo.append(undo)

    def room(self, name: str) -> Room | None:
        """The room of this plain name, or None."""
        row = self._db.execute("SELECT * FROM rooms WHERE name = ?", (name,)).fetchone()
        return None if row is None else _room(row)

    def rooms(self) -> list[Room]:
        """Every room, newest first."""
        rows = self._db.execute("SELECT * FROM rooms ORDER BY created_ms DESC, rowid DESC").fetchall()
        return [_room(row) for row in rows]

    def claim_room(self, room: Room) -> Room:
        """Makes the room unless it exists; gives it `room.owner` unless it has one. The room as it is."""
        self._db.execute(
            "INSERT INTO rooms (name, type, owner, created_ms) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET owner = coalesce(owner, excluded.owner)",
            (room.name, room.type.wire, room.owner, to_ms(room.created_at)),
        )
        row = self._db.execute("SELECT * FROM rooms WHERE name = ?", (room.name,)).fetchone()
        return _room(row)

    def delete_room(self, name: str) -> None:
        """Forgets a room, its owner too."""
        self._db.execute("DELETE FROM rooms WHERE name = ?", (name,))


def _room(row: sqlite3.Row) -> Room:
    return Room(row["name"], UTDStreamType(row["type"]), row["owner"], from_ms(row["created_ms"]))
