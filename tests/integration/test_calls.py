"""Calls between two people on the real servers, every way a call can go."""

from __future__ import annotations

import itertools
import threading

import numpy
import pytest
from facts import eventually
from people import People, Person, statuses

from utdstream import (
    CallNotAnswered,
    Conflict,
    Devices,
    IncomingCall,
    InvalidCallTransition,
    UTDCallSession,
    UTDCallStatus,
    UTDStreamType,
)
from utdstream.synthetic import ToneMicrophone, read_counter
from utdstream.testing import LocalStack

pytestmark = pytest.mark.integration

S = UTDCallStatus


def dominant_hz(session: UTDCallSession) -> float:
    """The strongest frequency of the second half-second that is not silent."""
    pcm = b"".join(
        bytes(frame.data)
        for frame in itertools.islice((f for f in session.audio_frames() if any(f.data)), 100)
    )
    samples = numpy.frombuffer(pcm, dtype=numpy.int16)[24_000:]
    return float(numpy.argmax(numpy.abs(numpy.fft.rfft(samples)))) * 48_000 / len(samples)


def ring(callee: Person, caller: Person) -> tuple[UTDCallSession, IncomingCall]:
    """The caller's session, and the ring it makes at the callee's."""
    inbox = callee.inbox()
    session = caller.call()
    session.start(callee_identity=callee.identity)
    return session, inbox.ringing.wait(timeout=10)


def connect_pair(caller: Person, callee: Person) -> tuple[UTDCallSession, UTDCallSession]:
    """Both sides of an answered call."""
    session, incoming = ring(callee, caller)
    other = incoming.accept()
    session.wait_for_answer(timeout=10)
    return session, other


def test_call_when_answered_carries_sound_both_ways_and_pictures(people: People) -> None:
    """After the answer each side hears the other's tone and sees its counter."""
    door = people("door", None)
    house = people("house", Devices(microphone=ToneMicrophone(700)))
    calling, answering = connect_pair(door, house)
    assert dominant_hz(answering) == pytest.approx(1000, abs=5)
    assert dominant_hz(calling) == pytest.approx(700, abs=5)
    counters = [read_counter(frame) for frame in itertools.islice(answering.video_frames(timeout=10), 10)]
    read = [counter for counter in counters if counter is not None]
    assert len(read) >= 8
    assert read == sorted(read)
    assert answering.snapshot().startswith(b"\x89PNG")


def test_call_when_answered_after_ringing_goes_through_every_state(people: People) -> None:
    """Caller: initiating, ringing, active, ended. Callee: ringing, active, ended."""
    door, house = people("door"), people("house")
    inbox = house.inbox()
    calling, answering = door.call(), house.call()
    door_saw, house_saw = statuses(calling), statuses(answering)
    calling.start(callee_identity=house.identity)
    incoming = inbox.ringing.wait(timeout=10)
    answering.ringing(incoming.call_id)
    calling.status.wait_for(S.RINGING, timeout=5)
    answering.accept(incoming.call_id)
    assert calling.wait_for_answer(timeout=5).status is S.ACTIVE
    calling.end()
    answering.status.wait_for(S.ENDED, timeout=5)
    eventually(lambda: door_saw == ["initiating", "ringing", "active", "ended"], f"door saw {door_saw}")
    eventually(lambda: house_saw == ["ringing", "active", "ended"], f"house saw {house_saw}")


def test_accept_when_made_inside_the_ring_callback_connects(people: People) -> None:
    """`on_ring` may call the blocking `accept` on its own thread."""
    door, house = people("door"), people("house")
    inbox = house.inbox()
    answered: list[UTDCallSession] = []
    inbox.ringing.subscribe(lambda incoming: answered.append(incoming.accept()))
    calling = door.call()
    calling.start(callee_identity=house.identity)
    calling.wait_for_answer(timeout=10)
    eventually(lambda: len(answered) == 1, "the callback finished")
    assert answered[0].status.value is S.ACTIVE


def test_accept_when_no_device_said_ringing_leads_straight_to_active(people: People) -> None:
    """An accept needs no ringing before it."""
    door, house = people("door"), people("house")
    inbox = house.inbox()
    calling = door.call()
    saw = statuses(calling)
    calling.start(callee_identity=house.identity)
    house.call().accept(inbox.ringing.wait(timeout=10).call_id)
    calling.wait_for_answer(timeout=10)
    eventually(lambda: saw == ["initiating", "active"], f"the caller saw {saw}")


def test_call_when_rejected_tells_the_caller_at_once(people: People) -> None:
    """`reject` ends the wait with CallNotAnswered(REJECTED)."""
    door, house = people("door"), people("house")
    calling, incoming = ring(house, door)
    incoming.reject()
    with pytest.raises(CallNotAnswered) as refusal:
        calling.wait_for_answer(timeout=5)
    assert refusal.value.status is S.REJECTED
    calling.connected.wait_for(False, timeout=5)


def test_call_when_the_callee_says_busy_ends_as_busy(people: People) -> None:
    """`busy` ends the wait with CallNotAnswered(BUSY)."""
    door, house = people("door"), people("house")
    calling, incoming = ring(house, door)
    incoming.busy()
    with pytest.raises(CallNotAnswered) as refusal:
        calling.wait_for_answer(timeout=5)
    assert refusal.value.status is S.BUSY


def test_call_when_the_callee_is_on_another_call_is_a_conflict(people: People) -> None:
    """The engine knows who is busy: status BUSY and Conflict, nothing rings."""
    door, house, third = people("door"), people("house"), people("third")
    connect_pair(door, house)
    late = third.call()
    with pytest.raises(Conflict, match="already on a call"):
        late.start(callee_identity=house.identity)
    assert late.status.value is S.BUSY


def test_inbox_when_in_a_call_hears_the_door_that_may_break_in(people: People) -> None:
    """The callee talks, the door rings, another caller gets busy; an answer leaves the talk until it is ended."""
    flat, house, door, other = (people(name) for name in ("flat", "house", "door", "other"))
    people.stack.issue_key(house.identity, allow_break_in=[door.identity])
    inbox = house.inbox()
    talking = flat.call()
    talking.start(callee_identity=house.identity)
    talk = inbox.ringing.wait(timeout=10).accept()
    with pytest.raises(Conflict, match="already on a call"):
        other.call().start(callee_identity=house.identity)
    session = door.call()
    session.start(callee_identity=house.identity)
    incoming = inbox.ringing.wait(timeout=10)
    answered = incoming.accept()
    session.wait_for_answer(timeout=10)
    assert (talk.status.value, answered.status.value) == (S.ACTIVE, S.ACTIVE)
    talk.end()
    assert dominant_hz(session) == pytest.approx(1000, abs=20)
    assert answered.status.value is S.ACTIVE


def test_inbox_when_several_call_rings_for_each_and_an_answer_ends_no_other(people: People) -> None:
    """Call waiting: one caller gives up, one is answered, the third goes on ringing and is answered next."""
    house = people("house")
    inbox = house.inbox()
    cancelled: list[str] = []
    inbox.cancelled.subscribe(lambda cancel: cancelled.append(cancel.call_id))
    sessions, rings = [], []
    for name in ("door", "gate", "garage"):
        caller = people(name)
        session = caller.call()
        session.start(callee_identity=house.identity)
        rings.append(
            inbox.ringing.wait(lambda call, who=caller.identity: call.caller_identity == who, timeout=10)
        )
        sessions.append(session)
    sessions[0].end()
    eventually(lambda: cancelled == [rings[0].call_id], "the one that gave up is silent", 10)
    first = rings[2].accept()
    sessions[2].wait_for_answer(timeout=10)
    assert sessions[1].status.value in (S.INITIATING, S.RINGING)
    first.end()
    second = rings[1].accept()
    sessions[1].wait_for_answer(timeout=10)
    assert second.status.value is S.ACTIVE
    assert cancelled == [rings[0].call_id]


def test_call_when_unanswered_is_missed_on_both_sides(own_people: People) -> None:
    """After the ring time the caller's call is MISSED and the ring is cancelled."""
    door, house = own_people("door"), own_people("house")
    inbox = house.inbox()
    calling = door.call()
    calling.start(callee_identity=house.identity)
    incoming = inbox.ringing.wait(timeout=10)
    with pytest.raises(CallNotAnswered) as refusal:
        calling.wait_for_answer(timeout=20)
    assert refusal.value.status is S.MISSED
    eventually(lambda: inbox.counters.cancelled == 1, "the ring was cancelled", 10)
    with pytest.raises(Conflict):
        incoming.accept()


def test_caller_when_giving_up_while_it_rings_cancels_the_ring(people: People) -> None:
    """`end` before the answer silences the callee."""
    door, house = people("door"), people("house")
    inbox = house.inbox()
    cancelled = threading.Event()
    inbox.cancelled.subscribe(lambda cancel: cancelled.set())
    calling = door.call()
    calling.start(callee_identity=house.identity)
    inbox.ringing.wait(timeout=10)
    calling.end()
    assert calling.status.value is S.ENDED
    assert cancelled.wait(5)


def test_end_when_both_sides_hang_up_at_once_is_no_error(people: People) -> None:
    """Two `end`s of one call meet: both return, both are ended."""
    door, house = people("door"), people("house")
    calling, answering = connect_pair(door, house)
    failures: list[BaseException] = []
    barrier = threading.Barrier(2)

    def hang_up(session: UTDCallSession) -> None:
        barrier.wait()
        try:
            session.end()
        except BaseException as error:  # noqa: BLE001 - collected for the assertion
            failures.append(error)

    threads = [threading.Thread(target=hang_up, args=(session,)) for session in (calling, answering)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
    assert failures == []
    assert (calling.status.value, answering.status.value) == (S.ENDED, S.ENDED)


def test_end_when_said_twice_or_without_a_call_is_no_error(people: People) -> None:
    """Hanging up what is over is never an error."""
    door, house = people("door"), people("house")
    door.call().end()
    calling, _ = connect_pair(door, house)
    calling.end()
    calling.end()
    assert calling.status.value is S.ENDED


def test_accept_when_done_twice_is_refused_and_the_call_goes_on(people: People) -> None:
    """The same session says so itself; another device learns it from the engine."""
    door, house = people("door"), people("house")
    calling, incoming = ring(house, door)
    answering = incoming.accept()
    with pytest.raises(InvalidCallTransition):
        answering.accept(incoming.call_id)
    with pytest.raises(Conflict):
        house.call().accept(incoming.call_id)
    assert calling.wait_for_answer(timeout=5).status is S.ACTIVE
    assert answering.status.value is S.ACTIVE
    assert answering.connected.value


def test_session_when_a_call_is_over_is_reusable(people: People) -> None:
    """`end` keeps the object: the next start is a new call with a new id."""
    door, house = people("door"), people("house")
    inbox = house.inbox()
    calling = door.call()
    ids = set()
    for _ in range(3):
        call = calling.start(callee_identity=house.identity)
        ids.add(call.call_id)
        incoming = inbox.ringing.wait(lambda i, wanted=call.call_id: i.call_id == wanted, timeout=10)
        answering = incoming.accept()
        calling.wait_for_answer(timeout=10)
        answering.end()
        calling.status.wait_for(S.ENDED, timeout=5)
        answering.dispose()
    assert len(ids) == 3


def test_call_when_there_is_no_device_still_connects(people: People) -> None:
    """No microphone, no camera: nothing is published and the call succeeds."""
    door, house = people("door", Devices()), people("house", Devices())
    calling, answering = connect_pair(door, house)
    assert (calling.status.value, answering.status.value) == (S.ACTIVE, S.ACTIVE)
    assert not calling.microphone_on.value
    assert not calling.camera_on.value


def test_audio_call_when_a_camera_is_there_publishes_no_picture(people: People) -> None:
    """The camera of the client's devices is not touched by an audio call."""
    door, house = people("door"), people("house")
    inbox = house.inbox()
    calling = door.call(UTDStreamType.AUDIO_CALL)
    calling.start(callee_identity=house.identity)
    answering = inbox.ringing.wait(timeout=10).accept()
    calling.wait_for_answer(timeout=10)
    assert answering.type is UTDStreamType.AUDIO_CALL
    assert calling.microphone_on.value
    assert not calling.camera_on.value


def test_answer_when_given_on_one_device_silences_the_other(people: People) -> None:
    """Two devices of one identity ring; the one that did not answer is told."""
    door = people("door")
    first, second = people("house"), people("other")
    # a second device of the same identity: its own client, its own inbox
    second.client.dispose()
    twin = type(first.client)(
        people.stack.app_id, people.stack.app_key, base_url=people.stack.base_url, devices=Devices()
    )
    with twin:
        twin.authenticate(identity=first.identity, device_id="kitchen")
        from utdstream.mqtt import MqttIncomingCalls

        login = people.stack.mqtt_login(first.identity)
        here = first.inbox()
        there = twin.incoming_calls(
            MqttIncomingCalls(
                host=login.host,
                port=login.port,
                username=login.username,
                password=login.password,
                client_id="kitchen",
            )
        )
        there.connected.wait_for(True, timeout=10)
        reasons: list[str] = []
        there.cancelled.subscribe(lambda cancel: reasons.append(str(cancel.reason)))
        calling = door.call()
        calling.start(callee_identity=first.identity)
        there.ringing.wait(timeout=10)
        here.ringing.wait(timeout=10).accept()
        eventually(lambda: len(reasons) == 1, "the other device was told")
        assert "elsewhere" in reasons[0]


def test_dispose_when_a_call_is_live_ends_it(people: People, stack: LocalStack) -> None:
    """Nothing is left open on the engine by a program that just goes."""
    door, house = people("door"), people("house")
    _, answering = connect_pair(door, house)
    door.client.dispose()
    answering.status.wait_for(S.ENDED, timeout=10)


def test_dispose_when_the_call_was_answered_elsewhere_leaves_it_alone(people: People) -> None:
    """Two sessions of one identity ring; one answers, the other is disposed: the call goes on."""
    door, house = people("door"), people("house")
    calling, incoming = ring(house, door)
    kitchen, hall = house.call(), house.call()
    kitchen.ringing(incoming.call_id)
    hall.ringing(incoming.call_id)
    kitchen.accept(incoming.call_id)
    calling.wait_for_answer(timeout=10)
    hall.status.wait_for(S.ENDED, timeout=10)
    hall.dispose()
    assert calling.status.value is S.ACTIVE
    assert kitchen.status.value is S.ACTIVE


def test_end_when_the_call_only_rings_here_refuses_it(people: People) -> None:
    """Hanging up before accepting is a refusal, and the caller is told so."""
    door, house = people("door"), people("house")
    calling, incoming = ring(house, door)
    answering = house.call()
    answering.ringing(incoming.call_id)
    answering.end()
    with pytest.raises(CallNotAnswered) as refusal:
        calling.wait_for_answer(timeout=5)
    assert refusal.value.status is S.REJECTED


def test_accept_when_made_past_the_inbox_is_no_cancel_for_it(people: People) -> None:
    """`session.accept(call_id)` is this device's own doing: its inbox reports no cancel."""
    door, house = people("door"), people("house")
    inbox = house.inbox()
    cancels: list[object] = []
    inbox.cancelled.subscribe(cancels.append)
    calling = door.call()
    calling.start(callee_identity=house.identity)
    answering = house.call()
    answering.accept(inbox.ringing.wait(timeout=10).call_id)
    calling.wait_for_answer(timeout=10)
    calling.end()
    answering.status.wait_for(S.ENDED, timeout=5)
    assert cancels == []


def test_messages_when_they_pretend_to_be_the_engines_are_not_the_applications(people: People) -> None:
    """What begins with an underscore is the engine's; a call never shows it, and never believes it."""
    door, house = people("door"), people("house")
    calling, answering = connect_pair(door, house)
    got: list[bytes] = []
    calling.messages.subscribe(lambda message: got.append(message.data))
    for payload in (b'{"type":"_removed"}', b'{"type":"_call_update","call":7}', b'{"type":"chat"}'):
        answering.send_data(payload)
    eventually(lambda: len(got) == 1, "the application's message arrived")
    assert got == [b'{"type":"chat"}']
    assert calling.status.value is S.ACTIVE
