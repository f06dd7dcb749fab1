"""Call events over MQTT, and the broker logins of the devices that wait for them.

Owns: the paho client and what it says. Runs on the loop thread, as `PahoLoop` drives the client, and never
blocks it. Must not decide anything about calls.

1. While the broker is away nothing is kept for it: `on_up` lets the owner say again what still holds.
   A device that is cut off asks over REST.
2. A mint answers without the broker; the login follows when the broker is back.
3. A login is set, not added if missing: one that exists gets its password anew unless the broker is known to have
   it. One that is to end is deleted, which disconnects whoever uses it, as soon as there is a broker.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import count

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from utdstream._wire import messages
from utdstream._wire.messages import CallEvent
from utdstream.engine import clock
from utdstream.engine.config import MqttSection
from utdstream.engine.push import logins
from utdstream.engine.push.broker import PahoLoop
from utdstream.engine.rules.keys import Login
from utdstream.engine.store.contract import LoginStore, StoreFailed
from utdstream.models import MqttLogin

LOGIN_WAIT_S = 2.0
"""How long a mint waits for the broker to know the login."""
MAX_LOGINS = 50_000
"""Logins repeated after a reconnect; the least recently minted are forgotten first."""
LOGINS_A_MESSAGE = 20
"""At most 104 kB, of the 128 KiB that the broker takes in one packet."""
_PATIENCE_S = 5.0
"""A broker that was away for longer is not waited for."""
_MIN_EXPIRY_S = 5.0
"""News of a call that is over is of use for at least this long."""

_log = logging.getLogger(__name__)


class Notifier:
    """One connection to the broker. `on_up` is called on the loop each time there is a connection."""

    def __init__(
        self,
        settings: MqttSection,
        app_id: str,
        password_of: Callable[[Login], str],
        store: LoginStore,
        on_up: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._public_ca = settings.public_ca()
        self._app_id = app_id
        self._password_of = password_of
        self._store = store
        self._on_up = on_up
        self._loop = asyncio.get_running_loop()
        self._connected = False
        self._was_down = False
        self._down_since = self._loop.time()
        self._ready: set[Login] = set()
        self._wanted: OrderedDict[Login, None] = OrderedDict.fromkeys(self._take_up())
        self._waiting: dict[Login, asyncio.Event] = {}
        self._of_correlation: dict[str, Login] = {}
        self._correlations = count(1)
        self._took_rights = False
        self._rights_at = 0.0
        self._refusal_logged = False
        self._stopping = False
        self._client = self._make_client()
        self._connection = PahoLoop(
            self._client, settings.host, settings.port, lambda: self._down("no broker listens there")
        )

    def _take_up(self) -> list[Login]:
        """The logins of before, which the broker may have lost; those by secrets of before end."""
        told = {login: self._store.told(login) for login in self._store.of()}
        stale = [
            login
            for login, digest in told.items()
            if digest is not None and digest != logins.digest_of(self._password_of(login))
        ]
        self._store.end(stale)
        ending = set(self._store.ending())
        return [login for login in told if login not in ending][-MAX_LOGINS:]

    def _make_client(self) -> paho.Client:
        client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        client.username_pw_set(self._settings.username, self._settings.password)
        client.max_queued_messages_set(2000)
        client.max_inflight_messages_set(500)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        return client

    @property
    def is_up(self) -> bool:
        return self._connected

    def start(self) -> None:
        """Connects now or as soon as there is a broker."""
        self._connection.start()

    async def stop(self) -> None:
        """Says goodbye."""
        self._stopping = True
        await self._connection.stop()

    def publish(self, identity: str, event: CallEvent) -> None:
        """Sends one call event to one identity; it expires with the ring."""
        if not self._connected:
            return
        call = event.call
        left_s = (call.expires_at - event.sent_at).total_seconds() if call.expires_at else 0.0
        if event.event != messages.CALL_INITIATED:
            left_s = max(left_s, _MIN_EXPIRY_S)
        self._client.publish(
            messages.calls_topic(self._app_id, identity),
            messages.encode_call_event(event),
            qos=1,
            properties=_expiring_in(max(1, int(left_s))),
        )
        _log.debug("published %s of call %s to %s", event.event, call.call_id, identity)

    async def login(self, login: Login) -> MqttLogin:
        """What a device needs of this login; waits a moment for the broker to know it, and answers anyway."""
        self._store.see(login, clock.now())
        self._wanted[login] = None
        self._wanted.move_to_end(login)
        while len(self._wanted) > MAX_LOGINS:
            self._wanted.popitem(last=False)
        worth_waiting = self._connected or self._loop.time() - self._down_since < _PATIENCE_S
        if login not in self._ready and worth_waiting:
            known = self._waiting.setdefault(login, asyncio.Event())
            self._provision((login,))
            try:
                async with asyncio.timeout(LOGIN_WAIT_S):
                    await known.wait()
            except TimeoutError:
                _log.warning("the broker does not know the login of %s yet", login.identity)
        return MqttLogin(
            host=self._settings.public_host,
            port=self._settings.public_port,
            username=logins.username(self._app_id, login),
            topic=messages.calls_topic(self._app_id, login.identity),
            password=self._password_of(login),
            tls=self._settings.public_tls,
            ca=self._public_ca,
        )

    def end(self, ending: Iterable[Login]) -> None:
        """Ends logins, and disconnects whoever uses them; without a broker as soon as there is one."""
        ended = list(ending)
        self._store.end(ended)
        for login in ended:
            self._wanted.pop(login, None)
            self._ready.discard(login)
        self._delete(ended)

    def _provision(self, wanted: Iterable[Login]) -> None:
        self._send(
            wanted,
            lambda login, number: logins.login_commands(
                self._app_id, login, self._password_of(login), number
            ),
        )

    def _delete(self, ended: Iterable[Login]) -> None:
        self._send(ended, lambda login, number: logins.delete_commands(self._app_id, login, number))

    def _send(
        self, some: Iterable[Login], commands_for: Callable[[Login, str], list[dict[str, object]]]
    ) -> None:
        if not self._connected:
            return
        commands: list[dict[str, object]] = []
        for login in some:
            correlation = str(next(self._correlations))
            self._of_correlation[correlation] = login
            commands += commands_for(login, correlation)
        for start in range(0, len(commands), 2 * LOGINS_A_MESSAGE):
            self._client.publish(
                logins.CONTROL_TOPIC, logins.encode(commands[start : start + 2 * LOGINS_A_MESSAGE]), qos=1
            )

    def _up(self) -> None:
        self._connected = True
        if self._was_down:
            _log.info("connected to the broker again")
        else:
            _log.info("connected to the broker at %s:%s", self._settings.host, self._settings.port)
        # The broker may have lost its state: what exists there already is not touched.
        self._ready.clear()
        self._of_correlation.clear()
        self._delete(self._store.ending())
        self._provision(list(self._wanted))
        self._on_up()

    def _down(self, why: str) -> None:
        if not self._stopping and (self._connected or not self._was_down):
            _log.warning("no connection to the broker: %s", why)
        if self._connected:
            self._down_since = self._loop.time()
        self._connected = False
        self._was_down = True

    def _refused(self, why: str) -> None:
        # A login made by `mosquitto_ctrl dynsec init` administers, and may publish nothing. Taking the
        # right ends this connection; `on_up` then says again what was refused.
        if self._took_rights:
            if not self._refusal_logged and self._loop.time() - self._rights_at > _PATIENCE_S:
                self._refusal_logged = True
                _log.warning("the broker refuses messages of the engine: %s", why)
            return
        self._took_rights = True
        self._rights_at = self._loop.time()
        _log.info("the engine's broker login gets the right to send call events")
        commands = logins.engine_commands(self._settings.username)
        self._client.publish(logins.CONTROL_TOPIC, logins.encode(commands), qos=1)

    def _answered(self, payload: bytes) -> None:
        for answer in logins.parse_answers(payload):
            login = self._of_correlation.get(answer.correlation)
            if login is None:
                continue
            if answer.error is not None:
                _log.warning("the broker refused %s for %s: %s", answer.command, login.identity, answer.error)
            if answer.command == "deleteClient":
                del self._of_correlation[answer.correlation]
                if answer.error is None:
                    self._store.forget(login)
            elif answer.command in ("createClient", "setClientPassword"):
                del self._of_correlation[answer.correlation]
                self._made(login, answer)

    def _made(self, login: Login, answer: logins.CommandAnswer) -> None:
        digest = logins.digest_of(self._password_of(login))
        if answer.existed and self._store.told(login) != digest:
            self._send(
                (login,),
                lambda login, number: logins.set_commands(
                    self._app_id, login, self._password_of(login), number
                ),
            )
            return
        if answer.error is None and login in self._wanted:  # else it was ended meanwhile
            self._ready.add(login)
            self._store.tell(login, digest)
        waiting = self._waiting.pop(login, None)
        if waiting is not None:
            waiting.set()

    # What paho says.

    def _on_connect(
        self,
        client: paho.Client,
        userdata: object,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._down(str(reason))
            return
        client.subscribe(logins.ANSWER_TOPIC, qos=1)
        self._up()

    def _on_disconnect(
        self,
        client: paho.Client,
        userdata: object,
        flags: paho.DisconnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self._down(str(reason))

    def _on_message(self, client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        try:
            self._answered(bytes(message.payload))
        except StoreFailed:
            _log.exception("what the broker knows could not be written down; it is said again")

    def _on_publish(
        self,
        client: paho.Client,
        userdata: object,
        mid: int,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        # "No matching subscribers" is no failure: the device is away and will ask over REST.
        if reason.is_failure:
            self._refused(str(reason))


@lru_cache(maxsize=128)
def _expiring_in(seconds: int) -> Properties:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.MessageExpiryInterval = seconds
    return properties
