"""Calls in SQLite.

Owns: the table of calls, and the memory of those that are not done with. Loop thread. Must not import asyncio or
anything that talks to a network.

1. This process alone writes the file: every call whose room may still exist (so every open one) is kept in
   memory, and read from there, pages of open calls too. Only what is over comes from the disk.
2. What a transaction changed in memory is taken back when it is rolled back.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from utdstream._wire.call_states import OPEN_STATES
from utdstream.engine.clock import from_ms, to_ms
from utdstream.engine.rules.calls import CallRecord
from utdstream.engine.store.contract import KEEP_CALLS_S, CallFilter
from utdstream.engine.store.sqlite.connection import Row, SqliteConnection
from utdstream.models import UTDCall, UTDCallStatus, UTDStreamType

_OPEN_SQL = ", ".join(f"'{status.wire}'" for status in OPEN_STATES)
SCHEMA = """
CREATE TABLE IF NOT EXISTS calls (
    call_id TEXT PRIMARY KEY, type TEXT NOT NULL, status TEXT NOT NULL,
    caller TEXT NOT NULL, callee TEXT NOT NULL, caller_name TEXT, callee_name TEXT, metadata TEXT,
    created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, answered_ms INTEGER, ended_ms INTEGER,
    duration_s INTEGER, end_reason TEXT, rev INTEGER NOT NULL, max_duration_s REAL NOT NULL,
    caller_seen INTEGER NOT NULL, callee_seen INTEGER NOT NULL, room_open INTEGER NOT NULL,
    accept_key TEXT, idempotency_key TEXT, call_group TEXT,
    caller_key TEXT NOT NULL DEFAULT '', callee_key TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS calls_by_age ON calls (created_ms);
CREATE INDEX IF NOT EXISTS calls_by_caller ON calls (caller, created_ms);
CREATE INDEX IF NOT EXISTS calls_by_callee ON calls (callee, created_ms);
CREATE INDEX IF NOT EXISTS calls_with_room ON calls (call_id) WHERE room_open = 1;
CREATE INDEX IF NOT EXISTS calls_answered ON calls (caller, callee) WHERE answered_ms > 0;
CREATE INDEX IF NOT EXISTS calls_by_key ON calls (caller, idempotency_key) WHERE idempotency_key IS NOT NULL;
"""


class SqliteCalls:
    """The table of calls."""

    def __init__(self, connection: SqliteConnection) -> None:
        self._db = connection
        self._db.script(SCHEMA)
        self._live: dict[str, CallRecord] = {}
        self._row_ids: dict[str, int] = {}
        """Of the calls in memory: the order in which they were inserted."""
        self._open_of: dict[str, dict[str, CallRecord]] = {}
        for row in self._db.many("SELECT rowid, * FROM calls WHERE room_open = 1"):
            self._remember(row["call_id"], _record(row), row["rowid"])

    def forget_old(self, now: datetime) -> None:
        """Forgets the calls that are over, have no room, and are older than `KEEP_CALLS_S`."""
        limit = _ms(now) - KEEP_CALLS_S * 1000
        self._db.run(
            f"DELETE FROM calls WHERE created_ms < ? AND room_open = 0 AND status NOT IN ({_OPEN_SQL})",
            (limit,),
        )

    def insert(self, record: CallRecord, idempotency_key: str | None = None) -> None:
        """Writes a new call."""
        row = {**_row_of(record), "idempotency_key": idempotency_key}
        names = ", ".join(row)
        marks = ", ".join("?" for _ in row)
        row_id = self._db.run(f"INSERT INTO calls ({names}) VALUES ({marks})", tuple(row.values()))
        self._remember(record.call_id, record, row_id)

    def save(self, record: CallRecord) -> None:
        """Overwrites what may change of a call."""
        row = _changing(record)
        assignments = ", ".join(f"{name} = ?" for name in row)
        self._db.run(f"UPDATE calls SET {assignments} WHERE call_id = ?", (*row.values(), record.call_id))
        self._remember(record.call_id, record, self._row_ids.get(record.call_id, 0))

    def room_closed(self, call_id: str) -> None:
        """Writes down that the media server closed the room of this call."""
        record = self.get(call_id)
        if record is not None and record.room_open:
            self.save(replace(record, room_open=False))

    def get(self, call_id: str) -> CallRecord | None:
        """The call of this id, or None."""
        live = self._live.get(call_id)
        return live if live is not None else self._one("SELECT * FROM calls WHERE call_id = ?", call_id)

    def by_key(self, caller: str, idempotency_key: str) -> CallRecord | None:
        """The newest call that this caller made with this Idempotency-Key, or None."""
        return self._one(
            "SELECT * FROM calls WHERE caller = ? AND idempotency_key = ? ORDER BY created_ms DESC LIMIT 1",
            caller,
            idempotency_key,
        )

    def is_open(self, call_id: str) -> bool:
        """Whether there is a call of this id that is not over."""
        live = self._live.get(call_id)
        return live is not None and live.is_open

    def open(self) -> list[CallRecord]:
        """Every call that is not over."""
        return [record for record in self._live.values() if record.is_open]

    def open_of(self, identity: str) -> list[CallRecord]:
        """The calls of this identity, on either side, that are not over."""
        return list(self._open_of.get(identity, {}).values())

    def have_talked(self, one: str, other: str) -> bool:
        """Whether one of these two has answered a call of the other that is not forgotten."""
        sql = "SELECT 1 FROM calls WHERE caller = ? AND callee = ? AND answered_ms > 0 LIMIT 1"
        return any(self._db.one(sql, pair) is not None for pair in ((one, other), (other, one)))

    def with_room(self) -> list[CallRecord]:
        """Every call whose room may still exist on the media server: the open and the closing ones."""
        return list(self._live.values())

    def page(self, wanted: CallFilter, *, page: int, per_page: int) -> tuple[list[CallRecord], int]:
        """One page of calls, newest first, and how many there are in all."""
        if wanted.statuses is not None and set(wanted.statuses) <= {*OPEN_STATES}:
            found = self._open_page(wanted)
            return found[(page - 1) * per_page : page * per_page], len(found)
        where, values = _where(wanted)
        total = self._db.number(f"SELECT count(*) FROM calls {where}", values)
        rows = self._many(
            f"SELECT * FROM calls {where} ORDER BY created_ms DESC, rowid DESC LIMIT ? OFFSET ?",
            *values,
            per_page,
            (page - 1) * per_page,
        )
        return rows, total

    def _open_page(self, wanted: CallFilter) -> list[CallRecord]:
        """Every call that matches, newest first, when only open ones can (each inbox asks so all the time)."""
        one = wanted.identity or wanted.peer
        found = self.open() if one is None else self.open_of(one)
        found = [record for record in found if wanted.holds(record)]
        return sorted(
            found,
            key=lambda record: (_ms(record.call.created_at), self._row_ids[record.call_id]),
            reverse=True,
        )

    def _remember(self, call_id: str, record: CallRecord | None, row_id: int = 0) -> None:
        """Puts a call in the memory as it is now; None, or one that is done with: takes it out."""
        before = self._live.pop(call_id, None)
        row_id_before = self._row_ids.pop(call_id, 0)
        if before is not None and before.is_open:
            for identity in (before.caller, before.callee):
                of_this = self._open_of[identity]
                del of_this[call_id]
                if not of_this:
                    del self._open_of[identity]
        if record is not None and record.room_open:
            self._live[call_id] = record
            self._row_ids[call_id] = row_id
            if record.is_open:
                for identity in (record.caller, record.callee):
                    self._open_of.setdefault(identity, {})[call_id] = record
        self._db.undo_with(lambda: self._remember(call_id, before, row_id_before))

    def _one(self, sql: str, *values: object) -> CallRecord | None:
        row = self._db.one(sql, values)
        return None if row is None else _record(row)

    def _many(self, sql: str, *values: object) -> list[CallRecord]:
        return [_record(row) for row in self._db.many(sql, values)]


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
        "caller": record.caller,
        "callee": record.callee,
        "caller_name": call.caller_name,
        "callee_name": call.callee_name,
        "metadata": None if call.metadata is None else json.dumps(dict(call.metadata)),
        "created_ms": _ms(call.created_at),
        "expires_ms": _ms(call.expires_at),
        "max_duration_s": record.max_duration_s,
        "call_group": call.group,
        "caller_key": record.caller_key,
        **_changing(record),
    }


def _changing(record: CallRecord) -> dict[str, object]:
    call = record.call
    return {
        "status": call.status.wire,
        "answered_ms": _ms(call.answered_at),
        "ended_ms": _ms(call.ended_at),
        "duration_s": call.duration_seconds,
        "end_reason": call.end_reason,
        "rev": record.rev,
        "caller_seen": record.caller_seen,
        "callee_seen": record.callee_seen,
        "room_open": record.room_open,
        "accept_key": record.accept_key,
        "callee_key": record.callee_key,
    }


def _record(row: Row) -> CallRecord:
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
        caller_key=row["caller_key"],
        callee_key=row["callee_key"],
    )


def _ms(moment: datetime | None) -> int:
    return 0 if moment is None else to_ms(moment)


def _moment(milliseconds: int | None) -> datetime | None:
    return from_ms(milliseconds) if milliseconds else None
