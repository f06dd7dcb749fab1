"""Whether threads outlive what started them."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

PROCESS_WIDE = ("utdstream-loop", "utd-cards", "Dummy-")
"""Threads that are started once and live as long as the process, by the beginning of their name."""
GRACE_S = 3.0


@contextmanager
def threads_end() -> Iterator[None]:
    """Fails when a Python thread that was started inside is left; threads get some seconds to end."""
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + GRACE_S
    while (left := _others(before)) and time.monotonic() < deadline:
        if left[0].ident is None:  # it is being started, by another thread
            time.sleep(0.002)
        else:
            left[0].join(max(0.0, deadline - time.monotonic()))  # its end may be the beginning of another one
    if left:
        frames = sys._current_frames()
        where = "".join(
            f"\n{thread.name} is at\n" + "".join(traceback.format_stack(frames[thread.ident])[-4:])
            for thread in left
            if thread.ident in frames
        )
        names = ", ".join(sorted(thread.name for thread in left))
        pytest.fail(f"threads that outlive the test: {names}{where}", pytrace=False)


def _others(before: set[threading.Thread]) -> list[threading.Thread]:
    return [
        thread
        for thread in threading.enumerate()
        if thread not in before and not thread.name.startswith(PROCESS_WIDE)
    ]
