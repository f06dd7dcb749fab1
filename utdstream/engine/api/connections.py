"""The engine's open connections: how many, of whom, and how long each may take to ask.

Owns: `Connections`. Runs on the loop thread. Knows no HTTP: `protocol` tells it what a connection does, and the
clock's time with it.

1. A *stranger* is a connection on which nobody has shown a credential yet. It has `HEAD_WITHIN_S` for the head of
   a request, silent or not, and as long between two requests.
2. Strangers fill at most half of the places, those of one address at most a quarter. Where one too many comes, the
   oldest silent one of the address with the most of them goes: what has just connected can always ask.
3. A connection that signed in is only closed when every place is taken, and then between two requests; or when its
   holder, a key or an identity, has an eighth of the places and opens another.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Hashable
from functools import lru_cache
from typing import Protocol

HEAD_WITHIN_S = 5.0
"""For the whole head of a request, from the connection or from the first byte after an answer."""
STRANGER_WITHIN_S = 20.0
"""For the body of a stranger's request and its reading of the answer."""
SIGN_IN = "utdstream.sign_in"
"""In the state of a request's scope: what to call when its credential is right."""
CAME_FROM = "utdstream.came_from"
"""Likewise, behind a proxy: what to call with the address that the proxy says."""


class OpenConnection(Hashable, Protocol):
    """One connection of the server."""

    def drop(self) -> None:
        """Closes it at once, without a word."""
        ...


class Connections:
    """Counts connections and closes the ones that take the place of others. Times are of one monotonic clock."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._most_strangers = max(1, most // 2)
        self._most_each = max(1, most // 4)
        self._most_held = max(1, most // 8)
        self._networks: dict[OpenConnection, str] = {}
        self._signed_in: dict[OpenConnection, str] = {}
        """The holder of each."""
        self._held_by: dict[str, dict[OpenConnection, None]] = {}
        # Each in the order of its moments, the oldest first.
        self._silent: dict[OpenConnection, float] = {}
        self._silent_of: dict[str, dict[OpenConnection, None]] = {}
        self._answering: dict[OpenConnection, float] = {}
        self._answering_of: Counter[str] = Counter()
        self._idle: dict[OpenConnection, None] = {}

    def __len__(self) -> int:
        return len(self._networks)

    def opened(self, connection: OpenConnection, address: str, now_s: float) -> None:
        """Takes in a new connection; another, or this one, is dropped when there is no place."""
        network = network_of(address)
        self._networks[connection] = network
        self._be_silent(connection, now_s)
        if len(self._silent_of[network]) + self._answering_of[network] > self._most_each:
            self._drop_oldest_silent(network)
        elif len(self._silent) + len(self._answering) > self._most_strangers:
            self._drop_oldest_silent(self._fullest())
        elif len(self) > self.most:
            self._drop(next(iter(self._idle or self._answering), connection))

    def asks(self, connection: OpenConnection, now_s: float) -> None:
        """The head of a request is complete."""
        if connection in self._networks:
            self._forget_moment(connection)
            if connection not in self._signed_in:
                self._be_answered(connection, now_s)

    def came_from(self, connection: OpenConnection, address: str) -> None:
        """The request under way came through a proxy, from this address: it is counted there, or dropped."""
        network = network_of(address)
        if self._networks.get(connection) in (None, network) or connection in self._silent:
            return
        since = self._answering.get(connection)
        self._forget_answering(connection)
        self._networks[connection] = network
        if since is not None:
            self._be_answered(connection, since)
            if self._answering_of[network] > self._most_each:
                self._drop(connection)

    def signs_in(self, connection: OpenConnection, holder: str = "") -> None:
        """The request that is under way has shown a credential of `holder` that is right (empty: of no limit)."""
        if connection not in self._networks:
            return
        self._forget_answering(connection)
        if self._signed_in.get(connection) == holder:
            return
        self._sign_out(connection)
        self._signed_in[connection] = holder
        own = self._held_by.setdefault(holder, {})
        own[connection] = None
        if holder and len(own) > self._most_held:
            self._drop(next((other for other in own if other in self._idle), next(iter(own))))

    def answered(self, connection: OpenConnection, now_s: float) -> None:
        """The answer is written; another request may follow."""
        if connection not in self._networks:
            return
        self._forget_moment(connection)
        if connection in self._signed_in:
            self._idle[connection] = None
        else:
            self._be_silent(connection, now_s)

    def begins(self, connection: OpenConnection, now_s: float) -> None:
        """Bytes came that are no complete head yet."""
        if connection in self._networks and connection not in self._silent:
            self._forget_moment(connection)
            self._be_silent(connection, now_s)

    def closed(self, connection: OpenConnection) -> None:
        """The connection is gone. Idempotent."""
        if self._networks.get(connection) is not None:
            self._forget_moment(connection)
            self._sign_out(connection)
            del self._networks[connection]

    def sweep(self, now_s: float) -> None:
        """Drops what had its time. To be called about once a second."""
        for moments, within_s in ((self._silent, HEAD_WITHIN_S), (self._answering, STRANGER_WITHIN_S)):
            while moments:
                connection, since = next(iter(moments.items()))
                if now_s - since < within_s:
                    break
                self._drop(connection)

    def _be_silent(self, connection: OpenConnection, now_s: float) -> None:
        self._silent[connection] = now_s
        self._silent_of.setdefault(self._networks[connection], {})[connection] = None

    def _forget_moment(self, connection: OpenConnection) -> None:
        self._idle.pop(connection, None)
        self._forget_answering(connection)
        if self._silent.pop(connection, None) is not None:
            network = self._networks[connection]
            own = self._silent_of[network]
            del own[connection]
            if not own:
                del self._silent_of[network]

    def _sign_out(self, connection: OpenConnection) -> None:
        holder = self._signed_in.pop(connection, None)
        if holder is not None:
            own = self._held_by[holder]
            del own[connection]
            if not own:
                del self._held_by[holder]

    def _be_answered(self, connection: OpenConnection, now_s: float) -> None:
        self._answering[connection] = now_s
        self._answering_of[self._networks[connection]] += 1

    def _forget_answering(self, connection: OpenConnection) -> None:
        if self._answering.pop(connection, None) is not None:
            network = self._networks[connection]
            self._answering_of[network] -= 1
            if not self._answering_of[network]:
                del self._answering_of[network]

    def _fullest(self) -> str:
        return max(self._silent_of, key=lambda network: len(self._silent_of[network]))

    def _drop_oldest_silent(self, network: str) -> None:
        self._drop(next(iter(self._silent_of[network])))

    def _drop(self, connection: OpenConnection) -> None:
        self.closed(connection)
        connection.drop()


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """What counts as one address: of IPv6 the /64, in which one machine has as many as it likes."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False))
