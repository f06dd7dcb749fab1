"""Waiting for facts in tests: never a sleep that hopes."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 5.0


def eventually(fact: Callable[[], object], what: str, within_s: float = PATIENCE_S) -> None:
    """Returns when `fact()` is true; fails with `what` when it does not become so in time."""
    until = time.monotonic() + within_s
    while not fact():
        if time.monotonic() > until:
            raise AssertionError(f"not within {within_s:g} s: {what}")
        time.sleep(0.002)
