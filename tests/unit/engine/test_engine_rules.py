"""The other pure rules: rooms, limits, fields, settings, logins, the document."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from utdstream.engine import config
from utdstream.engine.api import bodies
from utdstream.engine.api.fields import Fields, Query, checked_identity, checked_name
from utdstream.engine.api.limits import MAX_KEYS, Buckets
from utdstream.engine.api.openapi import document
from utdstream.engine.api.operations import OPERATIONS
from utdstream.engine.api.operations.table import codes_of
from utdstream.engine.push import logins, notifier
from utdstream.engine.rules import rooms
from utdstream.engine.rules.keys import Login
from utdstream.engine.rules.refusals import STATUS_OF_CODE, Refusal
from utdstream.errors import InvalidConfig
from utdstream.models import UTDStreamType

SETTINGS = """
[engine]
database = "/tmp/x.db"
token_secret = "ts"
[project]
app_id = "1234567890"
app_key = "kk"
app_secret = "ss"
[livekit]
api_key = "lk"
api_secret = "ls"
"""


def test_room_when_spelled_in_two_ways_has_one_name() -> None:
    """A room has two spellings and one name."""
    assert rooms.room_name("lobby", "12") == rooms.room_name("p12_lobby", "12") == "lobby"
    assert rooms.livekit_name("lobby", "12") == "p12_lobby"


@pytest.mark.parametrize("name", ["", "a b", "ä", "a/b", "x" * 129, "a\n", "p12_"])
def test_room_name_when_not_plain_is_refused(name: str) -> None:
    """A room name is plain."""
    with pytest.raises(Refusal) as refusal:
        rooms.room_name(name, "12")
    assert refusal.value.status == 422


@pytest.mark.parametrize(
    "name", ["ban", "bans", "p12_ban", ".", "..", "p12_..", "p12_p12_lobby", "call_0123456789abcdef01234567"]
)
def test_room_name_when_no_path_can_carry_it_is_refused_with_a_sentence(name: str) -> None:
    """It could be made and never reached: a word of a path, dots, a second prefix, the id of a call."""
    with pytest.raises(Refusal) as refusal:
        rooms.room_name(name, "12")
    assert refusal.value.code == "validation_failed"
    assert "choose another name" in refusal.value.message


@pytest.mark.parametrize("name", ["banned", "Ban", "...", ".well-known", "call_1", "p1_lobby"])
def test_room_name_when_only_like_one_that_is_refused_is_taken(name: str) -> None:
    """The whole name counts."""
    assert rooms.room_name(name, "12") == name


@pytest.mark.parametrize("identity", [".", "..", "by-role"])
def test_identity_when_no_path_can_carry_it_is_refused(identity: str) -> None:
    """A participant of this identity could be seen and never be removed."""
    with pytest.raises(Refusal) as refusal:
        checked_identity(identity)
    assert refusal.value.code == "validation_failed"
    assert refusal.value.message.startswith(f"identity must not be {identity!r}")


def test_display_name_when_it_is_no_identity_may_be_dots() -> None:
    """No path carries it."""
    assert Fields({"name": ".."}).name("name") == ".."


def test_owner_when_none_is_recorded_is_the_first_host() -> None:
    """The owner is the recorded one or the first host."""
    assert rooms.first_owner("ann", "host", None) == "ann"
    assert rooms.first_owner("ann", "audience", None) is None
    assert rooms.first_owner("ann", "host", "bob") == "bob"


def test_call_when_granted_publishes_by_its_type() -> None:
    """A call publishes by type."""
    assert rooms.call_sources(UTDStreamType.AUDIO_CALL) == ("microphone",)
    assert rooms.call_sources(UTDStreamType.VIDEO_CALL) == ("microphone", "camera")


def test_bucket_when_empty_refuses_and_says_how_long_to_wait() -> None:
    """A bucket refuses the request too many and says how long to wait."""
    buckets = Buckets(60)
    assert [buckets.take("a", 0.0) for _ in range(60)] == [0.0] * 60
    assert buckets.take("a", 0.0) == pytest.approx(1.0)
    assert buckets.take("b", 0.0) == 0.0
    assert buckets.take("a", 1.0) == 0.0


def test_buckets_when_too_many_forget_the_oldest() -> None:
    """Buckets are bounded."""
    buckets = Buckets(1)
    for number in range(MAX_KEYS + 10):
        buckets.take(number, 0.0)
    assert buckets.take(MAX_KEYS + 9, 0.0) > 0
    assert buckets.take(0, 0.0) == 0.0


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"[]",
        b"1",
        b'"x"',
        b"\xff\xfe",
        b'{"a": NaN}',
        b"[" * 60_000,
        b'{"a":' * 200_000 + b"1" + b"}" * 200_000,  # Python 3.14 takes some 10,000 levels
        b'{"a": ' + b"9" * 5_000 + b"}",
    ],
)
def test_body_when_no_object_is_refused(raw: bytes) -> None:
    """A body that is no object is refused."""
    with pytest.raises(Refusal) as refusal:
        bodies.read(raw)
    assert refusal.value.status == 422


def test_body_when_empty_is_an_empty_object() -> None:
    """An empty body is an empty object."""
    assert bodies.read(b"") == bodies.read(b" \n") == {}


@pytest.mark.parametrize(
    "value", ["", "  ", "a\x00b", "a\nb", "\ud800", "x" * 129, "ü" * 129, "🚪" * 65, 1, [], None]
)
def test_identity_when_bad_is_refused(value: object) -> None:
    """A bad identity is refused."""
    with pytest.raises(Refusal):
        checked_identity(value)


@pytest.mark.parametrize("value", ["door", "Door", "Tür/1", "door@house.example", "x" * 128, "%2F", "#+"])
def test_identity_when_it_is_letters_digits_and_signs_is_taken(value: str) -> None:
    """As it is: case counts, and every sign of ASCII may be in it."""
    assert checked_identity(value) == value


def test_identity_when_it_could_be_taken_for_another_is_refused() -> None:
    """The refusal names the field; a display name may be the same text."""
    with pytest.raises(Refusal, match=r"callee_identity must not hold U\+200B") as refusal:
        checked_identity("door\u200b", "callee_identity")
    assert refusal.value.code == "validation_failed"
    assert checked_name("Front door 🚪", "name") == "Front door 🚪"


@pytest.mark.parametrize(
    "value",
    [[], "x", {"a": "\ud800"}, {"a": float("inf")}, {"a": "x" * 5000}, {"\udfff": 1}],
)
def test_metadata_when_bad_is_refused(value: object) -> None:
    """Bad metadata is refused."""
    with pytest.raises(Refusal):
        Fields({"metadata": value}).metadata()


def test_device_fact_when_strange_never_blocks_a_join() -> None:
    """A device fact never blocks a join."""
    fields = Fields({"os": "linux\x00" + "x" * 99, "device_model": 7})
    assert fields.device_fact("os", longest=10) == "linuxxxxxx"
    assert fields.device_fact("device_model", longest=10) is None


@pytest.mark.parametrize(
    "parameters", [{"page": "0"}, {"page": "x"}, {"per_page": "101"}, {"page": "²"}, {"page": "9" * 30}]
)
def test_page_when_bad_is_refused(parameters: dict[str, str]) -> None:
    """A bad page is refused."""
    with pytest.raises(Refusal):
        Query(parameters).page()


def test_date_when_alone_is_the_whole_day() -> None:
    """A date alone is the whole day."""
    query = Query({"start_date": "2026-01-31", "end_date": "2026-01-31"})
    start, end = query.moment("start_date"), query.moment("end_date", end_of_day=True)
    assert start is not None
    assert end is not None
    assert (end - start).total_seconds() > 86_399
    with pytest.raises(Refusal):
        Query({"start_date": "yesterday"}).moment("start_date")


def test_settings_when_only_secrets_are_given_have_defaults(tmp_path: Path) -> None:
    """Settings have defaults for all but secrets."""
    (tmp_path / "engine.toml").write_text(SETTINGS)
    settings = config.load(tmp_path / "engine.toml")
    assert settings.mqtt is None
    assert settings.engine.port == 8080
    assert settings.project.call_ring_timeout_s == 30.0
    for secret in ("'ts'", "'kk'", "'ss'", "'ls'"):
        assert secret not in repr(settings)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (SETTINGS.replace("database", "databse"), "databse"),
        (SETTINGS.replace('app_secret = "ss"', ""), "app_secret"),
        (SETTINGS + "[what]\n", "what"),
        (SETTINGS + "[mqtt]\n", "password"),
        (SETTINGS + "[limits]\nenabled = 1\n", "enabled"),
        (SETTINGS.replace("[engine]", "[engine]\nport = 0"), "port"),
        (SETTINGS.replace("[engine]", '[engine]\nport = "x"'), "port"),
        (SETTINGS.replace("[engine]", '[engine]\nlog_level = "loud"'), "log_level"),
        (SETTINGS.replace("[project]", "[project]\ncall_ring_timeout_s = 0"), "call_ring_timeout_s"),
        (SETTINGS.replace("[livekit]", '[livekit]\nurl = "ws://x"'), "url"),
        ("engine = 1", "engine"),
        ("[", "TOML"),
    ],
)
def test_settings_when_mistaken_name_the_mistake(tmp_path: Path, text: str, word: str) -> None:
    """A mistake in the settings is named."""
    path = tmp_path / "here.toml"
    path.write_text(text)
    with pytest.raises(InvalidConfig, match=word) as error:
        config.load(path)
    assert str(path) in str(error.value)


def test_settings_file_when_missing_is_named(tmp_path: Path) -> None:
    """A missing settings file is named."""
    with pytest.raises(InvalidConfig, match=r"engine\.toml"):
        config.load(tmp_path / "engine.toml")


def test_login_when_made_reads_its_own_calls_and_nothing_else() -> None:
    """A login reads its own calls and nothing else."""
    role, client = logins.login_commands("12", Login("a/+#b"), "pw", "7")
    assert role["acls"] == [
        {"acltype": kind, "topic": topic, "priority": 0, "allow": True}
        for kind, topic in (
            ("subscribeLiteral", "utdstream/v1/12/a%2F%2B%23b/calls"),
            ("publishClientReceive", "utdstream/v1/12/a%2F%2B%23b/calls"),
            ("publishClientSend", "utdstream/v1/12/a%2F%2B%23b/availability"),
        )
    ]
    assert client["username"] == "12/a%2F%2B%23b"


def test_login_when_it_exists_is_no_error() -> None:
    """A login that exists is no error."""
    payload = {
        "responses": [
            {"command": "createClient", "correlationData": "7", "error": "Client already exists"},
            {"command": "createClient", "correlationData": "8", "error": "Internal error"},
            "nonsense",
        ]
    }
    answers = logins.parse_answers(json.dumps(payload).encode())
    assert [(answer.correlation, answer.error) for answer in answers] == [
        ("7", None),
        ("8", "Internal error"),
    ]
    assert logins.parse_answers(b"\xff") == []


def test_document_when_made_describes_every_operation_and_refers_to_what_exists() -> None:
    """The document describes every operation and refers to what exists."""
    text = json.dumps(document())
    whole = json.loads(text)
    schemas = whole["components"]["schemas"]
    for name in re.findall(r'"#/components/schemas/(\w+)"', text):
        assert name in schemas
    operations = {(path, method.upper()) for path, methods in whole["paths"].items() for method in methods}
    assert operations == {(operation.path, operation.method) for operation in OPERATIONS}
    for path, methods in whole["paths"].items():
        for described in methods.values():
            named = {p["name"] for p in described.get("parameters", []) if p["in"] == "path"}
            assert named == set(re.findall(r"{(\w+)}", path))


def test_code_when_an_operation_names_it_has_a_status() -> None:
    """Every code of an operation has a status."""
    for operation in OPERATIONS:
        assert set(codes_of(operation)) <= set(STATUS_OF_CODE)


def test_logins_when_made_in_a_batch_fit_into_one_packet() -> None:
    """The broker cuts off whoever sends more than 128 KiB: the engine with its longest identities too."""
    longest = Login("😀" * 64, "key_" + "0" * 24)
    commands = logins.login_commands("1234567890", longest, "p" * 64, "99999999")
    assert len(logins.encode(commands * notifier.LOGINS_A_MESSAGE)) < 128 * 1024 - 1024
