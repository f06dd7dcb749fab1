"""Rings through a real broker, of a real engine: deliveries by hundreds, repeated, late, forged, and cut off."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import paho.mqtt.publish
import pytest
from facts import eventually
from mosquitto import Mosquitto
from paho.mqtt.client import MQTTv5
from people import People, Person

from utdstream import UTDCall, UTDStreamType
from utdstream._threads.deadline import Deadline
from utdstream._wire import messages
from utdstream.mqtt import MqttIncomingCalls
from utdstream.testing import LocalStack

pytestmark = [pytest.mark.integration, pytest.mark.slow]

DELIVERIES = int(os.environ.get("UTD_STORM_DELIVERIES", "300"))
COPIES = 10
WITHIN_S = 30.0


def event(kind: str, call: UTDCall) -> bytes:
    return messages.encode_call_event(messages.CallEvent(kind, 1, datetime.now(timezone.utc), call))


def deliver(broker: Mosquitto, topic: str, payloads: Sequence[bytes]) -> None:
    paho.mqtt.publish.multiple(
        [(topic, payload, 1, False) for payload in payloads],
        hostname="127.0.0.1",
        port=broker.port,
        protocol=MQTTv5,
    )


def ring(door: Person, house: Person) -> UTDCall:
    """A call that rings at the house, without a room that anybody joins."""
    return door.client._api.create_call(
        callee_identity=house.identity,
        callee_name=None,
        kind=UTDStreamType.AUDIO_CALL,
        metadata=None,
        deadline=Deadline.after(WITHIN_S, "calling"),
        undo=lambda _: None,
    )


def hang_up(door: Person, call: UTDCall) -> None:
    door.client._api.say(call.call_id, "end", Deadline.after(WITHIN_S, "hanging up"))


@pytest.mark.timeout(900)
def test_rings_when_hundreds_of_messages_come_are_the_live_calls(
    people: People, stack: LocalStack, tmp_path: Path
) -> None:
    """Messages come up to ten times, again when their call is over, and behind a broker that was killed."""
    chance, broker = random.Random(7), Mosquitto(tmp_path)
    broker.start()
    house, door = people("house"), people("door")
    inbox = house.client.incoming_calls(MqttIncomingCalls(host="127.0.0.1", port=broker.port))
    rings: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    inbox.ringing.subscribe(lambda call: rings.update([call.call_id]))
    inbox.cancelled.subscribe(lambda over: ends.update([over.call_id]))
    inbox.connected.wait_for(True, timeout=10)
    topic = messages.calls_topic(stack.app_id, house.identity)
    sent, alive, old, hung_up = 0, list[str](), list[bytes](), set[str]()
    while sent < DELIVERIES:
        call = ring(door, house)
        told = event(messages.CALL_INITIATED, call)
        lives = chance.random() < 0.7
        if not lives:
            hang_up(door, call)
            hung_up.add(call.call_id)
        forged = told.replace(call.call_id.encode(), b"call_ffffffffffffffffffffffff")
        storm = (
            [told] * chance.randint(1, COPIES) + chance.sample(old, min(2, len(old))) + [forged, told[:-7]]
        )
        chance.shuffle(storm)
        if chance.random() < 0.1:
            broker.stop()
            broker.start()
        deliver(broker, topic, storm)
        sent += len(storm)
        old.append(told)
        if lives:
            alive.append(call.call_id)
            eventually(lambda: rings[alive[-1]] == 1, lambda: f"it rings, {inbox.counters}", WITHIN_S)
            hang_up(door, call)
            deliver(broker, topic, [event(messages.CALL_CANCELLED, call)] * chance.randint(1, 3))
            eventually(lambda: ends[alive[-1]] == 1, lambda: f"its end is told, {inbox.counters}", WITHIN_S)
    counters = inbox.counters
    print(f"{sent} deliveries, {len(alive)} live calls of {len(old)}: {counters}")  # noqa: T201
    inbox.dispose()
    broker.stop()
    found = {call_id for call_id in rings if call_id not in alive}
    assert found <= hung_up, "no call that never was"
    assert len(found) <= counters.found_by_poll, (
        "one that was hung up at once may have been found before that"
    )
    assert {rings[call_id] for call_id in (*alive, *found)} == {1}, "each live call once"
    assert ends == rings
