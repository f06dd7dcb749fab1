"""What a service manager is told, and when the watchdog is not fed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from facts import eventually
from notified import Manager

from device.service import EXIT_STUCK, Heart, Service

PROGRAM = Path(__file__).parent / "programs" / "service_app.py"


def test_service_when_it_is_ready_says_so_once_and_each_status_once(tmp_path: Path) -> None:
    """READY is said once, with the state; the same words again cost nothing."""
    hears = Manager(str(tmp_path / "notify"))
    service = Service({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    service.ready("waiting for the engine")
    service.ready("ready")
    service.status("ready")
    hears.hear()
    hears.close()
    assert hears.datagrams == ["READY=1\nSTATUS=waiting for the engine", "STATUS=ready"]


def test_heart_when_one_piece_of_work_takes_too_long_is_dead() -> None:
    """Idle for ever is alive."""
    heart = Heart(0.0)
    assert heart.alive()
    heart.busy()
    assert not heart.alive()
    heart.idle()
    assert heart.alive()


@pytest.fixture
def program(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Manager]]:
    """A real program with a watchdog of a third of a second."""
    hears = Manager(str(tmp_path / "notify"))
    environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "300000"}
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield process, hears
    process.kill()
    process.communicate()
    hears.close()


def feeds(hears: Manager) -> int:
    return hears.hear().count("WATCHDOG=1")


def tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def test_watchdog_when_a_worker_hangs_is_not_fed_any_more(
    program: tuple[subprocess.Popen[str], Manager],
) -> None:
    """It is fed while all is well; who says that it is not alive is named, and the feeding ends."""
    process, hears = program
    eventually(lambda: feeds(hears) >= 3, "it is fed")
    tell(process, "hang")
    eventually(lambda: "STATUS=the worker does not respond" in hears.hear(), "it is said")
    told = hears.told
    assert "WATCHDOG=1" not in told[told.index("STATUS=the worker does not respond") :]
    count = feeds(hears)
    process.send_signal(signal.SIGUSR1)
    eventually(lambda: "STATUS=pressed" in hears.hear(), "some time went by, in which it was not fed")
    assert feeds(hears) == count


def test_program_when_it_does_not_stop_is_ended(program: tuple[subprocess.Popen[str], Manager]) -> None:
    """A hung device must not keep a shutdown waiting; the exit status says that it did not end well."""
    process, hears = program
    eventually(lambda: "READY=1" in hears.hear(), "it is ready")
    tell(process, "ignore")
    eventually(lambda: "STATUS=told to ignore" in hears.hear(), "it ignores")
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == EXIT_STUCK
    assert "STATUS=stopping (SIGTERM)" in hears.hear()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_program_when_told_to_stop_stops_and_says_so(
    program: tuple[subprocess.Popen[str], Manager], number: signal.Signals
) -> None:
    """Exit status 0, STOPPING told."""
    process, hears = program
    eventually(lambda: "READY=1" in hears.hear(), "it is ready")
    process.send_signal(number)
    assert process.wait(10) == 0
    hears.hear()
    goodbyes = [each for each in hears.datagrams if each.startswith("STOPPING=1")]
    assert goodbyes == [f"STOPPING=1\nSTATUS=stopping ({number.name})"]


def test_program_when_sent_usr1_is_pressed(program: tuple[subprocess.Popen[str], Manager]) -> None:
    """A press without a button."""
    process, hears = program
    eventually(lambda: "READY=1" in hears.hear(), "it is ready")
    process.send_signal(signal.SIGUSR1)
    eventually(lambda: "STATUS=pressed" in hears.hear(), "it is pressed")


def test_status_when_a_rogue_engine_wrote_it_is_one_assignment(tmp_path: Path) -> None:
    """Its words reach the service manager as words: no other assignment, no control character, no endless text."""
    hears = Manager(str(tmp_path / "notify"))
    service = Service({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    evil = "no\nWATCHDOG=trigger\rMAINPID=1\x85FDSTORE=1\x1b[2J\x00" + "x" * 100_000
    service.ready(evil)
    service.status(evil + "again")
    hears.hear()
    assert len(hears.datagrams) == 2
    for datagram in hears.datagrams:
        names = [line.split("=", 1)[0] for line in datagram.split("\n")]
        assert names in (["READY", "STATUS"], ["STATUS"])
        assert datagram.replace("\n", "").isprintable()
    assert service.last_status.isprintable()
    hears.close()
