"""A TCP relay in front of a server, whose connections can go half-open (no data, no end), or trickle."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from types import TracebackType
from typing import Self

TRICKLE_S = 0.05
"""Between one byte and the next."""


class Relay:
    """Carries bytes both ways, until `go_silent`: from then on those connections swallow what they are given."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._other: dict[socket.socket, socket.socket] = {}
        self._silent: set[socket.socket] = set()
        self._shut = False
        self._trickles = False
        self._waiting: list[socket.socket] = []
        self._selector = selectors.DefaultSelector()
        self._woken, self._wake = socket.socketpair()
        for ear in (self._listener, self._woken):
            self._selector.register(ear, selectors.EVENT_READ)
        self._over = False
        self._thread = threading.Thread(target=self._run, name="test-relay", daemon=True)
        self._thread.start()

    def go_silent(self) -> None:
        """Makes every connection of now half-open; those made later are carried."""
        self._silent.update(list(self._other))

    def shut(self) -> None:
        """Accepts new connections, and carries nothing of them before `open`."""
        self._shut = True

    def open(self) -> None:
        """Carries the connections that wait, and all that come, as fast as it can."""
        self._shut = self._trickles = False
        self._wake.send(b"x")

    def trickle(self) -> None:
        """Carries byte after byte from now on, slowly."""
        self._trickles = True

    def _run(self) -> None:
        while not self._over:
            for key, _ in self._selector.select():
                ear = key.fileobj
                assert isinstance(ear, socket.socket)
                if ear is self._listener:
                    self._waiting.append(self._listener.accept()[0])
                elif ear is self._woken:
                    self._woken.recv(1)
                else:
                    self._carry(ear)
            while self._waiting and not self._shut:
                self._join(self._waiting.pop())

    def _join(self, near: socket.socket) -> None:
        far = socket.create_connection(self._target)
        self._other[near], self._other[far] = far, near
        for ear in (near, far):
            self._selector.register(ear, selectors.EVENT_READ)

    def _carry(self, ear: socket.socket) -> None:
        try:
            heard = ear.recv(65_536)
        except OSError:
            heard = b""
        if not heard:
            self._selector.unregister(ear)
            if ear not in self._silent:
                with contextlib.suppress(OSError):
                    self._other[ear].shutdown(socket.SHUT_WR)
        elif ear not in self._silent:
            with contextlib.suppress(OSError):
                self._send(self._other[ear], heard)

    def _send(self, ear: socket.socket, heard: bytes) -> None:
        if not self._trickles:
            ear.sendall(heard)
            return
        for byte in heard:
            ear.sendall(bytes([byte]))
            if self._trickles and not self._over:
                time.sleep(TRICKLE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        self._wake.send(b"x")
        self._thread.join(5)
        self._selector.close()
        for ear in (*self._other, *self._waiting, self._listener, self._woken, self._wake):
            ear.close()
