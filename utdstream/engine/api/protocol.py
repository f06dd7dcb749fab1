"""uvicorn's HTTP protocol with a limit on what a silent or slow connection may hold.

Owns: what `Connections` is told of each connection. Runs on the loop thread. uvicorn 0.54 itself waits for ever
for the head of a request: its keep-alive timer begins with the first answer, and ends with the next byte.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

from utdstream.engine.api.connections import CAME_FROM, SIGN_IN, Connections


def protocol_of(connections: Connections, *, forwarded_for: bool = False) -> type[asyncio.Protocol]:
    """The protocol class whose connections are counted in `connections`, by the address that a proxy says."""

    class CountedProtocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            # A dictionary of this connection's own: every request's scope gets a copy of it.
            self.app_state = {**self.app_state, SIGN_IN: lambda holder: connections.signs_in(self, holder)}
            if forwarded_for:
                self.app_state[CAME_FROM] = lambda address: connections.came_from(self, address)
            address = self.client[0] if self.client is not None else ""
            connections.opened(self, address, self.loop.time())

        def connection_lost(self, exc: Exception | None) -> None:
            connections.closed(self)
            super().connection_lost(exc)
            # Or only the collector could free it: with 1,000 strangers a second that stopped the loop for 0.9 s.
            self.app_state = {}

        def data_received(self, data: bytes) -> None:
            before = self.cycle
            super().data_received(data)
            if self.cycle is not before:
                connections.asks(self, self.loop.time())
            if self.cycle is None or self.cycle.response_complete:
                connections.begins(self, self.loop.time())

        def on_response_complete(self) -> None:
            before = self.cycle
            connections.answered(self, self.loop.time())
            super().on_response_complete()
            if self.cycle is not before:  # it was sent together with the request before it
                connections.asks(self, self.loop.time())

        def drop(self) -> None:
            """Closes the connection at once, without a word."""
            self.transport.abort()

    return CountedProtocol
