"""What the engine must not forget: calls and rooms, in SQLite.

Owns: the database file and its schema (the table of bans is in `ban_store`). Runs on the loop thread,
synchronously: one process, one connection, WAL, each statement some ten microseconds. `transaction()` is
the atomic check-and-set.
Must not import asyncio or anything that talks to a network.

A commit survives `kill -9` of the engine (WAL, synchronous=NORMAL); a power cut may lose the last
commits, never the file.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone

from utdstream.engine.ban_store import BanStore
from utdstream.engine.calls import OPEN, CallRecord
from utdstream.engine.rooms import Room
from utdstream.models import UTDCall, UTDCallStatus, UTDStreamType

SCHEMA_VERSION = 2
KEEP_CALLS_S = 90 * 24 * 3600
"""Calls older than this are forgotten."""

_OPEN_SQL = ", ".join(f"'{status.wire}'" for status in OPEN)
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS calls (
    call_id TEXT PRIMARY KEY, type TEXT NOT NULL, status TEXT NOT NULL,
    caller TEXT NOT NULL, callee TEXT NOT NULL, caller_name TEXT, callee_name TEXT, metadata TEXT,
    created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, answered_ms INTEGER, ended_ms INTEGER,
    duration_s INTEGER, end_reason TEXT, rev INTEGER NOT NULL, max_duration_s REAL NOT NULL,
    caller_seen INTEGER NOT NULL, callee_seen INTEGER NOT NULL, room_open INTEGER NOT NULL,
    accept_key TEXT, idempotency_key TEXT, call_group TEXT
);
CREATE INDEX IF NOT EXISTS calls_by_age ON calls (created_ms);
CREATE INDEX IF NOT EXISTS calls_by_caller ON calls (caller, created_ms);
CREATE INDEX IF NOT EXISTS calls_by_callee ON calls (callee, created_ms);
CREATE INDEX IF NOT EXISTS calls_open ON calls (caller, callee) WHERE status IN ({_OPEN_SQL});
CREATE INDEX IF NOT EXISTS calls_with_room ON calls (call_id) WHERE room_open = 1;
CREATE INDEX IF NOT EXISTS calls_by_key ON calls (caller, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE TABLE IF NOT EXISTS rooms (
    name TEXT PRIMARY KEY, type TEXT NOT NULL, owner TEXT, created_ms INTEGER NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class CallFilter:
    """What `GET /calls` may ask for; None: any."""

    statuses: tuple[UTDCallStatus, ...] | None = None
    type: UTDStreamType | None = None
    identity: str | None = None
    peer: str | None = None
    """A second identity that must be a party too."""
    created_from: datetime | None = None
    created_until: datetime | None = None


class Store:
    """The open database. Raises: sqlite3.Error whenever the disk does not do its part."""

    def __init__(self, path: str) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, timeout=5.0)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if version > SCHEMA_VERSION:
            raise sqlite3.DatabaseError(
                f"{path} was written by a newer engine (schema {version}, this one knows {SCHEMA_VERSION})"
            )
        self._db.executescript(_SCHEMA)
        if version == 1:  # calls ring in groups since 2
            self._db.execute("ALTER TABLE calls ADD COLUMN call_group TEXT")
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
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def forget_old_calls(self, now: datetime) -> None:
        """Drops calls that were over long ago."""
        limit = _ms(now) - KEEP_CALLS_S * 1000
        self._db.execute(
            f"DELETE FROM calls WHERE created_ms < ? AND room_open = 0 AND status NOT IN ({_OPEN_SQL})",
            (limit,),
        )

    def insert_call(self, record: CallRecord, idempotency_key: str | None = None) -> None:
        """Writes a new call."""
        row = {**_row_of(record), "idempotency_key": idempotency_key}
        names = ", ".join(row)
        marks = ", ".join("?" for _ in row)
        self._db.execute(f"INSERT INTO calls ({names}) VALUES ({marks})", tuple(row.values()))

    def save_call(self, record: CallRecord) -> None:
        """Overwrites what is known of a call."""
        row = _row_of(record)
        call_id = row.pop("call_id")
        assignments = ", ".join(f"{name} = ?" for name in row)
        self._db.execute(f"UPDATE calls SET {assignments} WHERE call_id = ?", (*row.values(), call_id))

    def delete_call(self, call_id: str) -> None:
        """Forgets a call that never came to be."""
        self._db.execute("DELETE FROM calls WHERE call_id = ?", (call_id,))

    def call(self, call_id: str) -> CallRecord | None:
        """The call of this id, or None."""
        return self._one("SELECT * FROM calls WHERE call_id = ?", call_id)

    def call_by_key(self, caller: str, idempotency_key: str) -> CallRecord | None:
        """The newest call that this caller made with this Idempotency-Key, or None."""
        return self._one(
            "SELECT * FROM calls WHERE caller = ? AND idempotency_key = ? ORDER BY created_ms DESC LIMIT 1",
            caller,
            idempotency_key,
        )

    def open_calls(self) -> list[CallRecord]:
        """Every call that is not over."""
        return self._many(f"SELECT * FROM calls WHERE status IN ({_OPEN_SQL})")

    def open_calls_of(self, identity: str) -> list[CallRecord]:
        """The calls of this identity, on either side, that are not over."""
        return self._many(
            f"SELECT * FROM calls WHERE status IN ({_OPEN_SQL}) AND (caller = ? OR callee = ?)",
            identity,
            identity,
        )

    def calls_with_room(self) -> list[CallRecord]:
        """Every call whose room may still exist on the media server: the open and the closing ones."""
        return self._many("SELECT * FROM calls WHERE room_open = 1")

    def calls_page(self, wanted: CallFilter, *, page: int, per_page: int) -> tuple[list[CallRecord], int]:
        """One page of calls, newest first, and how many there are in all."""
        where, values = _where(wanted)
        total = int(self._db.execute(f"SELECT count(*) FROM calls {where}", values).fetchone()[0])
        rows = self._many(
            f"SELECT * FROM calls {where} ORDER BY created_ms DESC, rowid DESC LIMIT ? OFFSET ?",
            *values,
            per_page,
            (page - 1) * per_page,
        )
        return rows, total

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
            (room.name, room.type.wire, room.owner, _ms(room.created_at)),
        )
        row = self._db.execute("SELECT * FROM rooms WHERE name = ?", (room.name,)).fetchone()
        return _room(row)

    def delete_room(self, name: str) -> None:
        """Forgets a room, its owner too."""
        self._db.execute("DELETE FROM rooms WHERE name = ?", (name,))

    def _one(self, sql: str, *values: object) -> CallRecord | None:
        row = self._db.execute(sql, values).fetchone()
        return None if row is None else _record(row)

    def _many(self, sql: str, *values: object) -> list[CallRecord]:
        return [_record(row) for row in self._db.execute(sql, values).fetchall()]


def _where(wanted: CallFilter) -> tuple[str, Sequence[object]]:
    clauses: list[str] = []
    values: list[object] = []
    if wanted.statuses is not None:
        clauses.append(f"status IN ({', '.join('?' for _ in wanted.statuses)})")
        values.extend(status.wire for status in wanted.statuses)
    if wanted.type is not None:
        clauses.append("type = ?")
        values.append(wanted.type.wire)
    for identity in (wanted.identity, wanted.peer):
        if identity is not None:
            clauses.append("(caller = ? OR callee = ?)")
            values.extend((identity, identity))
    if wanted.created_from is not None:
        clauses.append("created_ms >= ?")
        values.append(_ms(wanted.created_from))
    if wanted.created_until is not None:
        clauses.append("created_ms <= ?")
        values.append(_ms(wanted.created_until))
    return (f"WHERE {' AND '.join(clauses)}" if clauses else "", values)


def _row_of(record: CallRecord) -> dict[str, object]:
    call = record.call
    return {
        "call_id": call.call_id,
        "type": call.type.wire,
        "status": call.status.wire,
        "caller": record.caller,
        "callee": record.callee,
        "caller_name": call.caller_name,
        "callee_name": call.callee_name,
        "metadata": None if call.metadata is None else json.dumps(dict(call.metadata)),
        "created_ms": _ms(call.created_at),
        "expires_ms": _ms(call.expires_at),
        "answered_ms": _ms(call.answered_at),
        "ended_ms": _ms(call.ended_at),
        "duration_s": call.duration_seconds,
        "end_reason": call.end_reason,
        "rev": record.rev,
        "max_duration_s": record.max_duration_s,
        "caller_seen": record.caller_seen,
        "callee_seen": record.callee_seen,
        "room_open": record.room_open,
        "accept_key": record.accept_key,
        "call_group": call.group,
    }


def _record(row: sqlite3.Row) -> CallRecord:
    return CallRecord(
        call=UTDCall(
            call_id=row["call_id"],
            status=UTDCallStatus(row["status"]),
            type=UTDStreamType(row["type"]),
            room_name=row["call_id"],
            caller_identity=row["caller"],
            callee_identity=row["callee"],
            caller_name=row["caller_name"],
            callee_name=row["callee_name"],
            created_at=_moment(row["created_ms"]),
            expires_at=_moment(row["expires_ms"]),
            answered_at=_moment(row["answered_ms"]),
            ended_at=_moment(row["ended_ms"]),
            duration_seconds=row["duration_s"],
            end_reason=row["end_reason"],
            metadata=None if row["metadata"] is None else json.loads(row["metadata"]),
            rev=row["rev"],
            group=row["call_group"],
        ),
        max_duration_s=row["max_duration_s"],
        caller_seen=bool(row["caller_seen"]),
        callee_seen=bool(row["callee_seen"]),
        room_open=bool(row["room_open"]),
        accept_key=row["accept_key"],
    )


def _room(row: sqlite3.Row) -> Room:
    return Room(row["name"], UTDStreamType(row["type"]), row["owner"], _moment(row["created_ms"]) or _EPOCH)


_EPOCH = datetime.fromtimestamp(0, timezone.utc)


def _ms(moment: datetime | None) -> int:
    return 0 if moment is None else round(moment.timestamp() * 1000)


def _moment(milliseconds: int | None) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc) if milliseconds else None
