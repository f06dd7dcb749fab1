"""A booted systemd in a cached Debian root, for the tests of the units."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from facts import eventually

from utdstream.engine.stack import binaries

HOME = "/home/pi"
PYTHONPATH = f"PYTHONPATH={HOME}/utdstream:/opt/site PYTHONDONTWRITEBYTECODE=1"
"""The repository lies in a home, as it does on a Pi; what it needs was installed elsewhere."""


class Machine:
    """A booted systemd that shares this machine's network. What it writes is gone when it is off."""

    def __init__(self, root: Path) -> None:
        site = Path(pytest.__file__).parents[1]
        command = [
            "systemd-nspawn", "-q", "-D", str(root), "-b", "--register=no", "--keep-unit", "--console=pipe",
            "--volatile=overlay", f"--bind-ro={site}:/opt/site",
            f"--bind-ro={Path(__file__).parents[2]}:{HOME}/utdstream",
            f"--bind-ro={binaries.find_livekit_server().path}:/usr/local/bin/livekit-server",
        ]  # fmt: skip
        self._nspawn = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            eventually(self._init, "systemd boots", within_s=30)
            eventually(self._runs, "systemd answers", within_s=60)
        except BaseException:
            self.off()
            raise

    def _runs(self) -> bool:
        # "offline" is the answer of a process that has not entered the root yet.
        return self.run("systemctl", "is-system-running").stdout.strip() in ("running", "degraded")

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

    def off(self) -> None:
        init = self._init()
        if init is not None:
            os.kill(init, signal.SIGRTMIN + 4)
        try:
            self._nspawn.wait(20)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait()


class Unit:
    """One of our units on it."""

    def __init__(self, machine: Machine, app: str) -> None:
        self.name, self._machine, self._app = f"utd-{app}.service", machine, app

    def install(self, *more: str, settings: str = "", programs: str = "/opt/utdstream/bin") -> str:
        """`install-service`, with short times for the tests; what it said."""
        self._machine.write(
            f"/etc/systemd/system/{self.name}.d/test.conf",
            f"[Service]\nRestartSec=0.2\nEnvironment={PYTHONPATH}\n{settings}",
        )
        command = [f"{programs}/utd-device", "install-service", "--app", self._app, *more]
        done = self._machine.run("env", *PYTHONPATH.split(), *command)
        assert done.returncode == 0, done.stdout + done.stderr + self.journal()
        return done.stdout

    def show(self, name: str) -> str:
        return self._machine.run("systemctl", "show", "--value", "-p", name, self.name).stdout.strip()

    def is_said(self, status: str, within_s: float = 40.0) -> None:
        """Waits for a status that begins so."""
        try:
            eventually(lambda: self.show("StatusText").startswith(status), f"{self.name}: {status}", within_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {self.show('StatusText')!r}\n{self.journal()}") from None

    def was_restarted(self, times: int, within_s: float = 20.0) -> None:
        eventually(lambda: self.show("NRestarts") == str(times), f"{times} restarts", within_s)

    def kill(self, sign: str) -> None:
        self._machine.run("kill", sign, self.show("MainPID"))

    def stop(self) -> subprocess.CompletedProcess[str]:
        return self._machine.run("systemctl", "stop", self.name)

    def journal(self) -> str:
        return self._machine.run("journalctl", "-u", self.name, "--no-pager", "-n", "200").stdout

    def seen_by_it(self, *command: str) -> str:
        """What a command says among the files that the service sees."""
        return self._machine.run("nsenter", "-t", self.show("MainPID"), "-m", "--", *command).stdout

    def exposure(self) -> float:
        """`systemd-analyze security`, with all that was installed beside the unit."""
        told = self._machine.run("systemd-analyze", "security", "--no-pager", self.name)
        found = re.search(r"Overall exposure level for \S+: ([\d.]+)", told.stdout)
        assert found is not None, told.stdout + told.stderr
        return float(found[1])
