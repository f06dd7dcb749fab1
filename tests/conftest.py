"""What holds for every test: no thread outlives it; and the fixtures of the real servers."""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator

import pytest
from authority import authority
from left_threads import threads_end
from servers import between, own_people, own_stack, people, programs, proxy, stack

__all__ = ["authority", "between", "own_people", "own_stack", "people", "programs", "proxy", "stack"]

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
    """Fail the test that leaves a Python thread behind."""
    with threads_end():
        yield
