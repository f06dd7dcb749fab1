"""Messages beside REST: written and read in one place, never with a credential."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest

from utdstream._wire import messages
from utdstream._wire.messages import CallEvent
from utdstream.limits import MAX_EVENT_BYTES
from utdstream.models import UTDCall, UTDCallStatus, UTDStreamType

NOW = datetime(2026, 1, 2, tzinfo=timezone.utc)
CALL = UTDCall(
    call_id="c1",
    status=UTDCallStatus.RINGING,
    type=UTDStreamType.VIDEO_CALL,
    token="canary",
    url="wss://canary",
    caller_identity="door",
    callee_identity="house",
    expires_at=NOW,
    metadata={"gate": "süd"},
    rev=3,
)


def event_with(**changes: object) -> bytes:
    return json.dumps(
        {**json.loads(messages.encode_call_event(CallEvent("call_initiated", 1, NOW, CALL))), **changes}
    ).encode()


@pytest.mark.parametrize("name", sorted(messages.CALL_EVENTS))
def test_event_when_sent_is_read_again_without_credentials(name: str) -> None:
    """Every event there is."""
    payload = messages.encode_call_event(CallEvent(name, 5, NOW, CALL))
    event = messages.parse_call_event(payload)
    assert b"canary" not in payload
    assert event is not None
    assert (event.event, event.seq, event.sent_at) == (name, 5, NOW)
    assert (event.call.call_id, event.call.callee_identity, event.call.expires_at) == ("c1", "house", NOW)
    assert event.call.metadata == {"gate": "süd"}
    assert event.call.token is None


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[[[[" * 4_000,
        b"\xff\xfe",
        event_with(v=2),
        event_with(v=None),
        event_with(event="call_exploded"),
        event_with(event=7),
        event_with(event=["call_initiated"]),
        event_with(call=None),
        event_with(call=[]),
        event_with(call={"call_id": "c1"}),
        event_with(call={"call_id": 7, "status": "ringing"}),
        event_with(call={"call_id": "c1", "status": "sleeping"}),
        event_with(call={"call_id": "\ud800", "status": "ringing"}),
        event_with(padding="x" * MAX_EVENT_BYTES),
    ],
    ids=lambda payload: repr(payload[:30]),
)
def test_event_when_malformed_is_none(payload: bytes) -> None:
    """Unreadable, oversized, of another version, about no call."""
    assert messages.parse_call_event(payload) is None


@pytest.mark.parametrize("wrong", [None, True, 1.5, "x", [], {}, 10**400], ids=repr)
@pytest.mark.parametrize("name", ["seq", "sent_at", "padding"])
def test_event_when_a_lesser_field_is_wrong_is_read(name: str, wrong: object) -> None:
    """What is not needed may be anything."""
    event = messages.parse_call_event(event_with(**{name: wrong}))
    assert event is not None
    assert event.call.call_id == "c1"


def test_call_update_when_sent_is_read_again_without_credentials() -> None:
    """The data message of a call room."""
    payload = messages.call_update(CALL)
    assert b"canary" not in payload
    call = messages.parse_call_update(payload)
    assert call is not None
    assert (call.call_id, call.rev, call.status) == ("c1", 3, UTDCallStatus.RINGING)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"hello",
        b'{"type":"_call_update"}',
        b'{"type":"chat","text":"_call_update"}',
        b"_call_update" * 9_000,
    ],
)
def test_call_update_when_it_is_something_else_is_none(payload: bytes) -> None:
    """Other people's data messages are not ours to trip over."""
    assert messages.parse_call_update(payload) is None


def test_room_metadata_when_written_is_read_again_without_credentials() -> None:
    """The place where only the server writes."""
    metadata = messages.room_metadata(CALL)
    assert "canary" not in metadata
    call = messages.parse_room_metadata(metadata)
    assert call is not None
    assert call.call_id == "c1"
    for other in ("", "x", "[]", "{}", '{"_call":3}', '{"_call":{"call":null}}'):
        assert messages.parse_room_metadata(other) is None


@pytest.mark.parametrize("identity", ["a/b", "+", "#", "häuser #1", "a\0b"])
def test_topic_when_the_identity_has_special_characters_stays_one_level(identity: str) -> None:
    """No identity can listen to another's topic by its name."""
    for topic in (messages.calls_topic("app", identity), messages.availability_topic("app", identity)):
        assert topic.count("/") == 4
        assert not {"+", "#", "\0"} & set(topic)
