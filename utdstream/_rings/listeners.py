"""Who hears what one broker connection brings: several inboxes of one identity share it.

Owns: `Listener`, `Listeners`, `SharedLines`. Knows no broker and has no thread. Threads: the connection's tells
news, any may come and go.

1. A broker allows one connection a client id: two inboxes of one process would throw each other out for ever.
2. News are told under the lock, which a sink never holds up: nothing is told to a listener that has gone.
3. A listener that comes later is told at once how the connection stands; what came before it is found by asking.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from utdstream._rings.inbox import IncomingSink
from utdstream.models import MqttLogin


@dataclass(frozen=True, slots=True, eq=False)
class Listener:
    """An inbox behind the connection, and how its client comes by the newest login (which may block)."""

    sink: IncomingSink = field(repr=False)
    renewed: Callable[[bool], MqttLogin | None] = field(repr=False)


class Listeners:
    """The inboxes behind one connection."""

    def __init__(self) -> None:
        # Re-entrant: a signal handler may dispose an inbox in the middle of any line of the main thread.
        self._lock = threading.RLock()
        self._all: tuple[Listener, ...] = ()
        self._up: bool | None = None

    def add(self, listener: Listener) -> None:
        """Tells this one too, from now on."""
        with self._lock:
            self._all = (*self._all, listener)
            if self._up is not None:
                listener.sink.connection(self._up)

    def remove(self, listener: Listener) -> bool:
        """Tells this one nothing any more; True when there is no other."""
        with self._lock:
            self._all = tuple(other for other in self._all if other is not listener)
            return not self._all

    def message(self, payload: bytes) -> None:
        """A message came."""
        with self._lock:
            for listener in self._all:
                listener.sink.message(payload)

    def connection(self, up: bool) -> None:
        """Messages can arrive from now on, or cannot; said again, it is no news."""
        with self._lock:
            if self._up is up:
                return
            self._up = up
            for listener in self._all:
                listener.sink.connection(up)

    def login(self, is_refused: bool) -> MqttLogin | None:
        """Asks the one that has listened longest for the newest login. Blocks: as its `renewed`."""
        everyone = self._all
        return everyone[0].renewed(is_refused) if everyone else None


class SharedLine(Protocol):
    """One connection."""

    listeners: Listeners

    def start(self) -> None: ...

    def stop(self) -> None:
        """Blocks: two seconds at most."""
        ...


LineT = TypeVar("LineT", bound=SharedLine)


class SharedLines(Generic[LineT]):
    """The connections of this process, by what makes two of them one."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._lines: dict[Hashable, LineT] = {}

    def join(self, key: Hashable, make: Callable[[], LineT], listener: Listener) -> LineT:
        """Listens on the connection of this key, which is made when there is none. Does not block."""
        with self._lock:
            line = self._lines.get(key)
            is_new = line is None
            if line is None:
                line = self._lines[key] = make()
            line.listeners.add(listener)
            if is_new:
                line.start()
            return line

    def leave(self, line: LineT, listener: Listener) -> None:
        """Listens no more; the last one ends the connection. Blocks: two seconds at most."""
        with self._lock:
            is_last = line.listeners.remove(listener)
            if is_last:
                self._lines = {key: other for key, other in self._lines.items() if other is not line}
        if is_last:
            line.stop()
