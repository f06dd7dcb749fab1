"""The doorbell's unit under a real systemd, when its root is built (`make test-systemd`)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import debian_roots
import pytest
import systemd_root
from bell import config_of
from facts import eventually
from presses import as_toml, config_tables

from utdstream import UTDStreamClient, UTDStreamType
from utdstream.testing import LocalStack

pytestmark = [pytest.mark.integration, pytest.mark.slow]
UNIT = "utd-doorbell.service"


class Machine:
    """A booted systemd that shares this machine's network."""

    def __init__(self, root: Path) -> None:
        site = Path(pytest.__file__).parents[1]
        command = [
            "systemd-nspawn", "-q", "-D", str(root), "-b", "--register=no", "--keep-unit", "--console=pipe",
            "--volatile=overlay", f"--bind-ro={site}:/opt/site",
            f"--bind-ro={Path(__file__).parents[2]}:/repository",
        ]  # fmt: skip
        self._nspawn = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        eventually(self._init, "systemd boots", within_s=30)
        eventually(lambda: self.run("systemctl", "is-system-running").stdout, "systemd answers", within_s=30)

    def _init(self) -> int | None:
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text().split()
        return int(children[0]) if children else None

    def run(self, *command: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """A command inside."""
        inside = ["nsenter", "-t", str(self._init()), "-m", "-p", "-u", "-i", "-C", "--", *command]
        return subprocess.run(inside, input=text, capture_output=True, text=True, check=False, timeout=90)

    def write(self, path: str, text: str) -> None:
        self.run("mkdir", "-p", str(Path(path).parent))
        assert self.run("tee", path, text=text).returncode == 0

    def show(self, name: str) -> str:
        return self.run("systemctl", "show", "--value", "-p", name, UNIT).stdout.strip()

    def off(self) -> None:
        init = self._init()
        if init is not None:
            os.kill(init, signal.SIGRTMIN + 4)
        try:
            self._nspawn.wait(20)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait()


@pytest.fixture(scope="module")
def stack_of_the_machine() -> Iterator[LocalStack]:
    with LocalStack() as made:
        yield made


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    if shutil.which("systemd-nspawn") is None:
        pytest.skip("systemd-nspawn is missing: apt install systemd-container debootstrap")
    made = Machine(debian_roots.needed(systemd_root, "test-systemd"))
    yield made
    made.off()


def test_doorbell_when_installed_lives_under_systemd(
    machine: Machine, stack_of_the_machine: LocalStack, tmp_path: Path
) -> None:
    """Install, boot without engine and broker, ready, kill -9, hang, stop: one life of a service."""
    stack = stack_of_the_machine
    config = config_of(stack, tmp_path, "unit-door", doorbell={"callees": ["house"]})
    tables = config_tables(config)
    del tables["engine"]["app_key_file"]  # the key comes as a credential
    machine.write("/etc/utdstream/doorbell.toml", as_toml(tables))
    machine.write("/run/key", stack.app_key)
    machine.write(
        f"/etc/systemd/system/{UNIT}.d/test.conf",
        "[Service]\nWatchdogSec=3\nRestartSec=0.2\n"
        "Environment=PYTHONPATH=/repository:/opt/site PYTHONDONTWRITEBYTECODE=1\n",
    )
    for part in ("engine", "mqtt"):
        stack.stop(part)
    installed = machine.run(
        "env", "PYTHONPATH=/repository:/opt/site", "PYTHONDONTWRITEBYTECODE=1",
        "/opt/utdstream/bin/utd-device", "install-service", "--app", "doorbell", "--app-key-file", "/run/key",
    )  # fmt: skip
    journal = machine.run("journalctl", "-u", UNIT, "-n", "40", "--no-pager").stdout
    assert installed.returncode == 0, installed.stdout + installed.stderr + journal
    assert machine.show("ActiveState") == "active"
    assert "waiting for the engine" in machine.show("StatusText"), "absent at boot is said, and no failure"
    assert machine.run("stat", "-c", "%a %U", "/etc/utdstream/app_key").stdout.strip() == "600 root"

    for part in ("mqtt", "engine"):
        stack.start(part)
    eventually(lambda: machine.show("StatusText") == "ready", "the key was read and let it in", within_s=40)

    assert machine.show("NRestarts") == "0", "an outage restarts nothing"

    with UTDStreamClient(stack.app_id, stack.app_key, base_url=stack.base_url) as house:
        house.authenticate(identity="house")
        with house.call_session(UTDStreamType.VIDEO_CALL) as call:  # the core runs inside the hardened unit
            call.start(callee_identity="unit-door")
            call.wait_for_answer(timeout=20)
            assert call.snapshot(timeout=20).startswith(b"\x89PNG"), "the door is seen"
    eventually(lambda: machine.show("StatusText") == "ready", "the call is over", within_s=20)
    machine.run("kill", "-9", machine.show("MainPID"))
    eventually(lambda: machine.show("NRestarts") == "1", "it is started again", within_s=20)
    eventually(lambda: machine.show("StatusText") == "ready", "it is ready again", within_s=30)

    machine.run("kill", "-STOP", machine.show("MainPID"))
    eventually(lambda: machine.show("NRestarts") == "2", "the watchdog ends what hangs", within_s=60)
    eventually(lambda: machine.show("StatusText") == "ready", "it is ready again", within_s=30)

    begun = time.monotonic()
    assert machine.run("systemctl", "stop", UNIT).returncode == 0
    took_s = time.monotonic() - begun
    print(f"stopped in {took_s:.2f} s")
    assert took_s < 5 * 2
    assert machine.show("Result") == "success"
    journal = machine.run("journalctl", "-u", UNIT, "--no-pager").stdout
    assert stack.app_key not in journal
