"""A thread that carries streams and packets between clients and servers, as the conditions of their link allow.

Owns: the thread (`utdstream-relay`), its selector, what is due later. What is done with a stream is in `_streams`,
with a packet in `_packets`: all of it runs on this thread and never blocks. Other threads come in by `call`.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from queue import Empty
from typing import TypeVar

from utdstream.mailbox import Mailbox

_log = logging.getLogger(__name__)

_Result = TypeVar("_Result")
_ANSWERS_WITHIN_S = 30.0


class Loop:
    """The thread. `close` is fine twice; nothing that was added to it is carried afterwards."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._woken, self._wake = socket.socketpair()
        self._woken.setblocking(False)
        self._wake.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ, self._drain)
        self._asked: Mailbox[Callable[[], None]] = Mailbox()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="utdstream-relay", daemon=True)
        self._thread.start()

    # --- any thread

    def call(self, act: Callable[[], _Result]) -> _Result:
        """Runs `act` on the thread and returns what it returned. Blocks: milliseconds."""
        answer: Future[_Result] = Future()

        def do() -> None:
            try:
                answer.set_result(act())
            except BaseException as error:  # noqa: BLE001 - raised in the caller
                answer.set_exception(error)

        self._asked.put(do)
        self._ring()
        return answer.result(_ANSWERS_WITHIN_S)

    def close(self) -> None:
        """Ends the thread."""
        self._is_over = True
        self._ring()
        self._thread.join(_ANSWERS_WITHIN_S)
        self._selector.close()
        self._woken.close()
        self._wake.close()

    # --- its own thread

    def later(self, at: float, act: Callable[[], None]) -> None:
        """Runs `act` at this monotonic time."""
        heapq.heappush(self._due, (at, next(self._order), act))

    def watch(self, ear: socket.socket, events: int, act: Callable[[int], None]) -> None:
        """Runs `act` with what a socket is ready for, of `events`; 0: never."""
        try:
            known = self._selector.get_key(ear).events
        except (KeyError, ValueError):
            known = 0
        if not events:
            if known:
                self._selector.unregister(ear)
        elif not known:
            self._selector.register(ear, events, act)
        elif known != events:
            self._selector.modify(ear, events, act)

    def _run(self) -> None:
        while not self._is_over:
            pause = max(0.0, self._due[0][0] - time.monotonic()) if self._due else None
            for key, events in self._selector.select(pause):
                ear = key.fileobj
                if (
                    isinstance(ear, socket.socket) and ear.fileno() >= 0
                ):  # one of this round may have closed it
                    _run(partial(key.data, events))
            now = time.monotonic()
            while self._due and self._due[0][0] <= now:
                _run(heapq.heappop(self._due)[2])
            with contextlib.suppress(Empty):
                while True:
                    self._asked.get_nowait()()

    def _drain(self, _events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._woken.recv(4096):
                pass

    def _ring(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            self._wake.send(b"x")


def _run(act: Callable[[], None]) -> None:
    try:
        act()
    except Exception:  # noqa: BLE001 - the outermost frame: one connection fails, the others go on
        _log.exception("the relay failed at one of its connections")
