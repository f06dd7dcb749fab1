"""The other end of NOTIFY_SOCKET: what a service manager is told."""

from __future__ import annotations

import socket


class Manager:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + path[1:] if path.startswith("@") else path)
        self._socket.settimeout(0.1)
        self.datagrams: list[str] = []
        self.told: list[str] = []

    def hear(self) -> list[str]:
        """Everything up to now."""
        try:
            while True:
                self.datagrams.append(self._socket.recv(4096).decode())
                self.told += self.datagrams[-1].splitlines()
        except TimeoutError:
            return self.told

    def close(self) -> None:
        self._socket.close()
