"""Everything that can be handed to the SDK wrongly: one typed error each, in time, that says what to do.

No traceback of a library, no key in any message, nothing left running (the thread guard looks after each).
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from facts import eventually
from media_rooms import HandCamera, MediaRoom
from people import People
from small_engine import Request, SmallEngine, reply

from utdstream import (
    AuthenticationFailed,
    Conflict,
    ConnectFailed,
    DeadlineExceeded,
    Devices,
    EngineUnreachable,
    InvalidCallTransition,
    InvalidConfig,
    NotAuthenticated,
    NotFound,
    PermissionDenied,
    PixelFormat,
    RawFrame,
    UTDCallStatus,
    UTDRoom,
    UTDStreamClient,
    UTDStreamException,
    UTDStreamType,
    WrongThread,
)
from utdstream._livekit.loop import loop_thread
from utdstream._threads.deadline import Deadline
from utdstream.testing import LocalStack

pytestmark = pytest.mark.integration

S = UTDCallStatus
MARGIN_S = 0.25
KEY = "utd_pk_a-key-that-nobody-may-see"
BEARER = "bearer-that-nobody-may-see"
PATIENCE_S = 15.0


@pytest.fixture
def engine() -> Iterator[SmallEngine]:
    """Something that answers where an engine should."""
    server = SmallEngine()
    yield server
    server.close()


@contextmanager
def client_of(base_url: str, *, key: str = KEY) -> Iterator[UTDStreamClient]:
    with UTDStreamClient("app-1", key, base_url=base_url) as client:
        yield client


@contextmanager
def silent_host() -> Iterator[str]:
    """Accepts and never answers; closes everything at the end. Gives `127.0.0.1:port`."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.05)
    accepted: list[socket.socket] = []
    over = threading.Event()

    def accept() -> None:
        while not over.is_set():
            try:
                accepted.append(listener.accept()[0])
            except TimeoutError:
                continue

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        over.set()
        accepting.join(5)
        listener.close()
        for connection in accepted:
            connection.close()


def refused(
    kind: type[UTDStreamException],
    action: Callable[[], object],
    *,
    within_s: float,
    says: str,
    secrets: tuple[str, ...] = (KEY, BEARER),
) -> UTDStreamException:
    """`action` raises exactly this kind in time, with these words, in one sentence without a secret."""
    began = time.monotonic()
    with pytest.raises(kind, match=says) as caught:
        action()
    took = time.monotonic() - began
    assert took < within_s + MARGIN_S, f"{took:.3f} s"
    assert type(caught.value) is kind
    text = str(caught.value) + repr(caught.value)
    assert not [secret for secret in secrets if secret in text]
    assert "Traceback" not in text
    assert "\n" not in text
    return caught.value


# -- the engine ------------------------------------------------------------------------------------


def test_authenticate_when_the_key_is_wrong_is_an_authentication_error(stack: LocalStack) -> None:
    """The engine says no; the key is not repeated."""
    with UTDStreamClient(stack.app_id, KEY, base_url=stack.base_url) as client:
        error = refused(
            AuthenticationFailed, lambda: client.authenticate(identity="door"), within_s=8, says="."
        )
        assert error.status_code == 401
        assert client.identity is None


def test_authenticate_when_the_project_is_wrong_is_an_authentication_error(stack: LocalStack) -> None:
    """A right key of another project is a wrong key."""
    with UTDStreamClient("987654", stack.app_key, base_url=stack.base_url) as client:
        refused(
            AuthenticationFailed,
            lambda: client.authenticate(identity="door"),
            within_s=8,
            says=".",
            secrets=(stack.app_key,),
        )


def test_request_when_the_host_is_unreachable_says_where_to_look() -> None:
    """A port where nothing listens: at once, not at the deadline."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with client_of(f"http://127.0.0.1:{port}") as client:
        error = refused(
            EngineUnreachable,
            lambda: client.authenticate(identity="door", timeout=5),
            within_s=1.5,
            says=rf"127\.0\.0\.1:{port}.*base_url",
        )
        assert isinstance(error, ConnectionError)


def test_request_when_the_host_is_silent_ends_at_the_deadline() -> None:
    """It accepts and never answers."""
    with silent_host() as address, client_of(f"http://{address}") as client:
        error = refused(
            DeadlineExceeded,
            lambda: client.authenticate(identity="door", timeout=0.4),
            within_s=0.4,
            says=r"authenticate.*did not answer.*reachable",
        )
        assert isinstance(error, TimeoutError)


def test_request_when_the_name_server_hangs_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time-out of a library reaches a name look-up; the deadline holds all the same."""
    free = threading.Event()
    look_up = socket.getaddrinfo

    def hang(host: str, *arguments: object, **options: object) -> object:
        if host != "engine.invalid":
            return look_up(host, *arguments, **options)  # type: ignore[arg-type]
        free.wait(PATIENCE_S)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        with client_of("http://engine.invalid") as client:
            refused(
                DeadlineExceeded,
                lambda: client.authenticate(identity="door", timeout=0.4),
                within_s=0.4,
                says="did not answer",
            )
    finally:
        free.set()


def test_request_when_the_host_name_is_unknown_says_so() -> None:
    """`.invalid` never resolves."""
    with client_of("http://engine.invalid") as client:
        refused(
            EngineUnreachable,
            lambda: client.authenticate(identity="door", timeout=8),
            within_s=8,
            says=r"engine\.invalid.*DNS",
        )


def test_request_when_html_comes_instead_of_json_names_the_portal(engine: SmallEngine) -> None:
    """A hotel's sign-in page answers everything with 200."""
    engine.respond = lambda request: (200, {"Content-Type": "text/html"}, b"<html>Welcome!</html>")
    with client_of(engine.url) as client:
        refused(
            EngineUnreachable,
            lambda: client.authenticate(identity="door"),
            within_s=8,
            says="text/html instead of JSON.*portal",
        )


@pytest.mark.parametrize(
    "answer",
    [{"user_token": 7}, {"user_token": None}, {"user_token": ["a"]}, [1, 2], 7, None, "text", {}],
)
def test_session_answer_when_its_types_are_wrong_is_one_error(engine: SmallEngine, answer: object) -> None:
    """Never a cast error, whatever type a field has."""
    engine.respond = lambda request: reply(answer)
    with client_of(engine.url) as client:
        refused(
            EngineUnreachable,
            lambda: client.authenticate(identity="door"),
            within_s=8,
            says="malformed|instead of JSON",
        )
        assert client.identity is None


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ({"call_id": 7, "status": "ringing"}, "holds no call"),
        ({"call_id": "c1", "status": 7}, "holds no call"),
        ({"call_id": "c1", "status": "dancing"}, "dancing"),
        ({"call_id": "c1", "status": "initiating", "type": "smoke", "token": 7, "url": {}}, "no token"),
        ({"call_id": "c1", "status": "initiating", "token": "t", "url": "gopher://sfu"}, "ws://"),
        ({"call_id": "c1", "status": "initiating", "created_at": [], "rev": "x", "metadata": 7}, "no token"),
        ([], "holds no call"),
    ],
)
def test_call_answer_when_its_types_and_words_are_wrong_is_one_error(
    engine: SmallEngine, call: object, says: str
) -> None:
    """An unknown status, an unknown type, a url of another world: the call does not begin."""

    def respond(request: Request) -> object:
        if request.path.endswith("/auth/session"):
            return reply({"user_token": BEARER})
        if request.path.endswith("/calls"):
            return reply(call)
        return reply({"call_id": "c1", "status": "ended"})

    engine.respond = respond  # type: ignore[assignment]
    with client_of(engine.url) as client:
        client.authenticate(identity="door")
        session = client.call_session(UTDStreamType.AUDIO_CALL)
        with pytest.raises((EngineUnreachable, InvalidConfig), match=says) as caught:
            session.start(callee_identity="house")
        assert BEARER not in str(caught.value)
        assert session.status.value in (None, S.ENDED)
        assert not session.connected.value


@pytest.mark.parametrize(
    "arguments",
    [
        {"identity": ""},
        {"identity": "x" * 129},
        {"identity": None},
        {"identity": 7},
        {"identity": "door", "timeout": -1},
        {"identity": "door", "timeout": "soon"},
        {"identity": "door", "timeout": float("nan")},
        {"identity": "door", "timeout": float("inf")},
        {"identity": "door", "timeout": True},
    ],
)
def test_authenticate_when_its_arguments_are_bad_is_refused_before_a_request(
    engine: SmallEngine, arguments: dict[str, object]
) -> None:
    """At once, with the argument's name."""
    with client_of(engine.url) as client:
        refused(
            InvalidConfig,
            lambda: client.authenticate(**arguments),  # type: ignore[arg-type]
            within_s=0.1,
            says="identity|timeout",
        )
    assert engine.requests == []


def test_privileged_call_when_nobody_is_signed_in_is_refused(engine: SmallEngine) -> None:
    """Nobody is signed in: no request, no thread."""
    with client_of(engine.url) as client:
        for action in (
            lambda: client.call_session(UTDStreamType.AUDIO_CALL),
            lambda: client.incoming_calls(),
        ):
            refused(NotAuthenticated, action, within_s=0.1, says="authenticate")
    assert engine.requests == []


# -- calls -----------------------------------------------------------------------------------------


def test_accept_when_nobody_knows_the_call_is_not_found(people: People) -> None:
    """And leaves the session as it was."""
    house = people("house")
    session = house.call()
    for action in (session.accept, session.ringing, session.reject, session.busy):
        refused(NotFound, lambda action=action: action("no-such-call"), within_s=8, says=".")
    assert session.status.value is None


def test_accept_when_the_call_is_somebody_elses_is_refused(people: People) -> None:
    """A third person who learnt the id can neither answer nor end it."""
    door, house, thief = people("door"), people("house"), people("thief")
    inbox = house.inbox()
    calling = door.call()
    call = calling.start(callee_identity=house.identity)
    with pytest.raises((NotFound, PermissionDenied)):
        thief.call().accept(call.call_id)
    with pytest.raises((NotFound, PermissionDenied)):
        thief.call().reject(call.call_id)
    assert calling.status.value in (S.INITIATING, S.RINGING)
    inbox.ringing.wait(timeout=PATIENCE_S).accept()
    calling.wait_for_answer(timeout=PATIENCE_S)


def test_accept_when_the_call_is_over_is_refused(people: People) -> None:
    """Its id has expired: Conflict, and nothing is joined."""
    door, house = people("door"), people("house")
    calling = door.call()
    call = calling.start(callee_identity=house.identity)
    calling.end()
    session = house.call()
    refused(Conflict, lambda: session.accept(call.call_id), within_s=20, says=".")
    assert not session.connected.value


def test_accept_when_done_twice_is_refused_and_harms_nothing(people: People) -> None:
    """On the same session, and on a second device of the same person."""
    door, house = people("door"), people("house")
    inbox = house.inbox()
    calling = door.call()
    call = calling.start(callee_identity=house.identity)
    answering = inbox.ringing.wait(timeout=PATIENCE_S).accept()
    refused(InvalidCallTransition, lambda: answering.accept(call.call_id), within_s=1, says="already")
    with pytest.raises((Conflict, InvalidCallTransition)):
        house.call().accept(call.call_id)
    assert calling.wait_for_answer(timeout=PATIENCE_S).status is S.ACTIVE
    assert answering.connected.value


@pytest.mark.parametrize("status", ["ended", "rejected", "ringing"])
def test_call_update_when_forged_changes_nothing(people: People, status: str) -> None:
    """The other participant may send any data message; only the engine's word counts."""
    door, house = people("door"), people("house")
    inbox = house.inbox()
    calling = door.call()
    call = calling.start(callee_identity=house.identity)
    answering = inbox.ringing.wait(timeout=PATIENCE_S).accept()
    calling.wait_for_answer(timeout=PATIENCE_S)
    seen: list[object] = []
    calling.status.subscribe(seen.append)
    heard: list[bytes] = []
    calling.messages.subscribe(lambda message: heard.append(message.data))
    forged = {"call_id": call.call_id, "status": status, "type": "video_call", "rev": 10_000}
    answering.send_data(json.dumps({"type": "_call_update", "rev": 10_000, "call": forged}).encode())
    answering.send_data(b"after it")
    eventually(lambda: heard == [b"after it"], "the forged one was taken in, the other delivered", PATIENCE_S)
    eventually(lambda: not calling._present.life.hinted, "the engine was asked", PATIENCE_S)  # type: ignore[union-attr]
    assert calling.status.value is S.ACTIVE
    assert calling.connected.value
    assert seen == []
    calling.end()
    answering.status.wait_for(S.ENDED, timeout=PATIENCE_S)


# -- media -----------------------------------------------------------------------------------------


def test_camera_frame_when_its_size_is_wrong_is_reported_on_the_client(people: People) -> None:
    """One InvalidConfig on `client.errors`; the call goes on, with the frames that are right."""
    camera = HandCamera(320, 240, 15)
    door, house = people("door", Devices(camera=camera)), people("house", Devices())
    inbox = house.inbox()
    calling = door.call()
    calling.start(callee_identity=house.identity)
    for _ in range(3):
        camera.push(RawFrame(bytes(640 * 480 * 3 // 2), 640, 480, PixelFormat.I420, 1))
    answering = inbox.ringing.wait(timeout=PATIENCE_S).accept()
    assert len(answering.snapshot(timeout=PATIENCE_S)) > 100
    eventually(lambda: door.errors, "it is reported")
    assert [type(error.error) for error in door.errors] == [InvalidConfig]
    assert "640x480" in str(door.errors[0].error)
    assert calling.stats().video_frames_dropped >= 3


@pytest.mark.parametrize("url", ["", "sfu.example.com", "ftp://sfu", None, 7])
def test_media_url_when_it_is_none_is_refused_at_once(url: object) -> None:
    """Before the core sees it."""
    with UTDRoom() as room:
        refused(InvalidConfig, lambda: room.connect(url, "token"), within_s=1, says="url")  # type: ignore[arg-type]
        refused(InvalidConfig, lambda: room.connect("ws://sfu", ""), within_s=1, says="token")


def test_media_token_when_it_is_another_servers_is_refused_at_once(stack: LocalStack) -> None:
    """The SFU says 401; no part of the token is in the message."""
    from livekit import api

    token = (
        api.AccessToken("somebody", "s" * 32)
        .with_identity("door")
        .with_grants(api.VideoGrants(room_join=True, room="anywhere"))
        .to_jwt()
    )
    with UTDRoom() as room:
        for wrong in (token, "not-even-a-token", "eyJhbGciOiJub25lIn0.e30."):
            refused(
                ConnectFailed,
                lambda wrong=wrong: room.connect(stack.livekit_url, wrong),
                within_s=5,
                says="joining the media room.*token",
                secrets=(wrong, *(part for part in wrong.split(".") if len(part) > 10)),
            )
            assert not room.connected.value


def test_media_room_when_it_does_not_exist_is_a_connect_error(stack: LocalStack) -> None:
    """The server creates none by itself."""
    with MediaRoom(stack) as hall:
        token = hall.token("door")
    with UTDRoom() as room:
        refused(ConnectFailed, lambda: room.connect(hall.url, token), within_s=15, says="room")


def test_media_host_when_unreachable_is_a_connect_error() -> None:
    """A port where nothing listens: in a second, not in twenty."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with UTDRoom() as room:
        refused(
            ConnectFailed,
            lambda: room.connect(f"ws://127.0.0.1:{port}", "token-1"),
            within_s=3,
            says="check the url",
        )
        assert room.connection.value.reason


def test_media_host_when_silent_ends_at_the_deadline() -> None:
    """The core would take half a minute; the next connect of the same object is free to begin."""
    loop_thread()
    with silent_host() as address, UTDRoom() as room:
        for _ in range(2):
            refused(
                DeadlineExceeded,
                lambda: room.connect(f"ws://{address}", "token-2", timeout=0.4),
                within_s=0.4,
                says=r"connect.*reachable",
            )
        assert not room.connected.value


def test_blocking_call_when_made_on_the_loop_thread_is_refused(stack: LocalStack) -> None:
    """It would wait for itself for ever."""
    with MediaRoom(stack) as hall:
        room = hall.join("door")
        outcome: list[type[BaseException]] = []
        actions: tuple[Callable[[], object], ...] = (
            room.disconnect,
            room.dispose,
            room.stats,
            room.snapshot,
            room.audio_frames,
            room.video_frames,
            lambda: room.set_microphone(False),
            lambda: room.send_data(b"x"),
            lambda: room.connected.wait_for(False),
            lambda: room.events.wait(),
            lambda: room.connect(hall.url, "token"),
        )

        def on_the_loop() -> None:
            for action in actions:
                try:
                    action()
                except UTDStreamException as error:
                    outcome.append(type(error))

        loop_thread().call(on_the_loop, deadline=Deadline(5, 5, "ask"))
        assert outcome == [WrongThread] * len(actions)
        assert room.connected.value
