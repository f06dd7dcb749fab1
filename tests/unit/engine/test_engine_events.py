"""What a stream of call events gets, also after it was away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from utdstream._wire import messages
from utdstream._wire.messages import CallEvent
from utdstream.engine.push import call_events, event_stream
from utdstream.engine.push.call_events import CallEvents, Reader
from utdstream.engine.rules import calls
from utdstream.engine.rules.calls import CallRecord
from utdstream.engine.rules.refusals import Refusal
from utdstream.engine.store.contract import Store
from utdstream.engine.store.sqlite.database import SqliteStore
from utdstream.models import UTDStreamType

NOW = datetime.now(timezone.utc)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = SqliteStore(str(tmp_path / "engine.db"))
    yield store
    store.close()


def new_call(number: int, callee: str = "house", at: datetime = NOW) -> CallRecord:
    return calls.new_call(
        call_id=f"call_{number:024x}",
        type=UTDStreamType.AUDIO_CALL,
        caller="door",
        callee=callee,
        now=at,
        ring_timeout_s=30.0,
        max_duration_s=60.0,
    )


def waiting(stream: Reader) -> list[CallEvent]:
    async def take() -> list[CallEvent]:
        found = []
        try:
            while True:
                async with asyncio.timeout(0):
                    found.append(await stream.next())
        except TimeoutError:
            return found

    return asyncio.run(take())


def named(stream: Reader) -> list[tuple[str, str]]:
    return [(event.event, event.call.call_id) for event in waiting(stream)]


def publish(events: CallEvents, record: CallRecord, event: str = messages.CALL_INITIATED) -> None:
    events.publish(event, "house", record.call, datetime.now(timezone.utc))


def test_reader_when_new_gets_what_rings_now(store: Store) -> None:
    """A new reader gets what rings now."""
    ringing, over = new_call(1), new_call(2)
    store.calls.insert(ringing)
    store.calls.insert(over)
    store.calls.save(calls.end(over, "door", NOW))
    events = CallEvents(store)
    assert named(events.open("house", None)) == [(messages.CALL_INITIATED, ringing.call_id)]
    assert named(events.open("door", None)) == []
    assert named(events.open("other", None)) == []


def test_reader_when_back_gets_each_event_once(store: Store) -> None:
    """A reader that comes back gets each event once."""
    events = CallEvents(store)
    records = [new_call(number) for number in range(4)]
    stream = events.open("house", None)
    for record in records:
        publish(events, record)
    seen = waiting(stream)
    assert [event.call.call_id for event in seen] == [record.call_id for record in records]
    assert named(events.open("house", seen[1].seq)) == [
        (messages.CALL_INITIATED, record.call_id) for record in records[2:]
    ]
    assert named(events.open("house", seen[-1].seq)) == []


def test_reader_when_the_engine_restarted_learns_from_the_calls_what_happened(store: Store) -> None:
    """After a restart the calls themselves say what happened."""
    long_ago = NOW - timedelta(hours=1)
    last_seen = round((NOW - timedelta(minutes=30)).timestamp() * 1000)
    old, ended, answered, ringing = (new_call(number, at=long_ago) for number in range(4))
    store.calls.insert(calls.end(old, "door", long_ago))
    store.calls.insert(calls.miss(ended, NOW))
    store.calls.insert(calls.accept(answered, "house", NOW + timedelta(seconds=1), None))
    store.calls.insert(new_call(9, at=NOW + timedelta(seconds=2)))
    assert ringing.is_unanswered
    assert named(CallEvents(store).open("house", last_seen)) == [
        (messages.CALL_MISSED, ended.call_id),
        (messages.CALL_ANSWERED_ELSEWHERE, answered.call_id),
        (messages.CALL_INITIATED, new_call(9).call_id),
    ]


def test_event_when_no_longer_in_memory_comes_from_the_calls(store: Store) -> None:
    """What is no longer in memory comes from the calls."""
    events = CallEvents(store)
    stream = events.open("house", None)
    first = new_call(0, at=datetime.now(timezone.utc))
    publish(events, first)
    before = waiting(stream)[0].seq
    lost = new_call(1, at=datetime.now(timezone.utc) + timedelta(seconds=1))
    store.calls.insert(lost)
    for number in range(call_events.KEPT_EACH + 1):
        publish(events, new_call(100 + number))
    assert (messages.CALL_INITIATED, lost.call_id) in named(events.open("house", before))


def test_event_when_repeated_is_for_the_broker_alone(store: Store) -> None:
    """A repetition is for the broker alone."""
    events = CallEvents(store)
    stream = events.open("house", None)
    publish(events, new_call(1))
    events.publish(messages.CALL_INITIATED, "house", new_call(1).call, NOW, is_repetition=True)
    assert len(waiting(stream)) == 1


def test_reader_when_not_keeping_up_is_cut_off(store: Store) -> None:
    """A reader that does not keep up is cut off."""
    events = CallEvents(store)
    stream = events.open("house", None)
    for number in range(call_events.MAX_WAITING + 10):
        publish(events, new_call(number))
    assert stream.closed.is_set()


def test_streams_when_too_many_end_the_oldest(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams are bounded."""
    events = CallEvents(store)
    streams = [events.open("house", None) for _ in range(call_events.MAX_STREAMS_EACH + 1)]
    assert [stream.closed.is_set() for stream in streams] == [True] + [False] * call_events.MAX_STREAMS_EACH
    monkeypatch.setattr(call_events, "MAX_STREAMS", call_events.MAX_STREAMS_EACH)
    with pytest.raises(Refusal) as refusal:
        events.open("other", None)
    assert refusal.value.status == 503
    events.close_all()
    events.open("other", None)


def test_stream_when_silent_is_kept_open_by_a_heartbeat(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A heartbeat keeps a silent stream open."""
    monkeypatch.setattr(event_stream, "HEARTBEAT_S", 0.01)
    sent = asyncio.run(_sent_until(CallEvents(store), lambda body: b": still here" in body))
    assert sent.startswith(b"retry: 2000\n\n: still here\n\n")


def test_end_when_a_reader_reads_nothing_is_not_held_up(store: Store) -> None:
    """A reader that reads nothing does not hold up the end."""

    async def stuck(message: object) -> None:
        await asyncio.Event().wait()

    async def run() -> None:
        events = CallEvents(store)
        stream = events.open("house", None)
        answer = event_stream.EventStream(stream, events.close)
        task = asyncio.create_task(answer({"type": "http"}, _nothing, stuck))
        await asyncio.sleep(0)
        events.close_all()
        async with asyncio.timeout(2.0):
            await task

    asyncio.run(run())


async def _nothing() -> dict[str, object]:
    await asyncio.Event().wait()
    return {}


async def _sent_until(events: CallEvents, fact: Callable[[bytes], bool]) -> bytes:
    body = b""

    async def send(message: dict[str, object]) -> None:
        nonlocal body
        chunk = message.get("body", b"")
        assert isinstance(chunk, bytes)
        body += chunk
        if fact(body):
            events.close_all()

    stream = events.open("house", None)
    async with asyncio.timeout(5.0):
        await event_stream.EventStream(stream, events.close)({"type": "http"}, _nothing, send)  # type: ignore[arg-type]
    return body
