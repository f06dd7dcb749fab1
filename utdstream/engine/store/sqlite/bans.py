"""Bans in SQLite.

Owns: the table of bans. Loop thread. Expired rows are left out of every answer, and deleted when a new ban is
written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from utdstream.engine.clock import from_ms, to_ms
from utdstream.engine.rules.bans import Ban
from utdstream.engine.store.sqlite.connection import Row, SqliteConnection

SCHEMA = """
CREATE TABLE IF NOT EXISTS bans (
    id INTEGER PRIMARY KEY AUTOINCREMENT, identity TEXT NOT NULL, room TEXT, name TEXT, reason TEXT,
    banned_ms INTEGER NOT NULL, expires_ms INTEGER
);
CREATE UNIQUE INDEX IF NOT EXISTS bans_one_each ON bans (identity, coalesce(room, ''));
"""
_ACTIVE = "(expires_ms IS NULL OR expires_ms > :now)"


class SqliteBans:
    """The table of bans."""

    def __init__(self, connection: SqliteConnection) -> None:
        self._db = connection
        self._db.script(SCHEMA)
        self._identities = {row[0] for row in self._db.many("SELECT identity FROM bans")}
        """The identities with a ban, perhaps an expired one: no other costs a look into the database."""

    def put(self, ban: Ban) -> Ban:
        """Writes a ban in the place of the old one; returns it with its number."""
        self._identities.add(ban.identity)
        self._db.run("DELETE FROM bans WHERE expires_ms <= ?", (to_ms(ban.banned_at),))
        self._db.run(
            "DELETE FROM bans WHERE identity = ? AND coalesce(room, '') = ?", (ban.identity, ban.room or "")
        )
        number = self._db.run(
            "INSERT INTO bans (identity, room, name, reason, banned_ms, expires_ms)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (
                ban.identity,
                ban.room,
                ban.name,
                ban.reason,
                to_ms(ban.banned_at),
                None if ban.expires_at is None else to_ms(ban.expires_at),
            ),
        )
        return replace(ban, id=number)

    def lift(self, identity: str, room: str | None, now: datetime, *, everywhere: bool = False) -> int:
        """Deletes the ban of `room` (None: of the project), or every ban; how many were in force."""
        where = "identity = :identity" + ("" if everywhere else " AND coalesce(room, '') = :room")
        values = {"identity": identity, "room": room or "", "now": to_ms(now)}
        number = self._db.number(f"SELECT count(*) FROM bans WHERE {where} AND {_ACTIVE}", values)
        self._db.run(f"DELETE FROM bans WHERE {where}", values)
        return number

    def is_known(self, identity: str) -> bool:
        """False when no ban of this identity is written down."""
        return identity in self._identities

    def of(self, identity: str, now: datetime, *, room: str | None = None) -> list[Ban]:
        """The bans in force that keep this identity out of `room`; None: out of the project."""
        if not self.is_known(identity):
            return []
        return self._many(
            f"SELECT * FROM bans WHERE identity = :identity AND {_ACTIVE} AND (room IS NULL OR room = :room)",
            now,
            identity=identity,
            room=room,
        )

    def since(self, moment: datetime, now: datetime) -> list[Ban]:
        """The bans in force that were pronounced at `moment` or later."""
        return self._many(
            f"SELECT * FROM bans WHERE banned_ms >= :since AND {_ACTIVE}", now, since=to_ms(moment)
        )

    def page(
        self, now: datetime, *, rooms: Sequence[str] | None, page: int, per_page: int
    ) -> tuple[list[Ban], int]:
        """One page of the bans in force, newest first, and their number; `rooms` None: all, else those of
        these rooms alone.
        """
        names = {} if rooms is None else {f"room_{number}": name for number, name in enumerate(rooms)}
        where = _ACTIVE + ("" if rooms is None else f" AND room IN ({', '.join(f':{n}' for n in names)})")
        values = {"now": to_ms(now), **names}
        total = self._db.number(f"SELECT count(*) FROM bans WHERE {where}", values)
        found = self._many(
            f"SELECT * FROM bans WHERE {where} ORDER BY id DESC LIMIT :limit OFFSET :offset",
            now,
            limit=per_page,
            offset=(page - 1) * per_page,
            **names,
        )
        return found, total

    def _many(self, sql: str, now: datetime, **values: object) -> list[Ban]:
        return [_ban(row) for row in self._db.many(sql, {"now": to_ms(now), **values})]


def _ban(row: Row) -> Ban:
    return Ban(
        id=row["id"],
        identity=row["identity"],
        room=row["room"],
        name=row["name"],
        reason=row["reason"],
        banned_at=from_ms(row["banned_ms"]),
        expires_at=None if row["expires_ms"] is None else from_ms(row["expires_ms"]),
    )
