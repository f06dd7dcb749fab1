"""`RequestGate`: the requests of clients to the engine, which a test may hold, answer itself, change or lose.

Owns: an HTTP server on loopback that passes everything on but for what was said about a path. A thread for each
connection. Imports the standard library.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from utdstream.testing import _callers

_FORWARD_S = 60.0
_HELD_S = 60.0
_PIECE = 16_384
_OF_ONE_HOP = frozenset(("host", "connection", "keep-alive", "transfer-encoding", "content-length"))


class _Hangup(Exception):
    """The connection ends without a word."""


@dataclass(frozen=True, slots=True)
class RequestAnswer:
    """What a client is told. `cut_off_at`: the connection breaks after so many bytes of the body."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] | None = None
    cut_off_at: int | None = None


@dataclass(slots=True)
class _Passing:
    """One request on its way; `identity` is who signed it, None for the open key alone."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    identity: str | None
    answer: RequestAnswer | None = None


class HeldRequests:
    """Requests that wait until `let_go`, 60 s at most. `came` is set when the first one is there."""

    def __init__(self) -> None:
        self.came = threading.Event()
        self._may_go = threading.Event()

    def let_go(self) -> None:
        """Lets them, and those that come, pass."""
        self._may_go.set()

    def _wait(self, _passing: _Passing) -> None:
        self.came.set()
        self._may_go.wait(_HELD_S)


@dataclass(eq=False, slots=True)
class _Rule:
    path_end: str
    only: frozenset[str] | None
    before: Callable[[_Passing], object] | None = None
    after: Callable[[_Passing], object] | None = None

    def concerns(self, passing: _Passing) -> bool:
        path = passing.path.partition("?")[0]
        return path.endswith(self.path_end) and (self.only is None or passing.identity in self.only)


class RequestGate:
    """Passes requests on, but for those whose path ends as one said: `""` is all of them.

    Each of the acts is a context manager and is over with its block. `only` names the identities it concerns.
    Thread: all methods from any thread.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._lock = threading.Lock()
        self._rules: tuple[_Rule, ...] = ()
        self._seen: list[str] = []
        self.met = 0
        """How many requests have met a fault so far."""
        self._open: set[socket.socket] = set()
        self._server = _server(self)
        self.port: int = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="utdstream-gate", daemon=True
        )
        self._thread.start()

    @contextmanager
    def hold_requests(self, path_end: str, *, only: str | None = None) -> Iterator[HeldRequests]:
        """Lets no such request reach the engine before `let_go`, or the end of the block.

        Blocks: no time. Raises: nothing.
        """
        held = HeldRequests()
        try:
            with self._holds(_Rule(path_end, _those(only), before=held._wait)):
                yield held
        finally:
            held.let_go()

    @contextmanager
    def hold_answers(self, path_end: str, *, only: str | None = None) -> Iterator[HeldRequests]:
        """Lets the engine do it, and its answer wait until `let_go`, or the end of the block.

        Blocks: no time. Raises: nothing.
        """
        held = HeldRequests()
        try:
            with self._holds(_Rule(path_end, _those(only), after=held._wait)):
                yield held
        finally:
            held.let_go()

    @contextmanager
    def lose_answers(
        self, path_end: str, *, times: int | None = None, only: str | None = None
    ) -> Iterator[None]:
        """Lets the engine do it; the connection ends without an answer. So many times, then all pass.

        Blocks: no time. Raises: nothing.
        """
        left = [times]

        def lose(_passing: _Passing) -> None:
            with self._lock:
                if left[0] is None or left[0] > 0:
                    left[0] = None if left[0] is None else left[0] - 1
                    raise _Hangup

        with self._holds(_Rule(path_end, _those(only), after=lose)):
            yield

    @contextmanager
    def lose_requests(self, path_end: str, *, only: str | None = None) -> Iterator[None]:
        """Lets no such request reach the engine; the connection ends without an answer.

        Blocks: no time. Raises: nothing.
        """

        def lose(_passing: _Passing) -> None:
            raise _Hangup

        with self._holds(_Rule(path_end, _those(only), before=lose)):
            yield

    @contextmanager
    def answer(
        self, path_end: str, answer: RequestAnswer | Mapping[str, object], *, only: str | None = None
    ) -> Iterator[None]:
        """Answers such requests here: the engine does not see them. A mapping is a JSON body with status 200.

        Blocks: no time. Raises: nothing.
        """
        given = (
            answer if isinstance(answer, RequestAnswer) else RequestAnswer(body=json.dumps(answer).encode())
        )

        def put(passing: _Passing) -> None:
            passing.answer = given

        with self._holds(_Rule(path_end, _those(only), before=put)):
            yield

    @contextmanager
    def change(
        self, path_end: str, change: Callable[[RequestAnswer], RequestAnswer], *, only: str | None = None
    ) -> Iterator[None]:
        """Lets the engine do it, and tells the client what `change` makes of the answer.

        Blocks: no time. Raises: nothing.
        """

        def put(passing: _Passing) -> None:
            assert passing.answer is not None
            passing.answer = change(passing.answer)

        with self._holds(_Rule(path_end, _those(only), after=put)):
            yield

    def pass_all(self) -> None:
        """Does nothing more to what comes from now on, also within blocks that go on; what is held stays so."""
        with self._lock:
            self._rules = ()

    def count(self, path_end: str) -> int:
        """Returns how many such requests have come so far."""
        return sum(path.endswith(path_end) for path in tuple(self._seen))

    def close(self) -> None:
        """Ends it, and every connection through it. Idempotent."""
        for connection in tuple(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5.0)

    @contextmanager
    def _holds(self, rule: _Rule) -> Iterator[None]:
        with self._lock:
            self._rules = (*self._rules, rule)
        try:
            yield
        finally:
            with self._lock:
                self._rules = tuple(one for one in self._rules if one is not rule)

    # --- a connection's thread

    def _before(self, passing: _Passing) -> None:
        self._seen.append(passing.path.partition("?")[0])
        for rule in self._rules:
            if rule.before is not None and rule.concerns(passing):
                self.met += 1
                rule.before(passing)

    def _after(self, passing: _Passing) -> None:
        for rule in self._rules:
            if rule.after is not None and rule.concerns(passing):
                self.met += 1
                rule.after(passing)


def _those(only: str | None) -> frozenset[str] | None:
    return None if only is None else frozenset((only,))


def _server(gate: RequestGate) -> ThreadingHTTPServer:
    class _GateHandler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            try:
                self._pass()
            except (_Hangup, OSError, http.client.HTTPException):
                self.close_connection = True

        do_GET = do_DELETE = do_PUT = do_PATCH = do_HEAD = do_OPTIONS = do_POST  # noqa: N815 - http.server's names

        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            head = f"{self.requestline}\r\n{self.headers}".replace("\n", "\r\n").encode()
            passing = _Passing(
                self.command, self.path, dict(self.headers), body, _callers.of_http(head + body)
            )
            gate._before(passing)
            if passing.answer is None:
                with contextlib.closing(
                    http.client.HTTPConnection(*gate._target, timeout=_FORWARD_S)
                ) as engine:
                    given = self._forward(engine, passing)
                    if given.getheader("Content-Length") is None and given.chunked:
                        self._stream(given)
                        return
                    kept = {name: value for name, value in given.getheaders() if _may_pass(name)}
                    passing.answer = RequestAnswer(given.status, given.read(), kept)
            gate._after(passing)
            assert passing.answer is not None
            self._tell(passing.answer)

        def _forward(self, engine: http.client.HTTPConnection, passing: _Passing) -> http.client.HTTPResponse:
            headers = {name: value for name, value in passing.headers.items() if _may_pass(name)}
            engine.request(passing.method, passing.path, body=passing.body or None, headers=headers)
            return engine.getresponse()

        def _tell(self, answer: RequestAnswer) -> None:
            headers = dict(answer.headers or {"Content-Type": "application/json"})
            self.send_response_only(answer.status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body[: answer.cut_off_at])
            if answer.cut_off_at is not None:
                raise _Hangup

        def _stream(self, given: http.client.HTTPResponse) -> None:
            """An event stream: passed on as it comes, to its end."""
            self.send_response_only(given.status)
            for name, value in given.getheaders():
                if _may_pass(name):
                    self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()
            while piece := given.read1(_PIECE):
                self.wfile.write(piece)
            self.close_connection = True

        def setup(self) -> None:
            super().setup()
            gate._open.add(self.connection)

        def finish(self) -> None:
            with contextlib.suppress(OSError):
                super().finish()
            gate._open.discard(self.connection)

        def log_message(self, format: str, *arguments: object) -> None: ...

    class _GateServer(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False
        request_queue_size = 512

        def handle_error(self, *arguments: object) -> None: ...

    return _GateServer(("127.0.0.1", 0), _GateHandler)


def _may_pass(name: str) -> bool:
    return name.lower() not in _OF_ONE_HOP
