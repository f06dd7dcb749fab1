"""REST: real deadlines, typed errors, one retry, late answers undone."""

from __future__ import annotations

import gc
import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from facts import eventually
from small_engine import Answer, Hangup, Request, SmallEngine, reply
from urllib3 import HTTPConnectionPool

from utdstream._rest import http as rest
from utdstream._rest.api import Actor, EngineApi
from utdstream._rest.http import Http, Job, check_base_url, map_error
from utdstream._threads.deadline import Deadline
from utdstream._wire import routes
from utdstream.errors import (
    AuthenticationFailed,
    Conflict,
    DeadlineExceeded,
    EngineUnreachable,
    InvalidConfig,
    NotAuthenticated,
    RateLimited,
    SessionClosed,
    TransportError,
    UTDStreamException,
)
from utdstream.models import UTDCall, UTDStreamType

MARGIN_S = 0.25
KEY = "app-key-that-nobody-may-see"


@pytest.fixture
def engine() -> Iterator[SmallEngine]:
    """A server that answers what the test says."""
    server = SmallEngine()
    yield server
    server.close()


@pytest.fixture
def http() -> Iterator[Http]:
    """A pool that is closed with the test."""
    pool = Http()
    yield pool
    pool.close()


def ask(http: Http, engine: SmallEngine, *, within_s: float = 5.0, **options: Any) -> Mapping[str, object]:
    return http.request(
        "POST", engine.url + "/x", headers={}, deadline=Deadline(within_s, 5, "asking"), **options
    )


def test_request_when_answered_gives_the_object(http: Http, engine: SmallEngine) -> None:
    """JSON in, JSON out; an empty body is an empty object, a list is under `data`."""
    engine.respond = lambda request: reply({"got": json.loads(request.body)})
    assert ask(http, engine, body={"a": 1}) == {"got": {"a": 1}}
    engine.respond = lambda request: (204, {}, b"")
    assert ask(http, engine) == {}
    engine.respond = lambda request: reply([1, 2])
    assert ask(http, engine) == {"data": [1, 2]}


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (401, {"message": "expired", "code": "token_expired"}, AuthenticationFailed, "token_expired"),
        (409, {"error": "busy", "code": "callee_busy"}, Conflict, "callee_busy"),
        (429, {"message": "slow", "retry_after": 2}, RateLimited, None),
        (500, {"detail": "oops"}, EngineUnreachable, None),
    ],
)
def test_request_when_refused_raises_the_typed_error(
    http: Http,
    engine: SmallEngine,
    status: int,
    body: object,
    kind: type[UTDStreamException],
    code: str | None,
) -> None:
    """With the engine's own words and code."""
    engine.respond = lambda request: reply(body, status)
    with pytest.raises(kind) as refused:
        ask(http, engine)
    assert refused.value.status_code == status
    assert refused.value.code == code
    assert str(refused.value) in ("expired", "busy", "slow", "oops")


@pytest.mark.parametrize(("header", "seconds"), [("3", 3.0), ("soon", None), ("\xb2", None), ("", None)])
def test_request_when_limited_reads_the_header(
    http: Http, engine: SmallEngine, header: str, seconds: float | None
) -> None:
    """Retry-After when the body does not tell; rubbish in it is ignored."""
    engine.respond = lambda request: reply({}, 429, **{"Retry-After": header})
    with pytest.raises(RateLimited) as refused:
        ask(http, engine)
    assert refused.value.retry_after_s == seconds


@pytest.mark.parametrize("body", [b"<html>Sign in</html>", b"\xff\xfe", b"[" * 100_000, b"nonsense"])
def test_request_when_the_answer_is_no_json_says_so(http: Http, engine: SmallEngine, body: bytes) -> None:
    """A captive portal, a wrong address: one sentence that says where to look."""
    engine.respond = lambda request: (200, {"Content-Type": "text/html"}, body)
    with pytest.raises(EngineUnreachable, match=r"text/html instead of JSON.*base_url"):
        ask(http, engine)


def test_request_when_redirected_does_not_follow(http: Http, engine: SmallEngine) -> None:
    """A key never goes where a stranger points."""
    engine.respond = lambda request: (302, {"Location": engine.url + "/elsewhere"}, b"")
    with pytest.raises(EngineUnreachable, match="redirect"):
        ask(http, engine)
    assert [request.path for request in engine.requests] == ["/x"]


def test_request_when_the_answer_is_huge_stops_reading(
    http: Http, engine: SmallEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded whatever answers."""
    monkeypatch.setattr(rest, "MAX_BODY_BYTES", 100_000)
    engine.respond = lambda request: (200, {}, bytes(1_000_000))
    with pytest.raises(EngineUnreachable, match="larger"):
        ask(http, engine)


def test_request_when_a_netrc_exists_keeps_its_own_headers(
    http: Http, engine: SmallEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    """A login for this host in ~/.netrc must not replace the bearer."""
    netrc = f"{tmp_path}/netrc"
    with open(netrc, "w", encoding="ascii") as file:
        file.write("machine 127.0.0.1 login thief password thief\n")
    monkeypatch.setenv("NETRC", netrc)
    http.request(
        "POST",
        engine.url,
        headers={"Authorization": "Bearer mine"},
        deadline=Deadline(5, 5, "asking"),
    )
    assert engine.requests[0].headers["Authorization"] == "Bearer mine"


def test_request_when_the_server_is_silent_ends_at_the_deadline(http: Http, engine: SmallEngine) -> None:
    """Not a moment later, and what it says afterwards is undone."""
    go_on = threading.Event()

    def later(request: Request) -> Answer:
        go_on.wait(10)
        return reply({"call_id": "late"})

    engine.respond = later
    undone: list[Mapping[str, object]] = []
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"asking.*did not answer.*0\.3 s"):
        ask(http, engine, within_s=0.3, undo=undone.append)
    assert 0.3 <= time.monotonic() - began < 0.3 + MARGIN_S
    assert undone == []
    go_on.set()
    eventually(lambda: undone == [{"call_id": "late"}], "the late answer is undone")


def test_request_when_a_late_answer_is_an_error_has_nothing_to_undo(http: Http, engine: SmallEngine) -> None:
    """A refusal left nothing behind."""
    go_on = threading.Event()

    def later(request: Request) -> Answer:
        go_on.wait(10)
        return reply({"message": "no"}, 409)

    engine.respond = later
    undone: list[Mapping[str, object]] = []
    with pytest.raises(DeadlineExceeded):
        ask(http, engine, within_s=0.1, undo=undone.append)
    go_on.set()
    engine.respond = lambda request: reply({})
    ask(http, engine)
    assert undone == []


def test_request_when_the_body_trickles_ends_at_the_deadline() -> None:
    """A byte now and then keeps no caller, and the thread ends soon after."""
    http = Http()
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def trickle() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while not stop.wait(0.02):
                try:
                    connection.sendall(b"x")
                except OSError:
                    return

    server = threading.Thread(target=trickle)
    server.start()
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        http.request(
            "GET",
            f"http://127.0.0.1:{listener.getsockname()[1]}/",
            headers={},
            deadline=Deadline(0.3, 5, "asking"),
        )
    assert time.monotonic() - began < 0.3 + MARGIN_S
    http.close()
    eventually(
        lambda: not any(thread.name.startswith("utdstream-rest") for thread in threading.enumerate()),
        "the thread has ended",
    )
    stop.set()
    server.join(5)
    listener.close()


def test_request_when_the_connection_breaks_is_tried_once_more(http: Http, engine: SmallEngine) -> None:
    """A transport fault, and only with `retry`; never a third time."""
    broken = [True]

    def respond(request: Request) -> Answer:
        if broken:
            broken.pop()
            raise Hangup
        return reply({"ok": True})

    engine.respond = respond
    assert ask(http, engine, retry=True) == {"ok": True}
    broken[:] = [True, True]
    with pytest.raises(EngineUnreachable):
        ask(http, engine, retry=True)
    broken[:] = [True]
    with pytest.raises(EngineUnreachable):
        ask(http, engine)


def test_request_when_the_first_was_lost_and_the_second_is_limited_is_lost(
    http: Http, engine: SmallEngine
) -> None:
    """A 429 says nothing of the request before it, which may be done, and is then taken back."""
    first = [True]

    def respond(request: Request) -> Answer:
        if first:
            first.pop()
            raise Hangup
        return reply({}, 429)

    engine.respond = respond
    with pytest.raises(EngineUnreachable):
        ask(http, engine, retry=True)


def test_request_when_the_engine_answered_is_never_repeated(http: Http, engine: SmallEngine) -> None:
    """A 500 is an answer."""
    engine.respond = lambda request: reply({}, 500)
    with pytest.raises(EngineUnreachable):
        ask(http, engine, retry=True)
    assert len(engine.requests) == 1


def test_pool_when_many_ask_uses_eight_threads(http: Http, engine: SmallEngine) -> None:
    """The others wait for their turn, to their own deadlines."""
    go_on = threading.Event()

    def respond(request: Request) -> Answer:
        go_on.wait(10)
        return reply({})

    engine.respond = respond
    done: list[int] = []

    def one(number: int) -> None:
        ask(http, engine, within_s=5)
        done.append(number)

    askers = [threading.Thread(target=one, args=(number,)) for number in range(12)]
    for asker in askers:
        asker.start()
    eventually(lambda: len(engine.requests) == 8, "eight are under way")
    names = [thread.name for thread in threading.enumerate() if thread.name.startswith("utdstream-rest")]
    assert len(names) == 8
    go_on.set()
    for asker in askers:
        asker.join(10)
    assert sorted(done) == list(range(12))


def test_pool_when_nobody_asks_any_more_ends_its_threads(
    http: Http, engine: SmallEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle client keeps none, and the next question starts one again."""
    monkeypatch.setattr(rest, "LAST_IDLE_S", 0.05)
    ask(http, engine)
    eventually(lambda: http._threads == 0, "the thread has ended")
    ask(http, engine)


def test_pool_when_nobody_asks_keeps_one_thread_and_its_connection_for_a_while(
    http: Http, engine: SmallEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that asks now and then makes neither anew each time."""
    monkeypatch.setattr(rest, "IDLE_S", 0.05)
    together = threading.Barrier(2)
    engine.respond = lambda request: (together.wait(5), reply({}))[1]
    with ThreadPoolExecutor(2) as askers:
        for asked in [askers.submit(ask, http, engine) for _ in range(2)]:
            asked.result()
    assert http._threads == 2
    eventually(lambda: http._threads == 1, "the other one has ended")
    engine.respond = lambda request: reply({})
    ask(http, engine)
    assert (http._threads, len(engine.open)) == (1, 1)


def test_pool_when_closed_refuses() -> None:
    """Closing twice is fine."""
    http = Http()
    http.close()
    http.close()
    with pytest.raises(SessionClosed, match="disposed"):
        http.request("GET", "http://127.0.0.1:9/", headers={}, deadline=Deadline(1, 1, "asking"))


def test_pool_when_closed_closes_its_connections_also_after_an_error(engine: SmallEngine) -> None:
    """An error that the program keeps does not keep a connection open."""
    http = Http()
    engine.respond = lambda request: reply({"message": "no"}, 401)
    with pytest.raises(AuthenticationFailed) as kept:
        ask(http, engine)
    assert len(engine.open) == 1
    http.close()
    eventually(lambda: engine.open == [], "the connection is closed")
    assert kept.value.status_code == 401


def test_error_when_kept_keeps_neither_pool_nor_credentials(http: Http, engine: SmallEngine) -> None:
    """A program keeps errors, in a log or a list; a pool that lives on keeps its connections."""
    url = engine.url
    engine.close()
    with pytest.raises(EngineUnreachable) as kept:
        http.request("GET", url, headers={"X-App-Key": KEY}, deadline=Deadline(5, 5, "asking"))
    http.close()
    cause = kept.value.__cause__
    assert isinstance(cause, requests.RequestException)
    assert cause.request is None

    def pools() -> list[object]:
        return [one for one in gc.get_objects() if type(one) is HTTPConnectionPool and str(one.port) in url]

    eventually(lambda: not pools(), "its pool is gone")


def test_request_when_the_body_is_cut_off_says_so(http: Http, engine: SmallEngine) -> None:
    """Half an answer is none."""
    engine.respond = lambda request: (200, {"Content-Length": "100", "Connection": "close"}, b'{"a": 1}')
    with pytest.raises(EngineUnreachable, match="cut off"):
        ask(http, engine)


def test_request_when_the_body_is_compressed_reads_it(http: Http, engine: SmallEngine) -> None:
    """gzip comes from a proxy sooner or later; what only claims to be gzip is refused."""
    body = gzip.compress(b'{"a": 1}')
    engine.respond = lambda request: (200, {"Content-Encoding": "gzip"}, body)
    assert ask(http, engine) == {"a": 1}
    engine.respond = lambda request: (200, {"Content-Encoding": "gzip"}, b'{"a": 1}')
    with pytest.raises(EngineUnreachable):
        ask(http, engine)


def test_clock_when_the_engine_tells_its_time_follows_it(http: Http, engine: SmallEngine) -> None:
    """A device without a clock believes the engine, and no `Date` beside it, which may be a proxy's."""
    engine.respond = lambda request: (200, {routes.HEADER_TIME: "1893456000000"}, b"{}")
    ask(http, engine)
    told = http.clock.told()
    assert told is not None
    assert told.isoformat().startswith("2030-01-01T00:00:0")
    engine.respond = lambda request: reply({})
    ask(http, engine)
    assert http.clock.now().year == 2030


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "http://"])
def test_proxy_when_the_environment_names_one_that_cannot_be_used_is_said(
    http: Http, engine: SmallEngine, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    """Desktops and tools for VPNs set it: whoever reads that `base_url` is wrong edits the wrong thing."""
    monkeypatch.setenv("ALL_PROXY", proxy)
    monkeypatch.setenv("NO_PROXY", "")
    with pytest.raises(EngineUnreachable, match="the proxy in the environment"):
        ask(http, engine)


@pytest.mark.parametrize(
    "kind",
    sorted(
        (
            value
            for value in vars(requests.exceptions).values()
            if isinstance(value, type)
            and issubclass(value, requests.RequestException)
            and value.__module__.startswith("requests")
        ),
        key=str,
    ),
)
def test_map_error_when_given_each_class_of_requests_gives_ours(kind: type[Exception]) -> None:
    """None is let through, each names the host, none shows what the library said."""
    error = kind.__new__(kind)
    Exception.__init__(error, f"X-App-Key: {KEY}")
    ours = map_error(error, "engine.example.com")
    assert isinstance(ours, (TransportError, InvalidConfig))
    assert "engine.example.com" in str(ours)
    assert KEY not in str(ours) + repr(ours)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "engine.example.com",
        "ftp://engine",
        "http://",
        "https://user:password@engine",
        "http:///x",
        None,
        7,
    ],
)
def test_base_url_when_it_is_none_is_refused(url: object) -> None:
    """At once, with the name of the argument."""
    with pytest.raises(InvalidConfig, match="base_url"):
        check_base_url("base_url", url)  # type: ignore[arg-type]


def test_base_url_when_it_holds_a_password_does_not_repeat_it() -> None:
    """What is refused may still be secret."""
    with pytest.raises(InvalidConfig) as refused:
        check_base_url("base_url", "https://user:hunter2@engine")
    assert "hunter2" not in str(refused.value)


# -- the engine's interface --------------------------------------------------------------------------


@pytest.fixture
def api(engine: SmallEngine) -> Iterator[EngineApi]:
    """Typed calls to the small server."""
    made = EngineApi(app_id="app-1", app_key=KEY, base_url=engine.url, token_base_url=engine.url)
    yield made
    made.close(limit())


def limit(seconds: float = 5.0) -> Deadline:
    return Deadline(seconds, seconds, "asking")


def test_bearer_when_refused_is_minted_again_once(api: EngineApi, engine: SmallEngine) -> None:
    """A bearer that expired costs one more round trip, not a failed call."""
    bearers = iter(["first", "second", "third"])
    accepted = ["second"]

    def respond(request: Request) -> Answer:
        if request.path.endswith("/auth/session"):
            return reply({"user_token": next(bearers)})
        if request.headers["Authorization"] not in [f"Bearer {word}" for word in accepted]:
            return reply({"message": "expired"}, 401)
        return reply({"call_id": "c1", "status": "ringing", "type": "audio_call"})

    engine.respond = respond
    api.mint_session(Actor("door"), limit())
    assert api.get_call("c1", limit()).call_id == "c1"
    accepted[:] = []
    asked = len(engine.requests)
    with pytest.raises(AuthenticationFailed):
        api.get_call("c1", limit())
    assert len(engine.requests) == asked + 3, "refused, minted, refused"


def test_headers_when_sent_carry_the_key_in_headers_only(api: EngineApi, engine: SmallEngine) -> None:
    """Never in a path, a query or a body."""
    engine.respond = lambda request: reply({"user_token": "bearer"})
    api.mint_session(Actor("door", "Door", "device-7"), limit())
    request = engine.requests[0]
    assert request.headers["X-App-Key"] == KEY
    assert request.headers["X-App-Id"] == "app-1"
    assert KEY not in request.path
    assert KEY.encode() not in request.body
    assert json.loads(request.body) == {"identity": "door", "name": "Door", "device_id": "device-7"}
    assert KEY not in repr(api)


def test_privileged_calls_when_nobody_is_signed_in_are_refused_here(
    api: EngineApi, engine: SmallEngine
) -> None:
    """Without a request."""
    with pytest.raises(NotAuthenticated, match="authenticate"):
        api.get_call("c1", limit())
    with pytest.raises(NotAuthenticated, match="authenticate"):
        api.say("c1", "end", limit())
    assert engine.requests == []


def test_create_call_when_repeated_carries_the_same_idempotency_key(
    api: EngineApi, engine: SmallEngine
) -> None:
    """An answer that was lost does not make two calls."""
    lost = [True]

    def respond(request: Request) -> Answer:
        if request.path.endswith("/auth/session"):
            return reply({"user_token": "bearer"})
        if lost:
            lost.pop()
            raise Hangup
        return reply({"call_id": "c1", "status": "initiating", "type": "audio_call"})

    engine.respond = respond
    api.mint_session(Actor("door"), limit())
    create(api, [])
    keys = [request.headers["Idempotency-Key"] for request in engine.requests[1:]]
    assert len(keys) == 2
    assert len(set(keys)) == 1
    create(api, [])
    assert engine.requests[-1].headers["Idempotency-Key"] != keys[0]


def test_create_call_when_it_comes_too_late_is_undone(api: EngineApi, engine: SmallEngine) -> None:
    """The call exists, the caller has gone: somebody is told which one it was."""
    go_on = threading.Event()

    def respond(request: Request) -> Answer:
        if request.path.endswith("/auth/session"):
            return reply({"user_token": "bearer"})
        go_on.wait(10)
        return reply({"call_id": "late", "status": "initiating", "type": "audio_call"})

    engine.respond = respond
    api.mint_session(Actor("door"), limit())
    undone: list[UTDCall] = []
    with pytest.raises(DeadlineExceeded):
        create(api, undone, 0.2)
    go_on.set()
    eventually(lambda: [call.call_id for call in undone] == ["late"], "it is undone")


def create(api: EngineApi, undone: list[UTDCall], within_s: float = 5.0) -> UTDCall:
    return api.create_call(
        callee_identity="house",
        callee_name=None,
        kind=UTDStreamType.AUDIO_CALL,
        metadata=None,
        deadline=limit(within_s),
        undo=undone.append,
    )


@pytest.mark.parametrize("key", ["", " ", "schlüssel", "with\nnewline", None, 7])
def test_key_when_it_cannot_be_sent_is_refused_at_once(key: object) -> None:
    """Before any request, without repeating it."""
    with pytest.raises(InvalidConfig, match="app_key") as refused:
        EngineApi(app_id="a", app_key=key, base_url="http://e", token_base_url="http://e")  # type: ignore[arg-type]
    assert "schlüssel" not in str(refused.value)


def test_paths_when_ids_are_strange_are_encoded(api: EngineApi, engine: SmallEngine) -> None:
    """A call id from a message is one path segment, whatever is in it."""

    def respond(request: Request) -> Answer:
        if request.path.endswith("/auth/session"):
            return reply({"user_token": "bearer"})
        return reply({"message": "no such call"}, 404)

    engine.respond = respond
    api.mint_session(Actor("door"), limit())
    with pytest.raises(UTDStreamException):
        api.get_call("../../admin?x=1#y", limit())
    assert engine.requests[-1].path == "/api/v1/calls/..%2F..%2Fadmin%3Fx%3D1%23y"


def test_answer_when_the_caller_is_interrupted_after_taking_it_is_not_lost() -> None:
    """Ctrl-C between the queue and the next line: what was answered is still there to be undone."""
    deadline = Deadline.after(5.0, "asking")
    job = Job("POST", "http://127.0.0.1:9/calls", {}, None, deadline, retry=False, undo=None)
    job.answer({"call_id": "c1"})
    job.reply.get(timeout=5)
    assert job.abandon() == {"call_id": "c1"}
    assert not job.abandoned
