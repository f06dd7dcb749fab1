"""The memory of a device: when it starts anew because of it, and that this is one process for everybody else."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from facts import eventually

from device import memory
from device.memory import LOOK_S, YOUNG_S, MemoryWatch, examine, held_mib
from device.service import Service

PROGRAM = Path(__file__).parent / "programs" / "restless.py"
CONFIGURATION = """
[engine]
app_id = "1"
base_url = "http://127.0.0.1:9"
app_key_file = "key"
[device]
identity = "restless"
memory_limit_mib = 1
[audio]
adapter = "none"
[camera]
adapter = "none"
[button]
adapter = "none"
"""


class Held:
    """A clock that the test moves, and the memory that is found."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.mib = 100.0

    def watch(self, limit_mib: int) -> MemoryWatch:
        return MemoryWatch(limit_mib, held=lambda: self.mib, clock=lambda: self.now)

    def looks(self, watch: MemoryWatch, count: int, *, at_rest: bool) -> list[bool]:
        """What it says at each of so many looks."""
        said = []
        for _ in range(count):
            self.now += LOOK_S
            said.append(watch.is_time(at_rest=at_rest))
        return said


def test_watch_when_a_device_at_rest_holds_too_much_starts_it_anew_at_the_second_look() -> None:
    """What the last call held goes within seconds: one look says nothing."""
    held = Held()
    watch = held.watch(80)
    held.now += YOUNG_S
    assert held.looks(watch, 3, at_rest=True) == [False, True, True]


def test_watch_when_a_device_is_in_a_call_waits_for_its_end() -> None:
    """However much it holds; and rest begins anew with each call."""
    held = Held()
    watch = held.watch(80)
    held.now += YOUNG_S
    assert not any(held.looks(watch, 5, at_rest=False))
    assert held.looks(watch, 1, at_rest=True) == [False]
    assert held.looks(watch, 1, at_rest=False) == [False]
    assert held.looks(watch, 2, at_rest=True) == [False, True]


def test_watch_when_the_limit_is_below_what_the_program_needs_lets_it_work_for_ten_minutes() -> None:
    """It would start again and again, and be away half of the time."""
    held = Held()
    watch = held.watch(1)
    assert not any(held.looks(watch, int(YOUNG_S / LOOK_S) - 1, at_rest=True))
    assert held.looks(watch, 1, at_rest=True) == [True]


def test_watch_when_it_is_asked_between_two_looks_reads_nothing() -> None:
    """The worker asks at each of its turns."""
    held = Held()
    reads: list[float] = []
    watch = MemoryWatch(1, held=lambda: reads.append(held.now) or 100.0, clock=lambda: held.now)
    for _ in range(10):
        watch.is_time(at_rest=True)
    assert len(reads) == 1


def test_watch_when_there_is_no_limit_never_asks_for_a_start() -> None:
    """Zero means never."""
    held = Held()
    watch = held.watch(0)
    held.now += YOUNG_S
    assert not any(held.looks(watch, 3, at_rest=True))


def test_held_when_a_program_takes_memory_counts_it() -> None:
    """Its own, not what it shares with others."""
    before = held_mib()
    taken = bytearray(os.urandom(1)) * (64 * 1024 * 1024)
    assert 60 < held_mib() - before < 70
    assert len(taken) > 0
    assert held_mib(os.getpid()) > 60


def test_doctor_when_the_limit_is_more_than_the_machine_has_says_a_better_one() -> None:
    """A limit that comes too late is none."""
    (good,) = examine(300)
    assert "above 300 MiB the program starts anew" in good.found
    (bad,) = examine(10_000_000)
    assert bad.remedy is not None
    assert "memory_limit_mib" in bad.remedy
    (none,) = examine(0)
    assert "no limit" in none.found


@contextmanager
def restless(folder: Path, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    """A doorbell without an engine, and the socket on which its service manager listens."""
    (folder / "key").write_text("key")
    (folder / "doorbell.toml").write_text(CONFIGURATION)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, log.open("wb") as lines:
        manager.bind(str(folder / "notify"))
        process = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(folder / "doorbell.toml")],
            env={**os.environ, "NOTIFY_SOCKET": str(folder / "notify"), "XDG_RUNTIME_DIR": str(folder)},
            stderr=lines,
        )
        try:
            yield process, manager
        finally:
            process.kill()
            process.wait()


@pytest.mark.integration
def test_doorbell_when_it_holds_too_much_starts_anew_as_the_same_process_and_takes_no_file_along(
    tmp_path: Path,
) -> None:
    """Nothing but its status tells its service manager, which would otherwise wait for its end."""
    log = tmp_path / "log"

    def begun() -> int:
        return len(re.findall("starting anew, to give memory back", log.read_text()))

    with restless(tmp_path, log) as (process, manager):
        said: list[bytes] = []
        manager.setblocking(False)

        def hear() -> bool:
            try:
                while True:
                    said.append(manager.recv(4096))
            except BlockingIOError:
                return True

        eventually(lambda: hear() and begun() >= 1, log.read_text, 30)
        first = len(os.listdir(f"/proc/{process.pid}/fd"))
        eventually(lambda: hear() and begun() >= 3, log.read_text, 60)
        assert process.poll() is None
        assert len(os.listdir(f"/proc/{process.pid}/fd")) <= first + 2
        assert not [line for line in said if b"STOPPING=1" in line]
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in (0, -signal.SIGTERM)  # the latter: it had not begun to listen


class Restless:
    """Is told to stop while it starts anew."""

    def __init__(self) -> None:
        self._stopped = threading.Event()

    def run(self, service: Service) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        assert self._stopped.wait(5)
        return memory.ANEW

    def stop(self) -> None:
        self._stopped.set()

    def press(self) -> None: ...


def test_service_when_it_is_stopped_while_its_app_starts_anew_ends() -> None:
    """A stop counts more."""
    assert Service({}).run(Restless()) == 0
