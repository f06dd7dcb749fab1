"""Recorded traffic, spoilt by chance; and where each kind of it enters the product.

Owns: `Mutator`, `Doors`, `RECORDED`. Each method of `Doors` takes bytes as they come from outside and does with
them what the product does, to where a value reaches the program. `UTDStreamException` kinds are met there; nothing
else may be raised.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeVar

from virtual_time import Lane, VirtualTime

from device.config import MachineConfig
from utdstream import settings
from utdstream._calls.life import CallLife
from utdstream._rest.clock import EngineClock
from utdstream._rest.http import Http
from utdstream._rings.keeper import RingKeeper
from utdstream._rooms.followed import Followed
from utdstream._threads.deadline import Deadline
from utdstream._threads.facts import Fact
from utdstream._threads.lanes import EventsLane
from utdstream._wire import answers, codec, messages, routes
from utdstream.config import ClientConfig
from utdstream.engine.push import logins
from utdstream.engine.stack.settings import StackFile
from utdstream.errors import NotFound, UTDStreamException
from utdstream.models import (
    MqttLogin,
    Seat,
    SeatGrid,
    SpeakRequest,
    UTDCall,
    UTDCallStatus,
    UTDStageMember,
    UTDStreamType,
)
from utdstream.mqtt import MqttIncomingCalls

Value = TypeVar("Value")
CANARY = "canary-that-nobody-may-see"
"""Stands where a token or a password does."""
NOW = datetime(2031, 1, 1, tzinfo=timezone.utc)
ME = "house"
CALL = UTDCall(
    "call_0123456789abcdef01234567",
    UTDCallStatus.INITIATING,
    UTDStreamType.VIDEO_CALL,
    room_name="call_0123456789abcdef01234567",
    token=CANARY,
    url="ws://127.0.0.1:7880",
    caller_identity="door",
    callee_identity=ME,
    caller_name="Front door",
    created_at=NOW,
    expires_at=NOW + timedelta(seconds=30),
    metadata={"gate": 3, "names": ["a", "b"]},
    rev=1,
)
GRID = SeatGrid(
    4,
    "request",
    "m",
    (Seat(0, "host", reserved_for="host"), Seat(1, locked=True)),
    (SpeakRequest(7, "x", NOW),),
    9,
)
STAGE = codec.stage_to_json([UTDStageMember("host", "Host", "host"), UTDStageMember("guest", None, "guest")])
LOGIN = MqttLogin("127.0.0.1", 1883, "1/house", "utdstream/v1/1/house/calls", password=CANARY)


# -- spoiling ------------------------------------------------------------------------------------------

TOKENS = (
    *(b"null", b"true", b"-1", b"1e999", b"NaN", b"{}", b"[]", b'""', b"\x00", b"\xff", b"\xef\xbb\xbf"),
    *(b'"\\ud800"', b"9" * 400, b"9" * 5000, b"[" * 2000, b'{"a":' * 2000, b"0" * 30, b"\r\n", b"'''"),
    *(b"=", b"#", b"'", b'"', b"\\"),
)
VALUES: tuple[object, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, -(10**30), 0.5, 1e308, float("inf"), float("nan")),
    *("", " ", "0", "\x00", "\ud800", "é" * 300, "x" * 5000, "..", "/", "%2e", "events", "a/b?c#d"),
    *("ringing", "active", "ended", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2031-01-01"),
    *("2031-01-01T00:00:00.000Z", [], {}, [[]], [None], {"": None}, {"message": {}}, [{}] * 300, ME, "host"),
)


class Mutator:
    """Spoils one recording in one to four ways, differently each time."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def spoil(self, recorded: bytes) -> bytes:
        raw = recorded
        for _ in range(self.random.choice((1, 1, 2, 4))):
            raw = self._values(raw) if self.random.random() < 0.7 else self._bytes(raw)
        return raw

    def _values(self, raw: bytes) -> bytes:
        try:
            value = json.loads(raw)
        except (ValueError, RecursionError):
            return self._bytes(raw)
        places = list(_places(value))
        if not places:
            return self._bytes(raw)
        holder, key = self.random.choice(places)
        if CANARY in str(holder[key]):  # a secret stays where it is known to be one
            return self._bytes(raw)
        kind = self.random.random()
        if kind < 0.65:
            holder[key] = self.random.choice(VALUES)
        elif kind < 0.8:
            del holder[key]
        elif kind < 0.9:
            other, its = self.random.choice(places)
            holder[key] = None if CANARY in str(other[its]) else other[its]
        elif isinstance(holder, dict):
            holder[self.random.choice(("", "type", "id", "rev", "seats", "\ud800"))] = holder[key]
        try:
            return json.dumps(value).encode()
        except (ValueError, RecursionError):  # it holds itself now
            return self._bytes(raw)

    def _bytes(self, raw: bytes) -> bytes:
        at, kind = self.random.randint(0, len(raw)), self.random.random()
        if kind < 0.3:
            return raw[:at] + self.random.choice(TOKENS) + raw[at + self.random.randint(0, 8) :]
        if kind < 0.5:
            return raw[:at] + bytes([self.random.randint(0, 255)]) + raw[at + 1 :]
        if kind < 0.7:
            return raw[:at]
        if kind < 0.85:
            return raw[:at] + raw[self.random.randint(0, len(raw)) :]
        lines = raw.splitlines(keepends=True)
        self.random.shuffle(lines)
        return b"".join(lines) + raw[at:]


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every holder in it, with each of its keys or indexes."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        keys = (
            list(holder)
            if isinstance(holder, dict)
            else range(len(holder))
            if isinstance(holder, list)
            else ()
        )
        for key in keys:
            found.append((holder, key))
            waiting.append(holder[key])
    return found


# -- where it enters -------------------------------------------------------------------------------------


class Doors:
    """The parts of the product that hear from outside; no thread, no socket."""

    def __init__(self) -> None:
        self.clock = VirtualTime()
        self.lane = Lane(self.clock)
        self.answer: dict[str, object] = {}
        self.rung: list[str] = []
        self.keeper = RingKeeper(
            identity=ME,
            engine=self,
            config=ClientConfig(),
            report=None,
            on_ring=lambda call: self.rung.append(call.call_id),
            on_cancel=lambda call, reason: None,
        )
        self.keeper._work = self.lane  # type: ignore[assignment]  # in virtual time
        lane = EventsLane("test")
        self.grid = Followed(
            Fact(SeatGrid(0, "free", None, (), (), None), lane),
            parse=codec.parse_seat_grid,
            ask=lambda _: self.answer,
            work=self.lane,  # type: ignore[arg-type]
        )
        self.stage = Followed(
            Fact[tuple[UTDStageMember, ...]]((), lane),
            parse=codec.parse_stage,
            ask=lambda _: self.answer,
            work=self.lane,  # type: ignore[arg-type]
        )

    def told_time(self) -> datetime | None:
        return NOW

    def get_call(self, call_id: str, deadline: Deadline) -> UTDCall:
        routes.call(call_id).encode("ascii")
        if self.answer:
            return codec.parse_call(self.answer)
        raise NotFound("no such call", 404)

    def list_calls(self, *, identity: str, statuses: object, deadline: Deadline) -> list[UTDCall]:
        return codec.parse_calls(self.answer)

    # -- REST

    def rest(self, raw: bytes) -> None:
        """An answer of the engine, with each status, read as every operation reads it."""
        for status in (200, 302, 403, 429, 500):
            self._read(lambda status=status: Http._interpret(status, {"Retry-After": "x"}, raw, "engine"))
        answer = self._read(lambda: Http._interpret(200, {}, raw, "engine"))
        if answer is None:
            return
        life = CallLife(UTDCallStatus.INITIATING, CALL.call_id)
        life.call = CALL
        for read in (codec.parse_call, codec.parse_token, codec.parse_session, codec.parse_calls):
            found = self._read(lambda read=read: read(answer))
            if isinstance(found, UTDCall):
                life.take(replace(found, call_id=CALL.call_id))
                routes.call_action(found.call_id, "accept").encode("ascii")
        mint = self._read(lambda: codec.parse_session(answer))
        if mint is not None and mint.mqtt is not None:
            login = mint.mqtt
            self._read(lambda: MqttIncomingCalls.from_login(login))
        for parse in (codec.parse_seat_grid, codec.parse_stage, codec.parse_invitation):
            parse(answer)
        codec.parse_speak_requests(answer.get("requests"))
        self.answer = dict(answer)
        self.grid.refresh(Deadline(1, 1, "asking"))
        self.stage.refresh(Deadline(1, 1, "asking"))
        self._read(lambda: self.keeper._poll())
        self.answer = {}

    def header(self, raw: bytes) -> None:
        """A time in a header."""
        text = raw.decode("latin-1")
        for name in (routes.HEADER_TIME, "Date"):
            clock = EngineClock()
            clock.learn({name: text})
            assert clock.now() + timedelta(days=36500) > clock.now()

    # -- rooms

    def room_message(self, raw: bytes) -> None:
        """A data message in a room, a call's or another."""
        message = messages.parse(raw)
        messages.parse_call_update(raw)
        if message is not None:
            self.grid.hint(message.fields)
            self.stage.hint(message.fields)
            codec.parse_invitation(message.fields)
            codec.parse_speak_requests([message.fields])

    def metadata(self, raw: bytes) -> None:
        """The metadata of a room."""
        text = raw.decode("utf-8", "surrogateescape")
        call = messages.parse_room_metadata(text)
        if call is not None:
            CallLife(UTDCallStatus.INITIATING, call.call_id).take(call)
        for key in (messages.METADATA_SEATS, messages.METADATA_STAGE, messages.METADATA_COMMENTS):
            fields = messages.parse_metadata(text, key)
            self.grid.metadata(fields)
            self.stage.metadata(fields)

    # -- MQTT and server-sent events

    def call_event(self, raw: bytes) -> None:
        """A call event: the inbox takes it, and asks the engine, which knows it as it is told, or not at all."""
        event = messages.parse_call_event(raw)
        self.keeper.take_message(raw)
        self.clock.run_until(self.clock.now_s + 0.001)
        if event is not None:
            self.answer = (
                codec.call_to_json(replace(event.call, metadata=None)) if self.clock.now_s % 2 else {}
            )
            self.keeper.take_message(raw)
        self.clock.run_until(self.clock.now_s + 70)
        self.answer = {}

    def broker_answer(self, raw: bytes) -> None:
        """What the broker answers the engine about its logins."""
        list(logins.parse_answers(raw))

    # -- files

    def device_file(self, raw: bytes) -> None:
        """A device's settings."""
        self._settings(raw, MachineConfig)

    def stack_file(self, raw: bytes) -> None:
        """A stack's settings."""
        self._settings(raw, StackFile)

    def _settings(self, raw: bytes, kind: type[object]) -> None:
        path = Path("/etc/utdstream/settings.toml")
        self._read(lambda: settings.parse(settings.tables_in(raw, path), kind, path))

    @staticmethod
    def _read(read: Callable[[], Value]) -> Value | None:
        said = None
        try:
            return read()
        except UTDStreamException as error:
            said = error
        assert CANARY not in str(said) + repr(said), "a secret is in a message"
        assert "\n" not in str(said), f"not one line: {said!r}"
        return None


def _event(event: str, call: UTDCall) -> bytes:
    return messages.encode_call_event(messages.CallEvent(event, 1, NOW, call))


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
STACK = b"""
[stack]
host = "192.0.2.1"
[project]
app_id = "123456"
app_key = "utd_pk_canary-that-nobody-may-see"
app_secret = "utd_sk_canary-that-nobody-may-see"
[tls]
mode = "off"
"""

RECORDED: dict[str, Sequence[bytes]] = {
    "rest": (
        _json(codec.call_to_json(CALL)),
        _json(answers.page_to_json([codec.call_to_json(CALL)] * 2, page=1, per_page=20, total=2)),
        _json(
            answers.token_to_json(token=CANARY, url="ws://x", room_name="r", user_token=CANARY, role="host")
        ),
        _json(answers.session_to_json(user_token=CANARY, mqtt=LOGIN)),
        _json(answers.error_to_json("no", "forbidden", retry_after_s=3, details={"a": 1})),
        _json(codec.seat_grid_to_answer(GRID)),
        _json({"members": STAGE, "rev": 3}),
    ),
    "header": (b"1893456000000", b"Tue, 01 Jan 2030 00:00:00 GMT"),
    "room_message": (
        messages.call_update(CALL),
        messages.encode(messages.SEAT_UPDATE, codec.seat_grid_to_message(GRID)),
        messages.encode(messages.STAGE_UPDATE, {"members": STAGE, "rev": 2}),
        messages.encode(
            messages.SPEAKER_REQUEST, {"request_id": 1, "identity": "x", "created_at": codec.iso(NOW)}
        ),
        messages.encode(
            messages.SPEAKER_INVITATION, {"invitation_id": 1, "target_identity": "x", "seat_index": 2}
        ),
        messages.removed("banned"),
    ),
    "metadata": (
        messages.room_metadata(CALL).encode(),
        _json(
            {
                "_seats": codec.seat_grid_to_message(GRID),
                "_stage": {"members": STAGE, "rev": 1},
                "_comments": {"locked": 1},
            }
        ),
    ),
    "call_event": tuple(_event(event, CALL) for event in sorted(messages.CALL_EVENTS)),
    "broker_answer": (
        _json({"responses": [{"command": "createClient", "correlationData": "1", "error": "x"}]}),
    ),
    "device_file": ((EXAMPLES / "doorbell.toml").read_bytes(), (EXAMPLES / "kiosk.toml").read_bytes()),
    "stack_file": (STACK,),
}
"""What the two ends say to each other, as the product itself writes it."""
