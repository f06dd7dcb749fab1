"""An HTTP server between a client and a stack's engine, where a test may hold, delay or lose what passes."""

from __future__ import annotations

import threading
from collections.abc import Callable

import requests
from small_engine import Answer, Hangup, Request, SmallEngine

from utdstream._wire import routes
from utdstream.testing import LocalStack

FORWARD_S = 20.0
TIME = routes.HEADER_TIME.lower()


class Held:
    """Requests to one path: each waits, before the engine sees it or with its answer in hand, until `let_go`."""

    def __init__(self) -> None:
        self.came = threading.Event()
        self._may_go = threading.Event()

    def let_go(self) -> None:
        self._may_go.set()

    def wait(self) -> None:
        self.came.set()
        self._may_go.wait(FORWARD_S)


class Between:
    """Passes everything on, but for what a test said about the end of a path."""

    def __init__(self, stack: LocalStack) -> None:
        self._target = stack.base_url
        self._engine = SmallEngine()
        self._engine.respond = self._pass
        self._before: dict[str, Callable[[], object]] = {}
        self._after: dict[str, Callable[[], object]] = {}
        self._held: list[Held] = []
        self.is_silent_about_time = False

        self.answers: list[bytes] = []
        """What the engine answered, also what was lost."""
        self.url = self._engine.url

    def hold_requests(self, path_end: str) -> Held:
        """Lets no request to such a path reach the engine for now."""
        return self._hold(self._before, path_end)

    def hold_answers(self, path_end: str) -> Held:
        """Lets the engine do it, and its answer wait for now."""
        return self._hold(self._after, path_end)

    def lose_answers(self, path_end: str, *, times: int = 1_000) -> None:
        """Lets the engine do it; the connection ends without an answer. So many times, then all passes."""
        left = [times]

        def lose() -> None:
            left[0] -= 1
            if left[0] >= 0:
                raise Hangup

        self._after[path_end] = lose

    def say_date(self, date: str, *, alone: bool = False) -> None:
        """Has a clock of its own from now on; `alone`: the engine's word on the time is not passed on."""
        self._engine.date = date
        self.is_silent_about_time = alone

    def lose_requests(self, path_end: str) -> None:
        """Lets no such request reach the engine, and the connection end without an answer."""

        def lose() -> None:
            raise Hangup

        self._before[path_end] = lose

    def before(self, path_end: str, action: Callable[[], object]) -> None:
        """Does `action` before the engine sees such a request; it may raise `Hangup`."""
        self._before[path_end] = action

    def after(self, path_end: str, action: Callable[[], object]) -> None:
        """Likewise when the engine has answered."""
        self._after[path_end] = action

    def pass_all(self) -> None:
        """Does nothing more to what comes from now on."""
        self._before.clear()
        self._after.clear()

    def count(self, path_end: str) -> int:
        """Counts the requests to such paths so far."""
        return sum(_path(request).endswith(path_end) for request in self._engine.requests)

    def close(self) -> None:
        for held in self._held:
            held.let_go()
        self._engine.close()

    def _hold(self, table: dict[str, Callable[[], object]], path_end: str) -> Held:
        held = Held()
        self._held.append(held)
        table[path_end] = held.wait
        return held

    def _pass(self, request: Request) -> Answer:
        _do(self._before, request)
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() not in ("host", "connection", "accept-encoding", "content-length")
        }
        answer = requests.request(
            request.method,
            self._target + request.path,
            headers=headers,
            data=request.body,
            timeout=FORWARD_S,
            allow_redirects=False,
        )
        self.answers.append(answer.content)
        _do(self._after, request)
        kept = {
            name: value
            for name, value in answer.headers.items()
            if name.lower()
            in ("content-type", "retry-after", *(() if self.is_silent_about_time else (TIME,)))
        }
        return answer.status_code, kept, answer.content


def _path(request: Request) -> str:
    return request.path.partition("?")[0]


def _do(table: dict[str, Callable[[], object]], request: Request) -> None:
    for path_end, action in tuple(table.items()):
        if _path(request).endswith(path_end):
            action()
