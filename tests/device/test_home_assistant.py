"""Home Assistant over a real broker: what it is told, and what it may say."""

from __future__ import annotations

import json
import queue
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from facts import eventually
from mosquitto import Mosquitto
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion

from device.config import MachineConfig, parse
from device.home_assistant import STATES, HomeAssistant

pytestmark = pytest.mark.integration


class Listener:
    """Home Assistant's side of the broker."""

    def __init__(self, port: int) -> None:
        self.heard: queue.Queue[tuple[str, bytes, bool]] = queue.Queue()
        self.newest: dict[str, tuple[bytes, bool]] = {}
        self.client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self.client.on_connect = lambda client, *_: client.subscribe([("#", 1)])
        self.client.on_message = self._hear
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def _hear(self, _client: Any, _userdata: Any, message: Any) -> None:
        self.newest[message.topic] = (bytes(message.payload), bool(message.retain))

    def wait(self, topic: str, payload: bytes | None = None) -> bytes:
        eventually(
            lambda: topic in self.newest and payload in (None, self.newest[topic][0]),
            f"{topic} {payload!r}",
            10,
        )
        return self.newest[topic][0]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    made = Mosquitto(tmp_path)
    made.start()
    yield made
    made.stop()


def config_of(port: int, **sections: dict[str, Any]) -> MachineConfig:
    tables: dict[str, Any] = {
        "engine": {"app_id": "x"},
        "device": {"identity": "front door", "name": "Front door"},
        "door": {"adapter": "gpio"},
        "home_assistant": {"enabled": True, "host": "127.0.0.1", "port": port},
    }
    return parse({**tables, **sections}, Path("/etc/utdstream/doorbell.toml"))


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


def test_device_when_it_connects_is_announced_by_the_documented_rules(home: Home) -> None:
    """Retained; again when Home Assistant says that it is there."""
    made, listener, _ = home
    topic = "homeassistant/device/front-door/config"
    message = json.loads(listener.wait(topic))
    check_discovery(message)
    assert set(message["components"]) == {
        "doorbell", "call", "do_not_disturb", "answer", "hang_up", "ring", "visitor", "door"
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
    made.snapshot(b"\xff\xd8jpeg")
    listener.wait("utdstream/front-door/snapshot", b"\xff\xd8jpeg")
    late = Listener(int(made._settings.port))
    late.wait("utdstream/front-door/availability")
    assert not {"utdstream/front-door/event/doorbell", "utdstream/front-door/snapshot"} & set(late.newest)
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
        ("open_door", "PRESS" * 10_000, False),
        ("format_disk", "PRESS", False),
        ("do_not_disturb", "MAYBE", False),
    ):
        listener.client.publish(base + topic, payload, qos=1, retain=retain)
        listener.client.publish(base + topic, b"", qos=1, retain=True) if retain else None
    for topic, payload in (
        ("open_door", "PRESS"),
        ("do_not_disturb", "ON"),
        ("hang_up", "PRESS"),
        ("ring", "PRESS"),
    ):
        listener.client.publish(base + topic, payload, qos=1)
    eventually(lambda: "ring" in said, "the commands arrive", 10)
    assert said in (
        ["open_door", "do_not_disturb_on", "hang_up", "ring"],
        ["open_door", "open_door", "do_not_disturb_on", "hang_up", "ring"],
    )
    assert made.ignored >= 5


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
    killed._client._sock_close()  # the process is gone: no word, the connection breaks
    killed._client.loop_stop()
    listener.wait("utdstream/front-door/availability", b"offline")
    listener.close()


def test_broker_when_it_is_away_blocks_nothing_and_is_said() -> None:
    """The doorbell rings without Home Assistant."""
    made = HomeAssistant(config_of(1), lambda _word: None)
    made.start()
    made.ring()
    made.call_state("calling")
    assert made.problem is not None
    assert "127.0.0.1" in made.problem
    made.close()
