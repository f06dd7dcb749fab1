"""A stack behind TLS: rings and media by a CA file; and what is said of an authority not trusted."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from authority import Authority, TlsDoor
from facts import eventually
from media_rooms import MediaRoom
from pairings import pair_on
from people import People, Person, small_devices
from test_calls import connect_pair
from wire import Wire

from utdstream import (
    ClientConfig,
    ConnectFailed,
    UTDRoom,
    UTDStreamClient,
    trust,
)
from utdstream.engine.stack.ports import lan_address
from utdstream.engine.stack.settings import StackSection, StackSettings
from utdstream.engine.stack.supervisor import Supervisor
from utdstream.mqtt import MqttIncomingCalls
from utdstream.testing import LocalStack

pytestmark = pytest.mark.integration


class Doors:
    """TLS in front of engine, broker and signalling of one stack."""

    def __init__(self, stack: LocalStack, authority: Authority) -> None:
        self.stack = stack
        self._doors = ExitStack()
        certificate = authority.issue()
        engine, signalling = (int(url.rsplit(":", 1)[1]) for url in (stack.base_url, stack.livekit_url))
        self.engine, self.signalling, self.broker = (
            self._doors.enter_context(TlsDoor(port, certificate))
            for port in (engine, signalling, stack.mqtt_port)
        )
        self.base_url = f"https://localhost:{self.engine.port}"
        self.app_id, self.app_key = stack.app_id, stack.app_key

    def transport(self, identity: str, ca_file: Path) -> MqttIncomingCalls:
        login = replace(self.stack.mqtt_login(identity), host="localhost", port=self.broker.port, tls=True)
        return MqttIncomingCalls.from_login(login, ca_file=ca_file)

    def close(self) -> None:
        self._doors.close()


@pytest.fixture
def trusted(stack: LocalStack, authority: Authority) -> Iterator[Doors]:
    """Doors with a certificate of the authority that the client trusts."""
    doors = Doors(stack, authority)
    yield doors
    doors.close()


@pytest.fixture
def foreign(stack: LocalStack, tmp_path: Path) -> Iterator[Doors]:
    """Doors with a certificate of an authority that nobody knows."""
    doors = Doors(stack, Authority(tmp_path, "foreign"))
    yield doors
    doors.close()


def client_of(doors: Doors, authority: Authority) -> UTDStreamClient:
    trusting = ClientConfig(ca_file=authority.ca_file)
    return UTDStreamClient(doors.app_id, doors.app_key, base_url=doors.base_url, config=trusting)


def test_stack_when_all_of_it_is_behind_tls_rings_and_is_joined(
    stack: LocalStack, trusted: Doors, authority: Authority
) -> None:
    """REST, broker and signalling by one CA file; each went through its door."""
    with client_of(trusted, authority) as client, MediaRoom(stack) as hall:
        client.authenticate(identity="tls-house")
        inbox = client.incoming_calls(trusted.transport("tls-house", authority.ca_file))
        inbox.connected.wait_for(True, timeout=10)
        assert inbox.problem is None
        with UTDRoom() as room:
            room.connect(
                url=f"wss://localhost:{trusted.signalling.port}", token=hall.token("tls-house"), timeout=15
            )
            assert room.connected.value
    assert all(door.passed for door in (trusted.engine, trusted.broker, trusted.signalling))


def test_media_server_when_its_authority_is_unknown_is_refused_with_the_remedy(
    stack: LocalStack, foreign: Doors, authority: Authority
) -> None:
    """The core's words are explained; no token went out."""
    url = f"wss://localhost:{foreign.signalling.port}"
    with MediaRoom(stack) as hall, UTDRoom() as room, pytest.raises(ConnectFailed) as caught:
        room.connect(url=url, token=hall.token("tls-doubter"), timeout=15)
    assert trust.UNKNOWN_AUTHORITY in caught.value.message
    assert foreign.signalling.passed == 0


def test_broker_when_its_authority_is_unknown_is_a_problem_of_the_inbox(
    stack: LocalStack, foreign: Doors, authority: Authority
) -> None:
    """It is tried again, the password is never sent, and the reason can be read."""
    config = ClientConfig(ca_file=authority.ca_file)
    with UTDStreamClient(stack.app_id, stack.app_key, base_url=stack.base_url, config=config) as client:
        client.authenticate(identity="tls-kiosk")
        inbox = client.incoming_calls(foreign.transport("tls-kiosk", authority.ca_file))
        eventually(lambda: trust.UNKNOWN_AUTHORITY in (inbox.problem or ""), "the reason is told", 10)
    assert foreign.broker.passed == 0


def test_broker_when_it_takes_tls_alone_and_is_spoken_to_in_clear_is_said(
    stack: LocalStack, trusted: Doors, caplog: pytest.LogCaptureFixture
) -> None:
    """Such a broker closes without a word; one line in the log, however often it is tried."""
    login = replace(stack.mqtt_login("tls-clear"), host="127.0.0.1", port=trusted.broker.port)
    with (
        caplog.at_level(logging.WARNING, "utdstream.mqtt"),
        UTDStreamClient(stack.app_id, stack.app_key, base_url=stack.base_url) as client,
    ):
        client.authenticate(identity="tls-clear")
        inbox = client.incoming_calls(MqttIncomingCalls.from_login(login))
        eventually(lambda: "speaks TLS" in (inbox.problem or ""), "the reason is told", 10)
    assert caplog.text.count("speaks TLS") == 1


def test_stack_when_behind_a_proxy_is_not_reached_in_clear_from_the_network(
    programs: None, tmp_path: Path
) -> None:
    """A proxy on this machine reaches all three programs, another machine none of them."""
    address = lan_address()
    if address is None:
        pytest.skip("this machine has no address on a network: connect it")
    settings = StackSettings(
        folder=tmp_path / "data", address=address, lan=True, public=StackSection(behind_proxy=True)
    )
    with Supervisor(settings) as running:
        used = running.settings.ports
        for port in (used.engine, used.livekit, used.mqtt):
            assert port is not None
            socket.create_connection(("127.0.0.1", port), 5).close()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((address, port), 5)


def spoken(wire: Wire, folder: Path) -> tuple[list[str], list[str]]:
    """A device is paired and signs in; it calls the house, which answers; the call is ended.

    Returns what nobody on the wire may read, and what is never sent at all.
    """
    paired, hidden, never = pair_on(wire, "secret-door", folder)
    key = paired.app_key_file.read_text().strip()
    people = People(wire.stack)
    try:
        config = ClientConfig(ca_file=wire.ca_file)
        house = people("secret-house", small_devices(), config)
        client = UTDStreamClient(
            paired.app_id, key, base_url=wire.base_url, devices=small_devices(), config=config
        )
        people.keep(client)
        client.authenticate(identity=paired.identity)
        calling, _ = connect_pair(Person(paired.identity, client, []), house)
        calling.end()
        mints = [mint for each in (client, house.client) if (mint := each._mint) is not None]
        passwords = [mint.mqtt.password for mint in mints if mint.mqtt is not None]
        assert len(passwords) == 2
        bearers = [mint.user_token for mint in mints]
        return [key, wire.app_key, *bearers, *passwords, "secret-", "eyJ", *hidden], never
    finally:
        people.close()


def test_call_when_all_is_encrypted_shows_a_listener_on_the_wire_nothing(
    proxy: None, authority: Authority, tmp_path: Path
) -> None:
    """From pairing to the end of a call: no code, key, bearer, password, media token or name in all the bytes."""
    with Wire(tmp_path / "data", authority) as wire:
        secrets, never = spoken(wire, tmp_path)
    assert all(len(tap.seen) > 1000 for tap in wire.taps), "rest, signalling and broker went by the wire"
    assert not [secret for secret in (*secrets, *never) if secret.encode() in wire.seen]


def test_call_when_nothing_is_encrypted_shows_a_listener_on_the_wire_everything(
    programs: None, tmp_path: Path
) -> None:
    """The listener of the test above hears: in clear it has the key, the bearers, passwords and a media token.

    All but the pairing code, and what is made of it to prove it with: these are on no wire.
    """
    with Wire(tmp_path / "data", None) as wire:
        secrets, never = spoken(wire, tmp_path)
    assert not [secret for secret in secrets if secret.encode() not in wire.seen]
    assert not [secret for secret in never if secret.encode() in wire.seen]
