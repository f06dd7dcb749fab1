"""TCP connections through the relay: each is two sockets, and two queues of what is on its way.

Owns: listening, carrying, holding and breaking them. Runs on the relay's thread. A cut holds what was sent, as the
kernel at the sender does, and delivers it behind the cut; half-open connections swallow it.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import time
from collections import deque
from collections.abc import Callable

from utdstream.testing._conditions import Conditions, Effect, Link
from utdstream.testing._relay import Loop

_PIECE = 65_536
_MOST_QUEUED = 512 * 1024
_LONGEST_OPENING = 64 * 1024
_PART_S = 0.05
_RESET = struct.pack("ii", 1, 0)


class RelayedPort:
    """One port of the relay, and its connections. `identify` reads the identity from what a client says first;
    `overhear` gets what the server says, with the identity it says it to.
    """

    def __init__(
        self,
        loop: Loop,
        conditions: Conditions,
        link: Link,
        place: tuple[str, int],
        target: tuple[str, int],
        identify: Callable[[bytes], str | None],
        overhear: Callable[[str | None, bytes], None] | None = None,
    ) -> None:
        self.loop, self.conditions, self.link = loop, conditions, link
        self.place, self.target = place, target
        self.identify, self.overhear = identify, overhear
        self.streams: set[RelayedStream] = set()
        self.carried = 0
        self._ear: socket.socket | None = None
        self.listen()

    @property
    def bound(self) -> int:
        """The port it has, also when any would do."""
        return self.place[1]

    def listen(self) -> None:
        """Accepts connections. Nothing when it does."""
        if self._ear is None:
            self._ear = socket.create_server(self.place, backlog=512)
            self.place = self._ear.getsockname()
            self._ear.setblocking(False)
            self.loop.watch(self._ear, selectors.EVENT_READ, self._accept)

    def refuse(self) -> None:
        """Refuses new connections, as a machine does on which nothing listens, and breaks those of now."""
        ear, self._ear = self._ear, None
        if ear is not None:
            self.loop.watch(ear, 0, self._accept)
            ear.close()
        for stream in tuple(self.streams):
            stream.reset()

    def of(self, only: frozenset[str] | None) -> list[RelayedStream]:
        """The connections of now, of these identities."""
        return [stream for stream in self.streams if only is None or stream.identity in only]

    def look_again(self) -> None:
        """The conditions have changed."""
        for stream in tuple(self.streams):
            stream.look_again()

    def close(self) -> None:
        """Ends all of it."""
        self.refuse()

    def _accept(self, _events: int) -> None:
        assert self._ear is not None
        with contextlib.suppress(OSError):
            near = self._ear.accept()[0]
            self.streams.add(RelayedStream(self, near))


class _Way:
    """One direction of a connection."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source, self.sink = source, sink
        self.pieces: deque[tuple[float, bytes]] = deque()
        """When each may arrive; an empty one is the end."""
        self.queued = 0
        self.last_at = 0.0
        self.is_read_out = False
        self.is_over = False
        self.is_waited_for = False


class RelayedStream:
    """One connection: what the client sends goes to the server, what that answers comes back."""

    def __init__(self, home: RelayedPort, near: socket.socket) -> None:
        self.identity: str | None = None
        self.is_dead = False
        """Half-open: both ends believe in it, and nothing arrives."""
        self._home = home
        self._opening = b""
        self._is_closed = False
        self._near = near
        self._far = socket.socket()
        for end in (near, self._far):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._there, self._back = _Way(near, self._far), _Way(self._far, near)
        self._is_connected = self._has_passed = False
        self._far.connect_ex(home.target)
        self._watch()

    # --- what is done to it

    def die(self) -> None:
        """Is half-open from now on."""
        self.is_dead = True

    def reset(self) -> None:
        """Both ends are told at once that it is broken."""
        for end in (self._near, self._far):
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._close()

    def look_again(self) -> None:
        """The conditions of its link have changed."""
        now = self._now()
        if now.is_refused:
            self.reset()
            return
        for way in (self._there, self._back):
            if now.bytes_per_s is None:  # what waited for a narrow link need not any more
                latest = time.monotonic() + now.delay_s + now.jitter_s
                way.pieces = deque((min(at, latest), piece) for at, piece in way.pieces)
                way.last_at = min(way.last_at, latest)
            self._push(way)

    # --- the carrying

    def _now(self) -> Effect:
        return self._home.conditions.on(self._home.link, self.identity)

    def _watch(self) -> None:
        if self._is_closed:
            return
        for end, own, other in (
            (self._near, self._there, self._back),
            (self._far, self._back, self._there),
        ):
            reads = not own.is_read_out and own.queued < _MOST_QUEUED
            writes = other.is_waited_for or (end is self._far and not self._is_connected)
            events = (selectors.EVENT_READ if reads else 0) | (selectors.EVENT_WRITE if writes else 0)
            self._home.loop.watch(end, events, self._near_ready if end is self._near else self._far_ready)

    def _near_ready(self, events: int) -> None:
        self._ready(self._there, self._back, events)

    def _far_ready(self, events: int) -> None:
        if not self._is_connected:
            failure = self._far.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if failure:
                self.reset()
                return
            self._is_connected = True
        self._ready(self._back, self._there, events)

    def _ready(self, own: _Way, other: _Way, events: int) -> None:
        if events & selectors.EVENT_READ:
            self._read(own)
        if events & selectors.EVENT_WRITE and not self._is_closed:
            other.is_waited_for = False
            self._push(other)
        self._watch()

    def _read(self, way: _Way) -> None:
        try:
            heard = way.source.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            if self.is_dead:
                way.is_read_out = True
            else:
                self.reset()
            return
        if way is self._there:
            self._learn(heard)
        elif self._home.overhear is not None and heard:
            self._home.overhear(self.identity, heard)
        if not heard:
            way.is_read_out = True
        if self.is_dead:
            return
        if (now := self._now()).is_refused:
            self.reset()
            return
        if now.answer is not None and way is self._there and not self._has_passed:
            self._turn_away(now.answer)
            return
        self._has_passed = True
        way.last_at = max(time.monotonic() + self._home.conditions.late_by(now, is_stream=True), way.last_at)
        for part in _parts(heard, now.bytes_per_s):
            if now.bytes_per_s:
                way.last_at += len(part) / now.bytes_per_s
            way.pieces.append((way.last_at, part))
        way.queued += len(heard)
        self._push(way)

    def _learn(self, heard: bytes) -> None:
        """Who it is: told with the first request, or with a later one."""
        if self.identity is None and len(self._opening) < _LONGEST_OPENING:
            self._opening += heard
            self.identity = self._home.identify(self._opening)

    def _push(self, way: _Way) -> None:
        """Sends what is due."""
        if self.is_dead or self._is_closed or (way is self._there and not self._is_connected):
            return
        now = self._now()
        while way.pieces and not now.is_cut:
            at, piece = way.pieces[0]
            if at > time.monotonic():
                self._home.loop.later(at, lambda: self._push_and_watch(way))
                return
            if not piece:
                way.pieces.popleft()
                self._end(way)
                return
            try:
                sent = way.sink.send(piece)
            except BlockingIOError:
                way.is_waited_for = True
                self._watch()
                return
            except OSError:
                self.reset()
                return
            way.queued -= sent
            self._home.carried += sent
            if sent == len(piece):
                way.pieces.popleft()
            else:
                way.pieces[0] = (at, piece[sent:])

    def _turn_away(self, answer: bytes) -> None:
        with contextlib.suppress(OSError):
            self._near.send(answer)
            self._near.shutdown(socket.SHUT_WR)
        self._close()

    def _push_and_watch(self, way: _Way) -> None:
        self._push(way)
        self._watch()

    def _end(self, way: _Way) -> None:
        way.is_over = True
        with contextlib.suppress(OSError):
            way.sink.shutdown(socket.SHUT_WR)
        if self._there.is_over and self._back.is_over:
            self._close()

    def _close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        for end in (self._near, self._far):
            self._home.loop.watch(end, 0, self._near_ready)
            end.close()
        self._home.streams.discard(self)


def _parts(heard: bytes, bytes_per_s: float | None) -> list[bytes]:
    """What was read, as it leaves a narrow link: little by little. An end is one empty part."""
    if not bytes_per_s or not heard:
        return [heard]
    size = max(1, int(bytes_per_s * _PART_S))
    return [heard[at : at + size] for at in range(0, len(heard), size)]
