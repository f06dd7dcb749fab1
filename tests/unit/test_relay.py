"""The relay of `Faults`: what passes, what waits, what is lost, and who it is that speaks."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from utdstream.testing import _callers
from utdstream.testing._conditions import Condition, Conditions, Effect
from utdstream.testing._packets import PacketPort
from utdstream.testing._relay import Loop
from utdstream.testing._streams import RelayedPort

HOST = "127.0.0.1"
SHORT_S = 0.2
"""How long a test listens for what must not come."""


class Echo:
    """A TCP server that sends everything back, and ends when its client does."""

    def __init__(self) -> None:
        self._ear = socket.create_server((HOST, 0))
        self.place = self._ear.getsockname()
        self.ended = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection = self._ear.accept()[0]
                self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
                self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while heard := connection.recv(65_536):
                connection.sendall(heard)
        self.ended.set()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._ear.shutdown(socket.SHUT_RDWR)
        self._ear.close()
        for thread in self._threads:
            thread.join(5)


@pytest.fixture
def loop() -> Iterator[Loop]:
    """The relay's thread."""
    made = Loop()
    yield made
    made.close()


@pytest.fixture
def conditions() -> Conditions:
    """None hold yet."""
    return Conditions(seed=1)


@pytest.fixture
def echo() -> Iterator[Echo]:
    """The server behind it."""
    made = Echo()
    yield made
    made.close()


@pytest.fixture
def listener(loop: Loop, conditions: Conditions, echo: Echo) -> Iterator[RelayedPort]:
    """The relay before it; who speaks says its name first."""
    made = loop.call(
        lambda: RelayedPort(
            loop, conditions, "mqtt", (HOST, 0), echo.place, lambda said: said[:1].decode() or None
        )
    )
    yield made
    loop.call(made.close)


@pytest.fixture
def client(listener: RelayedPort) -> Iterator[socket.socket]:
    """A connection through it, of `a`."""
    with connected(listener) as made:
        assert exchange(made, b"a")
        yield made


@contextlib.contextmanager
def connected(listener: RelayedPort) -> Iterator[socket.socket]:
    assert listener.bound is not None
    with socket.create_connection((HOST, listener.bound)) as made:
        made.settimeout(5)
        yield made


def exchange(client: socket.socket, said: bytes) -> bool:
    client.sendall(said)
    heard = b""
    while len(heard) < len(said):
        heard += client.recv(65_536)
    return heard == said


def effect(only: str | None = None, **what: object) -> Condition:
    those = None if only is None else frozenset((only,))
    return Condition(("mqtt", "media"), those, Effect(**what))  # type: ignore[arg-type]


@contextlib.contextmanager
def holding(loop: Loop, conditions: Conditions, listener: RelayedPort, one: Condition) -> Iterator[None]:
    with conditions.held(one):
        loop.call(listener.look_again)
        yield
    loop.call(listener.look_again)


def is_broken(client: socket.socket) -> bool:
    """Whether its end comes."""
    try:
        return client.recv(1) == b""
    except ConnectionError:
        return True


def is_silent(client: socket.socket) -> bool:
    """Whether nothing comes, not even an end."""
    client.settimeout(SHORT_S)
    try:
        client.recv(1)
    except TimeoutError:
        return True
    finally:
        client.settimeout(5)
    return False


def test_stream_when_both_ends_send_much_arrives_whole_and_in_order(client: socket.socket) -> None:
    """Far more than any queue holds."""
    said = bytes(range(256)) * 40_000
    sender = threading.Thread(target=client.sendall, args=(said,))
    sender.start()
    heard = b""
    while len(heard) < len(said):
        heard += client.recv(1_000_000)
    sender.join(5)
    assert heard == said


def test_end_when_the_client_is_done_sending_is_told_and_the_rest_still_comes(
    client: socket.socket, echo: Echo
) -> None:
    """Half a close is half a close."""
    client.sendall(b"the last words")
    client.shutdown(socket.SHUT_WR)
    heard = b""
    while piece := client.recv(100):
        heard += piece
    assert heard == b"the last words"
    assert echo.ended.wait(5)


def test_server_when_nothing_listens_there_breaks_the_connection(
    loop: Loop, conditions: Conditions, echo: Echo
) -> None:
    """The client is told, and does not wait."""
    echo.close()
    with contextlib.ExitStack() as parts:
        made = loop.call(lambda: RelayedPort(loop, conditions, "mqtt", (HOST, 0), echo.place, lambda _: None))
        parts.callback(loop.call, made.close)
        client = parts.enter_context(connected(made))
        assert is_broken(client)


def test_cut_when_it_is_over_delivers_what_was_sent_meanwhile(
    loop: Loop, conditions: Conditions, listener: RelayedPort, client: socket.socket
) -> None:
    """As TCP does: late, and whole."""
    with holding(loop, conditions, listener, effect(is_cut=True)):
        client.sendall(b"meanwhile")
        assert is_silent(client)
    assert client.recv(100) == b"meanwhile"


def test_cut_when_it_concerns_another_one_lets_this_one_pass(
    loop: Loop, conditions: Conditions, listener: RelayedPort, client: socket.socket
) -> None:
    """By what each said first."""
    with connected(listener) as other:
        assert exchange(other, b"b")
        with holding(loop, conditions, listener, effect(only="b", is_cut=True)):
            assert exchange(client, b"hello")
            other.sendall(b"hello")
            assert is_silent(other)
        assert other.recv(100) == b"hello"


def test_half_open_connection_when_its_client_ends_tells_nobody(
    loop: Loop, listener: RelayedPort, client: socket.socket, echo: Echo
) -> None:
    """Neither data nor an end arrives; new connections are carried."""
    for stream in loop.call(lambda: listener.of(None)):
        loop.call(stream.die)
    client.sendall(b"hello")
    assert is_silent(client)
    client.close()
    assert not echo.ended.wait(SHORT_S)
    with connected(listener) as new:
        assert exchange(new, b"new")


def test_refusal_when_it_is_over_lets_new_connections_in(
    loop: Loop, listener: RelayedPort, client: socket.socket
) -> None:
    """Those of before are broken, new ones are refused by the kernel."""
    loop.call(listener.refuse)
    assert is_broken(client)
    with pytest.raises(ConnectionRefusedError), connected(listener):
        pass
    loop.call(listener.listen)
    with connected(listener) as new:
        assert exchange(new, b"new")


def test_slow_stream_when_pieces_are_late_by_different_times_keeps_its_order(
    loop: Loop, conditions: Conditions, listener: RelayedPort, client: socket.socket
) -> None:
    """A stream cannot reorder."""
    with holding(loop, conditions, listener, effect(delay_s=0.05, jitter_s=0.05, loss=0.2)):
        began = time.monotonic()
        for number in range(50):
            client.sendall(bytes([number]))
            time.sleep(0.002)  # so that each is a piece of its own
        heard = b""
        while len(heard) < 50:
            heard += client.recv(100)
    assert heard == bytes(range(50))
    assert time.monotonic() - began > 0.05


def test_narrow_stream_when_it_carries_more_takes_its_time(
    loop: Loop, conditions: Conditions, listener: RelayedPort, client: socket.socket
) -> None:
    """20,000 bytes there and back at 40,000 a second."""
    with holding(loop, conditions, listener, effect(bytes_per_s=40_000.0)):
        began = time.monotonic()
        assert exchange(client, bytes(20_000))
        assert time.monotonic() - began > 0.45


def test_narrow_stream_when_it_is_wide_again_delivers_what_waited(
    loop: Loop, conditions: Conditions, listener: RelayedPort, client: socket.socket
) -> None:
    """A byte a second; behind it the rest comes at once."""
    with holding(loop, conditions, listener, effect(bytes_per_s=1.0)):
        client.sendall(b"far too much")
        assert is_silent(client)
    heard = b""
    while len(heard) < 12:
        heard += client.recv(100)
    assert heard == b"far too much"


def test_new_connection_when_turned_away_gets_the_answer_and_an_end(
    loop: Loop, conditions: Conditions, listener: RelayedPort, client: socket.socket
) -> None:
    """Those of before are carried; the fault says how often it was met."""
    with holding(loop, conditions, listener, effect(only="b", answer=b"not now")):
        assert exchange(client, b"as ever")
        assert conditions.met == 0
        with connected(listener) as new:
            new.sendall(b"b")
            heard = b""
            while piece := new.recv(100):
                heard += piece
        assert heard == b"not now"
        assert conditions.met > 0


# -- packets ---------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """A UDP socket that a test reads and answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind((HOST, 0))
        made.settimeout(5)
        yield made


@pytest.fixture
def packets(loop: Loop, conditions: Conditions, server: socket.socket) -> Iterator[PacketPort]:
    """The relay before it; the session `Ufra` is of `a`."""
    names = {b"Ufra": "a"}
    made = loop.call(lambda: PacketPort(loop, conditions, "media", (HOST, 0), server.getsockname(), names))
    yield made
    loop.call(made.close)


@pytest.fixture
def sender(packets: PacketPort) -> Iterator[socket.socket]:
    """A client of the relay."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.connect((HOST, packets.bound))
        made.settimeout(5)
        yield made


def stun(username: bytes) -> bytes:
    """A binding request with a user name."""
    padded = username + b"\0" * (-len(username) % 4)
    attribute = struct.pack(">HH", 6, len(username)) + padded
    return struct.pack(">HH", 1, len(attribute)) + b"\x21\x12\xa4\x42" + b"transaction!" + attribute


def test_packet_when_answered_finds_its_client(sender: socket.socket, server: socket.socket) -> None:
    """Each client is another peer to the server."""
    sender.send(b"question")
    asked, peer = server.recvfrom(100)
    server.sendto(b"answer to " + asked, peer)
    assert sender.recv(100) == b"answer to question"


def test_packets_when_cut_for_one_session_are_gone(
    conditions: Conditions, sender: socket.socket, server: socket.socket
) -> None:
    """Whose they are, its STUN requests said."""
    sender.send(stun(b"Ufra:theirs"))
    server.recv(1000)
    with conditions.held(effect(only="a", is_cut=True)):
        sender.send(b"lost")
        server.settimeout(SHORT_S)
        with pytest.raises(TimeoutError):
            server.recv(100)
    server.settimeout(5)
    with conditions.held(effect(only="b", is_cut=True)):
        sender.send(b"found")
        assert server.recv(100) == b"found"


def test_packets_when_a_share_is_lost_are_lost_by_the_seed(
    conditions: Conditions, sender: socket.socket, server: socket.socket
) -> None:
    """About that share, and the same ones when it is done again."""
    again = Conditions(seed=1)
    kept = [number for number in range(200) if not again.is_lost(Effect(loss=0.3))]
    with conditions.held(effect(loss=0.3)):
        for number in range(200):
            sender.send(bytes([number]))
        assert [server.recv(100)[0] for _ in kept] == kept
    assert 100 < len(kept) < 180


def test_packets_when_late_by_different_times_are_reordered(
    conditions: Conditions, sender: socket.socket, server: socket.socket
) -> None:
    """None is lost."""
    with conditions.held(effect(delay_s=0.03, jitter_s=0.03)):
        for number in range(50):
            sender.send(bytes([number]))
        heard = [server.recv(100)[0] for _ in range(50)]
    assert sorted(heard) == list(range(50))
    assert heard != sorted(heard)


def test_packets_when_their_client_moves_come_from_another_address(
    loop: Loop, packets: PacketPort, sender: socket.socket, server: socket.socket
) -> None:
    """And answers to the new one find it."""
    sender.send(b"before")
    _, before = server.recvfrom(100)
    loop.call(lambda: packets.move(None))
    sender.send(b"behind")
    _, behind = server.recvfrom(100)
    assert before != behind
    server.sendto(b"answer", behind)
    assert sender.recv(100) == b"answer"


# -- who it is -------------------------------------------------------------------------------------


def token(claims: object) -> bytes:
    def part(value: object) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    return part({"alg": "HS256"}) + b"." + part(claims) + b".c2ln"


@pytest.mark.parametrize(
    ("request_", "identity"),
    [
        (b"GET /x HTTP/1.1\r\nAuthorization: Bearer " + token({"sub": "door"}) + b"\r\n\r\n", "door"),
        (b"GET /rtc?a=1&access_token=" + token({"sub": "h\u00f6f"}) + b" HTTP/1.1\r\n\r\n", "h\u00f6f"),
        (b'POST /session HTTP/1.1\r\n\r\n{"name": "x", "identity": "door"}', "door"),
        (b'POST /calls HTTP/1.1\r\n\r\n{"callee_identity": "house"}', None),
        (b"GET /x HTTP/1.1\r\nAuthorization: Bearer not.a.token\r\n\r\n", None),
        (b"GET /x HTTP/1.1\r\nAuthorization: Bearer " + token(["sub"]) + b"\r\n\r\n", None),
        (b"", None),
    ],
)
def test_identity_when_a_request_names_one_is_read(request_: bytes, identity: str | None) -> None:
    """By its bearer, the token in its query, or the body of a sign-in."""
    assert _callers.of_http(request_) == identity


def test_identity_when_a_broker_login_names_one_is_read() -> None:
    """The user name is app/identity, with or without a key; what is no CONNECT names nobody."""
    from paho.mqtt.client import Client, MQTTv5
    from paho.mqtt.enums import CallbackAPIVersion

    with socket.create_server((HOST, 0)) as broker:
        client = Client(CallbackAPIVersion.VERSION2, client_id="device", protocol=MQTTv5)
        client.username_pw_set("123/front%20door/key", "secret")
        client.connect(HOST, broker.getsockname()[1])
        packet = broker.accept()[0]
        with packet:
            heard = packet.recv(1000)
        client.loop_misc()
    assert _callers.of_mqtt(heard) == "front door"
    assert _callers.of_mqtt(heard[:20]) is None
    assert _callers.of_mqtt(b"\x30\x02ab") is None


def test_session_name_when_signalled_or_asked_for_is_read() -> None:
    """What is no STUN request names none."""
    assert _callers.ufrags_in(b"\x12\x08v=0\r\na=ice-ufrag:AbCd1234\r\na=ice-pwd:x") == [b"AbCd1234"]
    assert _callers.ufrag_of(stun(b"AbCd1234:mine")) == b"AbCd1234"
    for other in (b"", b"\x80\x60" + bytes(40), stun(b"AbCd:x")[:22]):
        assert _callers.ufrag_of(other) is None
