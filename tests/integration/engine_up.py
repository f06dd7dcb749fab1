"""`utdstream engine up` as a process of its own, for tests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Self

from utdstream.engine.stack.ports import Part


class EngineUp:
    """A running `utdstream engine up`, and what it announced."""

    def __init__(self, data: Path, *more: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "utdstream.cli", "engine", "up", "--json", "--data", str(data), *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(self.process.communicate()[1])
        self.facts = json.loads(line)
        self.pids: dict[Part, int] = self.facts["pids"]
        self.ports = {
            "engine": int(self.facts["base_url"].rsplit(":", 1)[1]),
            "livekit": int(self.facts["livekit_url"].rsplit(":", 1)[1]),
            "mqtt": int(self.facts["mqtt_port"]),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def signal(self, number: int) -> int:
        """Send it a signal; its exit status."""
        self.process.send_signal(number)
        self.process.communicate(timeout=15.0)
        return self.process.returncode
