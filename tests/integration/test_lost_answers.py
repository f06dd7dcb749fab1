"""An answer of the engine that comes late, or never: what was told as failed is not done, and may be retried."""

from __future__ import annotations

import pytest
import requests
from between import Between
from facts import eventually
from people import People

from utdstream import (
    Conflict,
    DeadlineExceeded,
    Devices,
    EngineUnreachable,
    RateLimited,
    UTDAudioRoomSession,
    UTDCallStatus,
    UTDLiveStreamSession,
    UTDStreamType,
)
from utdstream._wire import routes
from utdstream.synthetic import ToneMicrophone
from utdstream.testing.gate import RequestAnswer

pytestmark = pytest.mark.integration

S = UTDCallStatus
SOON_S = 10.0
"""Two seconds on a machine that has time; this one may have other work."""


def open_calls(people: People, identity: str) -> list[str]:
    """The calls that the engine takes for open."""
    stack = people.stack
    answer = requests.get(
        f"{stack.base_url}/api/v1/calls",
        params={"identity": identity, "status": "initiating,ringing,active"},
        headers={"X-App-Id": stack.app_id, "X-App-Secret": stack.app_secret},
        timeout=10,
    ).json()
    return [call["call_id"] for call in answer["data"]]


# -- calls -----------------------------------------------------------------------------------------


def test_start_when_the_answer_is_lost_leaves_no_call_that_rings(people: People, between: Between) -> None:
    """The engine made the call, and nobody here knows its id: it is found and ended; the next start calls."""
    door = people("door", Devices(), base_url=between.url)
    house = people("house", Devices())
    inbox = house.inbox()
    calling = door.call(UTDStreamType.AUDIO_CALL)
    between.lose_answers("/calls")
    with pytest.raises(EngineUnreachable):
        calling.start(callee_identity=house.identity)
    between.pass_all()
    eventually(lambda: not open_calls(people, door.identity), "the lost call has ended", SOON_S)
    call = calling.start(callee_identity=house.identity)
    inbox.ringing.wait(lambda ring: ring.call_id == call.call_id, timeout=10).accept()
    calling.wait_for_answer(timeout=10)
    calling.end()


def test_start_when_the_answer_is_lost_by_an_engine_that_knows_no_withdrawal_leaves_no_call_that_rings(
    people: People, between: Between
) -> None:
    """The call is searched for among those that ring."""
    door = people("door", Devices(), base_url=between.url)
    house = people("house", Devices())
    between.refuse_requests(routes.WITHDRAWAL, 404, "not_found")
    between.lose_answers("/calls", times=2)
    with pytest.raises(EngineUnreachable):
        door.call(UTDStreamType.AUDIO_CALL).start(callee_identity=house.identity)
    eventually(lambda: not open_calls(people, door.identity), "the lost call has ended", SOON_S)
    assert between.count(routes.WITHDRAWAL) > 0


def test_start_when_the_answer_is_no_call_leaves_no_call_that_rings(people: People, between: Between) -> None:
    """What cannot be read is lost: the call is found and ended likewise."""
    door = people("door", Devices(), base_url=between.url)
    house = people("house", Devices())
    between.replace_answers("/calls", RequestAnswer(200, b'{"call_id": 7, "status": "dancing"}'))
    with pytest.raises(EngineUnreachable):
        door.call(UTDStreamType.AUDIO_CALL).start(callee_identity=house.identity)
    between.pass_all()
    eventually(lambda: not open_calls(people, door.identity), "the lost call has ended", SOON_S)


def test_start_when_it_is_asked_again_at_once_is_not_ended_for_the_lost_one(
    people: People, between: Between
) -> None:
    """The search for the lost call never ends the newer one."""
    door = people("door", Devices(), base_url=between.url)
    house = people("house", Devices())
    calling = door.call(UTDStreamType.AUDIO_CALL)
    between.lose_answers("/calls")
    with pytest.raises(EngineUnreachable):
        calling.start(callee_identity=house.identity)
    between.pass_all()
    call = calling.start(callee_identity=house.identity)
    with pytest.raises(DeadlineExceeded):
        calling.status.wait_for(S.ENDED, timeout=2.5)
    assert open_calls(people, door.identity) == [call.call_id]
    calling.end()


def test_accept_when_its_answers_are_lost_and_it_is_asked_again_joins(
    people: People, between: Between
) -> None:
    """The engine knows the second accept for the first."""
    door = people("door", Devices())
    house = people("house", Devices(), base_url=between.url)
    inbox = house.inbox()
    calling = door.call(UTDStreamType.AUDIO_CALL)
    calling.start(callee_identity=house.identity)
    incoming = inbox.ringing.wait(timeout=10)
    between.lose_answers("/accept")
    with pytest.raises(EngineUnreachable):
        incoming.accept()
    between.pass_all()
    answering = incoming.accept()
    assert answering.status.value is S.ACTIVE
    assert answering.connected.value
    with pytest.raises(DeadlineExceeded):  # the search for the lost accept leaves it alone
        answering.status.wait_for(S.ENDED, timeout=2.5)
    calling.end()


def test_accept_when_its_answers_are_lost_and_nobody_asks_again_ends_the_call(
    people: People, between: Between
) -> None:
    """The caller is not left alone in a call that was answered for nobody (15 s before)."""
    door = people("door", Devices())
    house = people("house", Devices(), base_url=between.url)
    inbox = house.inbox()
    calling = door.call(UTDStreamType.AUDIO_CALL)
    calling.start(callee_identity=house.identity)
    incoming = inbox.ringing.wait(timeout=10)
    between.lose_answers("/accept")
    with pytest.raises(EngineUnreachable):
        incoming.accept()
    between.pass_all()
    calling.status.wait_for(S.ENDED, timeout=SOON_S)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (RequestAnswer(200, b'{"call_id": 7, "status": "dancing"}'), EngineUnreachable),
        (RequestAnswer(429, b"{}", {"Retry-After": "1"}), RateLimited),
    ],
    ids=["no call", "429"],
)
def test_accept_when_its_answer_tells_nothing_of_the_call_ends_the_call(
    people: People, between: Between, answer: RequestAnswer, error: type[Exception]
) -> None:
    """Whoever was told that it failed is in no call a moment later (12 s before), as behind a lost answer."""
    door = people("door", Devices())
    house = people("house", Devices(), base_url=between.url)
    inbox = house.inbox()
    calling = door.call(UTDStreamType.AUDIO_CALL)
    calling.start(callee_identity=house.identity)
    incoming = inbox.ringing.wait(timeout=10)
    between.replace_answers("/accept", answer)
    with pytest.raises(error):
        incoming.accept()
    between.pass_all()
    calling.status.wait_for(S.ENDED, timeout=SOON_S)


def test_accept_when_one_answer_is_lost_succeeds(people: People, between: Between) -> None:
    """It is asked once more with the same key, and nobody is told of it."""
    door = people("door", Devices())
    house = people("house", Devices(), base_url=between.url)
    inbox = house.inbox()
    calling = door.call(UTDStreamType.AUDIO_CALL)
    calling.start(callee_identity=house.identity)
    incoming = inbox.ringing.wait(timeout=10)
    between.lose_answers("/accept", times=1)
    assert incoming.accept().connected.value
    calling.end()


def test_accept_when_the_answer_comes_after_the_deadline_ends_the_call(
    people: People, between: Between
) -> None:
    """Whoever was told `DeadlineExceeded` is in no call a moment later."""
    door = people("door", Devices())
    house = people("house", Devices(), base_url=between.url)
    inbox = house.inbox()
    calling = door.call(UTDStreamType.AUDIO_CALL)
    calling.start(callee_identity=house.identity)
    incoming = inbox.ringing.wait(timeout=10)
    held = between.hold_answers("/accept")
    with pytest.raises(DeadlineExceeded):
        incoming.accept(timeout=0.5)
    held.let_go()
    calling.status.wait_for(S.ENDED, timeout=SOON_S)


def test_reject_when_the_answer_is_lost_and_it_is_said_again_is_no_error(
    people: People, between: Between
) -> None:
    """A call that nobody refused here before is still a Conflict."""
    door = people("door", Devices())
    house = people("house", Devices(), base_url=between.url)
    inbox = house.inbox()
    calling = door.call(UTDStreamType.AUDIO_CALL)
    calling.start(callee_identity=house.identity)
    incoming = inbox.ringing.wait(timeout=10)
    between.lose_answers("/reject", times=1)
    incoming.reject()
    calling.status.wait_for(S.REJECTED, timeout=10)
    with pytest.raises(Conflict):
        incoming.busy()


# -- seats -----------------------------------------------------------------------------------------


@pytest.fixture
def speaker(people: People, between: Between) -> UTDAudioRoomSession:
    """A listener with a microphone in a room with four seats."""
    host = people("host", Devices())
    host.client.join_audio_room(identity=host.identity, room_name=host.identity, as_host=True, seat_count=4)
    speaker = people("speaker", Devices(microphone=ToneMicrophone()), base_url=between.url)
    return speaker.client.join_audio_room(identity=speaker.identity, room_name=host.identity)


def has_no_seat(session: UTDAudioRoomSession) -> bool:
    """By the engine's own word, and nothing is on air."""
    session.get_seats()
    return session.seat.value is None and not session.microphone_on.value


def test_take_seat_when_the_answer_comes_after_the_deadline_gives_it_back(
    speaker: UTDAudioRoomSession, between: Between
) -> None:
    """At once, not when the answer comes; and asked again, the same seat is given."""
    held = between.hold_answers("/seats/1/take")
    with pytest.raises(DeadlineExceeded):
        speaker.take_seat(1, timeout=0.5)
    eventually(lambda: has_no_seat(speaker), "the seat is given back while its answer is still held", SOON_S)
    between.pass_all()
    speaker.take_seat(1)
    held.let_go()
    asked = between.count("/seats")
    eventually(lambda: speaker.get_seats() and between.count("/seats") > asked, "the late answer has come")
    with pytest.raises(DeadlineExceeded):
        speaker.seat.wait_for(None, timeout=1.0)
    assert speaker.microphone_on.value


def test_take_seat_when_the_request_arrives_after_the_deadline_is_refused(
    speaker: UTDAudioRoomSession, between: Between
) -> None:
    """Its key was withdrawn while it was still on its way; without that the engine would seat who has given up."""
    held = between.hold_requests("/seats/1/take")
    with pytest.raises(DeadlineExceeded):
        speaker.take_seat(1, timeout=0.5)
    eventually(lambda: b'"not_done"' in b"".join(between.answers), "its key is withdrawn", SOON_S)
    held.let_go()
    eventually(lambda: b'"withdrawn"' in b"".join(between.answers), "it is refused", SOON_S)
    assert has_no_seat(speaker)


def test_take_seat_when_the_answer_is_lost_gives_it_back_and_gives_it_when_asked_again(
    speaker: UTDAudioRoomSession, between: Between
) -> None:
    """The retry waits until the lost one is taken back."""
    between.lose_answers("/seats/1/take")
    with pytest.raises(EngineUnreachable):
        speaker.take_seat(1)
    between.pass_all()
    speaker.take_seat(1)
    assert speaker.seat.value == 1
    assert speaker.microphone_on.value


def test_take_seat_when_seated_already_is_refused_and_keeps_the_seat(speaker: UTDAudioRoomSession) -> None:
    """What the engine refused is not taken back."""
    speaker.take_seat(1)
    with pytest.raises(Conflict):
        speaker.take_seat(2)
    speaker.get_seats()
    assert speaker.seat.value == 1
    assert speaker.microphone_on.value


def test_leave_seat_when_the_answer_is_lost_and_it_is_asked_again_is_no_error(
    speaker: UTDAudioRoomSession, between: Between
) -> None:
    """It is done; once more is a Conflict as ever."""
    speaker.take_seat(1)
    between.lose_answers("/seats/leave")
    with pytest.raises(EngineUnreachable):
        speaker.leave_seat()
    assert not speaker.microphone_on.value
    between.pass_all()
    speaker.leave_seat()
    assert has_no_seat(speaker)
    with pytest.raises(Conflict):
        speaker.leave_seat()


def test_request_to_speak_when_the_answer_is_lost_is_taken_back(people: People, between: Between) -> None:
    """The host sees no hand that its owner believes to be down; asked again, it is up."""
    host = people("host", Devices())
    room = host.client.join_audio_room(
        identity=host.identity, room_name=host.identity, as_host=True, seat_count=4, seat_mode="request"
    )
    guest = people("guest", Devices(), base_url=between.url)
    listener = guest.client.join_audio_room(identity=guest.identity, room_name=host.identity)
    between.lose_answers("/speakers/request")
    with pytest.raises(EngineUnreachable):
        listener.request_to_speak()
    between.pass_all()
    listener.request_to_speak()
    room.get_seats()
    assert [asked.identity for asked in room.speak_requests.value] == [guest.identity]
    listener.cancel_request()


# -- the stage -------------------------------------------------------------------------------------


def test_invite_to_stage_when_the_answer_is_lost_leaves_the_viewer_a_viewer(
    people: People, between: Between
) -> None:
    """Nobody is put on stage by a host who was told that it failed; asked again, the viewer is on stage."""
    host = people("host", Devices(), base_url=between.url)
    stream: UTDLiveStreamSession = host.client.join_live_stream(
        identity=host.identity, room_name=host.identity, as_host=True
    )
    viewer = people("viewer", Devices())
    watching = viewer.client.join_live_stream(identity=viewer.identity, room_name=host.identity)
    between.lose_answers("/stage/invite")
    with pytest.raises(EngineUnreachable):
        stream.invite_to_stage(viewer.identity)
    between.pass_all()

    def on_stage() -> list[str]:
        stream.refresh_stage()
        return [member.identity for member in stream.stage.value]

    eventually(lambda: viewer.identity not in on_stage(), "the viewer is off stage again", SOON_S)
    stream.invite_to_stage(viewer.identity)
    assert viewer.identity in on_stage()
    watching.can_publish.wait_for(True, timeout=10)


def test_take_seat_when_one_answer_is_lost_succeeds(speaker: UTDAudioRoomSession, between: Between) -> None:
    """It is asked once more with the same key, and nobody is told of it."""
    between.lose_answers("/seats/1/take", times=1)
    speaker.take_seat(1)
    assert speaker.microphone_on.value
    between.lose_answers("/seats/leave", times=1)
    speaker.leave_seat()
    assert has_no_seat(speaker)
