"""Home Assistant over MQTT discovery: one device with a bell, a picture, a door, a state and three switches.

Owns: the discovery message, the topics, the commands that come back. paho is imported when it starts; its
thread calls `command`, which must only hand over. What is so while the broker is away is told when it is back.

1. Discovery is the device form (Home Assistant 2024.11 and newer), retained, published at each connect and again
   when Home Assistant says `online`.
2. A ring is an event: never retained, or every restart of Home Assistant would ring.
3. Availability is the last will: `offline` when this process is gone, `online` once the commands are subscribed.
4. A retained or oversized command, or one that nobody knows, is counted and ignored: a door must not open because
   a broker remembers something.
"""

from __future__ import annotations

import json
import logging
import re
import socket
import threading
from collections.abc import Callable
from typing import Any

from device.config import MachineConfig
from device.errors import PackageMissing
from utdstream import __version__

_log = logging.getLogger(__name__)

KEEPALIVE_S = 30
RECONNECT_S = (1, 30)
MAX_COMMAND_BYTES = 64
ONLINE, OFFLINE = "online", "offline"
STATES = ("ready", "calling", "in a call")


class HomeAssistant:
    """One announced device. `command` gets ring, answer, hang_up, open_door, do_not_disturb_on or _off."""

    def __init__(self, config: MachineConfig, command: Callable[[str], None]) -> None:
        settings = config.home_assistant
        self._settings = settings
        self._command = command
        self.node = settings.node or re.sub(r"[^A-Za-z0-9_-]", "-", config.device.identity)
        self._topics = Topics(self.node, settings.discovery_prefix)
        self._discovery = discovery(config, self._topics)
        self._password = config.secret("home_assistant", "home_assistant_password", settings.password_file)
        self._lock = threading.Lock()  # the retained facts
        self._facts: dict[str, str] = {}
        self._client: Any = None
        self.problem: str | None = f"the broker at {settings.host} has not answered yet"
        self.ignored = 0
        """Commands that were none."""

    def start(self) -> None:
        """Begins to connect; returns at once, whatever the broker does. Raises: PackageMissing."""
        try:
            from paho.mqtt import client as paho
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError as error:
            raise PackageMissing("Home Assistant needs paho-mqtt: `pip install utdstream[mqtt]`") from error
        settings = self._settings
        client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=f"utdstream-{self.node}", protocol=paho.MQTTv5
        )
        if settings.username is not None:
            client.username_pw_set(settings.username, self._password)
        if settings.tls:
            client.tls_set(ca_certs=str(settings.ca_file) if settings.ca_file else None)
        client.will_set(self._topics.availability, OFFLINE, qos=1, retain=True)
        client.reconnect_delay_set(*RECONNECT_S)
        client.max_queued_messages_set(100)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_socket_open = _no_delay
        self._client = client
        client.connect_async(settings.host, settings.port, KEEPALIVE_S)
        client.loop_start()

    def ring(self) -> None:
        """Somebody rang."""
        self._publish(self._topics.bell, json.dumps({"event_type": "ring"}), retain=False)

    def snapshot(self, jpeg: bytes) -> None:
        """The picture of the last press. Not retained: it stays in no broker."""
        self._publish(self._topics.picture, jpeg, retain=False)

    def call_state(self, state: str) -> None:
        """One of `STATES`."""
        self._fact(self._topics.call_state, state)

    def do_not_disturb(self, on: bool) -> None:
        """Whether the bell is silenced."""
        self._fact(self._topics.quiet, "ON" if on else "OFF")

    def close(self) -> None:
        """Says offline, and ends. Idempotent; about a second at most."""
        client, self._client = self._client, None
        if client is None:
            return
        if client.is_connected():
            told = client.publish(self._topics.availability, OFFLINE, qos=1, retain=True)
            try:
                told.wait_for_publish(1.0)
            except (RuntimeError, ValueError) as error:
                _log.debug("saying offline: %s", error)
        client.disconnect()
        client.loop_stop()

    def _fact(self, topic: str, value: str) -> None:
        with self._lock:
            if self._facts.get(topic) == value:
                return
            self._facts[topic] = value
        self._publish(topic, value, retain=True)

    def _publish(self, topic: str, payload: str | bytes, *, retain: bool) -> None:
        client = self._client
        if client is not None and client.is_connected():
            client.publish(topic, payload, qos=1, retain=retain)

    # -- paho's thread

    def _on_connect(self, client: Any, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._say(f"the broker at {self._settings.host} refuses the login: {reason}")
            return
        client.subscribe([(self._topics.commands, 1), (self._topics.birth, 1)])

    def _on_subscribe(self, client: Any, _userdata: Any, _mid: Any, reasons: Any, _properties: Any) -> None:
        if any(reason.is_failure for reason in reasons):
            self._say(f"the broker at {self._settings.host} does not let this device hear its commands")
            return
        self._announce(client)
        if self.problem is not None:
            _log.info("Home Assistant's broker is there")
        self.problem = None

    def _announce(self, client: Any) -> None:
        client.publish(self._topics.discovery, json.dumps(self._discovery), qos=1, retain=True)
        client.publish(self._topics.availability, ONLINE, qos=1, retain=True)
        with self._lock:
            facts = dict(self._facts)
        for topic, value in facts.items():
            client.publish(topic, value, qos=1, retain=True)

    def _on_disconnect(
        self, _client: Any, _userdata: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        if reason.is_failure:
            self._say(f"the broker at {self._settings.host} is gone ({reason}); tried again")

    def _on_message(self, client: Any, _userdata: Any, message: Any) -> None:
        try:
            word = bytes(message.payload[:MAX_COMMAND_BYTES]).decode("ascii")
        except UnicodeDecodeError:
            word = ""
        if message.topic == self._topics.birth:
            if word == ONLINE:
                self._announce(client)
            return
        known = self._topics.command_of(message.topic, word)
        if message.retain or known is None:
            self.ignored += 1
            return
        self._command(known)

    def _say(self, problem: str) -> None:
        if problem != self.problem:
            _log.warning("%s", problem)
        self.problem = problem


class Topics:
    """Where everything is. Lower-case, no slash at either end."""

    def __init__(self, node: str, prefix: str) -> None:
        base = f"utdstream/{node}"
        self.discovery = f"{prefix}/device/{node}/config"
        self.birth = f"{prefix}/status"
        self.availability = f"{base}/availability"
        self.bell = f"{base}/event/doorbell"
        self.picture = f"{base}/snapshot"
        self.call_state = f"{base}/state/call"
        self.quiet = f"{base}/state/do_not_disturb"
        self.commands = f"{base}/cmd/+"
        self._base = base

    def command(self, name: str) -> str:
        """The topic of a command."""
        return f"{self._base}/cmd/{name}"

    def command_of(self, topic: str, payload: str) -> str | None:
        """The word for the app; None for what is no command."""
        name = topic.removeprefix(f"{self._base}/cmd/")
        if name == "do_not_disturb":
            return {"ON": "do_not_disturb_on", "OFF": "do_not_disturb_off"}.get(payload)
        return name if name in ("ring", "answer", "hang_up", "open_door") and payload == "PRESS" else None


def discovery(config: MachineConfig, topics: Topics) -> dict[str, object]:
    """The discovery message: Home Assistant's "device discovery payload", with its abbreviations written out."""
    node = topics.discovery.split("/")[-2]

    def button(name: str, words: str, icon: str) -> dict[str, object]:
        return {
            "platform": "button",
            "unique_id": f"{node}_{name}",
            "name": words,
            "icon": icon,
            "command_topic": topics.command(name),
            "payload_press": "PRESS",
        }

    components: dict[str, dict[str, object]] = {
        "doorbell": {
            "platform": "event",
            "unique_id": f"{node}_doorbell",
            "name": "Doorbell",
            "device_class": "doorbell",
            "event_types": ["ring"],
            "state_topic": topics.bell,
        },
        "call": {
            "platform": "sensor",
            "unique_id": f"{node}_call",
            "name": "Call",
            "icon": "mdi:phone",
            "device_class": "enum",
            "options": list(STATES),
            "state_topic": topics.call_state,
        },
        "do_not_disturb": {
            "platform": "switch",
            "unique_id": f"{node}_do_not_disturb",
            "name": "Do not disturb",
            "icon": "mdi:bell-off",
            "state_topic": topics.quiet,
            "command_topic": topics.command("do_not_disturb"),
        },
        "answer": button("answer", "Answer", "mdi:phone-check"),
        "hang_up": button("hang_up", "Hang up", "mdi:phone-hangup"),
        "ring": button("ring", "Test ring", "mdi:bell-ring") | {"entity_category": "diagnostic"},
    }
    if config.camera.adapter != "none":
        components["visitor"] = {
            "platform": "camera",
            "unique_id": f"{node}_visitor",
            "name": "Last visitor",
            "topic": topics.picture,
        }
    if config.door.adapter != "none":
        components["door"] = button("open_door", "Open door", "mdi:door-open")
    return {
        "device": {
            "identifiers": [f"utdstream_{node}"],
            "name": config.device.name or config.device.identity,
            "manufacturer": "utdstream",
            "model": "Doorbell",
            "sw_version": __version__,
        },
        "origin": {"name": "utdstream", "sw_version": __version__},
        "components": components,
        "availability_topic": topics.availability,
        "qos": 1,
    }


def _no_delay(_client: Any, _userdata: Any, connection: Any) -> None:
    """A ring must not wait 40 ms for another packet."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
