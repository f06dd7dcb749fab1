"""Rings between real servers: whose clock counts, two inboxes of one identity, a link that is lost."""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path

import pytest
from between import Between
from facts import eventually
from mosquitto import Mosquitto
from people import People
from relay import Relay

from utdstream import IncomingCallInbox, UTDStreamClient, UTDStreamType, mqtt
from utdstream.testing import Faults, LocalStack
from utdstream.testing.network import why_not

pytestmark = pytest.mark.integration

WATCHER = Path(__file__).parent / "programs" / "inbox_watcher.py"


def rings_of(inbox: IncomingCallInbox) -> list[str]:
    """The ids of the calls that ring there, as a list that grows."""
    seen: list[str] = []
    inbox.ringing.subscribe(lambda ring: seen.append(ring.call_id))
    return seen


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("days", [-1, 1])
def test_ring_when_a_proxys_clock_is_wrong_rings(
    people: People, between: Between, days: int, alone: bool
) -> None:
    """The engine's own word on the time counts; an engine that gives none is believed what rings."""
    between.say_date(format_datetime(datetime.now(timezone.utc) + timedelta(days=days)), alone=alone)
    door, house = people("door"), people("house", base_url=between.url)
    inbox = house.inbox()
    rung = rings_of(inbox)
    call = door.call(UTDStreamType.AUDIO_CALL)
    call.start(callee_identity=house.identity)
    eventually(lambda: rung == [call.call_id.value], lambda: f"it rings, {inbox.counters}", within_s=15)
    if not alone:
        assert abs(house.client.engine_time() - datetime.now(timezone.utc)) < timedelta(minutes=1)
    call.end()


@pytest.mark.parametrize("clients", [1, 2])
def test_inboxes_when_two_are_of_one_identity_share_a_connection(
    people: People, stack: LocalStack, clients: int
) -> None:
    """A broker gives one client id one connection: two in a process threw each other out for ever."""
    door, house = people("door"), people("house")
    other = house.client
    if clients == 2:
        other = UTDStreamClient(stack.app_id, stack.app_key, base_url=stack.base_url)
        people.keep(other)
        other.authenticate(identity=house.identity)
    first = house.inbox()
    downs: list[bool] = []
    first.connected.subscribe(lambda change: downs.append(change.new))
    second = other.incoming_calls()
    second.connected.wait_for(True, timeout=5)
    rung = [rings_of(first), rings_of(second)]
    call = door.call(UTDStreamType.AUDIO_CALL)
    call.start(callee_identity=house.identity)
    eventually(lambda: rung == [[call.call_id.value]] * 2, lambda: f"both ring, {rung}", within_s=15)
    for inbox in (first, second):
        eventually(lambda inbox=inbox: inbox.counters.received >= 1, "by a message, not by asking alone")
    call.end()
    assert downs == []
    first.dispose()
    call.start(callee_identity=house.identity)
    eventually(lambda: len(rung[1]) == 2, "the other one goes on", within_s=15)
    assert (len(rung[0]), second.connected.value) == (1, True)
    call.end()


def test_connected_when_the_cable_is_pulled_is_false_within_ten_seconds(programs: None) -> None:
    """Nobody tells the end of the connection, and nothing comes any more: the kernel sees that."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with ExitStack() as parts:
        faults = parts.enter_context(Faults(LocalStack(open_key=True), with_network=True))
        where = {
            "UTD_BASE_URL": faults.base_url,
            "UTD_APP_ID": faults.stack.app_id,
            "UTD_APP_KEY": faults.stack.app_key,
        }
        watcher = faults.network.popen([sys.executable, str(WATCHER)], env=os.environ | where)
        parts.callback(watcher.communicate)
        assert watcher.stdout is not None
        assert watcher.stdout.readline() == b"up\n"
        with faults.network.unplugged():
            began = time.monotonic()
            assert watcher.stdout.readline() == b"down\n"
            lost_after_s = time.monotonic() - began
        assert watcher.stdout.readline() == b"up\n"
    assert lost_after_s < 10, f"{lost_after_s:.1f} s"


def test_connected_when_the_broker_is_frozen_is_false_after_two_keepalives(
    people: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its kernel answers in its name, as does that of a proxy before it."""
    monkeypatch.setattr(mqtt, "KEEPALIVE_S", 2)
    broker = Mosquitto(tmp_path)
    broker.start()
    house = people("house")
    with Relay("127.0.0.1", broker.port) as relay:
        inbox = house.client.incoming_calls(mqtt.MqttIncomingCalls(host="127.0.0.1", port=relay.port))
        inbox.connected.wait_for(True, timeout=10)
        relay.shut()
        relay.go_silent()
        began = time.monotonic()
        inbox.connected.wait_for(False, timeout=30)
        lost_after_s = time.monotonic() - began
        relay.open()
        inbox.connected.wait_for(True, timeout=15)
        inbox.dispose()
    broker.stop()
    assert lost_after_s < 2 * 2 + 2, f"{lost_after_s:.1f} s"
