"""Answers to values: both spellings, and no wrong type that raises anything but EngineUnreachable."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta, timezone

import pytest

from utdstream._wire import codec
from utdstream.errors import EngineUnreachable
from utdstream.models import MqttLogin, UTDCall, UTDCallStatus, UTDStreamType

CALL: dict[str, object] = {
    "call_id": "c1",
    "status": "ringing",
    "type": "video_call",
    "room_name": "call_c1",
    "token": "t",
    "url": "wss://x",
    "caller_identity": "door",
    "callee_identity": "house",
    "caller_name": "Door",
    "callee_name": None,
    "created_at": "2026-01-02T03:04:05.678Z",
    "expires_at": "2026-01-02T03:04:35.678+00:00",
    "answered_at": None,
    "ended_at": None,
    "duration_seconds": 0,
    "end_reason": None,
    "metadata": {"gate": 3},
    "rev": 7,
}
TOKEN: dict[str, object] = {
    "token": "t",
    "url": "wss://x",
    "room_name": "r",
    "user_token": "u",
    "ws_url": "wss://s",
}
LOGIN: dict[str, object] = {"host": "h", "port": 1883, "username": "u", "password": "p", "topic": "t"}
WRONG: list[object] = [
    None,
    True,
    0,
    -1,
    1.5,
    10**400,
    float("nan"),
    "",
    "x",
    "\ud800",
    [],
    [[]],
    {},
    {"a": 1},
]


def test_call_when_whole_keeps_every_field() -> None:
    """And comes out again as it went in."""
    call = codec.parse_call(CALL)
    assert call.status is UTDCallStatus.RINGING
    assert call.type is UTDStreamType.VIDEO_CALL
    assert call.created_at == datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=timezone.utc)
    assert call.metadata == {"gate": 3}
    assert codec.parse_call(codec.call_to_json(call)) == call


def test_call_metadata_when_handed_out_cannot_be_changed() -> None:
    """Values are snapshots."""
    metadata = codec.parse_call(CALL).metadata
    assert metadata is not None
    with pytest.raises(TypeError):
        metadata["gate"] = 4  # type: ignore[index]


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("voice", UTDStreamType.AUDIO_CALL),
        ("audio", UTDStreamType.AUDIO_CALL),
        ("audio_call", UTDStreamType.AUDIO_CALL),
        ("video", UTDStreamType.VIDEO_CALL),
        ("video_call", UTDStreamType.VIDEO_CALL),
        ("live_stream", UTDStreamType.LIVE_STREAM),
        ("audio_room", UTDStreamType.AUDIO_ROOM),
        ("hologram", None),
    ],
)
def test_stream_type_when_of_either_generation_is_understood(word: str, kind: UTDStreamType | None) -> None:
    """Both spellings; an unknown word is none."""
    assert codec.stream_type(word) is kind


@pytest.mark.parametrize(("room", "bearer", "socket"), list(itertools.product((0, 1), repeat=3)))
def test_token_when_in_either_spelling_is_read(room: int, bearer: int, socket: int) -> None:
    """snake_case, camelCase, and mixtures."""
    answer = {
        "token": "t",
        "url": "wss://x",
        ("room_name", "roomName")[room]: "r",
        ("user_token", "userToken")[bearer]: "u",
        ("ws_url", "wsUrl")[socket]: "wss://s",
    }
    token = codec.parse_token(answer)
    assert (token.token, token.room_name, token.user_token, token.ws_url) == ("t", "r", "u", "wss://s")


def test_session_when_it_carries_a_broker_login_hands_it_out() -> None:
    """All five fields, or none of it."""
    whole = codec.parse_session({"userToken": "u", "mqtt": LOGIN})
    assert whole.mqtt == MqttLogin(host="h", port=1883, username="u", password="p", topic="t")
    secure = codec.parse_session({"userToken": "u", "mqtt": {**LOGIN, "tls": True, "ca": "PEM"}}).mqtt
    assert secure is not None
    assert (secure.tls, secure.ca) == (True, "PEM")
    for name in LOGIN:
        partial = codec.parse_session({"user_token": "u", "mqtt": {**LOGIN, name: None}})
        assert partial.mqtt is None


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
@pytest.mark.parametrize("name", list(CALL))
def test_call_when_a_field_has_a_wrong_type_is_read_or_refused(name: str, wrong: object) -> None:
    """Only a missing id or state makes it no call; everything else becomes None."""
    try:
        call = codec.parse_call({**CALL, name: wrong})
    except EngineUnreachable:
        assert name in ("call_id", "status")
    else:
        repr(call)


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
@pytest.mark.parametrize("name", [*TOKEN, *LOGIN, "mqtt"])
def test_mint_when_a_field_has_a_wrong_type_is_read_or_refused(name: str, wrong: object) -> None:
    """The same for both mints."""
    try:
        codec.parse_token({**TOKEN, name: wrong})
    except EngineUnreachable:
        assert name in ("token", "url")
    try:
        codec.parse_session(
            {**TOKEN, "mqtt": {**LOGIN, name: wrong}, **({name: wrong} if name in TOKEN else {})}
        )
    except EngineUnreachable:
        assert name == "user_token"


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_page_when_rows_are_wrong_leaves_them_out(wrong: object) -> None:
    """One bad row does not hide the good ones."""
    assert [call.call_id for call in codec.parse_calls({"data": [wrong, CALL]})] == ["c1"]
    assert codec.parse_calls({"data": wrong}) == []
    assert [call.call_id for call in codec.parse_calls({"calls": [CALL]})] == ["c1"]


@pytest.mark.parametrize(
    "raw", [b"", b"[", b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe\xfd", b"nul", b"1" * 10_000, b"[]", b"3"]
)
def test_json_when_it_is_no_object_is_none(raw: bytes) -> None:
    """Bombs, broken UTF-8, and JSON of another kind."""
    assert codec.json_object(raw) is None


@pytest.mark.parametrize("wrong", [*WRONG, "2026-13-01", "2026-01-01T25:00:00Z", "Z", "20260101T"], ids=repr)
def test_time_when_it_is_none_is_none(wrong: object) -> None:
    """Anything but an ISO-8601 time."""
    assert codec.time(wrong) is None


def test_time_when_without_zone_is_utc_and_extremes_can_be_compared() -> None:
    """What a peer sends can be compared with a clock without an error."""
    now = datetime.now(timezone.utc)
    assert codec.time("2026-01-01T00:00:00") == datetime(2026, 1, 1, tzinfo=timezone.utc)
    for word in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"):
        moment = codec.time(word)
        assert moment is not None
        assert (moment < now) is (moment.year == 1)
        assert abs(moment - now) > timedelta(days=1)


def test_text_when_it_could_not_be_sent_is_none() -> None:
    """JSON may smuggle in a lone surrogate; as an id it would break the next request."""
    assert codec.text("\ud800") is None
    assert codec.text("Tür 🔔") == "Tür 🔔"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"message": "m", "code": "c", "retry_after": 2}, ("m", "c", 2.0)),
        ({"error": "m"}, ("m", None, None)),
        ({"detail": "m"}, ("m", None, None)),
        ("  plain  ", ("plain", None, None)),
        (None, (None, None, None)),
        ([1], (None, None, None)),
        ({"message": {"no": 1}, "code": 3, "retry_after": "soon"}, (None, None, None)),
        ({"retry_after": float("nan")}, (None, None, None)),
        ({"retry_after": float("inf")}, (None, None, None)),
        ({"retry_after": -1}, (None, None, None)),
        ({"retry_after": 10**400}, (None, None, None)),
        ({"retry_after": True}, (None, None, None)),
    ],
    ids=repr,
)
def test_error_when_in_any_spelling_gives_message_code_and_pause(body: object, expected: object) -> None:
    """A pause that is no length of time is no pause."""
    assert codec.error_message(body) == expected


def test_call_to_json_when_there_are_no_credentials_names_none() -> None:
    """Token and url are only in an answer to who may join."""
    call = UTDCall("c", UTDCallStatus.RINGING, UTDStreamType.AUDIO_CALL)
    assert not {"token", "url"} & set(codec.call_to_json(call))
