"""What rooms do with what nobody should send: one typed error, and the session lives."""

from __future__ import annotations

import http.client
import itertools
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import requests
from facts import eventually

from utdstream import (
    ConnectionState,
    DataMessage,
    Devices,
    InvalidConfig,
    InvalidRequest,
    PermissionDenied,
    UTDAudioRoomSession,
    UTDStreamClient,
)
from utdstream.testing import LocalStack

pytestmark = pytest.mark.integration

_numbers = itertools.count(1)
MEGABYTE = 1024 * 1024


class Joiner:
    """Joins audio rooms with a client each; all are disposed at the end."""

    def __init__(self, stack: LocalStack) -> None:
        self.stack = stack
        self._clients: list[UTDStreamClient] = []

    def client(self) -> UTDStreamClient:
        stack = self.stack
        made = UTDStreamClient(stack.app_id, stack.app_key, base_url=stack.base_url, devices=Devices())
        self._clients.append(made)
        return made

    def __call__(self, identity: str, room_name: str, **more: object) -> UTDAudioRoomSession:
        return self.client().join_audio_room(identity=identity, room_name=room_name, **more)  # type: ignore[arg-type]

    def close(self) -> None:
        for client in self._clients:
            client.dispose()


@pytest.fixture
def join(stack: LocalStack) -> Iterator[Joiner]:
    """A way into rooms."""
    made = Joiner(stack)
    yield made
    made.close()


@pytest.fixture
def room_name() -> str:
    return f"rough-{next(_numbers)}"


def test_identity_when_banned_is_put_out_and_kept_out(join: Joiner, room_name: str) -> None:
    """Removed with its reason, and the next join says banned and nothing else."""
    guest = join("rowdy", room_name)
    stack = join.stack
    server = {"X-App-Id": stack.app_id, "X-App-Secret": stack.app_secret}
    banned = requests.post(
        f"{stack.base_url}/api/v1/rooms/ban",
        json={"identity": "rowdy", "room_name": room_name, "reason": "noise"},
        headers=server,
        timeout=10,
    )
    assert banned.status_code == 201
    guest.connected.wait_for(False, timeout=10)
    assert guest.connection.value.reason == "BANNED"
    with pytest.raises(PermissionDenied) as refusal:
        join("rowdy", room_name)
    assert refusal.value.is_banned
    assert join("polite", room_name).connected.value


def test_room_name_when_it_has_a_slash_is_refused(join: Joiner) -> None:
    """One sentence from the engine."""
    with pytest.raises(InvalidRequest, match="room_name"):
        join("me", "a/b")


def test_identity_when_it_has_umlauts_and_signs_sits_down(join: Joiner, room_name: str) -> None:
    """Identities are people's, not programs'."""
    me = "Müller/Tür#%2F"
    room = join(me, room_name, as_host=True, seat_count=2)
    room.take_seat(1)
    assert room.seats.value.seats[1].identity == me


def test_body_when_it_has_ten_megabytes_is_refused(stack: LocalStack) -> None:
    """413 with a code, whatever is in it, and the engine serves on."""
    where = urlsplit(stack.base_url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=10)
    connection.putrequest("POST", "/api/v1/token")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(10 * MEGABYTE))
    connection.putheader("X-App-Id", stack.app_id)
    connection.putheader("X-App-Key", stack.app_key)
    connection.endheaders()
    try:
        for _ in range(10):
            connection.send(b" " * MEGABYTE)
    except (BrokenPipeError, ConnectionResetError):
        pass  # it need not read what it refuses
    answer = connection.getresponse()
    assert answer.status == 413
    assert b"payload_too_large" in answer.read()
    connection.close()
    assert requests.get(f"{stack.base_url}/health", timeout=5).status_code == 200


def test_data_message_when_it_has_a_megabyte_is_refused_before_it_is_sent(
    join: Joiner, room_name: str
) -> None:
    """A sentence that says how much fits."""
    room = join("me", room_name)
    with pytest.raises(InvalidConfig, match="15000"):
        room.send_data(b"x" * MEGABYTE)
    room.send_data(b"x" * 15_000)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"\xff\xfe{\xc3\x28", id="invalid UTF-8"),
        pytest.param(b'{"type":' + b"[" * 14_000, id="JSON bomb"),
        pytest.param(b'{"type":{"type":["_seat_update"]}}', id="type is no text"),
        pytest.param(b'{"type":"' + b"a" * 14_000 + b'"}', id="long type"),
        pytest.param(b"\x00" * 14_000, id="zeros"),
        pytest.param(b'"type"', id="no object"),
    ],
)
def test_session_when_a_strange_data_message_comes_outlives_it(
    join: Joiner, room_name: str, payload: bytes
) -> None:
    """It is the application's message, or nobody's; what comes after it arrives."""
    room, sender = join("me", room_name), join("other", room_name)
    got: list[DataMessage] = []
    room.messages.subscribe(got.append)
    sender.send_data(payload)
    sender.send_data(b"after")
    eventually(lambda: got and got[-1].data == b"after", "the next message arrived")
    assert room.connection.value.state is ConnectionState.CONNECTED


def test_room_metadata_when_it_is_nonsense_changes_nothing(join: Joiner, room_name: str) -> None:
    """A room whose metadata somebody else wrote keeps its last true grid."""
    room = join("me", room_name, as_host=True, seat_count=3)
    before = room.seats.value
    hook = room._media.facts.on_metadata
    assert hook is not None
    for metadata in ("[[[", '{"_seats": 7}', '{"_seats": {"count": "x", "seats": {}}}', "\ud800", "null"):
        hook(metadata)
    assert room.seats.value == before
