"""The TCP connection of the signalling: when it is silent, and what is done about it."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from facts import eventually
from half_open import deafen

from utdstream._livekit.signal_socket import SignalSocket


class Connected:
    """A connection to a port of its own, opened after the watch was made, and one from before."""

    def __init__(self) -> None:
        self._ear = socket.create_server(("127.0.0.1", 0))
        address = self._ear.getsockname()
        self.older, self.older_end = socket.create_connection(address), self._ear.accept()[0]
        self.signal = SignalSocket()
        self.own, self.other_end = socket.create_connection(address), self._ear.accept()[0]
        self.signal.find(address[1])

    def close(self) -> None:
        for end in (self.older, self.older_end, self.own, self.other_end, self._ear):
            end.close()


@pytest.fixture
def connected() -> Iterator[Connected]:
    """Both ends stand, and nothing is said."""
    made = Connected()
    yield made
    made.close()


def test_signal_when_nothing_is_said_is_answered_all_the_same(connected: Connected) -> None:
    """The kernel asks once a second."""
    eventually(lambda: connected.signal.silent_s() > -0.6, "no answer for a while")
    eventually(lambda: connected.signal.silent_s() < -1.0, "it was answered again")


def test_signal_when_the_other_end_is_deaf_is_silent_and_can_be_hung_up(connected: Connected) -> None:
    """The core hears the end of it, as from a server that closes; other connections stand."""
    deafen(connected.other_end)
    eventually(lambda: connected.signal.silent_s() > 0, "it is silent")
    connected.signal.probe()
    connected.signal.hang_up()
    connected.own.settimeout(10)
    assert connected.own.recv(1) == b""
    connected.older_end.sendall(b"x")
    assert connected.older.recv(1) == b"x"


def test_signal_when_it_was_closed_and_its_descriptor_is_used_again_is_not_looked_at(
    connected: Connected,
) -> None:
    """The number belongs to another socket then, which is never ended."""
    deafen(connected.other_end)
    eventually(lambda: connected.signal.silent_s() > 0, "it is silent")
    number = connected.own.fileno()
    connected.own.close()
    left, right = socket.socketpair()
    with left, right:
        assert number in (left.fileno(), right.fileno())
        assert connected.signal.silent_s() < 0
        connected.signal.hang_up()
        left.sendall(b"x")
        assert right.recv(1) == b"x"
