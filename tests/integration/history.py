"""A recorded history: clients that do random things to the engine over HTTP, and what they were answered.

Owns: what an operation is, and the recording of it. Knows no rule: `history_model` does.
"""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

NOT_ANSWERED_WITHIN_S = 20.0
LOST = None
"""The status of an operation whose answer never came: it may or may not have happened."""


@dataclass(frozen=True)
class Operation:
    """One operation as its client saw it. `place` is a room, or a group of people who call each other.

    `actor` None is the project's own server. Times are of the clients' one monotonic clock.
    """

    place: str
    kind: str
    actor: str | None
    args: Mapping[str, Any] = field(default_factory=dict)
    sent: float = 0.0
    answered: float = 0.0
    status: int | None = LOST
    answer: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_done(self) -> bool:
        return self.status in (200, 201)

    @property
    def code(self) -> str | None:
        """The code of a refusal."""
        return None if self.is_done or self.status is LOST else str(self.answer.get("code"))

    def __str__(self) -> str:
        args = ", ".join(f"{name}={value}" for name, value in self.args.items())
        said = {name: value for name, value in self.answer.items() if name not in ("message", "token", "url")}
        return (
            f"{self.place}: {self.actor or 'the server'} {self.kind}({args}) -> {self.status} {said}"
            f" [{self.sent:.6f}, {self.answered:.6f}]"
        )


Wish = tuple[str, str, Mapping[str, object] | None, Mapping[str, str]]
"""Method, path, body and further headers of a request."""


class Recorder:
    """Keeps every operation, and lets somebody wait until there are enough."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self._done: set[str] = set()
        self._grew = threading.Condition()

    def add(self, operation: Operation) -> None:
        with self._grew:
            self.operations.append(operation)
            if operation.is_done:
                self._done.add(operation.kind)
            self._grew.notify_all()

    def wait_for(self, number: int, within_s: float, kinds: Set[str] = frozenset()) -> bool:
        """True when that many operations came in time, and one of each of `kinds` was done."""
        with self._grew:
            return self._grew.wait_for(
                lambda: len(self.operations) >= number and self._done >= kinds, within_s
            )


class Wire:
    """One kept connection of one client; it comes back when the engine does."""

    def __init__(self, base_url: str, headers: Mapping[str, str], stop: threading.Event) -> None:
        self._address = urlsplit(base_url).netloc
        self._headers = {"Content-Type": "application/json", **headers}
        self._stop = stop
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, wish: Wish) -> tuple[float, float, int | None, dict[str, Any]]:
        """`(sent, answered, status, answer)`; the status is LOST when the engine died on the way."""
        method, path, body, more = wish
        raw = None if body is None else json.dumps(body).encode()
        connection = self._connected()
        sent = time.monotonic()
        try:
            connection.request(method, path, raw, {**self._headers, **more})
            response = connection.getresponse()
            answer = json.loads(response.read())
        except (OSError, http.client.HTTPException):
            self.close()
            return sent, time.monotonic(), LOST, {}
        return sent, time.monotonic(), response.status, answer

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is not None:
            return self._connection
        until = time.monotonic() + NOT_ANSWERED_WITHIN_S
        for _ in itertools.count():
            connection = http.client.HTTPConnection(self._address, timeout=NOT_ANSWERED_WITHIN_S)
            try:
                connection.connect()
            except OSError:
                connection.close()
                if time.monotonic() > until:
                    raise
                self._stop.wait(0.02)
                continue
            self._connection = connection
            break
        assert self._connection is not None
        return self._connection


def run_clients(clients: list[Callable[[], None]]) -> list[threading.Thread]:
    """Starts each in a thread of its own."""
    threads = [
        threading.Thread(target=client, name=f"client {number}") for number, client in enumerate(clients)
    ]
    for thread in threads:
        thread.start()
    return threads
