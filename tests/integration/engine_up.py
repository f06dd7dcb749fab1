"""`utdstream engine up` as a process of its own, for tests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Self

from utdstream.engine.stack.ports import DEFAULT_PORTS, LOOPBACK, PORT_KINDS, Part, reserve


def own_ports(folder: Path, settings: str = "") -> list[str]:
    """The options of `engine up` for a port of its own of each kind: the customary ones may be another stack's."""
    held = {name: reserve(PORT_KINDS[name][1], LOOPBACK) for name in DEFAULT_PORTS}
    file = folder / "own-ports.toml"
    file.write_text("\n".join([settings, "[ports]", *(f"{name} = {one.port}" for name, one in held.items())]))
    for one in held.values():
        one.release()
    return ["--config", str(file)]


class EngineUp:
    """A running `utdstream engine up` with ports of its own, and what it announced; `settings` are of its file."""

    def __init__(self, data: Path, *more: str, settings: str = "") -> None:
        if settings or not data.exists():  # else it keeps those that it has
            more = (*more, *own_ports(data.parent, settings))
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
