"""The media core before the first call: there when it is wished for, and else not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from utdstream.testing import LocalStack

pytestmark = pytest.mark.integration

PROGRAM = Path(__file__).parent / "programs" / "preload.py"


def sign_in(stack: LocalStack, *, preload: bool) -> dict[str, Any]:
    """What a process of its own holds once it has signed in."""
    settings = {
        "app_id": stack.app_id,
        "app_key": stack.app_key,
        "base_url": stack.base_url,
        "preload": preload,
    }
    done = subprocess.run(
        [sys.executable, str(PROGRAM)],
        input=json.dumps(settings) + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def test_core_when_preloaded_runs_after_the_sign_in_with_the_priority_of_the_process(
    stack: LocalStack,
) -> None:
    """Its imports give way to others; its threads carry sound, and must not."""
    told = sign_in(stack, preload=True)
    assert told == {"livekit": True, "loop": True, "nice": [0]}


def test_core_when_not_preloaded_is_not_loaded_by_a_sign_in(stack: LocalStack) -> None:
    """A device that waits needs neither its memory nor its wake-ups."""
    told = sign_in(stack, preload=False)
    assert (told["livekit"], told["loop"]) == (False, False)
