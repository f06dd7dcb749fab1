"""UDP through the relay: for each client a socket of its own towards the server, so that answers find back.

Owns: these sockets, and whose they are. Runs on the relay's thread. What is cut or lost is gone; what is late by
different times arrives in another order.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from dataclasses import dataclass, field

from utdstream.testing import _callers
from utdstream.testing._conditions import Conditions, Link
from utdstream.testing._relay import Loop

_LONGEST = 65_536
_AT_ONCE = 64
_MOST_QUEUED_S = 0.5
"""A narrow link drops what would wait longer than this."""
_FORGOTTEN_AFTER_S = 60.0


@dataclass(eq=False, slots=True)
class _Flow:
    """One client's socket."""

    client: tuple[str, int]
    far: socket.socket = field(init=False)
    identity: str | None = None
    free_at: float = 0.0
    heard_at: float = 0.0


class PacketPort:
    """One UDP port of the relay. `names` says whose session a STUN request belongs to; it may grow meanwhile."""

    def __init__(
        self,
        loop: Loop,
        conditions: Conditions,
        link: Link,
        place: tuple[str, int],
        target: tuple[str, int],
        names: dict[bytes, str],
    ) -> None:
        self.carried = 0
        self._loop, self._conditions, self._link = loop, conditions, link
        self._target, self._names = target, names
        self._flows: dict[tuple[str, int], _Flow] = {}
        self._near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._near.setblocking(False)
        self._near.bind(place)
        self.bound: int = self._near.getsockname()[1]
        loop.watch(self._near, selectors.EVENT_READ, self._from_clients)
        loop.later(time.monotonic() + _FORGOTTEN_AFTER_S, self._forget)

    def move(self, only: frozenset[str] | None) -> None:
        """Gives the clients of these identities other sockets towards the server."""
        for flow in self._flows.values():
            if only is None or flow.identity in only:
                self._loop.watch(flow.far, 0, self._from_clients)
                flow.far.close()
                flow.far = self._socket_for(flow)

    def close(self) -> None:
        """Ends all of it."""
        for ear in (self._near, *(flow.far for flow in self._flows.values())):
            self._loop.watch(ear, 0, self._from_clients)
            ear.close()
        self._flows.clear()

    def _from_clients(self, _events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            for _ in range(_AT_ONCE):
                packet, client = self._near.recvfrom(_LONGEST)
                flow = self._flows.get(client) or self._new(client)
                flow.heard_at = time.monotonic()
                name = _callers.ufrag_of(packet)
                if name is not None:
                    flow.identity = self._names.get(name, flow.identity)
                self._carry(flow, packet, is_there=True)

    def _from_server(self, flow: _Flow) -> None:
        for _ in range(_AT_ONCE):
            try:
                packet = flow.far.recv(_LONGEST)
            except BlockingIOError:
                return
            except OSError:  # refused: the server is away
                return
            self._carry(flow, packet, is_there=False)

    def _carry(self, flow: _Flow, packet: bytes, *, is_there: bool) -> None:
        now = self._conditions.on(self._link, flow.identity)
        if now.is_cut or now.is_refused or self._conditions.is_lost(now):
            return
        clock = time.monotonic()
        at = clock + self._conditions.late_by(now, is_stream=False)
        if now.bytes_per_s:
            at = max(at, flow.free_at) + len(packet) / now.bytes_per_s
            if at - clock > _MOST_QUEUED_S + now.delay_s + now.jitter_s:
                return
            flow.free_at = at
        if at <= clock:
            self._send(flow, packet, is_there=is_there)
        else:
            self._loop.later(at, lambda: self._send(flow, packet, is_there=is_there))

    def _send(self, flow: _Flow, packet: bytes, *, is_there: bool) -> None:
        with contextlib.suppress(OSError):  # full, refused or closed: packets may be lost
            if is_there:
                flow.far.send(packet)
            else:
                self._near.sendto(packet, flow.client)
            self.carried += len(packet)

    def _new(self, client: tuple[str, int]) -> _Flow:
        flow = self._flows[client] = _Flow(client)
        flow.far = self._socket_for(flow)
        return flow

    def _socket_for(self, flow: _Flow) -> socket.socket:
        far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        far.setblocking(False)
        far.connect(self._target)
        self._loop.watch(far, selectors.EVENT_READ, lambda _events: self._from_server(flow))
        return far

    def _forget(self) -> None:
        """Closes the sockets of clients that have been silent for long."""
        if self._near.fileno() < 0:
            return
        now = time.monotonic()
        for client, flow in tuple(self._flows.items()):
            if now - flow.heard_at > _FORGOTTEN_AFTER_S:
                del self._flows[client]
                self._loop.watch(flow.far, 0, self._from_clients)
                flow.far.close()
        self._loop.later(now + _FORGOTTEN_AFTER_S, self._forget)
