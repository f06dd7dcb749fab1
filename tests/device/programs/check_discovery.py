"""Validates a discovery message with Home Assistant's own schemas; runs where Home Assistant is installed.

The message is JSON on standard input; exit status 0 when Home Assistant would take it, else what it says.
"""

import importlib
import json
import sys

from homeassistant.components.mqtt import schemas
from homeassistant.const import __version__

message = json.loads(sys.stdin.read())
checked = schemas.DEVICE_DISCOVERY_SCHEMA(json.loads(json.dumps(message)))
assert set(checked["components"]) == set(message["components"])
shared = {key: message[key] for key in ("device", "origin", "availability_topic", "qos")}
for name, component in message["components"].items():
    platform = importlib.import_module(f"homeassistant.components.mqtt.{component['platform']}")
    given = {key: value for key, value in component.items() if key != "platform"}
    made = platform.DISCOVERY_SCHEMA({**shared, **given})
    lost = set(given) - set(map(str, made))
    assert not lost, f"{name}: Home Assistant knows no {lost}"
print(f"Home Assistant {__version__} takes all {len(message['components'])} components")
