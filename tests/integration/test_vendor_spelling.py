"""Every session type against an engine that spells differently and pushes nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from other_engine import OtherEngine
from people import People

from utdstream import (
    CallNotAnswered,
    ClientConfig,
    Conflict,
    Devices,
    NotFound,
    PermissionDenied,
    UTDCallStatus,
    UTDStreamClient,
)
from utdstream.synthetic import NullSpeaker, ToneMicrophone
from utdstream.testing import LocalStack

pytestmark = pytest.mark.integration

S = UTDCallStatus
QUICK = ClientConfig(call_poll_s=0.3, ring_poll_s=0.3, room_poll_s=0.3)


@pytest.fixture(scope="module")
def vendor_stack(programs: None) -> Iterator[LocalStack]:
    """A stack whose engine is the double, on the same port."""
    with LocalStack() as stack:
        engine = OtherEngine(stack, "vendor_engine.py")
        try:
            yield stack
        finally:
            engine.close()


@pytest.fixture
def vendor_people(vendor_stack: LocalStack) -> Iterator[People]:
    """Signed-in clients of the double; they ask often, for nobody tells them."""
    made = People(vendor_stack)
    yield made
    made.close()


def test_call_when_nothing_is_pushed_works(vendor_people: People) -> None:
    """Ring found by asking, answer found by asking, end found by asking."""
    door = vendor_people("door", config=QUICK)
    house = vendor_people("house", config=QUICK)
    inbox = house.client.incoming_calls()
    calling = door.call()
    calling.start(callee_identity=house.identity)
    answering = house.call()
    incoming = inbox.ringing.wait(timeout=10)
    answering.ringing(incoming.call_id)
    calling.status.wait_for(S.RINGING, timeout=5)
    answering.accept(incoming.call_id)
    assert calling.wait_for_answer(timeout=10).status is S.ACTIVE
    calling.end()
    answering.status.wait_for(S.ENDED, timeout=15)


def test_call_when_refused_and_nothing_is_pushed_is_told(vendor_people: People) -> None:
    """Rejected and busy are found by asking; a busy callee is a Conflict by its status alone."""
    door, house = vendor_people("door", config=QUICK), vendor_people("house", config=QUICK)
    inbox = house.client.incoming_calls()
    calling = door.call()
    calling.start(callee_identity=house.identity)
    inbox.ringing.wait(timeout=10).reject()
    with pytest.raises(CallNotAnswered) as refusal:
        calling.wait_for_answer(timeout=10)
    assert refusal.value.status is S.REJECTED
    calling.start(callee_identity=house.identity)
    inbox.ringing.wait(timeout=10).accept()
    third = vendor_people("third", config=QUICK).call()
    with pytest.raises(Conflict):
        third.start(callee_identity=house.identity)


def client_of(stack: LocalStack) -> UTDStreamClient:
    return UTDStreamClient(
        stack.app_id,
        stack.app_key,
        base_url=stack.base_url,
        config=QUICK,
        devices=Devices(microphone=ToneMicrophone(), speaker=NullSpeaker()),
    )


def test_audio_room_when_nothing_is_pushed_works(vendor_stack: LocalStack) -> None:
    """Seats are asked for; the grant alone decides who speaks."""
    with client_of(vendor_stack) as one, client_of(vendor_stack) as two:
        host = one.join_audio_room(identity="v-host", room_name="v-lobby", as_host=True, seat_count=4)
        guest = two.join_audio_room(identity="v-guest", room_name="v-lobby")
        guest.take_seat(2)
        assert guest.microphone_on.value
        assert guest.seat.value == 2
        host.seats.wait_for(lambda grid: grid.count == 4 and grid.seats[2].identity == "v-guest", timeout=10)
        with pytest.raises(NotFound):
            host.take_seat(50)
        with pytest.raises(PermissionDenied):
            guest.kick_seat(2)
        host.kick_seat(2)
        guest.microphone_on.wait_for(False, timeout=10)
        guest.seat.wait_for(None, timeout=10)


def test_live_stream_when_nothing_is_pushed_works(vendor_stack: LocalStack) -> None:
    """The stage is asked for; the grant alone decides who is on air."""
    with client_of(vendor_stack) as one, client_of(vendor_stack) as two:
        host = one.join_live_stream(identity="v-host", room_name="v-show", as_host=True)
        viewer = two.join_live_stream(identity="v-viewer", room_name="v-show")
        host.go_live(with_video=False)
        host.invite_to_stage("v-viewer")
        viewer.can_publish.wait_for(True, timeout=10)
        viewer.set_microphone(True)
        viewer.stage.wait_for(lambda stage: len(stage) == 2, timeout=10)
        host.remove_from_stage("v-viewer")
        viewer.microphone_on.wait_for(False, timeout=10)
        viewer.stage.wait_for(lambda stage: len(stage) == 1, timeout=10)
