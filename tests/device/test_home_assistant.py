"""Home Assistant over a real broker: what it is told, and what it may say."""

from __future__ import annotations

import json
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from facts import eventually
from home_listener import Listener
from mosquitto import Mosquitto

from device.config import MachineConfig, parse
from device.errors import ConfigError
from device.home_assistant import CLOSE_S, STATES, HomeAssistant
from device.home_assistant_payloads import node_of

pytestmark = pytest.mark.integration


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    made = Mosquitto(tmp_path)
    made.start()
    yield made
    made.stop()


def config_of(port: int, **sections: dict[str, Any]) -> MachineConfig:
    tables: dict[str, Any] = {
        "engine": {"app_id": "x"},
        "device": {"identity": "front-door", "name": "Front door"},
        "door": {"adapter": "gpio"},
        "home_assistant": {"enabled": True, "host": "127.0.0.1", "port": port},
    }
    return parse({**tables, **sections}, Path("/etc/utdstream/doorbell.toml"))


@contextmanager
def announced(config: MachineConfig, command: Callable[[str], None]) -> Iterator[HomeAssistant]:
    """A device that was started; closed within its second at the end."""
    made = HomeAssistant(config, command)
    made.start()
    try:
        yield made
    finally:
        begun = time.monotonic()
        made.close()
        assert time.monotonic() - begun < CLOSE_S + 0.3


@pytest.fixture
def home(broker: Mosquitto) -> Iterator[tuple[HomeAssistant, Listener, list[str]]]:
    said: list[str] = []
    listener = Listener(broker.port)
    made = HomeAssistant(config_of(broker.port), said.append)
    made.start()
    listener.wait("utdstream/front-door/availability", b"online")
    yield made, listener, said
    made.close()
    listener.close()


Home = tuple[HomeAssistant, Listener, list[str]]


def check_discovery(message: dict[str, Any]) -> None:
    """The documented rules of "device discovery payload" and of each platform (Home Assistant 2024.11 to 2026.11).

    Sources: the pages "MQTT", "MQTT Event", "MQTT Camera", "MQTT Sensor", "MQTT Switch" and "MQTT Button" of its
    documentation. Its own schemas need a newer Python: see `test_home_assistant_root.py`.
    """
    assert set(message["device"]) >= {"identifiers", "name"}
    assert message["origin"]["name"]
    required = {
        "event": {"event_types", "state_topic"},
        "camera": {"topic"},
        "sensor": {"state_topic"},
        "switch": {"command_topic"},
        "button": {"command_topic"},
    }
    ids = []
    for name, component in message["components"].items():
        assert re.fullmatch("[a-zA-Z0-9_-]+", name)
        assert required[component["platform"]] <= set(component)
        ids.append(component["unique_id"])
        for key, value in component.items():
            if key.endswith("topic"):
                assert re.fullmatch("[a-z0-9_/-]+", value), value
                assert not value.startswith("/")
                assert not value.endswith("/")
        if component["platform"] == "event" and component.get("device_class") == "doorbell":
            assert "ring" in component["event_types"]
        if component.get("device_class") == "enum":
            assert component["options"]
            assert "unit_of_measurement" not in component
    assert len(set(ids)) == len(ids)


def test_identities_when_no_plain_ids_are_devices_of_their_own() -> None:
    """The button of one door opens no other: no two share a topic."""
    identities = ["前门", "后门", "вход", "двор", "Tür 1", "Tör-1", "door/1", "door-1", "d" * 65, "d" * 66]
    nodes = {node_of(identity) for identity in identities}
    assert len(nodes) == len(identities)
    assert all(re.fullmatch("[A-Za-z0-9_-]{1,64}", node) for node in nodes)
    assert node_of("front-door") == "front-door"


def test_device_when_it_connects_is_announced_by_the_documented_rules(home: Home) -> None:
    """Retained; again when Home Assistant says that it is there."""
    made, listener, _ = home
    topic = "homeassistant/device/front-door/config"
    message = json.loads(listener.wait(topic))
    check_discovery(message)
    assert set(message["components"]) == {
        "doorbell", "missed", "call", "do_not_disturb", "answer", "hang_up", "ring", "visitor", "door", "opened"
    }  # fmt: skip
    assert message["components"]["call"]["options"] == list(STATES)
    del listener.newest[topic]
    listener.client.publish("homeassistant/status", "online", qos=1)
    listener.wait(topic)
    late = Listener(int(made._settings.port))
    late.wait(topic)
    assert late.newest[topic][1], "it is retained"
    late.close()


def test_ring_when_told_is_an_event_that_no_broker_keeps(home: Home) -> None:
    """A restart of Home Assistant must not ring."""
    made, listener, _ = home
    made.ring()
    assert json.loads(listener.wait("utdstream/front-door/event/doorbell")) == {"event_type": "ring"}
    made.missed("no answer")
    missed = json.loads(listener.wait("utdstream/front-door/event/missed"))
    assert missed == {"event_type": "missed", "reason": "no answer"}
    made.snapshot(b"\xff\xd8jpeg")
    listener.wait("utdstream/front-door/snapshot", b"\xff\xd8jpeg")
    late = Listener(int(made._settings.port))
    late.wait("utdstream/front-door/availability")
    events = {f"utdstream/front-door/{what}" for what in ("event/doorbell", "event/missed", "snapshot")}
    assert not events & set(late.newest)
    late.close()


def test_facts_when_told_are_kept_for_who_comes_later(home: Home) -> None:
    """The state of the call, do not disturb."""
    made, listener, _ = home
    made.call_state("in a call")
    made.do_not_disturb(True)
    listener.wait("utdstream/front-door/state/call", b"in a call")
    listener.wait("utdstream/front-door/state/do_not_disturb", b"ON")


def test_commands_when_they_are_none_are_counted_and_ignored(home: Home) -> None:
    """Known words only; nothing retained, nothing oversized opens a door."""
    made, listener, said = home
    base = "utdstream/front-door/cmd/"
    for topic, payload, retain in (
        ("open_door", "PRESS", True),
        ("open_door", "press", False),
        ("open_door", b"\xff" * 20, False),
        ("open_door", "PRESS" * 20, False),
        ("format_disk", "PRESS", False),
        ("do_not_disturb", "MAYBE", False),
        ("open_door", "PRESS" * 10_000, False),  # the broker does not even send it
    ):
        listener.client.publish(base + topic, payload, qos=1, retain=retain)
    for topic, payload in (
        ("open_door", "PRESS"),
        ("do_not_disturb", "ON"),
        ("hang_up", "PRESS"),
        ("ring", "PRESS"),
    ):
        listener.client.publish(base + topic, payload, qos=1)
    eventually(lambda: "ring" in said, "the commands arrive", 10)
    assert said == ["open_door", "do_not_disturb_on", "hang_up", "ring"]
    assert made.ignored == 6


def test_command_when_a_broker_remembers_it_opens_no_door_at_the_start(broker: Mosquitto) -> None:
    """Retained by mistake, before the doorbell was there."""
    listener = Listener(broker.port)
    listener.client.publish("utdstream/front-door/cmd/open_door", "PRESS", qos=1, retain=True)
    listener.wait("utdstream/front-door/cmd/open_door")
    said: list[str] = []
    with announced(config_of(broker.port), said.append):
        listener.wait("utdstream/front-door/availability", b"online")
        listener.client.publish("utdstream/front-door/cmd/ring", "PRESS", qos=1)
        eventually(lambda: said, "the command of now arrives", 10)
    assert said == ["ring"]
    listener.close()


def test_command_when_the_app_fails_at_it_leaves_the_next_one_working(broker: Mosquitto) -> None:
    """The thread lives; the log has it."""
    said: list[str] = []

    def fail_once(word: str) -> None:
        said.append(word)
        if len(said) == 1:
            raise ValueError("the app's own mistake")

    listener = Listener(broker.port)
    with announced(config_of(broker.port), fail_once):
        listener.wait("utdstream/front-door/availability", b"online")
        for _ in range(2):
            listener.client.publish("utdstream/front-door/cmd/answer", "PRESS", qos=1)
        eventually(lambda: said == ["answer", "answer"], "both arrive", 10)
    listener.close()


def test_device_when_it_goes_is_offline_by_word_and_by_will(broker: Mosquitto) -> None:
    """A clean stop says it; a killed process has its will."""
    listener = Listener(broker.port)
    made = HomeAssistant(config_of(broker.port), lambda _word: None)
    made.start()
    listener.wait("utdstream/front-door/availability", b"online")
    made.close()
    made.close()
    listener.wait("utdstream/front-door/availability", b"offline")
    killed = HomeAssistant(config_of(broker.port), lambda _word: None)
    killed.start()
    listener.wait("utdstream/front-door/availability", b"online")
    killed._stopping.set()
    assert killed._live is not None
    line = killed._live.socket()
    assert isinstance(line, socket.socket)
    line.shutdown(socket.SHUT_RDWR)  # as a killed process: the connection breaks, no word
    listener.wait("utdstream/front-door/availability", b"offline")
    killed.close()
    listener.close()


def test_broker_when_it_comes_back_hears_what_is_so_and_no_ring_of_before(broker: Mosquitto) -> None:
    """A ring into a dead connection is lost: an hour later it would be a lie."""
    said: list[str] = []
    with announced(config_of(broker.port), said.append) as made:
        eventually(lambda: made.problem is None, "it is there", 10)
        made.call_state("ready")
        assert broker._process is not None
        broker._process.send_signal(signal.SIGSTOP)
        made.ring(call_id="lost")
        made.call_state("calling")
        broker.stop()
        eventually(lambda: made.problem is not None, "the loss is noticed", 10)
        made.do_not_disturb(True)
        broker.start()
        listener = Listener(broker.port)
        listener.wait("utdstream/front-door/availability", b"online")
        listener.wait("utdstream/front-door/state/call", b"calling")
        listener.wait("utdstream/front-door/state/do_not_disturb", b"ON")
        assert "utdstream/front-door/event/doorbell" not in listener.newest
        made.ring(call_id="c-7")
        heard = json.loads(listener.wait("utdstream/front-door/event/doorbell"))
        assert heard == {"event_type": "ring", "call_id": "c-7"}
        listener.client.publish("utdstream/front-door/cmd/hang_up", "PRESS", qos=1)
        eventually(lambda: said == ["hang_up"], "commands arrive again", 10)
        listener.close()


def test_login_when_it_is_refused_is_said_and_heals_with_the_password(tmp_path: Path) -> None:
    """The password file is read at each attempt; over TLS with the broker's own authority."""
    broker = Mosquitto(tmp_path, login=("door", "right"), tls=True)
    broker.start()
    password = tmp_path / "password"
    password.write_text("wrong")
    settings = {
        "enabled": True, "host": "127.0.0.1", "port": broker.port, "username": "door",
        "password_file": str(password), "tls": True, "ca_file": str(tmp_path / "server.crt"),
    }  # fmt: skip
    with announced(config_of(broker.port, home_assistant=settings), lambda _word: None) as made:
        eventually(lambda: "refuses the login" in str(made.problem), "the refusal is said", 10)
        assert "wrong" not in str(made.problem)
        password.write_text("right")
        eventually(lambda: made.problem is None, "it heals", 10)
    broker.stop()


def test_broker_when_it_is_away_blocks_nothing_and_is_said() -> None:
    """The doorbell rings without Home Assistant."""
    with announced(config_of(1), lambda _word: None) as made:
        made.ring()
        made.call_state("calling")
        eventually(lambda: "is tried again" in str(made.problem), "it is said")
        assert "127.0.0.1:1" in str(made.problem)


def test_broker_when_it_stays_silent_keeps_nobody_waiting() -> None:
    """It takes the connection and never answers: nothing blocks, not even the end."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begun = time.monotonic()
        with announced(config_of(silent.getsockname()[1]), lambda _word: None) as made:
            taken, _ = silent.accept()
            made.ring()
            made.call_state("calling")
        assert time.monotonic() - begun < 2.0
        taken.close()


def test_broker_when_it_sends_nonsense_is_tried_again() -> None:
    """A packet that is none ends the connection, never the thread."""
    with (
        socket.create_server(("127.0.0.1", 0)) as hostile,
        announced(config_of(hostile.getsockname()[1]), lambda _word: None) as made,
    ):
        for _ in range(2):
            taken, _ = hostile.accept()
            with taken:
                taken.recv(4096)
                taken.sendall(b"\x20\x04\x00\x00\x01\xff")
        eventually(lambda: "Protocol error" in str(made.problem), "it is said")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("node", "front/door"),
        ("node", "#"),
        ("discovery_prefix", "home/+"),
        ("discovery_prefix", "/homeassistant"),
        ("ca_file", "/nowhere/ca.pem"),
        ("password_file", "/nowhere/password"),
    ],
)
def test_setting_when_it_cannot_be_used_is_refused_by_its_name(key: str, value: str) -> None:
    """Before anything is connected."""
    settings: dict[str, Any] = {"enabled": True, "tls": True, key: value}
    with pytest.raises(ConfigError, match=key):
        HomeAssistant(config_of(1, home_assistant=settings), lambda _word: None)
