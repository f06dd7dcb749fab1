"""Moments in SQLite: when the engine last ran.

Owns: the table. Loop thread.
"""

from __future__ import annotations

from datetime import datetime

from utdstream.engine.clock import from_ms, to_ms
from utdstream.engine.store.sqlite.connection import SqliteConnection

SCHEMA = "CREATE TABLE IF NOT EXISTS moments (name TEXT PRIMARY KEY, at_ms INTEGER NOT NULL);"
_LAST_SEEN = "last seen"


class SqliteMoments:
    """The table of moments."""

    def __init__(self, connection: SqliteConnection) -> None:
        self._db = connection
        self._db.script(SCHEMA)

    def last_seen(self) -> datetime | None:
        """The moment that was written down last, or None."""
        row = self._db.one("SELECT at_ms FROM moments WHERE name = ?", (_LAST_SEEN,))
        return None if row is None else from_ms(row["at_ms"])

    def saw(self, moment: datetime) -> None:
        """Writes down that the engine runs at this moment."""
        self._db.run("INSERT OR REPLACE INTO moments VALUES (?, ?)", (_LAST_SEEN, to_ms(moment)))
