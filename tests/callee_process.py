"""A callee in a process of its own, to be killed or frozen."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from utdstream.testing import LocalStack

PROGRAM = Path(__file__).parent / "integration" / "programs" / "callee.py"


@contextmanager
def callee_process(stack: LocalStack, identity: str) -> Iterator[subprocess.Popen[str]]:
    """It waits for a ring, answers the first one, prints `answered`, and is killed at the end."""
    with subprocess.Popen(
        [sys.executable, str(PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            settings = {"app_id": stack.app_id, "app_key": stack.app_key, "base_url": stack.base_url}
            process.stdin.write(json.dumps({**settings, "identity": identity}) + "\n")
            process.stdin.flush()
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()
