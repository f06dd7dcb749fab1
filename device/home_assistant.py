"""Home Assistant over MQTT discovery: one device with a bell, a picture, a door, a state and three switches.

Owns: the connection to Home Assistant's broker. One daemon thread, `utd-home-assistant`, connects, reads, writes
and calls `command`, which must only hand over; everything else may be called from any thread and never waits for
the network. paho is imported when a `HomeAssistant` is made, never before.

1. Discovery is retained, published at each connect and again when Home Assistant says `online`.
2. A ring is an event: never retained, or every restart of Home Assistant would ring; and never told late: each
   connection has a client of its own, because paho sends what was under way again after an outage.
3. Availability is the last will: `offline` when this process is gone, `online` once the commands are subscribed.
4. A retained, oversized or unknown command is counted and ignored: a door must not open because a broker remembers
   something. So the session ends with the connection, and the broker keeps no command for this device.
5. Nothing a broker sends or refuses ends the thread; what is so while it is away is told when it is back.
"""

from __future__ import annotations

import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from device.config import MachineConfig
from device.errors import ConfigError, PackageMissing
from device.home_assistant_payloads import STATES, discovery, topics_of
from utdstream.backoff import Backoff
from utdstream.checks import requirement
from utdstream.errors import InvalidConfig
from utdstream.trust import tls_context

if TYPE_CHECKING:
    from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, SocketLike
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

__all__ = ["STATES", "HomeAssistant"]

_log = logging.getLogger(__name__)

KEEPALIVE_S = 30
RETRY = Backoff(first_s=1.0, most_s=30.0)
STEADY_S = 10.0
"""A connection that lasted this long was a good one: the pauses begin anew."""
CONNECT_S = 3.0
ANSWER_S = 10.0
CLOSE_S = 1.0
MAX_COMMAND_BYTES = 64
MAX_PACKET_BYTES = 4096
"""The broker drops what is larger: no command or birth message is."""
MAX_QUEUED = 100
UNSAID = "the connection ended"
ONLINE, OFFLINE = "online", "offline"


class HomeAssistant:
    """One announced device. `command` gets ring, answer, hang_up, open_door, do_not_disturb_on or _off.

    Raises: PackageMissing without paho-mqtt; ConfigError for a node, password or authority that cannot be used.
    """

    def __init__(self, config: MachineConfig, command: Callable[[str], None]) -> None:
        _load_paho()
        self._config = config
        self._settings = config.home_assistant
        self._place = f"the broker at {self._settings.host}:{self._settings.port}"
        self._command = command
        self._topics = topics_of(config)
        self._discovery = discovery(config, self._topics)
        self._tls = _tls_context(config)
        self._password()
        # Guards facts and order: what is told at a connect and what is told by the app never overtake each other.
        # Held while paho queues a message, which takes no time; paho's own locks are always taken after it.
        self._lock = threading.Lock()
        self._facts: dict[str, str] = {}
        self._live: Client | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._ended_because = UNSAID
        self.problem: str | None = f"{self._place} has not answered yet"
        self.ignored = 0
        """Commands that were none."""

    def start(self) -> None:
        """Begins to connect, for ever; returns at once, whatever the broker does. Once."""
        self._thread = threading.Thread(target=self._run, name="utd-home-assistant", daemon=True)
        self._thread.start()

    def ring(self, *, call_id: str | None = None) -> None:
        """Tells of a press; `call_id` becomes an attribute of the event. Lost when the broker is away."""
        event = {"event_type": "ring"} | ({} if call_id is None else {"call_id": call_id})
        with self._lock:
            self._publish(self._topics.bell, json.dumps(event), retain=False)

    def missed(self, reason: str) -> None:
        """Tells of a press that no callee answered; `reason` becomes an attribute. Lost as `ring` is."""
        with self._lock:
            event = {"event_type": "missed", "reason": reason}
            self._publish(self._topics.missed, json.dumps(event), retain=False)

    def door_opened(self, by: str, why: str, *, call_id: str | None = None) -> None:
        """Tells that the door was opened: for whom, why, and in which call. Lost as `ring` is."""
        event = {"event_type": "opened", "by": by, "why": why} | (
            {} if call_id is None else {"call_id": call_id}
        )
        with self._lock:
            self._publish(self._topics.door, json.dumps(event), retain=False)

    def snapshot(self, jpeg: bytes) -> None:
        """Sends the picture of the last press. Not retained: it stays in no broker."""
        with self._lock:
            self._publish(self._topics.picture, jpeg, retain=False)

    def call_state(self, state: str) -> None:
        """Tells the call's state, one of `STATES`."""
        self._fact(self._topics.call_state, state)

    def do_not_disturb(self, on: bool) -> None:
        """Tells whether the bell is silenced."""
        self._fact(self._topics.quiet, "ON" if on else "OFF")

    def close(self) -> None:
        """Says offline, and ends. Idempotent; a second at most, whatever the broker does."""
        self._stopping.set()
        with self._lock:
            client, self._live = self._live, None
            if client is not None:
                client.publish(self._topics.availability, OFFLINE, qos=1, retain=True)
                client.disconnect()
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    def _fact(self, topic: str, value: str) -> None:
        with self._lock:
            if self._facts.get(topic) != value:
                self._facts[topic] = value
                self._publish(topic, value, retain=True)

    def _publish(self, topic: str, payload: str | bytes, *, retain: bool) -> None:
        """Queues a message when there is a connection. With the lock held."""
        if self._live is not None:
            self._live.publish(topic, payload, qos=1, retain=retain)

    # -- the thread

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            begun = time.monotonic()
            self._connection()
            if time.monotonic() - begun > STEADY_S:
                failures = 0
            self._stopping.wait(RETRY.pause_s(failures))
            failures += 1

    def _connection(self) -> None:
        """Lives through one connection; whatever ends it is said once and survived."""
        self._ended_because = UNSAID
        client: Client | None = None
        try:
            client = self._new_client()
            client.connect(self._settings.host, self._settings.port, KEEPALIVE_S, properties=_packet_limit())
            self._serve(client)
        except Exception as error:  # noqa: BLE001 - outermost frame: a hostile broker can raise anything in paho
            self._ended_because = str(error) or type(error).__name__
        finally:
            with self._lock:
                self._live = None
            if client is not None:
                _drop(client)
        if not self._stopping.is_set():
            self._say(f"{self._place} cannot be used ({self._ended_because}); it is tried again")

    def _serve(self, client: Client) -> None:
        answer_by, leave_by = time.monotonic() + ANSWER_S, None
        while client.loop(timeout=self._look_s(client)) == 0:
            now = time.monotonic()
            if self._stopping.is_set():
                leave_by = leave_by or now + CLOSE_S  # time for the goodbye that `close` queued
                if self.problem is not None or now > leave_by:
                    return
            elif self.problem is not None and now > answer_by:
                raise TimeoutError("it took the connection and stays silent")

    def _look_s(self, client: Client) -> float:
        """How long to wait for the broker; what is published meanwhile is sent at once."""
        if self.problem is not None or self._stopping.is_set():
            return 1.0
        return (client.keepalive or KEEPALIVE_S) / 3  # as the broker wishes; 0: no pings

    def _new_client(self) -> Client:
        from paho.mqtt.client import Client, MQTTv5
        from paho.mqtt.enums import CallbackAPIVersion

        client = Client(
            CallbackAPIVersion.VERSION2, client_id=f"utdstream-{self._topics.node}", protocol=MQTTv5
        )
        client.suppress_exceptions = True
        client.connect_timeout = CONNECT_S
        client.max_queued_messages_set(MAX_QUEUED)
        if self._settings.username is not None:
            # Read each time: a password that was changed heals by itself.
            client.username_pw_set(self._settings.username, self._password())
        if self._tls is not None:
            client.tls_set_context(self._tls)
        client.will_set(self._topics.availability, OFFLINE, qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_socket_open = _no_delay
        # Without this paho writes to the socket on the thread that publishes; so it wakes ours instead.
        client.on_socket_register_write = _leave_it
        return client

    def _password(self) -> str | None:
        return self._config.secret("home_assistant", "home_assistant_password", self._settings.password_file)

    def _on_connect(
        self, client: Client, _userdata: object, _flags: ConnectFlags, reason: ReasonCode, _more: object
    ) -> None:
        from paho.mqtt.subscribeoptions import SubscribeOptions

        if reason.is_failure:
            self._ended_because = f"it refuses the login: {reason}"
            return
        # The retained flag as it was published: a command that is retained this moment is none either.
        commands = SubscribeOptions(
            qos=1, retainAsPublished=True, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND
        )
        client.subscribe([(self._topics.commands, commands), (self._topics.birth, SubscribeOptions(qos=1))])

    def _on_subscribe(
        self, client: Client, _userdata: object, _mid: int, reasons: list[ReasonCode], _more: object
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            self._ended_because = "it does not let this device hear its commands"
            client.disconnect()
            return
        with self._lock:
            if self._stopping.is_set():
                client.disconnect()
                return
            self._live = client
            self._announce()
        self.problem = None
        _log.info("%s: Home Assistant is told of this device", self._place)

    def _announce(self) -> None:
        """Tells everything that is so now. With the lock held."""
        self._publish(self._topics.discovery, json.dumps(self._discovery), retain=True)
        self._publish(self._topics.availability, ONLINE, retain=True)
        for topic, value in self._facts.items():
            self._publish(topic, value, retain=True)

    def _on_disconnect(
        self, _client: Client, _userdata: object, _flags: DisconnectFlags, reason: ReasonCode, _more: object
    ) -> None:
        if reason.is_failure and self._ended_because == UNSAID:
            self._ended_because = str(reason)

    def _on_message(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        word = _word(message.payload)
        if message.topic == self._topics.birth:
            if word == ONLINE:
                with self._lock:
                    self._announce()
            return
        known = self._topics.command_of(message.topic, word)
        if message.retain or known is None:
            self.ignored += 1
            return
        try:
            self._command(known)
        except Exception:  # noqa: BLE001 - the app's own code, on a thread that must live
            _log.exception("the command %s of Home Assistant failed", known)

    def _say(self, problem: str) -> None:
        if problem != self.problem:
            _log.warning("%s", problem)
        self.problem = problem


def _word(payload: bytes | bytearray) -> str:
    """Returns the text of a command; empty for what cannot be one."""
    if len(payload) > MAX_COMMAND_BYTES:
        return ""
    try:
        return bytes(payload).decode("ascii")
    except UnicodeDecodeError:
        return ""


def _packet_limit() -> Properties:
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    limit = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it untyped
    limit.MaximumPacketSize = MAX_PACKET_BYTES
    return limit


def _tls_context(config: MachineConfig) -> ssl.SSLContext | None:
    settings = config.home_assistant
    if not settings.tls:
        return None
    try:
        return tls_context(settings.ca_file)
    except InvalidConfig as error:
        raise ConfigError(f"{config.path}: [home_assistant] ca_file: {error.message}") from error


def _no_delay(_client: Client, _userdata: object, connection: SocketLike) -> None:
    """Sends small packets at once: a ring must not wait 40 ms for another one."""
    if isinstance(connection, socket.socket):  # always; paho's type also covers WebSockets
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _leave_it(_client: Client, _userdata: object, _connection: SocketLike) -> None:
    """Does nothing: the client's own thread is woken and writes."""


def _drop(client: Client) -> None:
    """Closes the socket without a word, if it is open yet; the broker then tells the last will."""
    connection = client.socket()
    if connection is not None:
        with suppress(OSError):
            connection.close()


def _load_paho() -> None:
    try:
        import paho.mqtt.client  # noqa: F401
    except ImportError as error:
        raise PackageMissing(
            f"Home Assistant needs paho-mqtt: `pip install '{requirement('paho-mqtt')}'`"
        ) from error
