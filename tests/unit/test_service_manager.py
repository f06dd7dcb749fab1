"""What a service manager is told, datagram by datagram."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from notified import Manager

from utdstream.service_manager import ServiceManager


@pytest.fixture(params=["file", "abstract"])
def told(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[ServiceManager, Manager]]:
    """Both kinds of address that systemd gives."""
    path = str(tmp_path / "notify") if request.param == "file" else f"@utdstream-unit-{os.getpid()}"
    hears = Manager(path)
    yield ServiceManager({"NOTIFY_SOCKET": path}), hears
    hears.close()


def test_state_when_it_changes_is_told_with_its_words_in_one_datagram(
    told: tuple[ServiceManager, Manager],
) -> None:
    """Nobody sees a service that is ready and has no status; a status is one line."""
    manager, hears = told
    manager.ready("ready at\nthe door")
    manager.status("in a call")
    manager.alive()
    manager.stopping("stopping (SIGTERM)")
    hears.hear()
    assert hears.datagrams == [
        "READY=1\nSTATUS=ready at the door",
        "STATUS=in a call",
        "WATCHDOG=1",
        "STOPPING=1\nSTATUS=stopping (SIGTERM)",
    ]


def test_manager_when_there_is_none_is_told_nothing() -> None:
    """The same program runs in a terminal; a socket that is gone is survived."""
    ServiceManager({}).ready("ready")
    ServiceManager({"NOTIFY_SOCKET": "/nobody/here"}).ready("ready")


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "300000"}, 0.3),
        ({"WATCHDOG_USEC": "300000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
        ({"WATCHDOG_USEC": "-5"}, 0.0),
    ],
)
def test_watchdog_when_it_is_not_for_this_process_wants_no_sign(
    environ: dict[str, str], seconds: float
) -> None:
    """Another process's watchdog, or nonsense, is no watchdog."""
    assert ServiceManager(environ).watchdog_s == seconds
