"""Incoming calls over MQTT: the transport behind `client.incoming_calls()`.

Owns: the broker connection, its session, the device's presence. The only importer of paho in the SDK (so it has
more than 400 lines); paho is reached late, when the transport is started. Must not import `_rest`, `_livekit` or a
session.

1. One daemon thread per connection (`utdstream-mqtt-…`) does everything: it connects, reads, writes, and
   calls the sinks, which never block. Nothing a broker sends or refuses ends it; it retries until `stop()`.
   Transports of one identity, broker and login share a connection (`utdstream._rings.listeners`).
2. paho's external-loop interface is used instead of its own thread: a retry can then be interrupted at once,
   a malformed packet cannot end the thread, and a connection without an answer has a deadline.
3. MQTT 5, clean start false, a session expiry and a fixed client id: all of them, or a call that rings while
   the device reconnects is lost. TCP_NODELAY, or the first ring after a connect takes 41-45 ms, not one.
4. A certificate that is refused, and TLS on one side alone, are said as such (`problem`), and tried again.
5. A retained call event is a stale one and is ignored. Whatever arrives is a hint (see `utdstream._rings.inbox`).
"""

from __future__ import annotations

import logging
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from utdstream._rings.broker import (
    CONNECT_TIMEOUT_S,
    ONLY_TLS,
    Broker,
    default_client_id,
    login_tls,
    tidy,
    wished_tls,
)
from utdstream._rings.inbox import IncomingSink
from utdstream._rings.listeners import Listener, Listeners, SharedLines
from utdstream._wire import messages
from utdstream.backoff import Backoff
from utdstream.checks import requirement
from utdstream.errors import InvalidConfig, UsageError
from utdstream.limits import MAX_EVENT_BYTES
from utdstream.models import MqttLogin
from utdstream.trust import tls_problem

if TYPE_CHECKING:
    from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, SocketLike
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

_log = logging.getLogger(__name__)

SESSION_EXPIRY_S = 86_400
"""How long the broker keeps what came while the device was away (calls themselves expire sooner)."""
DEAD_LINK_S = 8
"""A connection of which nothing is heard for so long is over, by the kernel's own probes (Linux), which wake up
nobody: the inbox's `connected` is right ten seconds after a lost link."""
_PROBES = {"TCP_KEEPIDLE": 3, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 5, "TCP_USER_TIMEOUT": DEAD_LINK_S * 1000}
KEEPALIVE_S = 60
"""A broker whose kernel answers and which does not itself is noticed within twice this. Where the kernel does not
probe, pings do, each `DEAD_LINK_S / 2`; a broker may ask for more of them."""

_ANSWER_TIMEOUT_S = 5.0
_BETWEEN_ATTEMPTS = Backoff(first_s=0.2, most_s=1.0)
_RETRY_REFUSED_S = 2.0
_NEW_LOGIN_S = 10.0
"""An engine that changes its secrets hands out new logins within this: no reason for an alarm."""
_RETRY_TAKEN_OVER_S = 10.0
_SHORT_LIVED_S, _SHORT_LIVED_IN_A_ROW = 5.0, 3
_STOP_S = 2.0
_GOODBYE_S = 0.5
_MAX_PACKET_BYTES = 4 * MAX_EVENT_BYTES
_SESSION_TAKEN_OVER = 0x8E
_ENDED = "the connection ended"


class MqttIncomingCalls:
    """Listens for this identity's call events on an MQTT 5 broker.

    `password_file` is read before every attempt to connect, so a changed password heals by itself.
    `tls` is True (the system's authorities), the path of a CA file, or an `ssl.SSLContext`. `client_id` is
    needed only when two processes of one machine wait for the same identity: a broker allows one each.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int = 1883,
        username: str | None = None,
        password: str | None = None,
        password_file: str | Path | None = None,
        tls: bool | str | Path | ssl.SSLContext | None = None,
        client_id: str | None = None,
    ) -> None:
        self._broker = Broker(
            host,
            port,
            username=username,
            password=password,
            password_file=None if password_file is None else Path(password_file),
            tls=wished_tls(tls),
            client_id=client_id,
        )
        self._topic: str | None = None
        self._renewed: Callable[[bool], MqttLogin | None] = lambda is_refused: None
        self._lock = threading.RLock()
        self._listening: tuple[_Line, Listener] | None = None

    @classmethod
    def from_login(
        cls,
        login: MqttLogin,
        *,
        tls: bool | str | Path | ssl.SSLContext | None = None,
        ca_file: str | Path | None = None,
        renewed: Callable[[bool], MqttLogin | None] = lambda is_refused: None,
    ) -> MqttIncomingCalls:
        """Returns the transport for the login that the engine gave this identity, on the topic it named.

        Encrypted when the login says so: `ca_file` is trusted then, instead of the system's authorities. `tls`
        encrypts whatever the login says. `renewed` is asked before each connection for the newest login: the
        engine's secrets may have changed. It is told whether the broker refused the last one, and may block for
        some seconds then, to fetch another. Raises: InvalidConfig when a CA file cannot be used.
        """
        transport = cls(
            host=login.host,
            port=login.port,
            username=login.username,
            password=login.password,
            tls=tls if tls is not None else login_tls(login, ca_file),
        )
        transport._topic = login.topic
        transport._renewed = renewed
        return transport

    @property
    def problem(self) -> str | None:
        """Why no call can be heard now, in a sentence; None while all is well or not begun. Any thread."""
        listening = self._listening
        return None if listening is None else listening[0].problem

    def start(self, *, app_id: str, identity: str, sink: IncomingSink) -> None:
        """Begins to connect, in the background and for ever. Does not block.

        A second transport of this process with the same broker, login and identity shares the connection.
        Raises: InvalidConfig when paho-mqtt is not installed or the password file cannot be read; UsageError
        when it is started already.
        """
        _load_paho()
        self._broker.read_password()
        listener = Listener(sink, self._renewed)
        topic = self._topic or messages.calls_topic(app_id, identity)
        presence = messages.availability_topic(app_id, identity)
        client_id = self._broker.client_id or default_client_id(
            app_id, identity, self._broker.read_password()
        )

        own = "device an identity" if self._topic is not None else "a client_id"
        remedy = f"stop it, or give each {own} of its own"

        def line() -> _Line:
            return _Line(self._broker, topic, presence, client_id, identity, remedy)

        with self._lock:
            if self._listening is not None:
                raise UsageError(f"{self!r} is started already: one transport serves one inbox")
            key = (self._broker.is_the_same_as(), topic, presence, client_id)
            self._listening = (_LINES.join(key, line, listener), listener)

    def stop(self) -> None:
        """Hears no more; the last one on its connection says offline, disconnects and ends the thread.

        Idempotent, any thread. Blocks: two seconds at most. A thread that hangs in name resolution is left to end
        by itself; it calls the sink no more.
        """
        with self._lock:
            listening, self._listening = self._listening, None
        if listening is not None:
            _LINES.leave(*listening)

    def __repr__(self) -> str:
        return f"MqttIncomingCalls({self._broker})"


@dataclass(slots=True)
class _Attempt:
    """One connection, from its first packet to its end."""

    client: Client
    up_at: float | None = None
    refused: str | None = None
    is_login_given: bool = False
    """The engine gave the login; else the program did."""
    taken_over: bool = False
    subscribe_id: int | None = None


class _Line:
    """The life of a connection between `start` and `stop`: its thread, one attempt after the other."""

    def __init__(
        self, broker: Broker, topic: str, presence: str, client_id: str, identity: str, remedy: str
    ) -> None:
        self._broker = broker
        self._topic = topic
        self._presence = presence
        self._client_id = client_id
        self._name = f"mqtt {broker.host}:{broker.port} {identity}"
        self.listeners = Listeners()
        self.problem: str | None = None
        """Why it is down, as the log was told; None while it is up."""
        self._short_lived = 0
        self._is_login_refused = False
        self._refused_since: float | None = None
        self._rival = f"another client signed in as {identity} in its place: {remedy}"
        self._stopping = threading.Event()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._thread = threading.Thread(target=self._run, name=f"utdstream-mqtt-{identity}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        with suppress(OSError):
            self._wake_write.send(b"x")
        if self._thread is not threading.current_thread():
            self._thread.join(_STOP_S)

    # -- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        failures = 0
        try:
            while not self._stopping.is_set():
                attempt = self._attempt()
                if attempt is not None and attempt.taken_over:
                    self._stopping.wait(_RETRY_TAKEN_OVER_S)
                elif attempt is not None and attempt.refused is not None:
                    self._stopping.wait(_RETRY_REFUSED_S)
                else:
                    if attempt is not None and attempt.up_at is not None:
                        failures = 0
                    self._stopping.wait(_BETWEEN_ATTEMPTS.pause_s(failures))
                    failures += 1
        finally:
            self._wake_read.close()
            self._wake_write.close()

    def _attempt(self) -> _Attempt | None:
        """Makes one connection, from its beginning to its end; whatever ends it is said once and survived."""
        attempt: _Attempt | None = None
        why = _ENDED
        try:
            login = self.listeners.login(self._is_login_refused)
            attempt = _Attempt(self._new_client(login), is_login_given=login is not None)
            self._bind(attempt)
            self._pump(attempt)
        except Exception as error:  # noqa: BLE001 - outermost frame: a hostile broker can raise anything in paho
            why = tls_problem(error) or f"{type(error).__name__}: {error}"
        finally:
            if attempt is not None:
                _drop(attempt.client)
        if self._stopping.is_set():
            return attempt
        if attempt is not None:
            self._notice_rival(attempt)
            if attempt.taken_over:
                why = self._rival
            if (
                attempt.up_at is None and why == _ENDED
            ):  # an end without a word: at once, and before any answer
                why = self.problem if self.problem == ONLY_TLS else self._broker.refuses_clear_text() or why
            if attempt.is_login_given and self._is_login_refused and self._is_new_login_due():
                self._tell_down("the engine is asked for a new broker login", logging.INFO)
                return attempt
            why = attempt.refused or why
        self._tell_down(why)
        return attempt

    def _is_new_login_due(self) -> bool:
        now = time.monotonic()
        self._refused_since = self._refused_since or now
        return now < self._refused_since + _NEW_LOGIN_S

    def _notice_rival(self, attempt: _Attempt) -> None:
        """Suspects a rival: mosquitto 2.0.11 closes without a reason, connections that never last tell it too."""
        lasted_s = None if attempt.up_at is None else time.monotonic() - attempt.up_at
        short = lasted_s is not None and lasted_s < _SHORT_LIVED_S
        self._short_lived = self._short_lived + 1 if short else 0
        if self._short_lived >= _SHORT_LIVED_IN_A_ROW:
            attempt.taken_over = True

    def _new_client(self, login: MqttLogin | None) -> Client:
        from paho.mqtt.client import Client, MQTTv5
        from paho.mqtt.enums import CallbackAPIVersion
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        broker = self._broker
        user, password = broker.username, None if login is not None else broker.read_password()
        if login is not None:
            user, password = login.username, login.password
        # A new client for each connection: no state of the last one can be wrong in the next.
        client = Client(CallbackAPIVersion.VERSION2, client_id=self._client_id, protocol=MQTTv5)
        client.suppress_exceptions = True
        client.connect_timeout = CONNECT_TIMEOUT_S
        if user is not None:
            client.username_pw_set(user, password)
        if broker.tls is not None:
            client.tls_set_context(tidy(broker.tls))
        client.will_set(self._presence, messages.OFFLINE, qos=1, retain=True)
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it untyped
        properties.SessionExpiryInterval = SESSION_EXPIRY_S
        properties.MaximumPacketSize = _MAX_PACKET_BYTES
        is_probed = all(hasattr(socket, name) for name in _PROBES)
        keepalive_s = KEEPALIVE_S if is_probed else DEAD_LINK_S // 2
        client.connect_async(broker.host, broker.port, keepalive_s, clean_start=False, properties=properties)
        return client

    def _bind(self, attempt: _Attempt) -> None:
        """Connects paho's callbacks; they all run on this line's thread."""
        client = attempt.client

        def on_socket_open(_client: Client, _userdata: object, sock: SocketLike) -> None:
            if isinstance(sock, socket.socket):  # always; paho's type also covers WebSockets
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                _have_probed(sock)

        def on_connect(
            _client: Client,
            _userdata: object,
            _flags: ConnectFlags,
            reason: ReasonCode,
            _properties: Properties | None,
        ) -> None:
            if reason.is_failure:
                remedy = (
                    "look at the engine's log" if attempt.is_login_given else "check username and password"
                )
                attempt.refused = f"the broker refused the login ({reason}); {remedy}"
                self._is_login_refused = True
                return
            attempt.subscribe_id = self._subscribe(client)

        def on_subscribe(
            _client: Client,
            _userdata: object,
            mid: int,
            reasons: list[ReasonCode],
            _properties: Properties | None,
        ) -> None:
            if mid != attempt.subscribe_id:
                return
            if any(reason.is_failure for reason in reasons):
                attempt.refused = f"the broker refused the subscription to {self._topic} ({reasons[0]})"
                return
            attempt.up_at = time.monotonic()
            self._is_login_refused, self._refused_since = False, None
            client.publish(self._presence, messages.ONLINE, qos=1, retain=True)
            self._tell_up()

        def on_message(_client: Client, _userdata: object, message: MQTTMessage) -> None:
            if message.retain or message.topic != self._topic:
                _log.debug("%s: a retained or foreign message was ignored", self._name)
                return
            self.listeners.message(bytes(message.payload))

        def on_disconnect(
            _client: Client,
            _userdata: object,
            _flags: DisconnectFlags,
            reason: ReasonCode,
            _properties: Properties | None,
        ) -> None:
            attempt.taken_over = attempt.taken_over or reason.value == _SESSION_TAKEN_OVER

        client.on_socket_open = on_socket_open
        client.on_connect = on_connect
        client.on_subscribe = on_subscribe
        client.on_message = on_message
        client.on_disconnect = on_disconnect

    def _subscribe(self, client: Client) -> int | None:
        from paho.mqtt.subscribeoptions import SubscribeOptions

        options = SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND)
        return client.subscribe([(self._topic, options)])[1]

    def _pump(self, attempt: _Attempt) -> None:
        """Connects, then reads and writes until the connection ends or `stop` is asked for."""
        client = attempt.client
        client.reconnect()
        answer_by = time.monotonic() + _ANSWER_TIMEOUT_S
        while not self._stopping.is_set() and attempt.refused is None:
            sock = client.socket()
            if sock is None:
                return
            if not attempt.up_at is not None and time.monotonic() > answer_by:
                raise TimeoutError("the broker accepted the connection and stayed silent")
            idle_s = client.keepalive or KEEPALIVE_S  # as the broker wishes; 0: no pings
            self._wait_and_serve(client, sock, idle_s if attempt.up_at is not None else 0.5)
        if attempt.up_at is not None:
            self._say_goodbye(client)

    def _wait_and_serve(self, client: Client, sock: SocketLike, timeout_s: float) -> None:
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.want_write() else 0)
        unread = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
        with selectors.DefaultSelector() as selector:
            selector.register(sock.fileno(), wanted)
            selector.register(self._wake_read, selectors.EVENT_READ)
            ready = {key.fileobj: mask for key, mask in selector.select(0.0 if unread else timeout_s)}
        mask = ready.get(sock.fileno(), 0)
        if unread or mask & selectors.EVENT_READ:
            client.loop_read()
        if mask & selectors.EVENT_WRITE:
            client.loop_write()
        client.loop_misc()

    def _say_goodbye(self, client: Client) -> None:
        """Says offline and disconnects; a broker that does not take it tells the last will instead."""
        client.publish(self._presence, messages.OFFLINE, qos=1, retain=True)
        client.disconnect()
        give_up_at = time.monotonic() + _GOODBYE_S
        while client.want_write() and client.socket() is not None and time.monotonic() < give_up_at:
            client.loop_write()
            time.sleep(0.005)

    # -- what the inbox and the log are told -------------------------------------------------------

    def _tell_up(self) -> None:
        _log.info("%s: listening for incoming calls", self._name)
        self.problem = None
        self.listeners.connection(True)

    def _tell_down(self, why: str, level: int = logging.WARNING) -> None:
        if why != self.problem:
            self.problem = why
            _log.log(level, "%s: not listening for incoming calls, trying again: %s", self._name, why)
        self.listeners.connection(False)


_LINES: SharedLines[_Line] = SharedLines()
"""Of this process."""


def _have_probed(sock: socket.socket) -> None:
    """Has the kernel end the connection when its other side is gone, where it can."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _PROBES.items():
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _drop(client: Client) -> None:
    """Closes the socket without a word; the broker then tells the last will."""
    sock = client.socket()
    if sock is not None:
        with suppress(OSError):
            sock.close()


def _load_paho() -> None:
    try:
        import paho.mqtt.client  # noqa: F401
    except ImportError as error:
        raise InvalidConfig(
            f"incoming calls over MQTT need a package: `pip install '{requirement('paho-mqtt')}'`"
        ) from error
