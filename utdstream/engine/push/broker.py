"""A paho client that lives on the asyncio loop, without a thread of its own.

Owns: the socket's place in the loop, keep-alive, connecting again. All callbacks of the client run on the
loop thread; only the connecting itself, which blocks, runs on a helper thread. Knows nothing of messages.

1. A thread of its own costs more than the messages: it and the loop take the interpreter's lock from each
   other at every system call (a call's four messages cost 1.5 ms so, and 0.3 ms here).
2. What is published in one turn of the loop is written at the end of that turn.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

from paho.mqtt import client as paho

from utdstream.backoff import Backoff

KEEPALIVE_S = 15
CONNECT_WITHIN_S = 2.0
RETRY = Backoff(first_s=0.2, most_s=1.0)
_LOOK_EVERY_S = 1.0

_log = logging.getLogger(__name__)


class PahoLoop:
    """Keeps `client` connected to one broker. Make it inside a running loop, `start()` and `stop()` there.

    `on_unreachable` is called after each attempt to connect that failed.
    """

    def __init__(self, client: paho.Client, host: str, port: int, on_unreachable: Callable[[], None]) -> None:
        self._client = client
        self._host = host
        self._port = port
        self._on_unreachable = on_unreachable
        self._loop = asyncio.get_running_loop()
        self._closed = asyncio.Event()
        self._is_driving = False
        self._task: asyncio.Task[None] | None = None
        client.connect_timeout = CONNECT_WITHIN_S
        client.on_socket_open = _no_delay
        client.on_socket_register_write = self._wants_to_write
        client.on_socket_close = self._closing

    def start(self) -> None:
        """Connects now or as soon as there is a broker, and again whenever the connection is lost."""
        self._task = self._loop.create_task(self._run())

    async def stop(self) -> None:
        """Says goodbye and ends."""
        if self._task is None:
            return
        self._client.disconnect()
        if self._is_driving:
            self._write()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        failures = 0
        while True:
            began = self._loop.time()
            try:
                await asyncio.to_thread(
                    self._client.connect, self._host, self._port, keepalive=KEEPALIVE_S, clean_start=True
                )
                await self._drive()
            except (OSError, UnicodeError):
                self._on_unreachable()
            except Exception:  # noqa: BLE001  # the outermost frame of a background task
                _log.exception("the connection to the broker failed; it is made again")
            if self._loop.time() - began > CONNECT_WITHIN_S:
                failures = 0
            await asyncio.sleep(RETRY.pause_s(failures))
            failures += 1

    async def _drive(self) -> None:
        """Returns when the connection is lost."""
        sock = self._client.socket()
        if sock is None:
            return
        self._closed.clear()
        self._is_driving = True
        self._loop.add_reader(sock, self._client.loop_read)
        try:
            self._write()
            while not self._closed.is_set():
                try:
                    async with asyncio.timeout(_LOOK_EVERY_S):
                        await self._closed.wait()
                except TimeoutError:
                    self._client.loop_misc()
        finally:
            self._leave(sock)

    def _wants_to_write(self, client: paho.Client, userdata: object, sock: paho.SocketLike) -> None:
        if self._is_driving:  # else on the thread that connects: `_drive` writes first of all
            self._loop.call_soon(self._write)

    def _write(self) -> None:
        sock = self._client.socket()
        if sock is None:
            return
        self._loop.remove_writer(sock)
        self._client.loop_write()
        if self._is_driving and self._client.want_write():
            self._loop.add_writer(sock, self._write)

    def _closing(self, client: paho.Client, userdata: object, sock: paho.SocketLike) -> None:
        self._leave(sock)

    def _leave(self, sock: paho.SocketLike) -> None:
        if self._is_driving:
            self._is_driving = False
            self._loop.remove_reader(sock)
            self._loop.remove_writer(sock)
            self._closed.set()


def _no_delay(client: paho.Client, userdata: object, sock: paho.SocketLike) -> None:
    # Without it the first message after a connect waits 40 ms for Nagle and the delayed ACK.
    if isinstance(sock, socket.socket):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
