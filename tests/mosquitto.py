"""A real mosquitto for tests, on a free loopback port, in its own folder."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest


class Mosquitto:
    """The broker as a child process; `stop` and `start` keep port, password and stored sessions."""

    def __init__(self, folder: Path, *, login: tuple[str, str] | None = None, tls: bool = False) -> None:
        self.program = find_program("mosquitto")
        self.folder = folder
        self.port = _free_port()
        lines = [
            "set_tcp_nodelay true",
            "persistence true",
            f"persistence_location {folder}/",
            "autosave_interval 1",
            "autosave_on_changes true",
            f"listener {self.port} 127.0.0.1",
        ]
        if os.getuid() == 0:
            lines.append("user root")
        if login is None:
            lines.append("allow_anonymous true")
        else:
            self.set_password(*login)
            lines += ["allow_anonymous false", f"password_file {folder}/passwd"]
        if tls:
            self.make_certificate()
            lines += [f"certfile {folder}/server.crt", f"keyfile {folder}/server.key"]
        (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    def set_password(self, user: str, password: str) -> None:
        subprocess.run(
            [find_program("mosquitto_passwd"), "-c", "-b", str(self.folder / "passwd"), user, password],
            check=True,
            capture_output=True,
        )

    def make_certificate(self) -> None:
        """A certificate for 127.0.0.1 that is its own authority."""
        what = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
        for_whom = ["-addext", "subjectAltName=IP:127.0.0.1"]
        where = ["-keyout", str(self.folder / "server.key"), "-out", str(self.folder / "server.crt")]
        subprocess.run(
            [find_program("openssl"), *what.split(), *for_whom, *where], check=True, capture_output=True
        )

    def start(self) -> None:
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(
            [self.program, "-c", str(self.folder / "mosquitto.conf")], stdout=log, stderr=log
        )
        log.close()
        until = time.monotonic() + 10
        while time.monotonic() < until:
            with socket.socket() as probe:
                probe.settimeout(0.5)
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            if self._process.poll() is not None:
                break
            time.sleep(0.01)
        pytest.fail(f"mosquitto did not start: {(self.folder / 'log').read_text()}")

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(10)
            self._process = None


def find_program(name: str) -> str:
    """Its path; without it the test is skipped with a sentence, and fails on CI."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        sentence = f"{name} is not installed: apt install mosquitto openssl"
        if os.environ.get("CI"):
            pytest.fail(sentence)
        pytest.skip(sentence)
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
