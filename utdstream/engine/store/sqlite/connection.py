"""One connection to one SQLite file: statements, transactions, and the memory that follows them.

Owns: the only use of `sqlite3`, the mapping of its errors, what is undone in memory when a transaction is.
Loop thread, synchronously: each statement takes some ten microseconds. Must not import asyncio.

Another program may hold the file (a backup, a person with a database browser). Then the engine, whose only thread
this is, waits `BUSY_MS` once, and not again until a write worked: what needs to write is refused meanwhile, what
reads is answered, nothing stands still.

A commit survives `kill -9` of the engine (WAL, synchronous=NORMAL); a power cut may lose the last commits, never
the file. What must last (keys, bans) is on the disk when its transaction ends, in the file itself: a damaged log
(`-wal`) cannot take it back.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from utdstream.engine.store.contract import StoreFailed

Row = sqlite3.Row
OPEN_WITHIN_S = 5.0
"""For a file that another program holds when the engine starts: nobody waits for an answer yet."""
BUSY_MS = 50
"""For a lock of another program: a checkpoint or a small write is over in less."""
Values = Sequence[object] | Mapping[str, object]


def tells_damage(error: sqlite3.Error) -> bool:
    """Whether this error says that the file itself is damaged."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class SqliteConnection:
    """An open file. Raises: StoreFailed whenever the disk does not do its part."""

    def __init__(self, path: str) -> None:
        self._undo: list[Callable[[], None]] = []
        self._is_held = False
        self.is_damaged = False
        """SQLite has said so of the file; what is read from now on may be anything."""
        self.counts = (0, 0)
        """The transactions that were carried out, and those among them that must last. Any thread may read it."""
        try:
            self._db = sqlite3.connect(path, isolation_level=None, timeout=OPEN_WITHIN_S)
        except sqlite3.Error as error:
            raise StoreFailed(f"{path} cannot be opened: {error}") from error
        self._db.row_factory = sqlite3.Row
        try:
            self.run("PRAGMA journal_mode = WAL")
            self.run("PRAGMA synchronous = NORMAL")
        except StoreFailed:
            self._db.close()
            raise

    def opened(self) -> None:
        """The tables are there: from now on no statement waits long for another program."""
        self._wait_at_most(BUSY_MS)

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def run(self, sql: str, values: Values = ()) -> int:
        """Carries out one statement; the number of the row it inserted, if it did."""
        try:
            row_id = self._db.execute(sql, values).lastrowid or 0
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY and not self._is_held:
                self._is_held = True
                self._wait_at_most(0)
            raise self._failed(error) from error
        except sqlite3.Error as error:
            raise self._failed(error) from error
        if self._is_held:
            self._is_held = False
            self._wait_at_most(BUSY_MS)
        return row_id

    def script(self, sql: str) -> None:
        """Carries out several statements, outside of any transaction."""
        try:
            self._db.executescript(sql)
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def one(self, sql: str, values: Values = ()) -> Row | None:
        """The first row, or None."""
        try:
            row: Row | None = self._db.execute(sql, values).fetchone()
        except sqlite3.Error as error:
            raise self._failed(error) from error
        return row

    def many(self, sql: str, values: Values = ()) -> list[Row]:
        """Every row."""
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def number(self, sql: str, values: Values = ()) -> int:
        """The one number that a statement such as `SELECT count(*)` asks for."""
        row = self.one(sql, values)
        return 0 if row is None else int(row[0])

    @contextmanager
    def transaction(self, *, lasts: bool = False) -> Iterator[None]:
        """All or nothing, on the disk and in memory; what `lasts` outlives a power cut from here on."""
        if lasts:
            self._db.execute("PRAGMA synchronous = FULL")
        try:
            self.run("BEGIN IMMEDIATE")
            yield
            self.run("COMMIT")
            self.counts = (self.counts[0] + 1, self.counts[1] + lasts)
        except BaseException:
            if self._db.in_transaction:  # some failures of the disk have rolled it back already
                self.run("ROLLBACK")
            for undo in reversed(self._undo):
                undo()
            raise
        finally:
            self._undo.clear()
            if lasts:
                self._checkpoint()

    def _checkpoint(self) -> None:
        """Has all that was committed in the file itself. When the disk does not do it now, it is done later."""
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        self._db.execute("PRAGMA synchronous = NORMAL")

    def _failed(self, error: sqlite3.Error) -> StoreFailed:
        self.is_damaged = self.is_damaged or tells_damage(error)
        return StoreFailed(str(error))

    def _wait_at_most(self, milliseconds: int) -> None:
        self._db.execute(f"PRAGMA busy_timeout = {milliseconds}")

    def undo_with(self, undo: Callable[[], None]) -> None:
        """Has `undo` called when the transaction that is under way does not come to be."""
        if self._db.in_transaction:
            self._undo.append(undo)
