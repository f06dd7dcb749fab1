"""A gate between a client and a stack's engine, where a test may hold, delay or lose what passes.

The gate is the one of `utdstream.testing.Faults`, without its blocks.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from contextlib import ExitStack
from urllib.parse import urlsplit

from utdstream._wire import routes
from utdstream.testing import LocalStack
from utdstream.testing.gate import HeldRequests, RequestAnswer, RequestGate, _Rule

TIMES = 1_000


class Between:
    """Passes everything on, but for what a test said about the end of a path."""

    def __init__(self, stack: LocalStack) -> None:
        engine = urlsplit(stack.base_url)
        self._gate = RequestGate(engine.hostname or "", engine.port or 0)
        self.url = f"http://127.0.0.1:{self._gate.port}"
        self.answers: list[bytes] = []
        """What the engine answered, also what was lost."""
        self._heard, self._said = ExitStack(), ExitStack()
        self._heard.enter_context(self._gate.change("", self._hear))
        self._date: str | None = None
        self._is_silent_about_time = False

    def hold_requests(self, path_end: str) -> HeldRequests:
        """Lets no request to such a path reach the engine for now."""
        return self._said.enter_context(self._gate.hold_requests(path_end))

    def hold_answers(self, path_end: str) -> HeldRequests:
        """Lets the engine do it, and its answer wait for now."""
        return self._said.enter_context(self._gate.hold_answers(path_end))

    def lose_answers(self, path_end: str, *, times: int = TIMES) -> None:
        """Lets the engine do it; the connection ends without an answer. So many times, then all passes."""
        self._said.enter_context(self._gate.lose_answers(path_end, times=times))

    def replace_answers(self, path_end: str, answer: RequestAnswer) -> None:
        """Lets the engine do it, and gives this for its answer."""
        self._said.enter_context(self._gate.change(path_end, lambda _: answer))

    def lose_requests(self, path_end: str) -> None:
        """Lets no such request reach the engine, and the connection end without an answer."""
        self._said.enter_context(self._gate.lose_requests(path_end))

    def refuse_requests(self, path_end: str, status: int, code: str) -> None:
        """Lets no such request reach the engine, and answers so."""
        body = json.dumps({"code": code, "message": "not here"}).encode()
        self._said.enter_context(self._gate.answer(path_end, RequestAnswer(status, body)))

    def say_date(self, date: str, *, alone: bool = False) -> None:
        """Has a clock of its own from now on; `alone`: the engine's word on the time is not passed on."""
        self._date, self._is_silent_about_time = date, alone

    def before(self, path_end: str, action: Callable[[], object]) -> None:
        """Does `action` before the engine sees such a request; it may raise, and the connection ends."""
        self._said.enter_context(self._gate._holds(_Rule(path_end, None, before=lambda _: action())))

    def after(self, path_end: str, action: Callable[[], object]) -> None:
        """Likewise when the engine has answered."""
        self._said.enter_context(self._gate._holds(_Rule(path_end, None, after=lambda _: action())))

    def pass_all(self) -> None:
        """Does nothing more to what comes from now on; what is held stays so until it may go."""
        self._gate.pass_all()
        self._heard.enter_context(self._gate.change("", self._hear))

    def count(self, path_end: str) -> int:
        """Counts the requests to such paths so far."""
        return self._gate.count(path_end)

    def close(self) -> None:
        self._said.close()
        self._gate.close()

    def _hear(self, answer: RequestAnswer) -> RequestAnswer:
        """The first to hear an answer, whatever becomes of it."""
        self.answers.append(answer.body)
        headers = dict(answer.headers or {})
        if self._date is not None:
            headers["Date"] = self._date
        if self._is_silent_about_time:
            headers = {
                name: value for name, value in headers.items() if name.lower() != routes.HEADER_TIME.lower()
            }
        return dataclasses.replace(answer, headers=headers)
