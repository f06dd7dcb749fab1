"""The engine (9) and the broker (8)."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from kinds import Fault
from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.subscribeoptions import SubscribeOptions
from scene import RESTART_S, Scene, Side

from utdstream._rings.broker import default_client_id
from utdstream._wire import messages
from utdstream.testing.gate import RequestAnswer

HTML = {"Content-Type": "text/html"}
PORTAL = (
    RequestAnswer(502, b"<html>Bad Gateway</html>", HTML),
    RequestAnswer(200, b"<html>Please sign in to the Wi-Fi</html>", HTML),
    RequestAnswer(302, b"", {"Location": "http://127.0.0.1:9/portal"}),
)
LIMITED = (
    RequestAnswer(429, b'{"error": "slow down", "code": "rate_limited"}'),
    RequestAnswer(429, b"{}", {"Content-Type": "application/json", "Retry-After": "1"}),
)
CONTROL = "$CONTROL/dynamic-security/v1"
BAD_LOGIN = b"\x20\x03\x00\x86\x00"
"""CONNACK of MQTT 5: bad user name or password."""


@contextmanager
def unreachable(scene: Scene, _victim: Side) -> Iterator[None]:
    with scene.faults.refuse("engine"):
        yield


@contextmanager
def restarted(scene: Scene, _victim: Side) -> Iterator[None]:
    with scene.faults.killed("engine", timeout=RESTART_S):
        yield


def answers(*given: RequestAnswer) -> Callable[[Scene, Side], ExitStack]:
    """The victim gets these in turn, whatever it asks."""

    def strike(scene: Scene, victim: Side) -> ExitStack:
        turn = itertools.cycle(given)
        parts = ExitStack()
        parts.enter_context(
            scene.faults.requests.change("", lambda _: next(turn), only=victim.identity)
            if len(given) > 1
            else scene.faults.requests.answer("", given[0], only=victim.identity)
        )
        return parts

    return strike


@contextmanager
def slow(scene: Scene, victim: Side) -> Iterator[None]:
    """Held for as long as the fault; 30 s are as good as any time."""
    with scene.faults.requests.hold_requests("", only=victim.identity):
        yield


@contextmanager
def cut_off(scene: Scene, victim: Side) -> Iterator[None]:
    def half(answer: RequestAnswer) -> RequestAnswer:
        return dataclasses.replace(answer, cut_off_at=len(answer.body) // 2)

    with scene.faults.requests.change("", half, only=victim.identity):
        yield


@contextmanager
def wrong_types(scene: Scene, victim: Side) -> Iterator[None]:
    def bend(answer: RequestAnswer) -> RequestAnswer:
        said = json.loads(answer.body)
        if isinstance(said, dict):
            said = {**said, "status": "dancing", "call_id": 7, "data": "none", "url": None}
        return dataclasses.replace(answer, body=json.dumps(said).encode())

    with scene.faults.requests.change("", bend, only=victim.identity):
        yield


@contextmanager
def lost(scene: Scene, victim: Side) -> Iterator[None]:
    with scene.faults.requests.lose_answers("", only=victim.identity):
        yield


# -- the broker ------------------------------------------------------------------------------------


@contextmanager
def broker_away(scene: Scene, _victim: Side) -> Iterator[None]:
    with scene.faults.killed("mqtt", timeout=RESTART_S):
        yield


@contextmanager
def broker_forgets(scene: Scene, _victim: Side) -> Iterator[None]:
    """Killed, and what it had kept of its sessions is gone."""
    stack = scene.faults.stack
    with scene.faults.killed("mqtt", timeout=RESTART_S):
        for kept in stack._settings.folder.glob("mqtt/*.db*"):
            kept.unlink(missing_ok=True)
        yield


def client_of(side: Side, client_id: str) -> Client:
    """A client with the login of a side."""
    assert side.client._mint is not None
    login = side.client._mint.mqtt
    assert login is not None
    client = Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTv5)
    client.username_pw_set(login.username, login.password)
    return client


@contextmanager
def kicked(scene: Scene, _victim: Side) -> Iterator[None]:
    """Another client takes the inbox's id, once."""
    side, stack = scene.house, scene.faults.stack
    assert side.client._mint is not None
    login = side.client._mint.mqtt
    assert login is not None
    rival = client_of(side, default_client_id(stack.app_id, side.identity, login.password))
    rival.connect("127.0.0.1", stack._settings.ports.mqtt or 0)
    rival.loop_start()
    time.sleep(0.3)
    rival.disconnect()
    rival.loop_stop()
    yield


@contextmanager
def login_refused(scene: Scene, _victim: Side) -> Iterator[None]:
    """The inbox's connection breaks, and its password is refused as after a rotation."""
    identity = scene.house.identity
    with scene.faults.turn_away("mqtt", answer=BAD_LOGIN, only=identity):
        scene.faults.reset("mqtt", only=identity)
        yield


class EngineAtBroker:
    """A client with the engine's login: it hears what devices are told, and may say it again."""

    def __init__(self, scene: Scene) -> None:
        settings = scene.faults.stack._settings
        self.heard: list[MQTTMessage] = []
        self._subscribed = threading.Event()
        self._client = Client(
            CallbackAPIVersion.VERSION2, client_id=f"again-{random.random()}", protocol=MQTTv5
        )
        self._client.username_pw_set("engine", settings.secrets.mqtt_password)
        self._client.on_connect = lambda client, *_: client.subscribe(
            "utdstream/#", options=SubscribeOptions(qos=1)
        )
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = lambda _client, _data, message: self.heard.append(message)
        self._client.connect("127.0.0.1", settings.ports.mqtt_engine or 0)
        self._client.loop_start()
        self._subscribed.wait(10)

    def say(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(10)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@contextmanager
def engine_at_broker(scene: Scene) -> Iterator[EngineAtBroker]:
    one = EngineAtBroker(scene)
    try:
        yield one
    finally:
        one.close()


def topic_of(scene: Scene) -> str:
    return messages.calls_topic(scene.faults.stack.app_id, scene.house.identity)


@contextmanager
def subscription_refused(scene: Scene, _victim: Side) -> Iterator[None]:
    """The house may log in, and not subscribe to its own topic."""
    mint = scene.house.client._mint
    assert mint is not None
    assert mint.mqtt is not None
    right = {
        "rolename": mint.mqtt.username,
        "acltype": "subscribeLiteral",
        "topic": topic_of(scene),
        "allow": True,
    }

    with engine_at_broker(scene) as engine:

        def change(command: str) -> None:
            engine.say(CONTROL, json.dumps({"commands": [{"command": command, **right}]}).encode())
            scene.faults.reset("mqtt", only=scene.house.identity)

        change("removeRoleACL")
        try:
            yield
        finally:
            change("addRoleACL")


@contextmanager
def again_and_again(scene: Scene, _victim: Side) -> Iterator[None]:
    """What the house is told meanwhile comes three times more, the last first."""
    with engine_at_broker(scene) as engine:
        yield
        for message in reversed([*engine.heard] * 3):
            engine.say(message.topic, bytes(message.payload))


@contextmanager
def garbage(scene: Scene, _victim: Side) -> Iterator[None]:
    """Bytes that are no text, and the longest message that the broker takes."""
    with engine_at_broker(scene) as engine:
        for payload in (b"\xff\x00\xfe" * 50, b"{" * 100_000, b"[" * 5000, b'{"type": 7}', b""):
            engine.say(topic_of(scene), payload)
        yield


@contextmanager
def stale_ring(scene: Scene, _victim: Side) -> Iterator[None]:
    """A retained ring of a call that was over long ago."""
    old = {
        "type": messages.CALL_INITIATED,
        "call": {
            "call_id": "call-of-yesterday",
            "caller_identity": "yesterday",
            "callee_identity": scene.house.identity,
            "type": "audio_call",
            "status": "initiating",
            "rev": 1,
        },
    }
    before = len(scene.house.rung)
    with engine_at_broker(scene) as engine:
        engine.say(topic_of(scene), json.dumps(old).encode(), retain=True)
        try:
            scene.faults.reset("mqtt", only=scene.house.identity)
            yield
        finally:
            engine.say(topic_of(scene), b"", retain=True)
    assert len(scene.house.rung) == before, "the stale ring has rung"


FAULTS = (
    Fault("the engine is down", unreachable, meets=True),
    Fault("the engine answers 500", answers(RequestAnswer(500, b'{"error": "oops"}')), meets=True),
    Fault("502, and a captive portal's pages", answers(*PORTAL), meets=True),
    Fault("the engine answers late", slow, meets=True, lasts_s=(2.0, 4.0)),
    Fault("answers are cut off", cut_off, meets=True),
    Fault("wrong types and unknown words in answers", wrong_types, meets=True),
    Fault("429, with and without Retry-After", answers(*LIMITED), meets=True),
    Fault("answers are lost after the commit", lost, meets=True),
    Fault("the engine restarts with open calls", restarted),
    # the broker
    Fault("the broker is down", broker_away),
    Fault("the broker restarts without what it had kept", broker_forgets),
    Fault("kicked by the same client id", kicked),
    Fault("the broker's password is refused", login_refused, meets=True),
    Fault("the broker refuses the subscription", subscription_refused),
    Fault("messages come doubled and in another order", again_and_again),
    Fault("binary and very long messages", garbage),
    Fault("a retained ring of long ago", stale_ring),
)
