"""Another engine program in the place of a stack's own: same settings, same port, to be killed at will."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import requests
from facts import eventually

from utdstream.testing import LocalStack

PROGRAMS = Path(__file__).parent / "programs"


class OtherEngine:
    """Runs `program` instead of the stack's engine from now on.

    `environment` adds to the program's; a change of it counts from the next start.
    """

    def __init__(self, stack: LocalStack, program: str, **environment: str) -> None:
        stack.stop("engine")
        assert stack._supervisor is not None
        self._stack = stack
        settings = str(stack._supervisor.settings.file("engine.toml"))
        self._command = [sys.executable, str(PROGRAMS / program), "--config", settings]
        self._process: subprocess.Popen[bytes] | None = None
        self.environment = environment
        self.start()

    def start(self) -> None:
        """Returns when it serves."""
        self._process = subprocess.Popen(
            self._command, stderr=subprocess.DEVNULL, env=os.environ | self.environment
        )
        eventually(self._serves, "the other engine serves", within_s=20)

    def _serves(self) -> bool:
        try:
            return requests.get(f"{self._stack.base_url}/health", timeout=1).status_code == 200
        except requests.RequestException:
            return False

    def kill(self) -> None:
        """`kill -9`."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(10)
