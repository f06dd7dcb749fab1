"""`Faults`: stands between clients and a `LocalStack`, and breaks links, servers and answers as a test says.

Owns: a relay before the stack's services, on a loopback address of its own with the same ports, and what holds on
each link. The stack must not be started yet, so that it tells devices the relay's address; one that runs
already is relayed too, for those who take `base_url` and `livekit_url` from here, but its media goes past.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar
from urllib.parse import urlsplit

from utdstream.errors import SessionClosed, UsageError
from utdstream.testing import _callers
from utdstream.testing._conditions import LINKS, Condition, Conditions, Effect, Link
from utdstream.testing._packets import PacketPort
from utdstream.testing._relay import Loop
from utdstream.testing._streams import RelayedPort, RelayedStream
from utdstream.testing.gate import RequestGate
from utdstream.testing.local_stack import LocalStack
from utdstream.testing.network import Network

if TYPE_CHECKING:
    from utdstream.engine.stack.ports import Part

_Result = TypeVar("_Result")
_HOST = "127.0.0.1"
_LINKS_OF: dict[str, Link] = {"engine": "engine", "mqtt": "mqtt", "livekit": "signal"}
_MOST_NAMES = 10_000


class Faults:
    """A relay before the stack's links: "engine" (REST), "mqtt", "signal" (LiveKit's WebSocket), "media" (UDP).

    What is done to links, servers and requests is a context manager, over with its block; no link named means all
    of them, `only` names the one identity it concerns. `seed` decides what is lost and how late the rest
    is. `with_network` puts the relay at the end of a cable into a network of its own (`network`), for programs
    started there; it needs root.

    Blocks: entering starts the stack, and leaving stops it, unless it ran before.
    Thread: all methods from any thread. Raises: UsageError for a stack with TLS, which cannot be read.
    """

    def __init__(self, stack: LocalStack, *, seed: int = 0, with_network: bool = False) -> None:
        self.stack = stack
        self.seed = seed
        self._with_network = with_network
        self._network: Network | None = None
        self._conditions = Conditions(seed)
        self._parts = ExitStack()
        self._loop: Loop | None = None
        self._gate: RequestGate | None = None
        self._listeners: dict[Link, RelayedPort] = {}
        self._packets: PacketPort | None = None
        self._names: dict[bytes, str] = {}
        self._tails: dict[str, bytes] = {}
        self._address = _HOST
        self._broken = 0

    def __enter__(self) -> Self:
        if self._loop is not None:
            raise SessionClosed("these Faults were entered before; make new ones")
        try:
            self._open()
        except BaseException:
            self._parts.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._parts.close()

    # --- where it is

    @property
    def base_url(self) -> str:
        """The engine through the relay: what `UTDStreamClient(base_url=...)` takes."""
        return f"http://{self._address}:{self._listeners['engine'].bound}"

    @property
    def livekit_url(self) -> str:
        """livekit-server's signalling through the relay, as ws://host:port."""
        return f"ws://{self._address}:{self._listeners['signal'].bound}"

    @property
    def requests(self) -> RequestGate:
        """The requests to the engine: to hold, answer, change or lose them."""
        if self._gate is None:
            raise SessionClosed("these Faults are not entered; use them in a with statement")
        return self._gate

    @property
    def network(self) -> Network:
        """The network of its own, made by `with_network`."""
        if self._network is None:
            raise UsageError("these Faults have no network of their own; make them with with_network=True")
        return self._network

    def carried(self, link: Link) -> int:
        """Returns how many bytes have passed on a link, both ways together."""
        self._check((link,))
        if link == "media":
            return self._packets.carried if self._packets is not None else 0
        return self._listeners[link].carried

    @property
    def met(self) -> int:
        """How many packets, pieces of streams, connections and requests have met a fault so far.

        A test whose fault meets nothing shows nothing.
        """
        return self._conditions.met + self._broken + (self._gate.met if self._gate is not None else 0)

    # --- links

    @contextmanager
    def cut(self, *links: Link, only: str | None = None) -> Iterator[None]:
        """Lets nothing pass, and nobody is told: as a cable that is pulled.

        What is sent on TCP connections meanwhile waits, and arrives behind it; packets are gone.
        Blocks: milliseconds. Raises: UsageError for an unknown link, SessionClosed.
        """
        with self._holding(Condition(self._of(links), _those(only), Effect(is_cut=True))):
            yield

    @contextmanager
    def refuse(self, *links: Link, only: str | None = None) -> Iterator[None]:
        """Breaks the connections of now, and refuses new ones: as a machine on which nothing listens.

        Blocks: milliseconds. Raises: UsageError for an unknown link, SessionClosed.
        """
        condition = Condition(self._of(links), _those(only), Effect(is_refused=True))
        with self._holding(condition), contextlib.ExitStack() as later:
            if only is None:
                listeners = [self._listeners[link] for link in condition.links if link in self._listeners]
                for listener in listeners:
                    self._call(listener.refuse)
                    later.callback(self._call, listener.listen)
            yield

    @contextmanager
    def turn_away(self, *links: Link, answer: bytes, only: str | None = None) -> Iterator[None]:
        """Gives new TCP connections these bytes for an answer, and an end; those of now are carried.

        Blocks: milliseconds. Raises: UsageError for an unknown link, SessionClosed.
        """
        with self._holding(Condition(self._of(links), _those(only), Effect(answer=answer))):
            yield

    @contextmanager
    def half_open(self, *links: Link, only: str | None = None) -> Iterator[None]:
        """Makes the TCP connections of now half-open: both ends believe in them, and nothing arrives or is told.

        New ones are carried. Those of before are broken (reset) at the end of the block.
        Blocks: milliseconds. Raises: UsageError for an unknown link, SessionClosed.
        """
        streams = self._streams(links, only)
        self._broken += len(streams)
        for stream in streams:
            self._call(stream.die)
        try:
            yield
        finally:
            for stream in streams:
                self._call(stream.reset)

    def reset(self, *links: Link, only: str | None = None) -> None:
        """Breaks the TCP connections of now at both ends (RST); new ones are carried."""
        streams = self._streams(links, only)
        self._broken += len(streams)
        for stream in streams:
            self._call(stream.reset)

    def move(self, *, only: str | None = None) -> None:
        """Lets media packets come from another address from now on, as behind a router that was restarted."""
        self._check(("media",))
        packets = self._packets
        if packets is not None:
            self._call(lambda: packets.move(_those(only)))

    @contextmanager
    def slow(
        self,
        *links: Link,
        delay_ms: float = 0.0,
        jitter_ms: float = 0.0,
        loss: float = 0.0,
        bytes_per_s: float | None = None,
        only: str | None = None,
    ) -> Iterator[None]:
        """Delays by `delay_ms` plus or minus `jitter_ms`, loses a share (0 to 1), lets `bytes_per_s` pass.

        In each direction. A packet (UDP) that is lost is gone, and jitter reorders; a stream keeps its order, and
        what is lost of it comes 200 ms later. Blocks: milliseconds. Raises: UsageError for what is no such number.
        """
        if not (
            delay_ms >= 0 and jitter_ms >= 0 and 0 <= loss <= 1 and (bytes_per_s is None or bytes_per_s > 0)
        ):
            raise UsageError(
                "slow: delay and jitter are not negative, loss is 0 to 1, bytes_per_s is above 0"
            )
        effect = Effect(
            delay_s=delay_ms / 1000, jitter_s=jitter_ms / 1000, loss=loss, bytes_per_s=bytes_per_s
        )
        with self._holding(Condition(self._of(links), _those(only), effect)):
            yield

    # --- servers

    @contextmanager
    def frozen(self, part: Part) -> Iterator[None]:
        """Stands a server still (`LocalStack.frozen`). Blocks: no time. Raises: UsageError when it is down."""
        with self.stack.frozen(part):
            yield

    @contextmanager
    def killed(self, part: Part, *, timeout: float = 20.0) -> Iterator[None]:
        """Kills a server (SIGKILL); it is started again, on the same ports, at the end of the block.

        Blocks: the end, to `timeout`. Raises: UTDStreamException (StackError) when it does not come back.
        """
        with self._away(part):
            self.stack.kill(part)
            try:
                yield
            finally:
                self.stack.start(part, timeout=timeout)

    @contextmanager
    def stopped(self, part: Part, *, timeout: float = 20.0) -> Iterator[None]:
        """Stops a server in good order; it is started again, on the same ports, at the end of the block.

        Blocks: the end, to `timeout`. Raises: UTDStreamException (StackError) when it does not come back.
        """
        with self._away(part):
            self.stack.stop(part)
            try:
                yield
            finally:
                self.stack.start(part, timeout=timeout)

    # --- behind it

    def _open(self) -> None:
        stack = self.stack
        if self._with_network:
            self._network = Network()
            self._parts.callback(self._network.close)
            self._address = self._network.address
        else:
            self._address = (
                f"127.{random.randrange(1, 250)}.{random.randrange(250)}.{random.randrange(2, 250)}"
            )
        is_ours = not stack.is_started
        if is_ours:
            stack.open_behind(self._address)
            self._parts.callback(stack.close)
        if stack.base_url.startswith("https:"):
            raise UsageError("Faults stand before a stack without TLS: what is encrypted cannot be read")
        engine, signalling = _port_of(stack.base_url), _port_of(stack.livekit_url)
        self._gate = RequestGate(_HOST, engine)
        self._parts.callback(self._gate.close)
        self._loop = Loop()
        self._parts.callback(self._loop.close)
        self._parts.callback(self._close_ports)
        self._listen("engine", engine, self._gate.port)
        self._listen("mqtt", stack.mqtt_port, stack.mqtt_port)
        self._listen("signal", signalling, signalling)
        if is_ours:
            self._packets = self._call(lambda: self._packet_port(stack.media_port))

    def _listen(self, link: Link, port: int, target: int) -> None:
        identify = _callers.of_mqtt if link == "mqtt" else _callers.of_http
        overhear = self._overhear if link == "signal" else None
        assert self._loop is not None
        loop = self._loop
        self._listeners[link] = self._call(
            lambda: RelayedPort(
                loop, self._conditions, link, (self._address, port), (_HOST, target), identify, overhear
            )
        )

    def _packet_port(self, port: int) -> PacketPort:
        assert self._loop is not None
        place, target = (self._address, port), (_HOST, port)
        return PacketPort(self._loop, self._conditions, "media", place, target, self._names)

    def _overhear(self, identity: str | None, said: bytes) -> None:
        """On the relay's thread: the names of this user's media sessions."""
        if identity is None:
            return
        text = self._tails.get(identity, b"") + said
        for name in _callers.ufrags_in(text):
            self._names[name] = identity
        self._tails[identity] = text[-_callers.LONGEST_UFRAG :]
        while len(self._names) > _MOST_NAMES:
            del self._names[next(iter(self._names))]

    @contextmanager
    def _holding(self, condition: Condition) -> Iterator[None]:
        try:
            with self._conditions.held(condition):
                self._look_again(condition.links)
                yield
        finally:
            self._look_again(condition.links)

    @contextmanager
    def _away(self, part: Part) -> Iterator[None]:
        """While a server is down its port refuses, as without a relay."""
        listener = self._listeners[_LINKS_OF[part]]
        try:
            self._call(listener.refuse)
            yield
        finally:
            self._call(listener.listen)

    def _look_again(self, links: Iterable[Link]) -> None:
        for link in links:
            if link in self._listeners:
                self._call(self._listeners[link].look_again)

    def _streams(self, links: tuple[Link, ...], only: str | None) -> list[RelayedStream]:
        """The TCP connections of now."""
        listeners = [self._listeners[link] for link in self._of(links) if link in self._listeners]
        return self._call(lambda: [stream for one in listeners for stream in one.of(_those(only))])

    def _of(self, links: tuple[Link, ...]) -> tuple[Link, ...]:
        self._check(links)
        return links or LINKS

    def _check(self, links: Iterable[Link]) -> None:
        if self._loop is None:
            raise SessionClosed("these Faults are not entered; use them in a with statement")
        unknown = sorted(set(links) - set(LINKS))
        if unknown:
            raise UsageError(f"there is no link {unknown[0]!r}; there are {', '.join(LINKS)}")
        if "media" in links and self._packets is None:
            raise UsageError("media goes past these Faults: give them the LocalStack before it is started")

    def _call(self, act: Callable[[], _Result]) -> _Result:
        assert self._loop is not None
        return self._loop.call(act)

    def _close_ports(self) -> None:
        for listener in self._listeners.values():
            self._call(listener.close)
        if self._packets is not None:
            self._call(self._packets.close)


def _those(only: str | None) -> frozenset[str] | None:
    return None if only is None else frozenset((only,))


def _port_of(url: str) -> int:
    return urlsplit(url).port or 0
