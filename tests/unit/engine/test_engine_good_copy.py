"""The engine's database, damaged in every way a power cut knows, and its good copy."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from damage import KINDS

from utdstream.engine import clock
from utdstream.engine.background import Timers
from utdstream.engine.flows.good_copies import GoodCopies
from utdstream.engine.rules import calls
from utdstream.engine.rules.bans import Ban
from utdstream.engine.rules.keys import AppKey
from utdstream.engine.store.contract import CallFilter, StoreFailed
from utdstream.engine.store.sqlite import good_copy
from utdstream.engine.store.sqlite.database import SqliteStore, open_store
from utdstream.models import UTDStreamType
from utdstream.whole_files import aside_in

SEEDS = range(4)
ENDS = ("", "-wal")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "engine.db"


@contextlib.contextmanager
def opened(path: Path) -> Iterator[SqliteStore]:
    store = open_store(str(path))
    try:
        yield store
    finally:
        store.close()


def a_key(number: int) -> AppKey:
    return AppKey(
        id=f"key_{number}",
        name="door",
        digest=f"digest {number}",
        identity=f"door-{number}",
        may_host=False,
        rooms=("*",),
        created_at=clock.now(),
    )


def a_call(number: int) -> calls.CallRecord:
    return calls.new_call(
        call_id=f"call_{number}",
        type=UTDStreamType.AUDIO_CALL,
        caller="door",
        callee="house",
        now=clock.now(),
        ring_timeout_s=30,
        max_duration_s=60,
    )


def write(store: SqliteStore, *, key: int, banned: str) -> None:
    with store.transaction(lasts=True):
        store.keys.insert(a_key(key))
        store.bans.put(Ban(0, banned, None, clock.now(), None))


def take_when_due(store: SqliteStore) -> bool:
    assert store.copy is not None
    is_due = store.copy.is_due()
    if is_due:
        store.copy.take()
    return is_due


def holds(store: SqliteStore, *, keys: int, banned: str) -> bool:
    return len(store.keys.all()) == keys and bool(store.bans.of(banned, clock.now()))


def cut_the_power(path: Path, folder: Path) -> None:
    """What is on the disk in this moment, the log too, as another machine would find it."""
    folder.mkdir()
    for end in ("", "-wal", ".good"):
        file = Path(f"{path}{end}")
        if file.exists():
            Path(f"{folder / path.name}{end}").write_bytes(file.read_bytes())


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "of_wrong_mode"])
def test_database_when_damaged_keeps_keys_and_bans(path: Path, tmp_path: Path, kind: str, end: str) -> None:
    """In the file or in its log: nobody is let in that was out, and no key is void."""
    with opened(path) as store:
        write(store, key=1, banned="mallory")
        store.calls.insert(a_call(1))
        write(store, key=2, banned="eve")
        store.calls.insert(a_call(2))
        assert take_when_due(store)
        for seed in SEEDS:
            after = tmp_path / f"after-{seed}"
            cut_the_power(path, after)
            found = Path(f"{after / path.name}{end}")
            assert found.stat().st_size > 0
            KINDS[kind](found, random.Random(seed))
            with opened(after / path.name) as again:
                assert holds(again, keys=2, banned="mallory")
                assert holds(again, keys=2, banned="eve")
                write(again, key=3, banned="trudy")
            if end == "" and kind != "missing":
                assert [one.name.split(".bad-")[0] for one in aside_in(after)] == ["engine.db"]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("missing", "of_wrong_mode")])
def test_database_when_damaged_without_a_good_copy_is_refused_with_a_sentence(path: Path, kind: str) -> None:
    """An empty one in its place would void every key and lift every ban."""
    with opened(path) as store:
        write(store, key=1, banned="mallory")
    whole = path.read_bytes()
    KINDS[kind](path, random.Random(3))
    damaged = path.read_bytes()
    with pytest.raises(StoreFailed, match=r"there is no good copy of it; put a back-up there"):
        open_store(str(path))
    assert path.read_bytes() == damaged
    path.write_bytes(whole)
    with opened(path) as store:
        assert holds(store, keys=1, banned="mallory")


def test_database_when_it_may_not_be_read_any_more_is_the_owners_again(path: Path) -> None:
    """A copy by hand leaves a file that even its owner may not write."""
    with opened(path) as store:
        write(store, key=1, banned="mallory")
    path.chmod(0o400)
    with opened(path) as store:
        write(store, key=2, banned="eve")
        assert holds(store, keys=2, banned="mallory")


def test_new_database_when_the_power_goes_while_it_is_made_is_made_again(path: Path) -> None:
    """It takes its name when it is whole: what has the name and is empty was never new."""
    (path.parent / ".engine.db.draft").write_bytes(b"half of it")
    with opened(path) as store:
        write(store, key=1, banned="mallory")
    assert {one.name for one in path.parent.iterdir()} == {"engine.db"}


def test_good_copy_when_keys_change_is_due_at_once_else_within_the_hour(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Idle, nothing is written; a busy hour writes one copy."""
    monkeypatch.setattr(good_copy, "BYTES_A_S", 1e12)
    with opened(path) as store:
        assert take_when_due(store)
        assert not take_when_due(store)
        with store.transaction():
            store.calls.insert(a_call(1))
        assert not take_when_due(store)
        aged = good_copy.copy_of(path)
        os.utime(aged, (0, aged.stat().st_mtime - good_copy.EVERY_S - 1))
        assert take_when_due(store)
        os.utime(aged, (0, aged.stat().st_mtime - good_copy.EVERY_S - 1))
        assert not take_when_due(store)
        write(store, key=1, banned="mallory")
        assert take_when_due(store)


def test_good_copy_when_bans_come_all_the_time_spares_the_card(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one waits for as long as its size is worth."""
    monkeypatch.setattr(good_copy, "BYTES_A_S", 1)
    with opened(path) as store:
        assert take_when_due(store)
        write(store, key=1, banned="mallory")
        assert not take_when_due(store)


def test_good_copy_when_the_history_is_long_leaves_it_out(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its size is bounded; keys, bans, rooms and the calls of now are what it is for."""
    monkeypatch.setattr(good_copy, "MOST_BYTES", 100_000)
    with opened(path) as store:
        write(store, key=1, banned="mallory")
        with store.transaction():
            for number in range(900):
                ended = calls.end(a_call(number), "door", clock.now() + timedelta(seconds=1))
                store.calls.insert(replace(ended, room_open=False))
            store.calls.insert(a_call(901))
        assert take_when_due(store)
    copy = good_copy.copy_of(path)
    assert path.stat().st_size > 200_000 > copy.stat().st_size
    path.write_bytes(b"")
    with opened(path) as again:
        assert holds(again, keys=1, banned="mallory")
        assert [record.call_id for record in again.calls.open()] == ["call_901"]


def test_good_copy_when_the_database_is_damaged_meanwhile_stays_as_it_was(path: Path) -> None:
    """What is damaged never takes the place of what is good."""
    with opened(path) as store:
        write(store, key=1, banned="mallory")
        assert take_when_due(store)
        good = good_copy.copy_of(path).read_bytes()
        assert store.copy is not None
        with contextlib.closing(sqlite3.connect(path)) as other:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(random.Random(1).randbytes(8 * 4096))
        with pytest.raises(StoreFailed, match="no good copy is taken now"):
            store.copy.take()
    assert good_copy.copy_of(path).read_bytes() == good
    with opened(path) as again:
        assert holds(again, keys=1, banned="mallory")


def test_database_when_damaged_while_it_is_open_says_so(path: Path) -> None:
    """Whoever opens it again has it mended; until then nothing of it can be relied on."""
    with opened(path) as store:
        write(store, key=1, banned="mallory")
        with store.transaction():
            for number in range(300):
                store.calls.insert(replace(calls.end(a_call(number), "door", clock.now()), room_open=False))
        assert take_when_due(store)
    with opened(path) as store:
        assert not store.is_damaged
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(random.Random(1).randbytes(path.stat().st_size - 4096))
        with pytest.raises(StoreFailed):
            store.calls.page(CallFilter(), page=1, per_page=100)
        assert store.is_damaged
    with opened(path) as again:
        assert holds(again, keys=1, banned="mallory")


def test_engine_when_its_database_is_damaged_stops_in_good_order(path: Path) -> None:
    """Whatever runs it starts it again, with the good copy."""
    stopped = []
    before = signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))

    async def run() -> None:
        timers = Timers()
        with opened(path) as store:
            store.connection.is_damaged = True
            GoodCopies(store, timers).start()
            timers.start()
            async with asyncio.timeout(5):
                while not stopped:
                    await asyncio.sleep(0.01)
            await timers.stop()

    try:
        asyncio.run(run())
    finally:
        signal.signal(signal.SIGTERM, before)
    assert stopped == [signal.SIGTERM]
