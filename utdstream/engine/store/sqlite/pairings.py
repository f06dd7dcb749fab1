"""Pairings in SQLite, all of them in memory too.

Owns: the table of pairings. Loop thread. There are few, and none is older than some days.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from functools import partial

from utdstream._wire.pairing import CodeSecrets
from utdstream.engine.clock import from_ms, to_ms
from utdstream.engine.rules.keys import KeyTerms
from utdstream.engine.rules.pairing import Pairing
from utdstream.engine.store.sqlite.connection import Row, SqliteConnection

SCHEMA = """
CREATE TABLE IF NOT EXISTS pairings (
    id TEXT PRIMARY KEY, engine_secret TEXT NOT NULL, device_secret TEXT NOT NULL, nonce TEXT NOT NULL,
    terms TEXT NOT NULL, made_under TEXT NOT NULL, created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL, ended TEXT NOT NULL,
    wrong INTEGER NOT NULL, key_id TEXT, digest TEXT, paired_ms INTEGER, device_name TEXT, address TEXT
);
"""


class SqlitePairings:
    """The table of pairings."""

    def __init__(self, connection: SqliteConnection) -> None:
        self._db = connection
        self._db.script(SCHEMA)
        found = [_pairing(row) for row in self._db.many("SELECT * FROM pairings ORDER BY created_ms, rowid")]
        self._by_id = {pairing.id: pairing for pairing in found}

    def put(self, pairing: Pairing) -> None:
        """Writes a pairing, in the place of the one of this id."""
        self._db.run(
            "INSERT OR REPLACE INTO pairings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                pairing.id,
                pairing.secrets.engine,
                pairing.secrets.device,
                pairing.nonce,
                json.dumps(asdict(pairing.terms)),
                pairing.made_under,
                to_ms(pairing.created_at),
                to_ms(pairing.expires_at),
                pairing.ended,
                pairing.wrong,
                pairing.key_id,
                pairing.digest,
                None if pairing.paired_at is None else to_ms(pairing.paired_at),
                pairing.device_name,
                pairing.address,
            ),
        )
        self._db.undo_with(partial(self._is_again, self._by_id))
        self._by_id = {**self._by_id, pairing.id: pairing}

    def get(self, pairing_id: str) -> Pairing | None:
        """The pairing of this id, or None."""
        return self._by_id.get(pairing_id)

    def all(self) -> list[Pairing]:
        """Every pairing, newest first."""
        return list(reversed(self._by_id.values()))

    def forget_old(self, now: datetime) -> None:
        """Deletes the pairings that nobody asks for any more."""
        for pairing in self.all():
            if pairing.is_forgotten(now):
                self._db.run("DELETE FROM pairings WHERE id = ?", (pairing.id,))
                self._db.undo_with(partial(self._is_again, self._by_id))
                self._by_id = {each: kept for each, kept in self._by_id.items() if each != pairing.id}

    def _is_again(self, before: dict[str, Pairing]) -> None:
        self._by_id = before


def _pairing(row: Row) -> Pairing:
    terms = json.loads(row["terms"])
    return Pairing(
        secrets=CodeSecrets(row["id"], row["engine_secret"], row["device_secret"]),
        nonce=row["nonce"],
        terms=KeyTerms(
            identity=terms["identity"],
            name=terms["name"],
            may_host=terms["may_host"],
            rooms=tuple(terms["rooms"]),
            display_name=terms["display_name"],
            allow_break_in=tuple(terms["allow_break_in"]),
        ),
        made_under=row["made_under"],
        created_at=from_ms(row["created_ms"]),
        expires_at=from_ms(row["expires_ms"]),
        ended=row["ended"],
        wrong=row["wrong"],
        key_id=row["key_id"],
        digest=row["digest"],
        paired_at=None if row["paired_ms"] is None else from_ms(row["paired_ms"]),
        device_name=row["device_name"],
        address=row["address"],
    )
