"""The store's contract fulfilled by one SQLite file.

Owns: the order in which the tables are made, and the versions of the file. Loop thread. The tables are in the
files beside this one.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from utdstream.engine.store.contract import StoreFailed
from utdstream.engine.store.sqlite.bans import SqliteBans
from utdstream.engine.store.sqlite.calls import SqliteCalls
from utdstream.engine.store.sqlite.connection import SqliteConnection
from utdstream.engine.store.sqlite.good_copy import GoodCopy, mend
from utdstream.engine.store.sqlite.keys import SqliteKeys
from utdstream.engine.store.sqlite.logins import SqliteLogins
from utdstream.engine.store.sqlite.moments import SqliteMoments
from utdstream.engine.store.sqlite.pairings import SqlitePairings
from utdstream.engine.store.sqlite.rooms import SqlitePeople, SqliteRooms, SqliteStates

SCHEMA_VERSION = 7


def open_store(path: str) -> SqliteStore:
    """The store at `path`, made or mended before it is opened, with a good copy to take. Raises: StoreFailed."""
    mend(Path(path), lambda draft: SqliteStore(str(draft)).close())
    store = SqliteStore(path)
    store.copy = GoodCopy(Path(path), lambda: store.connection.counts)
    return store


class SqliteStore:
    """The open file. Raises: StoreFailed for a file of a newer engine, and whenever the disk fails."""

    def __init__(self, path: str) -> None:
        self.connection = SqliteConnection(path)
        self.copy: GoodCopy | None = None
        version = self.connection.number("PRAGMA user_version")
        if version > SCHEMA_VERSION:
            self.connection.close()
            raise StoreFailed(
                f"{path} was written by a newer engine (schema {version}, this one knows {SCHEMA_VERSION})"
            )
        if version == 1:  # calls ring in groups since 2
            self._add_column("calls", "call_group", "TEXT")
        if 0 < version < 3:  # open calls are in memory since 3
            self.connection.run("DROP INDEX IF EXISTS calls_open")
        if version in (4, 5):  # keys say who may break in since 6
            self._add_column("app_keys", "allow_break_in", "TEXT NOT NULL DEFAULT '[]'")
        if 0 < version < 7:  # calls say by which keys they were made and answered since 7
            self._add_column("calls", "caller_key", "TEXT NOT NULL DEFAULT ''")
            self._add_column("calls", "callee_key", "TEXT NOT NULL DEFAULT ''")
        self.calls = SqliteCalls(self.connection)
        self.rooms = SqliteRooms(self.connection)
        self.states = SqliteStates(self.connection)
        self.people = SqlitePeople(self.connection)
        self.bans = SqliteBans(self.connection)
        self.keys = SqliteKeys(self.connection)  # since 4
        self.logins = SqliteLogins(self.connection)  # since 5
        self.pairings = SqlitePairings(self.connection)
        self.moments = SqliteMoments(self.connection)
        if version != SCHEMA_VERSION:
            self.connection.run(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self.connection.opened()

    def _add_column(self, table: str, name: str, type: str) -> None:
        """Adds a column, unless an engine that was killed here has added it."""
        columns = "SELECT count(*) FROM pragma_table_info(?) WHERE name = ?"
        if not self.connection.number(columns, (table, name)):
            self.connection.run(f"ALTER TABLE {table} ADD COLUMN {name} {type}")

    @property
    def is_damaged(self) -> bool:
        """Whether the file was found damaged since it was opened: another opening mends it."""
        return self.connection.is_damaged

    def transaction(self, *, lasts: bool = False) -> AbstractContextManager[None]:
        """All or nothing, on the disk and in memory; what `lasts` outlives a power cut from here on."""
        return self.connection.transaction(lasts=lasts)

    def close(self) -> None:
        """Closes the file; the store is of no use afterwards."""
        self.connection.close()
