"""The TCP connection of the signalling: whether the other end still answers, which the core does not say.

Owns: `SignalSocket`. Thread: any, one at a time. Linux only: elsewhere nothing is found. Must not import sessions.

1. Half-open, all that is said is lost without a word: a mute, a subscription, the other side's good-bye. The core
   notices after 15 s.
2. The kernel is asked to probe the connection once a second while nothing is sent (some 50 bytes each way), and
   when it heard an answer last: a system call. It never ends the connection by itself.
3. The sockets are the core's: found among the descriptors of this process, never closed, never kept open.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager

PROBE_S, PROBES = 1, 120
SILENT_S = 1.2
"""This long without an answer is a question; on a slow path the round trip comes on top."""
_TCP_INFO = struct.Struct("=8B24I")
_SYN_SENT = 2
_LAST_ANSWER_MS, _ROUND_TRIP_US, _VARIATION_US = 8 + 12, 8 + 15, 8 + 16


class SignalSocket:
    """The connections to one port that this process has opened since this was made."""

    def __init__(self) -> None:
        self._before = set(_sockets().values())
        self._mine: dict[int, int] = {}
        """Descriptor and inode of each."""
        self._is_being_made = False

    def find(self, port: int) -> None:
        """Looks for them anew. Blocks: half a millisecond, and more beside busy threads."""
        new = {number: inode for number, inode in _sockets().items() if inode not in self._before}
        self._mine = {descriptor: inode for descriptor, inode in new.items() if _probe(descriptor, port)}
        self._is_being_made = any(map(_is_being_made, new))

    @property
    def can_see(self) -> bool:
        """Whether the sockets of this process can be seen at all: there was one before, the loop's own."""
        return bool(self._before)

    @property
    def is_there(self) -> bool:
        """Whether any of those that were found is open, or one was being made then."""
        return self._is_being_made or self.is_open

    @property
    def is_open(self) -> bool:
        """Whether any of those that were found is open. Costs microseconds."""
        return any(True for _ in self._open())

    def silent_s(self) -> float:
        """How much longer than usual nothing was answered, by the worst of them: above zero is a question."""
        return max((_silent_s(sock) for sock in self._open()), default=-SILENT_S)

    def probe(self) -> None:
        """Has those that are silent probed once more now: setting the time of a probe that is due sends it."""
        for sock in self._open():
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, PROBE_S)

    def hang_up(self) -> None:
        """Ends those that are silent: the core hears it at once, and connects again."""
        for sock in self._open():
            if _silent_s(sock) > 0:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _open(self) -> Iterator[socket.socket]:
        for descriptor, inode in tuple(self._mine.items()):
            if _inode(descriptor) != inode:
                del self._mine[descriptor]
                continue
            with contextlib.suppress(OSError), _borrowed(descriptor) as sock:  # it may be closed just now
                yield sock


def _sockets() -> dict[int, int]:
    """Descriptor and inode of each socket of this process."""
    found: dict[int, int] = {}
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc/self/fd"):
            inode = _inode(int(name))
            if inode is not None:
                found[int(name)] = inode
    return found


def _inode(descriptor: int) -> int | None:
    """None when it is no socket, or closed."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_ino if stat.S_ISSOCK(status.st_mode) else None


@contextmanager
def _borrowed(descriptor: int) -> Iterator[socket.socket]:
    sock = socket.socket(fileno=descriptor)
    try:
        yield sock
    finally:
        sock.detach()


def _probe(descriptor: int, port: int) -> bool:
    """Has it probed, if it is a connection to this port."""
    try:
        with _borrowed(descriptor) as sock:
            if sock.type != socket.SOCK_STREAM or sock.getpeername()[1] != port:
                return False
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, PROBE_S)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE_S)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)
            return True
    except (OSError, IndexError, TypeError, AttributeError):  # not connected, or no TCP; not Linux
        return False


def _is_being_made(descriptor: int) -> bool:
    with contextlib.suppress(OSError), _borrowed(descriptor) as sock:
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _SYN_SENT
    return False


def _silent_s(sock: socket.socket) -> float:
    try:
        said = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    except OSError:
        return -SILENT_S
    fields: tuple[int, ...] = _TCP_INFO.unpack(said)
    slow_s = (fields[_ROUND_TRIP_US] + 4 * fields[_VARIATION_US]) / 1e6
    return fields[_LAST_ANSWER_MS] / 1e3 - SILENT_S - slow_s
