"""Long runs in processes of their own: calls given up at any moment, a hundred calls in a row."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from utdstream.testing import LocalStack

pytestmark = [pytest.mark.integration, pytest.mark.slow]

PROGRAMS = Path(__file__).parent / "programs"


def run(program: str, stack: LocalStack, timeout: float, **more: object) -> dict[str, Any]:
    """What the program printed; fails when it died (a native abort shows as a negative status)."""
    settings = {
        "app_id": stack.app_id,
        "app_key": stack.app_key,
        "app_secret": stack.app_secret,
        "base_url": stack.base_url,
        **more,
    }
    done = subprocess.run(
        [sys.executable, str(PROGRAMS / program)],
        input=json.dumps(settings) + "\n",
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"exit status {done.returncode}: {done.stderr[-2000:]}"
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.mark.timeout(300)
def test_start_when_given_up_at_50_random_points_leaves_nothing(stack: LocalStack) -> None:
    """The process lives, nobody stays on the SFU, no call stays open, and the next call works at once."""
    told = run("give_up_starts.py", stack, 240)
    assert told["open_calls"] == 0
    assert told["people_in_call_rooms"] == 0
    assert told["next_call"] == "initiating"
    assert told["next_call_s"] < 5.0
    assert told["late"] == []
    assert set(told["outcomes"]) <= {"started", "DeadlineExceeded", "SessionClosed"}


@pytest.mark.timeout(400)
def test_hundred_calls_when_over_leave_the_threads_descriptors_and_memory_of_call_10(
    stack: LocalStack,
) -> None:
    """Either side hangs up in turn; nothing accumulates. Both sides are in the one process that is measured.

    These calls end in the moment they are answered, on a loaded machine while tracks are still negotiated: the
    core then keeps some 150 KiB a side (what a call costs that was used: `benchmarks/leaks.py`).
    """
    told = run("hundred_calls.py", stack, 380, calls=100)
    assert told["after_last"]["threads"] <= told["warm"]["threads"], told
    assert told["after_last"]["descriptors"] <= told["warm"]["descriptors"], told
    kib_a_call = (told["after_last"]["kib"] - told["warm"]["kib"]) / (100 - 10)
    assert kib_a_call < 600, told
