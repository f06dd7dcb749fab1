"""What Home Assistant is told of a device: the topics and the discovery message.

Owns: every topic, payload and command word. Standard library and configuration only; any thread.
Source: Home Assistant's "MQTT" pages, "device discovery payload" (2024.11 and newer).
`make test-home-assistant` asks its own schemas.
"""

from __future__ import annotations

import hashlib
import re

from device.config import MachineConfig
from device.errors import ConfigError
from utdstream import __version__

STATES = ("ready", "calling", "in a call")
"""What the sensor *Call* can say: the doorbell's phases."""


def topics_of(config: MachineConfig) -> Topics:
    """Returns this device's topics. Raises: ConfigError for a node or a prefix that cannot be part of one."""
    settings = config.home_assistant
    node = settings.node or node_of(config.device.identity)
    if not re.fullmatch("[A-Za-z0-9_-]{1,64}", node):
        raise ConfigError(
            f"{config.path}: [home_assistant] node: must be 1 to 64 letters, digits, _ or -, not {node!r}"
        )
    prefix = settings.discovery_prefix
    if prefix.startswith("/") or prefix.endswith("/") or set(prefix) & set("+#"):
        raise ConfigError(
            f"{config.path}: [home_assistant] discovery_prefix: must be a topic without +, # and a slash at "
            f"either end, not {prefix!r}"
        )
    return Topics(node, prefix)


def node_of(identity: str) -> str:
    """Returns the id of this identity in topics: itself where it can be one, else with a part that no other has.

    Without that part two doors `前门` and `后门` would be one device, and the button of one would open the other.
    """
    if re.fullmatch("[A-Za-z0-9_-]{1,64}", identity):
        return identity
    readable = re.sub(r"[^A-Za-z0-9_-]", "-", identity)[:47]
    return f"{readable}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"


class Topics:
    """Where everything is. Lower-case, no slash at either end."""

    def __init__(self, node: str, prefix: str) -> None:
        self.node = node
        base = f"utdstream/{node}"
        self.discovery = f"{prefix}/device/{node}/config"
        self.birth = f"{prefix}/status"
        self.availability = f"{base}/availability"
        self.bell = f"{base}/event/doorbell"
        self.missed = f"{base}/event/missed"
        self.door = f"{base}/event/door"
        self.picture = f"{base}/snapshot"
        self.call_state = f"{base}/state/call"
        self.quiet = f"{base}/state/do_not_disturb"
        self.commands = f"{base}/cmd/+"
        self._base = base

    def command(self, name: str) -> str:
        """Returns the topic of a command."""
        return f"{self._base}/cmd/{name}"

    def command_of(self, topic: str, payload: str) -> str | None:
        """Returns the word for the app; None for what is no command."""
        name = topic.removeprefix(f"{self._base}/cmd/")
        if name == "do_not_disturb":
            return {"ON": "do_not_disturb_on", "OFF": "do_not_disturb_off"}.get(payload)
        return name if name in ("ring", "answer", "hang_up", "open_door") and payload == "PRESS" else None


def discovery(config: MachineConfig, topics: Topics) -> dict[str, object]:
    """Writes the discovery message (Home Assistant's "device discovery payload"), without abbreviations."""
    node = topics.node

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
        "missed": {
            "platform": "event",
            "unique_id": f"{node}_missed",
            "name": "Nobody answered",
            "icon": "mdi:bell-alert",
            "event_types": ["missed"],
            "state_topic": topics.missed,
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
        components["opened"] = {
            "platform": "event",
            "unique_id": f"{node}_opened",
            "name": "Door opened",
            "icon": "mdi:door-open",
            "event_types": ["opened"],
            "state_topic": topics.door,
        }
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
