"""Waiting for facts in tests: never a sleep that hopes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from utdstream import DataMessage, Signal

PATIENCE_S = 5.0


def eventually(
    fact: Callable[[], object], what: str | Callable[[], str], within_s: float = PATIENCE_S
) -> None:
    """Returns when `fact()` is true; fails with `what`, as it is by then, when it does not become so in time."""
    until = time.monotonic() + within_s
    while not fact():
        if time.monotonic() > until:
            said = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {within_s:g} s: {said}")
        time.sleep(0.002)


def until_heard(
    messages: Signal[DataMessage], send: Callable[[], object], within_s: float = 2 * PATIENCE_S
) -> None:
    """Sends until one message arrives: one sent at the very join, before the data channel opens, is lost."""
    heard = threading.Event()

    def hear(_message: DataMessage) -> None:
        heard.set()

    with messages.subscribe(hear):
        until = time.monotonic() + within_s
        while not heard.is_set():
            assert time.monotonic() < until, f"no message arrived within {within_s:g} s"
            send()
            heard.wait(0.1)
