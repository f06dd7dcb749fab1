"""A TCP relay in front of any server, whose connections can go half-open (no data, no end), wait, or trickle.

The relay is the one of `utdstream.testing.Faults`, for a server that is no stack's.
"""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Self

from utdstream.testing._conditions import Condition, Conditions, Effect
from utdstream.testing._relay import Loop
from utdstream.testing._streams import RelayedPort

TRICKLE_BYTES_PER_S = 20.0


class Relay:
    """Carries bytes both ways, until `go_silent`: from then on those connections swallow what they are given."""

    def __init__(self, host: str, port: int) -> None:
        self._parts, self._held = ExitStack(), ExitStack()
        self._loop = Loop()
        self._parts.callback(self._loop.close)
        self._conditions = Conditions(seed=0)
        self._port = self._loop.call(
            lambda: RelayedPort(
                self._loop, self._conditions, "signal", ("127.0.0.1", 0), (host, port), lambda _: None
            )
        )
        self._parts.callback(self._loop.call, self._port.close)
        self.port = self._port.bound

    def go_silent(self) -> None:
        """Makes every connection of now half-open; those made later are carried."""
        self._loop.call(lambda: [stream.die() for stream in self._port.of(None)])

    def shut(self) -> None:
        """Accepts new connections, and carries nothing before `open`."""
        self._hold(Effect(is_cut=True))

    def open(self) -> None:
        """Carries the connections that wait, and all that come, as fast as it can."""
        self._held.close()
        self._loop.call(self._port.look_again)

    def trickle(self) -> None:
        """Carries byte after byte from now on, slowly."""
        self._hold(Effect(bytes_per_s=TRICKLE_BYTES_PER_S))

    def _hold(self, effect: Effect) -> None:
        self._held.enter_context(self._conditions.held(Condition(("signal",), None, effect)))
        self._loop.call(self._port.look_again)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._parts.close()
