"""What a service manager (systemd) is told: ready, the state in plain words, alive, stopping.

Owns: the notify protocol, as far as `utdstream engine up` needs it. Standard library only. Any thread, never
blocks. Silent where no service manager asked (`NOTIFY_SOCKET` is not set).
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

_log = logging.getLogger(__name__)


class ServiceManager:
    """The one that started this process, if any."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self.watchdog_s = _watchdog_s(environ)
        """How long it waits for a sign of life, in seconds; 0 when it wants none."""

    def ready(self, status: str) -> None:
        """Everything answers: `systemctl start` returns."""
        self._say(f"READY=1\nSTATUS={status}")

    def status(self, text: str) -> None:
        """The state in plain words, one line."""
        self._say(f"STATUS={text}")

    def alive(self) -> None:
        """A sign of life; one each `watchdog_s`, at least."""
        self._say("WATCHDOG=1")

    def stopping(self) -> None:
        """The end has begun."""
        self._say("STOPPING=1\nSTATUS=stopping")

    def _say(self, text: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
                sender.sendto(text.encode(), address)
        except OSError as error:
            _log.debug("the service manager cannot be told: %s", error)


def _watchdog_s(environ: Mapping[str, str]) -> float:
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0  # meant for another process
    try:
        return max(0, int(environ.get("WATCHDOG_USEC", "0"))) / 1_000_000
    except ValueError:
        return 0.0
