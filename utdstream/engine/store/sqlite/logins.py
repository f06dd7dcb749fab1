"""Broker logins in SQLite, all of them in memory too.

Owns: the table of logins. Loop thread. A mint asks for a login: it is answered from memory, which follows a
transaction that is rolled back, and writes at most once a day.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from utdstream.engine.clock import EPOCH, from_ms, to_ms
from utdstream.engine.rules.keys import Login
from utdstream.engine.store.sqlite.connection import SqliteConnection

SCHEMA = """
CREATE TABLE IF NOT EXISTS logins (
    identity TEXT NOT NULL, key_id TEXT NOT NULL, seen_ms INTEGER NOT NULL, digest TEXT, ends INTEGER NOT NULL,
    PRIMARY KEY (identity, key_id)
) WITHOUT ROWID;
"""
SEEN_EVERY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class _Row:
    seen_at: datetime = EPOCH
    digest: str | None = None
    ends: bool = False


class SqliteLogins:
    """The table of broker logins."""

    def __init__(self, connection: SqliteConnection) -> None:
        self._db = connection
        self._db.script(SCHEMA)
        self._rows = {
            Login(row["identity"], row["key_id"]): _Row(
                from_ms(row["seen_ms"]), row["digest"], bool(row["ends"])
            )
            for row in self._db.many("SELECT * FROM logins")
        }

    def see(self, login: Login, now: datetime) -> None:
        """Writes down that a login was minted; one that was to end lives on."""
        row = self._rows.get(login, _Row())
        if row.ends or not row.seen_at <= now < row.seen_at + SEEN_EVERY:
            self._put(login, replace(row, seen_at=now, ends=False, digest=None if row.ends else row.digest))

    def tell(self, login: Login, digest: str) -> None:
        """Writes down the password, as a digest, that the broker has."""
        row = self._rows.get(login)
        if row is not None and row.digest != digest:
            self._put(login, replace(row, digest=digest))

    def told(self, login: Login) -> str | None:
        """The digest of the password that the broker has; None: it may have any, or none."""
        row = self._rows.get(login)
        return None if row is None else row.digest

    def end(self, logins: Iterable[Login]) -> None:
        """Writes down that the broker is to forget these logins."""
        for login in logins:
            row = self._rows.get(login)
            if row is not None and not row.ends:
                self._put(login, replace(row, ends=True))

    def forget(self, login: Login) -> None:
        """Deletes a login that the broker has forgotten, unless it was minted again."""
        row = self._rows.get(login)
        if row is not None and row.ends:
            self._db.run("DELETE FROM logins WHERE identity = ? AND key_id = ?", login)
            self._db.undo_with(lambda: self._rows.update({login: row}))
            del self._rows[login]

    def ending(self) -> list[Login]:
        """The logins that the broker is to forget."""
        return [login for login, row in self._rows.items() if row.ends]

    def of(self, *, identity: str | None = None, key_id: str | None = None) -> list[Login]:
        """The logins of this identity, or by this key."""
        if identity is not None and key_id is not None:
            return [login for login in (Login(identity, key_id),) if login in self._rows]
        return [
            login
            for login in self._rows
            if identity in (None, login.identity) and key_id in (None, login.key_id)
        ]

    def unseen_since(self, moment: datetime) -> list[Login]:
        """The logins that were minted before this moment alone."""
        return [login for login, row in self._rows.items() if row.seen_at < moment]

    def _put(self, login: Login, row: _Row) -> None:
        self._db.run(
            "INSERT INTO logins (identity, key_id, seen_ms, digest, ends) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET seen_ms = excluded.seen_ms, digest = excluded.digest,"
            " ends = excluded.ends",
            (*login, to_ms(row.seen_at), row.digest, row.ends),
        )
        before = self._rows.get(login)

        def undo() -> None:
            if before is None:
                del self._rows[login]
            else:
                self._rows[login] = before

        self._db.undo_with(undo)
        self._rows[login] = row
