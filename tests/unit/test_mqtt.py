"""The MQTT transport against a real broker."""

from __future__ import annotations

import logging
import os
import queue
import select
import signal
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import paho.mqtt.publish
import paho.mqtt.subscribe
import pytest
from authority import Authority
from facts import eventually
from mosquitto import Mosquitto
from paho.mqtt.client import MQTTv5
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from utdstream import mqtt
from utdstream._rings.broker import default_client_id, tidy
from utdstream._wire import messages
from utdstream.errors import InvalidConfig, UsageError
from utdstream.models import MqttLogin
from utdstream.mqtt import MqttIncomingCalls

APP, ME = "app1", "ho use/1"
TOPIC = messages.calls_topic(APP, ME)
PRESENCE = messages.availability_topic(APP, ME)


class Sink:
    """Keeps what the transport delivers."""

    def __init__(self) -> None:
        self.payloads: queue.Queue[bytes] = queue.Queue()
        self.ups: list[bool] = []
        self.up = threading.Event()
        self.down = threading.Event()

    def message(self, payload: bytes) -> None:
        self.payloads.put(payload)

    def connection(self, up: bool) -> None:
        self.ups.append(up)
        (self.up if up else self.down).set()
        (self.down if up else self.up).clear()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    server = Mosquitto(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def guarded_broker(tmp_path: Path) -> Iterator[Mosquitto]:
    server = Mosquitto(tmp_path, login=("me", "right"))
    server.start()
    yield server
    server.stop()


def publish(
    broker: Mosquitto,
    payload: bytes,
    *,
    topic: str = TOPIC,
    retain: bool = False,
    expiry_s: int | None = None,
) -> None:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    if expiry_s is not None:
        properties.MessageExpiryInterval = expiry_s
    paho.mqtt.publish.multiple(
        [(topic, payload, 1, retain)]
        if expiry_s is None
        else [
            {"topic": topic, "payload": payload, "qos": 1, "retain": retain, "properties": properties}  # type: ignore[list-item]
        ],
        hostname="127.0.0.1",
        port=broker.port,
        protocol=MQTTv5,
    )


def presence_of(broker: Mosquitto) -> bytes:
    """What a newcomer is told about this device."""
    message = paho.mqtt.subscribe.simple(  # type: ignore[no-untyped-call]
        PRESENCE, hostname="127.0.0.1", port=broker.port, protocol=MQTTv5, keepalive=5
    )
    assert not isinstance(message, list)
    return bytes(message.payload)


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def transport(broker: Mosquitto, sink: Sink) -> Iterator[MqttIncomingCalls]:
    made = MqttIncomingCalls(host="127.0.0.1", port=broker.port)
    made.start(app_id=APP, identity=ME, sink=sink)
    assert sink.up.wait(5)
    yield made
    made.stop()


def test_message_when_connected_arrives(broker: Mosquitto, sink: Sink, transport: MqttIncomingCalls) -> None:
    """What is published on our topic reaches the sink."""
    publish(broker, b"ring")
    assert sink.payloads.get(timeout=5) == b"ring"


def test_message_when_published_while_away_arrives_at_return(broker: Mosquitto) -> None:
    """The broker keeps the session of a stopped transport."""
    first, second = Sink(), Sink()
    transport = MqttIncomingCalls(host="127.0.0.1", port=broker.port)
    transport.start(app_id=APP, identity=ME, sink=first)
    assert first.up.wait(5)
    transport.stop()
    publish(broker, b"while away")
    again = MqttIncomingCalls(host="127.0.0.1", port=broker.port)
    again.start(app_id=APP, identity=ME, sink=second)
    try:
        assert second.payloads.get(timeout=5) == b"while away"
    finally:
        again.stop()


def test_message_when_its_expiry_passed_while_away_never_arrives(broker: Mosquitto) -> None:
    """A stale ring is deleted by the broker itself."""
    first, second = Sink(), Sink()
    transport = MqttIncomingCalls(host="127.0.0.1", port=broker.port)
    transport.start(app_id=APP, identity=ME, sink=first)
    assert first.up.wait(5)
    transport.stop()
    publish(broker, b"stale", expiry_s=1)
    until = time.monotonic() + 2.2
    eventually(lambda: time.monotonic() > until, "the broker's own clock has passed the expiry")
    transport.start(app_id=APP, identity=ME, sink=second)
    assert second.up.wait(5)
    publish(broker, b"fresh")
    try:
        assert second.payloads.get(timeout=5) == b"fresh"
    finally:
        transport.stop()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_connection_when_broker_returns_is_back_within_two_seconds(
    broker: Mosquitto, sink: Sink, transport: MqttIncomingCalls, how: signal.Signals
) -> None:
    """Down is told, up is told, and messages flow again."""
    broker.stop(how)
    assert sink.down.wait(5)
    broker.start()
    begun = time.monotonic()
    assert sink.up.wait(5)
    assert time.monotonic() - begun < 2.0
    publish(broker, b"after")
    assert sink.payloads.get(timeout=5) == b"after"
    assert sink.ups == [True, False, True]


def test_start_when_broker_comes_later_connects(tmp_path: Path, sink: Sink) -> None:
    """A device that boots before its broker needs no help."""
    broker = Mosquitto(tmp_path)
    transport = MqttIncomingCalls(host="127.0.0.1", port=broker.port)
    begun = time.monotonic()
    transport.start(app_id=APP, identity=ME, sink=sink)
    assert time.monotonic() - begun < 0.5
    assert sink.down.wait(5)
    broker.start()
    try:
        assert sink.up.wait(2)
    finally:
        transport.stop()
        broker.stop()


def test_login_when_refused_is_said_once_and_heals(
    guarded_broker: Mosquitto, sink: Sink, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong password raises nowhere, is logged once, and a corrected password file is picked up."""
    secret = tmp_path / "secret"
    secret.write_text("wrong\n")
    transport = MqttIncomingCalls(
        host="127.0.0.1", port=guarded_broker.port, username="me", password_file=secret
    )
    with caplog.at_level(logging.INFO, logger="utdstream.mqtt"):
        transport.start(app_id=APP, identity=ME, sink=sink)
        try:
            assert sink.down.wait(5)
            secret.write_text("right\n")
            assert sink.up.wait(10)
        finally:
            transport.stop()
    refusals = [record for record in caplog.records if "refused the login" in record.getMessage()]
    assert len(refusals) == 1
    assert "wrong" not in caplog.text


@pytest.mark.parametrize(("patience_s", "is_alarm"), [(30.0, False), (0.0, True)])
def test_login_of_the_engine_when_refused_is_an_alarm_only_if_it_stays(
    guarded_broker: Mosquitto,
    sink: Sink,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    *,
    patience_s: float,
    is_alarm: bool,
) -> None:
    """While the engine's secrets are changed each device is refused once, and fetches its new login by itself."""
    monkeypatch.setattr(mqtt, "_NEW_LOGIN_S", patience_s)
    old = MqttLogin(host="127.0.0.1", port=guarded_broker.port, username="me", password="wrong", topic=TOPIC)
    transport = MqttIncomingCalls.from_login(
        old, renewed=lambda is_refused: replace(old, password="right") if is_refused else old
    )
    with caplog.at_level(logging.INFO, logger="utdstream.mqtt"):
        transport.start(app_id=APP, identity=ME, sink=sink)
        try:
            assert sink.up.wait(10)
        finally:
            transport.stop()
    alarms = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(alarms) == is_alarm
    assert ("asked for a new broker login" in caplog.text) is not is_alarm
    assert all("look at the engine's log" in alarm for alarm in alarms)


def test_retained_call_event_when_connecting_is_ignored(broker: Mosquitto, sink: Sink) -> None:
    """A ring that somebody retained is a stale ring."""
    publish(broker, b"stale", retain=True)
    transport = MqttIncomingCalls(host="127.0.0.1", port=broker.port)
    transport.start(app_id=APP, identity=ME, sink=sink)
    assert sink.up.wait(5)
    publish(broker, b"live")
    try:
        assert sink.payloads.get(timeout=5) == b"live"
    finally:
        transport.stop()


def test_presence_when_stopped_or_killed_is_told(broker: Mosquitto, sink: Sink) -> None:
    """Online while listening, offline after a stop."""
    transport = MqttIncomingCalls(host="127.0.0.1", port=broker.port)
    transport.start(app_id=APP, identity=ME, sink=sink)
    assert sink.up.wait(5)
    eventually(lambda: presence_of(broker) == b"online", "the broker knows that we are online")
    transport.stop()
    assert presence_of(broker) == b"offline"


def test_huge_message_when_published_does_not_arrive_and_nothing_breaks(
    broker: Mosquitto, sink: Sink, transport: MqttIncomingCalls
) -> None:
    """The broker is told how much we take."""
    publish(broker, b"x" * 1_000_000)
    publish(broker, b"next")
    assert sink.payloads.get(timeout=5) == b"next"


def test_stop_when_called_twice_and_before_start_is_fine(broker: Mosquitto, sink: Sink) -> None:
    """Stop is idempotent, and the transport can be started again."""
    transport = MqttIncomingCalls(host="127.0.0.1", port=broker.port)
    transport.stop()
    for _ in range(2):
        transport.start(app_id=APP, identity=ME, sink=sink)
        assert sink.up.wait(5)
        sink.up.clear()
        transport.stop()
        transport.stop()


def test_stop_when_broker_is_silent_returns_in_two_seconds(sink: Sink) -> None:
    """A server that accepts and says nothing does not hold anybody up."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        transport = MqttIncomingCalls(host="127.0.0.1", port=mute.getsockname()[1])
        transport.start(app_id=APP, identity=ME, sink=sink)
        connection, _ = mute.accept()
        begun = time.monotonic()
        transport.stop()
        assert time.monotonic() - begun < 2.1
        connection.close()


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad\r\n\r\n", b"\x20\xff\xff\xff\xff\x7f", b"\x20\x03\x00"]
)
def test_connection_when_peer_talks_nonsense_is_retried(sink: Sink, answer: bytes) -> None:
    """Garbage from the peer ends the connection, not the thread."""
    with socket.create_server(("127.0.0.1", 0)) as nonsense:
        transport = MqttIncomingCalls(host="127.0.0.1", port=nonsense.getsockname()[1])
        transport.start(app_id=APP, identity=ME, sink=sink)
        try:
            for _ in range(2):
                connection, _ = nonsense.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(answer)
            assert sink.down.wait(5)
        finally:
            transport.stop()


def test_connection_when_broker_has_no_tls_is_retried(
    broker: Mosquitto, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    """A failed TLS handshake is said and survived."""
    transport = MqttIncomingCalls(host="127.0.0.1", port=broker.port, tls=True)
    transport.start(app_id=APP, identity=ME, sink=sink)
    try:
        assert sink.down.wait(10)
    finally:
        transport.stop()
    assert "not listening for incoming calls" in caplog.text


def test_start_when_started_is_a_usage_error(
    broker: Mosquitto, sink: Sink, transport: MqttIncomingCalls
) -> None:
    """One transport serves one inbox."""
    with pytest.raises(UsageError):
        transport.start(app_id=APP, identity=ME, sink=sink)


def test_start_when_paho_is_missing_names_the_package(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence has the command that installs it."""
    for name in [name for name in sys.modules if name.startswith("paho")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "paho", None)
    with pytest.raises(InvalidConfig, match=r"pip install 'paho-mqtt"):
        MqttIncomingCalls(host="127.0.0.1").start(app_id=APP, identity=ME, sink=sink)


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": ""},
        {"host": "a" * 300},
        {"host": "x", "port": 0},
        {"host": "x", "port": True},
        {"host": "x", "password": "a", "password_file": "b"},
        {"host": "x", "client_id": ""},
        {"host": "x", "tls": "/no/such/file"},
    ],
)
def test_constructor_when_an_argument_is_wrong_refuses(wrong: dict[str, object]) -> None:
    """Wrong settings are found where they are written."""
    with pytest.raises(InvalidConfig):
        MqttIncomingCalls(**wrong)  # type: ignore[arg-type]


def test_start_when_password_file_is_missing_refuses(sink: Sink) -> None:
    """The path is in the sentence."""
    with pytest.raises(InvalidConfig, match="/no/such/file"):
        MqttIncomingCalls(host="x", password_file="/no/such/file").start(app_id=APP, identity=ME, sink=sink)


def test_repr_when_password_is_given_masks_it() -> None:
    """A password is in no repr."""
    login = MqttLogin(host="h", port=1883, username="u", topic="t", password="canary")
    assert "canary" not in repr(MqttIncomingCalls.from_login(login, tls=ssl.create_default_context()))


def test_client_id_when_asked_twice_is_the_same_and_fits_old_brokers() -> None:
    """The session is found again by it; 23 characters are what every broker takes."""
    assert default_client_id("a", "b") == default_client_id("a", "b") != default_client_id("a", "c")
    assert len(default_client_id("a", "b")) <= 23


def test_client_id_when_the_password_is_not_known_cannot_be_computed() -> None:
    """Whoever connects with it ends the session of the one who has it, by whatever login."""
    ids = {default_client_id("a", "b", password) for password in (None, "one", "other")}
    assert len(ids) == 3
    assert default_client_id("a", "b", "one") in ids


def test_device_when_its_id_is_taken_says_so(
    broker: Mosquitto, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    """Two logins with one client id would throw each other out for ever: say it and step back."""
    other_sink = Sink()
    one, other = (
        MqttIncomingCalls(host="127.0.0.1", port=broker.port, username=name, client_id="the-same")
        for name in ("one", "other")
    )
    one.start(app_id=APP, identity=ME, sink=sink)
    assert sink.up.wait(5)
    other.start(app_id=APP, identity=ME, sink=other_sink)
    try:
        assert other_sink.up.wait(5)
        assert sink.down.wait(5)
        eventually(lambda: f"another client signed in as {ME}" in caplog.text, "the log names the cause")
    finally:
        one.stop()
        other.stop()


def test_connection_when_reset_before_its_handshake_leaves_nothing_open() -> None:
    """`wrap_socket` leaves a socket of its own to the collector then, and warns of it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        line = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        theirs.close()
        arrived = select.poll()
        arrived.register(line, select.POLLIN)
        assert arrived.poll(5000)
        descriptor = line.fileno()
        with pytest.raises(ConnectionError):
            tidy(ssl.create_default_context()).wrap_socket(line, server_hostname="localhost")
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


def test_transports_when_two_are_of_one_identity_share_one_connection(
    broker: Mosquitto, sink: Sink, transport: MqttIncomingCalls
) -> None:
    """Each hears all there is; the device is offline when the last has gone, and online until then."""
    second_sink = Sink()
    second = MqttIncomingCalls(host="127.0.0.1", port=broker.port)
    second.start(app_id=APP, identity=ME, sink=second_sink)
    assert second_sink.up.is_set(), "told at once that it is up"
    publish(broker, b"ring")
    assert [each.payloads.get(timeout=5) for each in (sink, second_sink)] == [b"ring"] * 2
    transport.stop()
    publish(broker, b"again")
    assert second_sink.payloads.get(timeout=5) == b"again"
    assert presence_of(broker) == b"online"
    assert (sink.payloads.empty(), sink.ups, second_sink.ups) == (True, [True], [True])
    second.stop()
    assert presence_of(broker) == b"offline"


def test_login_when_it_names_an_authority_is_checked_against_that_one(
    tmp_path: Path, authority: Authority, sink: Sink
) -> None:
    """The broker's may be another one than the engine's; garbage in its place is refused with a sentence."""
    broker = Mosquitto(tmp_path, tls=True)
    broker.start()
    login = MqttLogin(host="127.0.0.1", port=broker.port, username="u", topic="t", password="p", tls=True)
    own = replace(login, ca=(tmp_path / "server.crt").read_text())
    transport = MqttIncomingCalls.from_login(own, ca_file=authority.ca_file)
    transport.start(app_id=APP, identity=ME, sink=sink)
    try:
        assert sink.up.wait(5)
    finally:
        transport.stop()
        broker.stop()
    with pytest.raises(InvalidConfig, match="authority"):
        MqttIncomingCalls.from_login(replace(login, ca="garbage"))


def test_tls_when_the_authority_is_known_connects_and_otherwise_does_not(tmp_path: Path, sink: Sink) -> None:
    """A broker with a certificate of another authority is no broker of ours."""
    broker = Mosquitto(tmp_path, tls=True)
    broker.start()
    stranger = Sink()
    trusting = MqttIncomingCalls(host="127.0.0.1", port=broker.port, tls=tmp_path / "server.crt")
    doubting = MqttIncomingCalls(host="127.0.0.1", port=broker.port, tls=True, client_id="other")
    trusting.start(app_id=APP, identity=ME, sink=sink)
    doubting.start(app_id=APP, identity=ME, sink=stranger)
    try:
        assert sink.up.wait(5)
        assert stranger.down.wait(5)
        assert stranger.ups == [False]
    finally:
        trusting.stop()
        doubting.stop()
        broker.stop()


def test_connection_when_the_broker_asks_for_more_pings_gives_them(sink: Sink) -> None:
    """Its CONNACK may shorten the keepalive; it ends the connection of whoever says nothing for longer."""
    with socket.create_server(("127.0.0.1", 0)) as impatient:
        transport = MqttIncomingCalls(host="127.0.0.1", port=impatient.getsockname()[1])
        transport.start(app_id=APP, identity=ME, sink=sink)
        try:
            connection, _ = impatient.accept()
            with connection:
                connection.settimeout(10)
                connection.recv(4096)
                connection.sendall(bytes([0x20, 6, 0, 0, 3, 0x13, 0, 1]))  # CONNACK: keepalive of a second
                subscribe = connection.recv(4096)
                connection.sendall(bytes([0x90, 4, *subscribe[2:4], 0, 1]))
                assert sink.up.wait(5)
                said = b""
                while b"\xc0\x00" not in said:  # a ping
                    said += connection.recv(4096)
        finally:
            transport.stop()


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the kernel has no such probes")
def test_connection_when_up_is_watched_by_the_kernel(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is woken up for it. Where a kernel has none of this, what it has is used."""
    with socket.create_server(("127.0.0.1", 0)) as far, socket.create_connection(far.getsockname()) as near:
        mqtt._have_probed(near)
        silent_s = near.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) + near.getsockopt(
            socket.IPPROTO_TCP, socket.TCP_KEEPINTVL
        ) * near.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT)
        assert silent_s == mqtt.DEAD_LINK_S
        assert near.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert near.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == mqtt.DEAD_LINK_S * 1000
        monkeypatch.setattr(mqtt, "_PROBES", {"TCP_OF_ANOTHER_SYSTEM": 1})
        mqtt._have_probed(near)
