"""What holds for every test: no thread outlives it; and the fixtures of the real servers."""

from __future__ import annotations

import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator

import pytest
from authority import authority
from servers import between, own_people, own_stack, people, programs, proxy, stack

__all__ = ["authority", "between", "own_people", "own_stack", "people", "programs", "proxy", "stack"]

PROCESS_WIDE = ("utdstream-loop", "utd-cards", "Dummy-")
"""Threads that are started once and live as long as the process, by the beginning of their name."""
GRACE_S = 3.0
DESCRIPTORS = 4096

# Run in the background or under nohup, a process is started deaf to these, and so are its children: many tests
# send them.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Most systems allow 1,024 to begin with, plenty for a device; here sixteen clients and more share a process.
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
if soft < DESCRIPTORS:
    resource.setrlimit(
        resource.RLIMIT_NOFILE,
        (DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard), hard),
    )


@pytest.fixture(autouse=True)
def no_leaked_threads() -> Iterator[None]:
    """Fail the test that leaves a Python thread behind; threads get some seconds to end."""
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
