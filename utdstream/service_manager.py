"""What a service manager (systemd) is told: ready, the state in plain words, alive, stopping.

Owns: the notify protocol (sd_notify(3)). Standard library and `one_line` only. Any thread, never blocks. Silent
where no service manager asked for it (`NOTIFY_SOCKET` is not set), so that the same program runs in a terminal.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

from utdstream.one_line import one_line

_log = logging.getLogger(__name__)

MOST_STATUS = 2000


class ServiceManager:
    """The service manager that started this process, if any."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self.watchdog_s = _watchdog_s(environ)
        """How long it waits for a sign of life, in seconds; 0 when it wants none."""

    def ready(self, status: str) -> None:
        """Tells that the service does its work, and how: `systemctl start` returns."""
        self._say(f"READY=1\nSTATUS={_line(status)}")

    def status(self, text: str) -> None:
        """Tells the state in plain words."""
        self._say(f"STATUS={_line(text)}")

    def alive(self) -> None:
        """Gives a sign of life; due at least once each `watchdog_s`."""
        self._say("WATCHDOG=1")

    def stopping(self, status: str = "stopping") -> None:
        """Tells that the end has begun."""
        self._say(f"STOPPING=1\nSTATUS={_line(status)}")

    def _say(self, text: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(
                socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
            ) as sender:
                sender.sendto(text.encode(), address)
        except OSError as error:
            _log.debug("the service manager cannot be told: %s", error)


def _line(text: str) -> str:
    """Makes one line of the protocol, short enough for a datagram, whoever wrote the text."""
    return one_line(text)[:MOST_STATUS]


def _watchdog_s(environ: Mapping[str, str]) -> float:
    """Reads the watchdog's limit in seconds; 0 when there is none for this process."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    try:
        return max(0, int(environ.get("WATCHDOG_USEC", "0"))) / 1_000_000
    except ValueError:
        return 0.0
