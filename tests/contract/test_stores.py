"""The databases of the engine keep the store's contract, and nothing else of the engine knows one."""

from __future__ import annotations

import re
import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import pytest
from store_contract import StoreContract, a_call, a_key

from utdstream.engine.store.contract import CallFilter, Store, StoreFailed
from utdstream.engine.store.sqlite.database import SqliteStore
from utdstream.models import UTDCallStatus

ROOT = Path(__file__).parents[2]
SQL = re.compile(r"sqlite3|\b(SELECT|INSERT INTO|UPDATE \w+ SET|DELETE FROM|CREATE TABLE|PRAGMA)\b")


class TestSqliteStore(StoreContract):
    @pytest.fixture(autouse=True)
    def _path(self, tmp_path: Path) -> None:
        self.path = str(tmp_path / "engine.db")

    def open(self) -> Store:
        return SqliteStore(self.path)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "engine.db")


def test_sqlite_when_the_disk_is_full_leaves_what_was_there(path: str) -> None:
    """The call that cannot be written is in no memory either, and the next one works."""
    store = SqliteStore(path)
    pages = store.connection.number("PRAGMA page_count")
    store.connection.run(f"PRAGMA max_page_count = {pages}")

    def fill() -> None:
        for number in range(1000):
            with store.transaction():
                store.calls.insert(a_call(f"call_{number}", callee=f"house-{number}"))

    with pytest.raises(StoreFailed, match="full"):
        fill()
    assert len(store.calls.open()) == store.connection.number("SELECT count(*) FROM calls")
    store.connection.run("PRAGMA max_page_count = 100000")
    with store.transaction():
        store.calls.insert(a_call("call_again"))
    store.close()


def test_sqlite_when_the_file_is_of_the_last_release_takes_it_over(path: str) -> None:
    """Its calls are read; the index that nobody uses any more is gone."""
    store = SqliteStore(path)
    store.calls.insert(a_call())
    store.connection.run("CREATE INDEX calls_open ON calls (caller, callee) WHERE status = 'ringing'")
    store.connection.run("PRAGMA user_version = 2")
    store.close()
    again = SqliteStore(path)
    assert again.calls.open() == [a_call()]
    rows = again.connection.many("SELECT name FROM sqlite_master WHERE type = 'index'")
    indexes = [row[0] for row in rows]
    assert "calls_with_room" in indexes
    assert "calls_open" not in indexes
    again.close()


@pytest.mark.parametrize("is_done", [False, True])
def test_sqlite_when_the_file_has_keys_without_break_in_takes_them_over(path: str, *, is_done: bool) -> None:
    """They let nobody break in; an engine that was killed after it had added the column does no harm."""
    store = SqliteStore(path)
    store.keys.insert(replace(a_key(), allow_break_in=()))
    if not is_done:
        store.connection.run("ALTER TABLE app_keys DROP COLUMN allow_break_in")
    store.connection.run("PRAGMA user_version = 5")
    store.close()
    again = SqliteStore(path)
    assert again.keys.all() == [replace(a_key(), allow_break_in=())]
    again.close()


@pytest.mark.parametrize("done", [0, 1, 2])
def test_sqlite_when_the_file_has_calls_without_keys_takes_them_over(path: str, done: int) -> None:
    """They end with no key; an engine that was killed after it had added a column does no harm."""
    store = SqliteStore(path)
    store.calls.insert(a_call())
    for column in ("caller_key", "callee_key")[done:]:
        store.connection.run(f"ALTER TABLE calls DROP COLUMN {column}")
    store.connection.run("PRAGMA user_version = 6")
    store.close()
    again = SqliteStore(path)
    assert again.calls.open() == [a_call()]
    again.close()


def test_sqlite_when_the_file_is_of_a_newer_engine_refuses_it(path: str) -> None:
    """An older engine would not understand what it overwrites."""
    SqliteStore(path).close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(StoreFailed, match="newer"):
        SqliteStore(path)


def test_sqlite_when_the_file_is_none_of_its_own_says_so(tmp_path: Path) -> None:
    """Every failure of the database is the contract's one exception."""
    foreign = tmp_path / "engine.db"
    foreign.write_text("this is no database, and long enough to be looked at as one" * 20)
    with pytest.raises(StoreFailed):
        SqliteStore(str(foreign))


def test_sqlite_when_its_file_is_held_by_another_program_refuses_at_once_and_reads(path: str) -> None:
    """One short wait in all, not one for each request; the first write after it works."""
    store = SqliteStore(path)
    store.calls.insert(a_call())
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")

    def write() -> None:
        with store.transaction():
            store.calls.insert(a_call("call_2", callee="flat"))

    began = time.monotonic()
    for _ in range(100):
        with pytest.raises(StoreFailed, match="locked"):
            write()
        assert store.calls.have_talked("door", "house") is False
        assert store.calls.page(CallFilter(), page=1, per_page=10)[1] == 1
    assert time.monotonic() - began < 1.0
    other.execute("ROLLBACK")
    other.close()
    write()
    assert store.calls.get("call_2") == a_call("call_2", callee="flat")
    store.close()


def test_sqlite_when_open_calls_are_listed_asks_no_table(path: str) -> None:
    """What every inbox asks all the time costs the same with any history: the table is not even there."""
    store = SqliteStore(path)
    store.calls.insert(a_call())
    store.connection.run("DROP TABLE calls")
    rings = CallFilter((UTDCallStatus.RINGING, UTDCallStatus.INITIATING), identity="house")
    assert store.calls.page(rings, page=1, per_page=20) == ([a_call()], 1)
    store.close()


def test_sql_when_looked_for_stands_in_the_databases_alone() -> None:
    """A second database is a second folder, not a search through the engine."""
    found = [
        str(path.relative_to(ROOT))
        for package in ("utdstream", "device")
        for path in (ROOT / package).rglob("*.py")
        if SQL.search(path.read_text(encoding="utf-8")) and "sqlite" not in path.parts
    ]
    assert found == []
