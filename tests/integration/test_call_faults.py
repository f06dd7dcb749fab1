"""What a call survives, and how soon it says what it does not survive."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from callee_process import callee_process
from engine_site import people_of
from facts import eventually
from media_rooms import hear
from people import People

from utdstream import (
    CallNotAnswered,
    Connection,
    ConnectionState,
    DeadlineExceeded,
    Devices,
    UTDCallStatus,
    UTDStreamType,
)
from utdstream.synthetic import NullSpeaker
from utdstream.testing import LocalStack

pytestmark = pytest.mark.integration

S = UTDCallStatus
AWAY_S = 3.0
PROGRAMS = Path(__file__).parent / "programs"


def as_server(stack: LocalStack) -> dict[str, str]:
    return {"X-App-Id": stack.app_id, "X-App-Secret": stack.app_secret}


def test_call_when_the_engine_is_killed_and_restarted_while_it_rings_survives(own_people: People) -> None:
    """The ring goes on, and the answer is given to the engine that came back."""
    stack = own_people.stack
    door, house = own_people("door"), own_people("house")
    inbox = house.inbox()
    calling = door.call()
    calling.start(callee_identity=house.identity)
    incoming = inbox.ringing.wait(timeout=10)
    stack.kill("engine")
    stack.start("engine")
    incoming.accept()
    assert calling.wait_for_answer(timeout=10).status is S.ACTIVE
    calling.end()


def test_ring_when_the_broker_was_killed_and_restarted_arrives(own_people: People) -> None:
    """An inbox that waits is back by itself, and a call made then rings once."""
    stack = own_people.stack
    door, house = own_people("door"), own_people("house")
    inbox = house.inbox()
    stack.kill("mqtt")
    inbox.connected.wait_for(False, timeout=10)
    stack.start("mqtt")
    restarted = time.monotonic()
    inbox.connected.wait_for(True, timeout=10)
    assert time.monotonic() - restarted < 2.0, "back within 2 s of the broker's return"
    calling = door.call()
    calling.start(callee_identity=house.identity)
    inbox.ringing.wait(timeout=10).accept()
    calling.wait_for_answer(timeout=10)
    assert inbox.counters.rung == 1


def test_ring_when_the_broker_is_down_is_found(own_people: People) -> None:
    """A message that is lost costs at most 5 s: the inbox asks."""
    stack = own_people.stack
    door, house = own_people("door"), own_people("house")
    inbox = house.inbox()
    stack.kill("mqtt")
    try:
        inbox.connected.wait_for(False, timeout=10)
        calling = door.call()
        pressed = time.monotonic()
        calling.start(callee_identity=house.identity)
        inbox.ringing.wait(timeout=15)
        assert time.monotonic() - pressed < 5.0
        calling.end()
    finally:
        stack.start("mqtt")


def test_call_when_its_room_is_deleted_by_the_sfu_ends_on_both_sides(own_people: People) -> None:
    """Somebody deletes the room in the middle of the call: both are told, the engine's call is over."""
    stack = own_people.stack
    door, house = own_people("door"), own_people("house")
    inbox = house.inbox()
    calling = door.call()
    call = calling.start(callee_identity=house.identity)
    answering = inbox.ringing.wait(timeout=10).accept()
    calling.wait_for_answer(timeout=10)
    from livekit import api

    token = (
        api.AccessToken(stack.livekit_api_key, stack.livekit_api_secret)
        .with_grants(api.VideoGrants(room_create=True))
        .to_jwt()
    )
    deleted = requests.post(
        stack.livekit_url.replace("ws", "http", 1) + "/twirp/livekit.RoomService/DeleteRoom",
        json={"room": call.room_name},
        headers={"Authorization": f"Bearer {token}"},
        timeout=10,
    )
    assert deleted.status_code == 200
    calling.status.wait_for(S.ENDED, timeout=10)
    answering.status.wait_for(S.ENDED, timeout=10)
    calling.connected.wait_for(False, timeout=5)
    url = f"{stack.base_url}/api/v1/calls/{call.call_id}"
    eventually(
        lambda: requests.get(url, headers=as_server(stack), timeout=10).json()["status"] == "ended",
        "the engine was told",
    )


@pytest.fixture
def impatient(programs: None) -> Iterator[People]:
    """People of an engine that waits for a party that vanished for `AWAY_S` only."""
    with LocalStack(project={"call_away_s": AWAY_S}) as stack:
        made = People(stack)
        yield made
        made.close()


@pytest.fixture
def doomed_callee(impatient: People) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A callee process that waits for a ring, and its identity."""
    identity = impatient("victim").identity
    with callee_process(impatient.stack, identity) as process:
        yield process, identity


@pytest.mark.slow
def test_call_when_the_callee_is_killed_and_does_not_come_back_ends(
    impatient: People, doomed_callee: tuple[subprocess.Popen[str], str]
) -> None:
    """`kill -9`: the caller is told soon, the SFU needs 20 s, the engine waits for as long as it is set to.

    Also when nothing of the callee was to be heard any more.
    """
    process, identity = doomed_callee
    calling = impatient("door").call()
    call_id = calling.start(callee_identity=identity).call_id
    calling.wait_for_answer(timeout=15)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "answered\n"
    hear(calling.room, 1000)
    process.stdin.write("mute\n")
    process.stdin.flush()
    assert process.stdout.readline() == "muted\n"
    room = calling._media.life
    assert room is not None
    assert room.connection is not None
    heartbeat = room.connection._heartbeat
    assert heartbeat is not None
    eventually(lambda: heartbeat.is_expected, "the callee has said that it is there", 20)
    process.kill()
    killed = time.monotonic()
    away = Connection(ConnectionState.RECONNECTING, "PEER_AWAY")
    calling.connection.wait_for(away, timeout=20)
    assert identity in people_of(impatient.stack, call_id)
    assert calling.status.value is S.ACTIVE
    calling.status.wait_for(S.ENDED, timeout=40)
    assert time.monotonic() - killed < 20.0 + AWAY_S + 10.0
    eventually(lambda: not calling.connected.value, "the room was left")


@pytest.mark.slow
def test_callee_when_it_is_frozen_is_shown_as_away_until_it_goes_on(
    impatient: People, doomed_callee: tuple[subprocess.Popen[str], str]
) -> None:
    """The caller's own connection stands, so the other side is to be waited for."""
    process, identity = doomed_callee
    calling = impatient("door").call()
    calling.start(callee_identity=identity)
    calling.wait_for_answer(timeout=15)
    hear(calling.room, 1000)
    process.send_signal(signal.SIGSTOP)
    calling.connection.wait_for(Connection(ConnectionState.RECONNECTING, "PEER_AWAY"), timeout=40)
    assert not calling.connected.value
    process.send_signal(signal.SIGCONT)
    calling.connected.wait_for(True, timeout=20)
    hear(calling.room, 1000)


def test_end_when_the_engine_is_down_ends_the_call_here_and_later_there(own_people: People) -> None:
    """The engine cannot be told: the call is over here at once, and the engine learns it when it is back."""
    stack = own_people.stack
    door, house = own_people("door"), own_people("house")
    inbox = house.inbox()
    calling = door.call()
    call = calling.start(callee_identity=house.identity)
    inbox.ringing.wait(timeout=10).accept()
    calling.wait_for_answer(timeout=10)
    stack.kill("engine")
    with pytest.raises(ConnectionError, match="engine"):
        calling.end(timeout=2)
    assert calling.status.value is S.ENDED
    assert not calling.connected.value
    stack.start("engine")
    eventually(
        lambda: (
            requests.get(
                f"{stack.base_url}/api/v1/calls/{call.call_id}", headers=as_server(stack), timeout=10
            ).json()["status"]
            == "ended"
        ),
        "the engine learnt that the call is over",
        within_s=20,
    )


def test_caller_process_when_it_gives_up_waiting_can_still_be_answered(people: People) -> None:
    """A passed deadline of wait_for_answer is no hang-up: the call goes on ringing."""
    door, house = people("door"), people("house")
    inbox = house.inbox()
    calling = door.call()
    calling.start(callee_identity=house.identity)
    incoming = inbox.ringing.wait(timeout=10)
    with pytest.raises(TimeoutError):
        calling.wait_for_answer(timeout=0.05)
    incoming.accept()
    assert calling.wait_for_answer(timeout=10).status is S.ACTIVE


class StuckSpeaker(NullSpeaker):
    """A sound card that does not stop before it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_stop = threading.Event()

    def stop(self) -> None:
        self.may_stop.wait(10)
        super().stop()


def test_start_when_the_room_of_the_call_before_is_slow_to_leave_keeps_its_deadline(people: People) -> None:
    """The one second of the caller counts, not the five of leaving; and no call is left behind."""
    speaker = StuckSpeaker()
    door, house = people("door", Devices(speaker=speaker)), people("house", Devices())
    inbox = house.inbox()
    calling = door.call(UTDStreamType.AUDIO_CALL)
    calling.start(callee_identity=house.identity)
    answering = inbox.ringing.wait(timeout=10).accept()
    calling.wait_for_answer(timeout=10)
    answering.end()
    calling.status.wait_for(S.ENDED, timeout=10)
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="the call before"):
        calling.start(callee_identity=house.identity, timeout=1)
    assert time.monotonic() - began < 2.0
    speaker.may_stop.set()
    calling.start(callee_identity=house.identity)
    inbox.ringing.wait(timeout=10)
    assert inbox.counters.rung == 2, "the start that gave up called nobody"
    calling.end()


def test_end_when_the_room_is_slow_to_leave_keeps_its_deadline(people: People) -> None:
    """A short timeout is kept; the call is over here and there, and the speaker stops when it can."""
    speaker = StuckSpeaker()
    door, house = people("door", Devices(speaker=speaker)), people("house", Devices())
    inbox = house.inbox()
    calling = door.call(UTDStreamType.AUDIO_CALL)
    calling.start(callee_identity=house.identity)
    answering = inbox.ringing.wait(timeout=10).accept()
    calling.wait_for_answer(timeout=10)
    began = time.monotonic()
    calling.end(timeout=0.1)
    assert time.monotonic() - began < 0.4
    assert calling.status.value is S.ENDED
    answering.status.wait_for(S.ENDED, timeout=10)
    speaker.may_stop.set()


def test_call_when_refused_while_the_caller_still_joins_is_told_as_refused(people: People) -> None:
    """A reject that comes before `start` has joined ends in CallNotAnswered, not in a media error."""
    door, house = people("door"), people("house")
    inbox = house.inbox()
    inbox.ringing.subscribe(lambda incoming: incoming.reject())
    calling = door.call()

    def call_and_wait() -> None:
        calling.start(callee_identity=house.identity)
        calling.wait_for_answer(timeout=5)

    with pytest.raises(CallNotAnswered) as refusal:
        call_and_wait()
    assert refusal.value.status is S.REJECTED
