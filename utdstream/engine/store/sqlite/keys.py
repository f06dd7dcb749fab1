"""App keys in SQLite, all of them in memory too.

Owns: the table of keys. Loop thread. Every request asks for a key: it is answered from memory, which follows a
transaction that is rolled back.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from utdstream.engine.clock import from_ms, to_ms
from utdstream.engine.rules.keys import AppKey
from utdstream.engine.store.sqlite.connection import Row, SqliteConnection

SCHEMA = """
CREATE TABLE IF NOT EXISTS app_keys (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, digest TEXT NOT NULL UNIQUE, identity TEXT NOT NULL,
    may_host INTEGER NOT NULL, rooms TEXT NOT NULL, display_name TEXT, created_ms INTEGER NOT NULL,
    revoked_ms INTEGER, allow_break_in TEXT NOT NULL DEFAULT '[]'
);
"""


class SqliteKeys:
    """The table of app keys."""

    def __init__(self, connection: SqliteConnection) -> None:
        self._db = connection
        self._db.script(SCHEMA)
        found = [_key(row) for row in self._db.many("SELECT * FROM app_keys ORDER BY created_ms, rowid")]
        self._by_id = {key.id: key for key in found}
        self._id_of = {key.digest: key.id for key in found}

    def insert(self, key: AppKey) -> None:
        """Writes a new key."""
        self._db.run(
            "INSERT INTO app_keys (id, name, digest, identity, may_host, rooms, display_name, created_ms,"
            " allow_break_in) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                key.id,
                key.name,
                key.digest,
                key.identity,
                key.may_host,
                json.dumps(key.rooms),
                key.display_name,
                to_ms(key.created_at),
                json.dumps(key.allow_break_in),
            ),
        )
        self._db.undo_with(self._without(key))
        self._by_id[key.id] = key
        self._id_of[key.digest] = key.id

    def revoke(self, key_id: str, now: datetime) -> AppKey | None:
        """Writes down that a key is of no use any more; the key, or None. The first moment stays."""
        key = self._by_id.get(key_id)
        if key is None or key.revoked_at is not None:
            return key
        self._db.run("UPDATE app_keys SET revoked_ms = ? WHERE id = ?", (to_ms(now), key_id))
        self._db.undo_with(lambda: self._by_id.update({key_id: key}))
        self._by_id[key_id] = replace(key, revoked_at=now)
        return self._by_id[key_id]

    def get(self, key_id: str) -> AppKey | None:
        """The key of this id, or None."""
        return self._by_id.get(key_id)

    def by_digest(self, digest: str) -> AppKey | None:
        """The key with this digest, or None."""
        key_id = self._id_of.get(digest)
        return None if key_id is None else self._by_id[key_id]

    def all(self) -> list[AppKey]:
        """Every key, newest first."""
        return list(reversed(self._by_id.values()))

    def _without(self, key: AppKey) -> Callable[[], None]:
        def undo() -> None:
            del self._by_id[key.id], self._id_of[key.digest]

        return undo


def _key(row: Row) -> AppKey:
    return AppKey(
        id=row["id"],
        name=row["name"],
        digest=row["digest"],
        identity=row["identity"],
        may_host=bool(row["may_host"]),
        rooms=tuple(json.loads(row["rooms"])),
        display_name=row["display_name"],
        created_at=from_ms(row["created_ms"]),
        revoked_at=None if row["revoked_ms"] is None else from_ms(row["revoked_ms"]),
        allow_break_in=tuple(json.loads(row["allow_break_in"])),
    )
