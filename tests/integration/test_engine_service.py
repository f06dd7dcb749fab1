"""`utdstream engine up` under a service manager: what it says, and when it is not alive."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_up import own_ports
from facts import eventually
from notified import Manager

pytestmark = pytest.mark.integration


@pytest.fixture
def told(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Manager]]:
    """A running stack with a watchdog of a second and a half, and what it tells."""
    manager = Manager(str(tmp_path / "notify"))
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "utdstream.cli", "engine", "up", "--json"),
            *("--data", str(tmp_path / "data")),
            *own_ports(tmp_path),
        ],
        env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1500000"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    yield process, manager
    process.kill()
    process.communicate()
    manager.close()


def test_engine_up_when_a_service_manager_started_it_tells_its_state(
    told: tuple[subprocess.Popen[str], Manager], tmp_path: Path
) -> None:
    """Ready when all parts answer; a part that died changes the status; it is alive meanwhile; it says goodbye.

    What was put aside as damaged is named as long as it is there.
    """
    (tmp_path / "data").mkdir(exist_ok=True)
    (tmp_path / "data" / "stack.toml.bad-20260101-000000-0000").write_text("")
    process, manager = told
    eventually(lambda: "READY=1" in manager.hear(), "it is ready", within_s=20)
    assert manager.told[:2] == ["STATUS=starting", "READY=1"]
    assert process.stdout is not None
    facts = json.loads(process.stdout.readline())
    aside = "damaged and put aside: stack.toml.bad-20260101-000000-0000"
    ready = f"STATUS=ready at {facts['base_url']}; {aside}"
    assert manager.told[2] == ready

    os.kill(facts["pids"]["mqtt"], signal.SIGKILL)
    eventually(lambda: "STATUS=mqtt died and is started again" in manager.hear(), "it is said")
    before = manager.told.count("WATCHDOG=1")
    eventually(lambda: manager.hear().count(ready) == 2, "it is well again")
    eventually(lambda: manager.hear().count("WATCHDOG=1") >= before + 2, "it is alive all the time")

    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 0
    assert manager.hear()[-2:] == ["STOPPING=1", "STATUS=stopping"]
