"""Two hundred presses: a doorbell process and a house process on the real servers, and what they measured."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from bell import config_of
from facts import eventually

from utdstream.testing import LocalStack

PROGRAMS = Path(__file__).parent / "programs"


class Child:
    """A program of the tests and the lines it says."""

    def __init__(self, stack: LocalStack, program: str, *arguments: str) -> None:
        environment = {
            **os.environ,
            "UTD_BASE_URL": stack.base_url,
            "UTD_APP_ID": stack.app_id,
            "UTD_APP_KEY": stack.app_key,
        }
        self._process = subprocess.Popen(
            [sys.executable, str(PROGRAMS / program), *arguments],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if "UTD_SHOW" in os.environ else subprocess.DEVNULL,
            text=True,
        )
        self.lines: list[list[str]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.split())

    def said(self, word: str) -> list[list[str]]:
        return [line for line in self.lines if line and line[0] == word]

    def wait(self, word: str, count: int = 1, within_s: float = 20.0) -> None:
        eventually(
            lambda: len(self.said(word)) >= count, lambda: f"{count} x {word} in {self.lines[-5:]}", within_s
        )

    def is_ready(self, when: str, within_s: float = 20.0) -> None:
        eventually(
            lambda: self.lines and self.lines[-1] == ["status", "ready"],
            lambda: f"the door is ready {when}; it said {self.lines[-5:]}",
            within_s,
        )

    def press(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        finally:
            self._process.kill()
            self._process.wait()
            self._reader.join(5)
            self._process.stdout.close()


@dataclass(frozen=True, slots=True)
class Presses:
    """`rings` by call id; `delays_ms` from each press to its ring, in order."""

    pressed: int
    rings: int
    different: int
    delays_ms: list[float]
    after_restart_ms: float


def press_many(stack: LocalStack, folder: Path, count: int) -> Presses:
    """Presses `count` times, each after the last was declined; the broker is restarted before the last one."""
    house = Child(stack, "house_process.py", "press-house")
    door: Child | None = None
    try:
        house.wait("listening")
        config = config_of(
            stack, folder, "press-door",
            audio={"adapter": "none"}, camera={"adapter": "none"},
            doorbell={"callees": ["press-house"], "media": "audio", "chime": False},
        )  # fmt: skip
        path = folder / "doorbell.toml"
        path.write_text(as_toml(config_tables(config)))
        door = Child(stack, "bell_process.py", str(path))
        door.is_ready("once started")
        for number in range(1, count + 1):
            if number == count:
                connected = len(house.said("connected"))  # none when it was so before anybody subscribed
                stack.kill("mqtt")
                house.wait("lost")
                stack.start("mqtt")
                house.wait("connected", connected + 1)
            door.press()
            house.wait("ring", number)
            door.is_ready(f"after press {number}")
        pressed = [float(line[1]) for line in door.said("pressed")]
        rung = [(line[1], float(line[2])) for line in house.said("ring")]
        delays = [(at - begun) * 1000 for begun, (_, at) in zip(pressed, rung, strict=True)]
        return Presses(len(pressed), len(rung), len({call for call, _ in rung}), delays, delays[-1])
    finally:
        for child in (door, house):
            if child is not None:
                child.close()


def config_tables(config: object) -> dict[str, dict[str, object]]:
    """What differs from the defaults is enough: the sections that the presses need."""
    tables = {}
    for name in ("engine", "device", "audio", "camera", "button", "doorbell"):
        section = getattr(config, name)
        tables[name] = {key: getattr(section, key) for key in section.__slots__}
    return tables


def as_toml(tables: dict[str, dict[str, object]]) -> str:
    from utdstream.settings import toml

    lines = []
    for name, keys in tables.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {toml(value)}" for key, value in keys.items() if value is not None]
    return "\n".join(lines) + "\n"
