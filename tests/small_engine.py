"""A small real HTTP server on loopback that answers what the test says."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = tuple[int, Mapping[str, str], bytes]
Respond = Callable[["Request"], Answer]


class Request:
    """What a client asked."""

    def __init__(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> None:
        self.method, self.path, self.headers, self.body = method, path, headers, body


class SmallEngine:
    """A small real HTTP server on loopback; `respond` says what it answers."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.open: list[socket.socket] = []
        self.date: str | None = None
        """What it says in `Date`; None: the time."""
        self.respond: Respond = lambda request: reply({})
        engine = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                request = Request(self.command, self.path, dict(self.headers), self.rfile.read(length))
                engine.requests.append(request)
                try:
                    status, headers, body = engine.respond(request)
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    if "Content-Length" not in headers:
                        self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
                except (ConnectionError, Hangup):
                    self.close_connection = True

            do_GET = do_PUT = do_DELETE = do_POST  # noqa: N815 - the names http.server wants

            def date_time_string(self, timestamp: float | None = None) -> str:
                return engine.date or super().date_time_string(timestamp)

            def setup(self) -> None:
                super().setup()
                engine.open.append(self.connection)

            def finish(self) -> None:
                super().finish()
                engine.open.remove(self.connection)

            def log_message(self, format: str, *arguments: object) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, *arguments: object) -> None: ...

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=lambda: self._server.serve_forever(0.01))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        for connection in list(self.open):  # one that the garbage collector has not met yet
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class Hangup(Exception):
    """Raised by `respond`: the server closes the connection without a word."""


def reply(body: object, status: int = 200, **headers: str) -> Answer:
    return status, {"Content-Type": "application/json", **headers}, json.dumps(body).encode()
