"""What is kept and what is signed: the store, the tokens, the work in the background."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import jwt
import pytest
from livekit import api

from utdstream.engine import config
from utdstream.engine.background import Lanes, Timers
from utdstream.engine.media.tokens import Tokens
from utdstream.engine.rules import calls
from utdstream.engine.rules.calls import CallRecord
from utdstream.engine.rules.refusals import Refusal
from utdstream.engine.rules.rooms import Room
from utdstream.engine.store.calls import KEEP_CALLS_S, CallFilter
from utdstream.engine.store.database import Store
from utdstream.models import UTDCallStatus, UTDStreamType

S = UTDCallStatus
NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=timezone.utc)
LIVEKIT_SECRET = "livekit-secret-of-at-least-32-bytes"
SETTINGS = config.EngineConfig(
    engine=config.EngineSection(database="unused", token_secret="ts"),
    project=config.ProjectSection(app_id="12", app_key="key", app_secret="secret"),
    livekit=config.LiveKitSection(api_key="lk", api_secret=LIVEKIT_SECRET),
)


def a_call(
    call_id: str = "call_1", caller: str = "door", callee: str = "house", age_s: float = 0
) -> CallRecord:
    return calls.new_call(
        call_id=call_id,
        type=UTDStreamType.VIDEO_CALL,
        caller=caller,
        callee=callee,
        now=NOW - timedelta(seconds=age_s),
        ring_timeout_s=30.0,
        max_duration_s=60.0,
        caller_name="Tür 🚪",
        metadata={"floor": [1, None, "ü"]},
    )


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "engine.db")


def test_a_call_is_the_same_after_the_file_was_opened_again(path: str) -> None:
    store = Store(path)
    record = calls.accept(calls.ring(a_call(), "house", NOW), "house", NOW, "key")
    record = replace(record, caller_seen=True)
    over = calls.end(a_call("call_2", "x", "y"), "x", NOW)
    for each in (record, over):
        store.calls.insert(each)
    store.close()
    store = Store(path)
    assert store.calls.get("call_1") == record
    assert store.calls.get("call_2") == over
    assert store.calls.get("call_3") is None
    assert store.calls.open() == [record]
    store.close()


def test_a_commit_is_in_the_file_without_a_close(path: str) -> None:
    """What a killed engine leaves behind: another connection reads it."""
    first = Store(path)
    with first.transaction():
        first.calls.insert(a_call())
    second = Store(path)
    assert second.calls.get("call_1") == a_call()
    second.close()
    first.close()


def test_a_transaction_that_raises_leaves_nothing(path: str) -> None:
    store = Store(path)

    def insert_and_refuse() -> None:
        with store.transaction():
            store.calls.insert(a_call())
            raise Refusal("callee_busy", "no")

    with pytest.raises(Refusal):
        insert_and_refuse()
    assert store.calls.get("call_1") is None
    with store.transaction():
        store.calls.insert(a_call())
    store.close()


def test_a_transaction_that_raises_leaves_the_memory_as_the_file(path: str) -> None:
    """Ended, begun and forgotten calls are as they were, also for who asks by identity."""
    store = Store(path)
    store.calls.insert(a_call("call_1", callee="first"))
    store.calls.insert(a_call("call_2", callee="second"))

    def change_and_refuse() -> None:
        with store.transaction():
            store.calls.save(calls.end(a_call("call_1", callee="first"), "door", NOW))
            store.calls.delete("call_2")
            store.calls.insert(a_call("call_3", callee="third"))
            assert [record.call_id for record in store.calls.open_of("door")] == ["call_3"]
            raise Refusal("callee_busy", "no")

    with pytest.raises(Refusal):
        change_and_refuse()
    assert sorted(record.call_id for record in store.calls.open_of("door")) == ["call_1", "call_2"]
    assert store.calls.open_of("third") == []
    store.close()
    again = Store(path)
    assert sorted(record.call_id for record in again.calls.open_of("door")) == ["call_1", "call_2"]
    again.close()


def test_a_full_disk_leaves_what_was_there(path: str) -> None:
    """The call that cannot be written is in no memory either, and the next one works."""
    store = Store(path)
    pages = store.db.execute("PRAGMA page_count").fetchone()[0]
    store.db.execute(f"PRAGMA max_page_count = {pages}")

    def fill() -> None:
        for number in range(1000):
            with store.transaction():
                store.calls.insert(a_call(f"call_{number}", callee=f"house-{number}"))

    with pytest.raises(sqlite3.OperationalError, match="full"):
        fill()
    written = store.db.execute("SELECT count(*) FROM calls").fetchone()[0]
    assert len(store.calls.open()) == written
    store.db.execute("PRAGMA max_page_count = 100000")
    with store.transaction():
        store.calls.insert(a_call("call_again"))
    store.close()


def test_a_file_of_the_last_release_is_taken_over(path: str) -> None:
    """Its calls are read; the index that nobody uses any more is gone."""
    store = Store(path)
    store.calls.insert(a_call())
    store.db.execute("CREATE INDEX calls_open ON calls (caller, callee) WHERE status = 'ringing'")
    store.db.execute("PRAGMA user_version = 2")
    store.close()
    again = Store(path)
    assert again.calls.open() == [a_call()]
    indexes = [row[0] for row in again.db.execute("SELECT name FROM sqlite_master WHERE type = 'index'")]
    assert "calls_with_room" in indexes
    assert "calls_open" not in indexes
    again.close()


def test_open_calls_are_found_from_either_side(path: str) -> None:
    store = Store(path)
    store.calls.insert(a_call())
    assert [r.call_id for r in store.calls.open_of("house")] == ["call_1"]
    assert [r.call_id for r in store.calls.open_of("door")] == ["call_1"]
    store.calls.save(calls.end(a_call(), "door", NOW))
    assert store.calls.open_of("house") == []
    assert [r.call_id for r in store.calls.with_room()] == ["call_1"]
    store.close()


def test_a_key_finds_the_newest_call_of_its_caller_only(path: str) -> None:
    store = Store(path)
    store.calls.insert(a_call("call_1", age_s=9), "key")
    store.calls.insert(a_call("call_2"), "key")
    store.calls.insert(a_call("call_3", caller="other"), "key")
    found = store.calls.by_key("door", "key")
    assert found is not None
    assert found.call_id == "call_2"
    assert store.calls.by_key("door", "none") is None
    store.close()


def test_pages_are_filtered_and_newest_first(path: str) -> None:
    store = Store(path)
    for number in range(5):
        store.calls.insert(a_call(f"call_{number}", callee=f"house{number % 2}", age_s=10 * number))
    store.calls.save(calls.end(a_call("call_4", callee="house0", age_s=40), "door", NOW))

    def ids(wanted: CallFilter, page: int = 1, per_page: int = 10) -> tuple[list[str], int]:
        records, total = store.calls.page(wanted, page=page, per_page=per_page)
        return [record.call_id for record in records], total

    assert ids(CallFilter()) == (["call_0", "call_1", "call_2", "call_3", "call_4"], 5)
    assert ids(CallFilter(), 2, 2) == (["call_2", "call_3"], 5)
    assert ids(CallFilter(statuses=(S.ENDED,))) == (["call_4"], 1)
    assert ids(CallFilter(identity="house1")) == (["call_1", "call_3"], 2)
    assert ids(CallFilter(identity="house1", peer="stranger")) == ([], 0)
    assert ids(CallFilter(type=UTDStreamType.AUDIO_CALL)) == ([], 0)
    assert ids(CallFilter(created_from=NOW - timedelta(seconds=15))) == (["call_0", "call_1"], 2)
    assert ids(CallFilter(created_until=NOW - timedelta(seconds=35))) == (["call_4"], 1)
    store.close()


def test_old_calls_are_forgotten_and_open_ones_never(path: str) -> None:
    store = Store(path)
    old = a_call("call_1", age_s=KEEP_CALLS_S + 1)
    store.calls.insert(replace(calls.end(old, "door", NOW), room_open=False))
    store.calls.insert(a_call("call_2", age_s=KEEP_CALLS_S + 1))
    store.calls.forget_old(NOW)
    assert store.calls.get("call_1") is None
    assert store.calls.get("call_2") is not None
    store.close()


def test_a_room_gets_one_owner(path: str) -> None:
    store = Store(path)
    first = store.claim_room(Room("lobby", UTDStreamType.LIVE_STREAM, None, NOW))
    second = store.claim_room(Room("lobby", UTDStreamType.LIVE_STREAM, "ann", NOW))
    third = store.claim_room(Room("lobby", UTDStreamType.LIVE_STREAM, "bob", NOW))
    assert (first.owner, second.owner, third.owner) == (None, "ann", "ann")
    assert store.rooms() == [third]
    store.delete_room("lobby")
    assert store.room("lobby") is None
    store.close()


def test_a_file_of_a_newer_engine_is_refused(path: str) -> None:
    Store(path).close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(sqlite3.DatabaseError, match="newer"):
        Store(path)


def test_a_bearer_speaks_for_its_identity_only_here() -> None:
    tokens = Tokens(SETTINGS)
    assert tokens.identity_of(tokens.bearer("Tür 🚪")) == "Tür 🚪"
    other = Tokens(replace(SETTINGS, engine=replace(SETTINGS.engine, token_secret="another")))
    for bearer in ("", "x", "a.b.c", tokens.bearer("door")[:-3], other.bearer("door"), "ü"):
        with pytest.raises(Refusal) as refusal:
            tokens.identity_of(bearer)
        assert refusal.value.code == "invalid_token"


def test_a_bearer_that_ran_out_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = Tokens(SETTINGS)
    monkeypatch.setattr("utdstream.engine.media.tokens.time.time", lambda: 1_000_000.0)
    bearer = tokens.bearer("door")
    with pytest.raises(Refusal) as refusal:
        tokens.identity_of(bearer)
    assert (refusal.value.status, refusal.value.code) == (401, "token_expired")


def test_a_media_token_publishes_what_it_names_and_lives_ten_minutes() -> None:
    tokens = Tokens(SETTINGS)
    text = tokens.media(room="r", identity="door", name=None, sources=("microphone",))
    claims = jwt.decode(text, LIVEKIT_SECRET, algorithms=["HS256"])
    assert claims["exp"] - claims["nbf"] == 600
    video = claims["video"]
    assert (video["room"], video["canPublish"], video["canPublishSources"]) == ("r", True, ["microphone"])
    mute = jwt.decode(
        tokens.media(room="r", identity="door", name=None, sources=()), LIVEKIT_SECRET, algorithms=["HS256"]
    )
    assert mute["video"]["canPublish"] is False
    assert mute["video"]["canSubscribe"] is True


def test_a_media_token_is_the_one_that_livekit_would_make() -> None:
    grants = api.VideoGrants(
        room_join=True,
        room="r",
        can_publish=True,
        can_publish_sources=["microphone", "camera"],
        can_subscribe=True,
        can_publish_data=False,
        can_update_own_metadata=False,
    )
    theirs = (
        api.AccessToken(SETTINGS.livekit.api_key, SETTINGS.livekit.api_secret)
        .with_identity("door")
        .with_name("Door")
        .with_metadata("{}")
        .with_ttl(timedelta(minutes=10))
        .with_grants(grants)
        .to_jwt()
    )
    ours = Tokens(SETTINGS).media(
        room="r",
        identity="door",
        name="Door",
        sources=("microphone", "camera"),
        metadata="{}",
        can_publish_data=False,
    )

    def claims(token: str) -> dict[str, object]:
        times = ("nbf", "exp")
        found = jwt.decode(token, LIVEKIT_SECRET, algorithms=["HS256"])
        return {name: value for name, value in found.items() if name not in times and value != ""}

    assert claims(ours) == claims(theirs)


def test_credentials_compare_whole_and_take_any_text() -> None:
    tokens = Tokens(SETTINGS)
    assert tokens.is_app_id("12")
    assert tokens.is_app_key("key")
    assert tokens.is_app_secret("secret")
    for wrong in ("", "ke", "keyy", "ü", "secre"):
        assert not tokens.is_app_key(wrong)
        assert not tokens.is_app_secret(wrong)
    assert tokens.mqtt_password("a") == Tokens(SETTINGS).mqtt_password("a") != tokens.mqtt_password("b")


def test_work_of_one_key_is_in_order_and_a_failure_stops_nothing() -> None:
    async def run() -> list[str]:
        lanes, done = Lanes(), list[str]()
        gate = asyncio.Event()

        async def first() -> None:
            await gate.wait()
            done.append("first")
            raise RuntimeError("expected by this test")

        async def note(word: str) -> None:
            done.append(word)
            if word == "second":
                finished.set()

        finished = asyncio.Event()
        lanes.put("a", first)
        lanes.put("a", lambda: note("second"))
        lanes.put("b", lambda: note("other"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gate.set()
        await asyncio.wait_for(finished.wait(), 2)
        await lanes.stop()
        return done

    assert asyncio.run(run()) == ["other", "first", "second"]


def test_timers_fire_in_order_of_their_time() -> None:
    async def run() -> list[int]:
        timers, fired = Timers(), list[int]()
        last = asyncio.Event()

        async def note(number: int) -> None:
            fired.append(number)
            if number == 3:
                last.set()

        timers.after(0.03, "third", lambda: note(3))
        timers.start()
        timers.after(0.02, "second", lambda: note(2))
        timers.after(-5.0, "first", lambda: note(1))
        await asyncio.wait_for(last.wait(), 2)
        await timers.stop()
        return fired

    assert asyncio.run(run()) == [1, 2, 3]
