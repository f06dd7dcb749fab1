"""How the engine's tests ask: REST sessions, an MQTT reader, a look into the media server."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from types import TracebackType

import requests
from livekit import api
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from utdstream._session.room import UTDRoom
from utdstream._wire import codec, messages, routes
from utdstream.models import MqttLogin, UTDCall
from utdstream.testing import LocalStack

TIMEOUT_S = 8.0
_numbers = itertools.count(1)


def fresh(name: str) -> str:
    """An identity nobody else in this run has."""
    return f"{name}-{next(_numbers)}/ü"


class Asker:
    """A REST session with fixed headers."""

    def __init__(self, stack: LocalStack, headers: Mapping[str, str], identity: str = "") -> None:
        self.identity = identity
        self.stack = stack
        self._session = requests.Session()
        self.headers = {routes.HEADER_APP_ID: stack.app_id, **headers}
        self._session.headers.update(self.headers)

    def ask(
        self, method: str, path: str, body: object = None, *, raw: bytes | None = None, **headers: str
    ) -> requests.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        return self._session.request(
            method, self.stack.base_url + path, data=data, headers=named, timeout=TIMEOUT_S
        )

    def call(self, callee: str, type: str = "video_call", **fields: object) -> UTDCall:
        answer = self.ask("POST", routes.CALLS, {"callee_identity": callee, "type": type, **fields})
        assert answer.status_code == 201, answer.text
        return codec.parse_call(answer.json())

    def act(self, call_id: str, action: str) -> UTDCall:
        answer = self.ask("POST", routes.call_action(call_id, action))
        assert answer.status_code == 200, answer.text
        return codec.parse_call(answer.json())

    def get(self, call_id: str) -> UTDCall:
        answer = self.ask("GET", routes.call(call_id))
        assert answer.status_code == 200, answer.text
        return codec.parse_call(answer.json())

    def close(self) -> None:
        self._session.close()


class Site:
    """Makes askers of one stack and closes them."""

    def __init__(self, stack: LocalStack) -> None:
        self.stack = stack
        self._askers: list[Asker] = []

    def _keep(self, asker: Asker) -> Asker:
        self._askers.append(asker)
        return asker

    def with_headers(self, **headers: str) -> Asker:
        return self._keep(
            Asker(self.stack, {name.replace("_", "-"): value for name, value in headers.items()})
        )

    def server(self) -> Asker:
        return self._keep(Asker(self.stack, {routes.HEADER_APP_SECRET: self.stack.app_secret}))

    def app(self) -> Asker:
        return self._keep(Asker(self.stack, {routes.HEADER_APP_KEY: self.stack.app_key}))

    def person(self, identity: str, key: str | None = None) -> Asker:
        """Signed in by a key of its own, or by the open key."""
        app = self.app() if key is None else self.with_headers(X_App_Key=key)
        answer = app.ask("POST", routes.AUTH_SESSION, {"identity": identity})
        assert answer.status_code == 200, answer.text
        bearer = f"Bearer {answer.json()['user_token']}"
        return self._keep(Asker(self.stack, {"Authorization": bearer}, identity))

    def close(self) -> None:
        for asker in self._askers:
            asker.close()


class EventReader(AbstractContextManager["EventReader"]):
    """A device's MQTT connection: subscribes to `topics` and keeps what comes."""

    def __init__(self, login: MqttLogin, topics: tuple[str, ...] | None = None) -> None:
        self.events: list[messages.CallEvent] = []
        self.granted: list[bool] = []
        self.is_connected = False
        self.refusals: list[str] = []
        self._topics = topics or (login.topic,)
        self._changed = threading.Condition()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._client.username_pw_set(login.username, login.password)
        self._client.reconnect_delay_set(0.2, 0.5)  # type: ignore[arg-type]
        self._client.on_connect = self._connected
        self._client.on_disconnect = self._disconnected
        self._client.on_subscribe = self._subscribed
        self._client.on_message = self._message
        self._client.connect(login.host, login.port)
        self._client.loop_start()
        if not self.wait(lambda: len(self.granted) >= len(self._topics)):
            self.__exit__(None, None, None)
            raise AssertionError("no answer to the subscription")

    def wait(self, fact: Callable[[], bool], within_s: float = 5.0) -> bool:
        with self._changed:
            return self._changed.wait_for(fact, within_s)

    def wait_for(self, event: str, call_id: str | None = None, within_s: float = 5.0) -> messages.CallEvent:
        found: list[messages.CallEvent] = []

        def is_there() -> bool:
            found[:] = [e for e in self.events if e.event == event and call_id in (None, e.call.call_id)]
            return bool(found)

        assert self.wait(is_there, within_s), (
            f"no {event} of {call_id or 'any call'}; there are {self.events}"
        )
        return found[0]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(
        self, client: paho.Client, userdata: object, flags: object, reason: ReasonCode, properties: object
    ) -> None:
        self.is_connected = not reason.is_failure
        if reason.is_failure:
            self.refusals.append(str(reason))
            return
        client.subscribe([(topic, SubscribeOptions(qos=1)) for topic in self._topics])

    def _disconnected(self, *_: object) -> None:
        self.is_connected = False

    def _subscribed(
        self, client: object, userdata: object, mid: int, reasons: list[ReasonCode], properties: object
    ) -> None:
        with self._changed:
            self.granted += [not reason.is_failure for reason in reasons]
            self._changed.notify_all()

    def _message(self, client: object, userdata: object, message: paho.MQTTMessage) -> None:
        event = messages.parse_call_event(bytes(message.payload))
        assert event is not None
        assert not message.retain
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()


class UpdateReader:
    """Keeps the `_call_update` messages that reach a joined room."""

    def __init__(self, room: UTDRoom) -> None:
        self.updates: list[UTDCall] = []
        self._subscription = room.messages.subscribe(
            lambda message: self.updates.extend(filter(None, [messages.parse_call_update(message.data)]))
        )

    def statuses(self) -> list[str]:
        return [call.status.wire for call in self.updates]


def rooms_of(stack: LocalStack, name: str) -> list[dict[str, object]]:
    """The rooms of this name on the media server, asked directly."""
    return _twirp(stack, "ListRooms", {"names": [name]}).get("rooms", [])  # type: ignore[return-value]


def people_of(stack: LocalStack, name: str) -> list[str]:
    """The identities in a room on the media server, asked directly."""
    people = _twirp(stack, "ListParticipants", {"room": name}).get("participants", [])
    return sorted(person["identity"] for person in people)  # type: ignore[attr-defined]


def person_of(stack: LocalStack, name: str, identity: str) -> dict[str, object]:
    """Somebody in a room as the media server sees him; empty when he is not there."""
    return _twirp(stack, "GetParticipant", {"room": name, "identity": identity})


def _twirp(stack: LocalStack, method: str, body: dict[str, object]) -> dict[str, object]:
    grants = api.VideoGrants(room_list=True, room_admin=True, room=str(body.get("room", "")))
    token = (
        api.AccessToken(stack.livekit_api_key, stack.livekit_api_secret)
        .with_grants(grants)
        .with_ttl(timedelta(minutes=1))
        .to_jwt()
    )
    answer = requests.post(
        f"{stack.livekit_url.replace('ws', 'http', 1)}/twirp/livekit.RoomService/{method}",
        json=body,
        headers={"Authorization": f"Bearer {token}"},
        timeout=TIMEOUT_S,
    )
    return answer.json() if answer.status_code == 200 else {}
