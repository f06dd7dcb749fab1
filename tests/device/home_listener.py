"""Home Assistant's side of the broker: what a doorbell told, by topic."""

from __future__ import annotations

from typing import Any

from facts import eventually
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion


class Listener:
    """Keeps the newest message of each topic, and whether it was retained."""

    def __init__(self, port: int) -> None:
        self.port = port
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
