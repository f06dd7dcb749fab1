"""Each of the 57 names of the seed page, used on the real servers, its result asserted.

`@pytest.mark.seed(...)` names what a test asserts; docs/reference/flutter-names.md shows which test that is,
and tests/unit/test_docs.py fails when a name has none.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from facts import eventually
from people import People, small_devices

from utdstream import (
    ConnectionState,
    DataMessage,
    Devices,
    NotFound,
    RoomEvent,
    SessionClosed,
    UTDAudioRoomSession,
    UTDCall,
    UTDCallStatus,
    UTDLiveStreamSession,
    UTDRoom,
    UTDStageMember,
    UTDStreamClient,
    UTDStreamException,
    UTDStreamType,
    UTDTokenResponse,
)
from utdstream._rest.api import Actor
from utdstream._threads.deadline import Deadline
from utdstream.testing import LocalStack

pytestmark = pytest.mark.integration

_numbers = itertools.count(1)


@pytest.fixture
def client(stack: LocalStack) -> Iterator[UTDStreamClient]:
    """A client nobody has signed in to."""
    with UTDStreamClient(
        stack.app_id, stack.app_key, base_url=stack.base_url, token_base_url=stack.token_base_url
    ) as made:
        yield made


def fresh(name: str) -> str:
    return f"seed-{name}-{next(_numbers)}"


@pytest.mark.seed("UTDStreamClient", "UTDStreamClient.identity", "UTDStreamClient.authenticate")
def test_client_when_authenticated_is_signed_in(client: UTDStreamClient) -> None:
    """The constructor signs nobody in; `authenticate` does and returns the bearer."""
    assert client.identity is None
    me = fresh("u1")
    bearer = client.authenticate(identity=me, name="One", device_id="pi")
    assert len(bearer) > 20
    assert client.identity == me


@pytest.mark.seed("UTDStreamClient.call_session", "UTDStreamClient.dispose")
def test_client_when_disposed_disposes_the_call_sessions_it_made(client: UTDStreamClient) -> None:
    """A session of the type asked for; after `dispose` nothing is made any more."""
    client.authenticate(identity=fresh("u"))
    assert client.call_session(UTDStreamType.VIDEO_CALL).type is UTDStreamType.VIDEO_CALL
    client.dispose()
    with pytest.raises(SessionClosed):
        client.call_session(UTDStreamType.AUDIO_CALL)


@pytest.mark.seed(
    "UTDStreamClient.join_live_stream",
    "UTDLiveStreamSession.room_name",
    "UTDLiveStreamSession.is_host",
)
def test_client_when_joining_a_live_stream_is_in_it(client: UTDStreamClient) -> None:
    """Connected, in the room that was asked for, as the host."""
    name = fresh("show")
    live = client.join_live_stream(identity=fresh("host"), room_name=name, as_host=True)
    assert live.connected.value
    assert (live.room_name, live.is_host) == (name, True)


@pytest.mark.seed(
    "UTDStreamClient.join_audio_room",
    "UTDAudioRoomSession.room_name",
    "UTDAudioRoomSession.is_host",
)
def test_client_when_joining_an_audio_room_is_in_it(client: UTDStreamClient) -> None:
    """Connected, and the grid is the one the host seeded."""
    name = fresh("lobby")
    room = client.join_audio_room(
        identity=fresh("u1"), room_name=name, as_host=True, seat_count=8, seat_mode="free"
    )
    assert room.connected.value
    assert (room.room_name, room.is_host) == (name, True)
    assert room.get_seats()["seat_count"] == 8


def audio_pair(people: People) -> tuple[UTDAudioRoomSession, UTDAudioRoomSession]:
    """A host and a listener of one audio room."""
    name = fresh("room")
    sessions = []
    for role in ("host", "listener"):
        stack = people.stack
        client = UTDStreamClient(
            stack.app_id, stack.app_key, base_url=stack.base_url, devices=small_devices()
        )
        people.keep(client)
        sessions.append(client.join_audio_room(identity=fresh(role), room_name=name, as_host=role == "host"))
    return sessions[0], sessions[1]


@pytest.mark.seed(
    "UTDSession.type",
    "UTDSession.room",
    "UTDSession.connected",
    "UTDSession.can_publish",
    "UTDSession.remote_participants",
    "UTDSession.events",
    "UTDSession.local_participant",
    "UTDSession.set_microphone",
    "UTDSession.send_data",
    "UTDSession.leave",
    "UTDSession.dispose",
)
def test_session_when_connected_shows_its_room_and_leaves_it(people: People) -> None:
    """The base of every session, member by member."""
    host, listener = audio_pair(people)
    assert host.type is UTDStreamType.AUDIO_ROOM
    assert host.room.connected.value
    assert host.connected.value
    assert host.local_participant is not None
    assert listener.local_participant is not None
    them = listener.local_participant.identity
    host.remote_participants.wait_for(lambda others: [o.identity for o in others] == [them], timeout=5)
    events: list[RoomEvent] = []
    host.events.subscribe(events.append)
    messages: list[DataMessage] = []
    listener.messages.subscribe(messages.append)
    host.send_data(b"to you", reliable=True, to=[them])
    eventually(lambda: [m.data for m in messages] == [b"to you"], "the data arrived")
    assert not host.can_publish.value
    host.take_seat(0)
    assert host.can_publish.value
    host.set_microphone(False)
    assert not host.microphone_on.value
    host.set_microphone(True)
    assert host.microphone_on.value
    eventually(lambda: any(e.name == "local_track_published" for e in events), "the raw event came")
    listener.leave()
    assert not listener.connected.value
    host.dispose()
    assert host.connection.value.state is ConnectionState.DISCONNECTED


@pytest.mark.seed(
    "UTDCallSession.status",
    "UTDCallSession.call_id",
    "UTDCallSession.start",
    "UTDCallSession.ringing",
    "UTDCallSession.accept",
    "UTDCallSession.end",
    "UTDCall",
    "UTDCallStatus",
    "UTDStreamType",
)
def test_call_when_started_is_rung_accepted_and_ended(people: People) -> None:
    """The life of a call, from both sides."""
    caller, callee = people("seed-caller"), people("seed-callee")
    calling, answering = caller.call(), callee.call()
    assert calling.status.value is None
    assert calling.call_id.value is None
    call = calling.start(callee_identity=callee.identity, callee_name="Two", metadata={"door": "front"})
    assert isinstance(call, UTDCall)
    assert calling.call_id.value == call.call_id
    assert call.type is UTDStreamType.VIDEO_CALL
    assert (call.caller_identity, call.callee_identity) == (caller.identity, callee.identity)
    assert calling.status.value is UTDCallStatus.INITIATING
    answering.ringing(call.call_id)
    calling.status.wait_for(UTDCallStatus.RINGING, timeout=5)
    accepted = answering.accept(call.call_id)
    assert accepted.status is UTDCallStatus.ACTIVE
    calling.status.wait_for(UTDCallStatus.ACTIVE, timeout=5)
    calling.end()
    assert calling.status.value is UTDCallStatus.ENDED
    answering.status.wait_for(UTDCallStatus.ENDED, timeout=5)


@pytest.mark.seed("UTDCallSession.reject", "UTDCallSession.busy")
def test_call_when_refused_or_busy_says_so(people: People) -> None:
    """Both ways of not answering reach the caller."""
    caller, callee = people("seed-caller"), people("seed-callee")
    for action, status in (("reject", UTDCallStatus.REJECTED), ("busy", UTDCallStatus.BUSY)):
        calling = caller.call()
        call = calling.start(callee_identity=callee.identity)
        answering = callee.call()
        getattr(answering, action)(call.call_id)
        assert answering.status.value is status
        calling.status.wait_for(status, timeout=5)


@pytest.mark.seed(
    "UTDLiveStreamSession.stage",
    "UTDLiveStreamSession.go_live",
    "UTDLiveStreamSession.refresh_stage",
    "UTDLiveStreamSession.invite_to_stage",
    "UTDLiveStreamSession.remove_from_stage",
    "UTDLiveStreamSession.request_stage",
    "UTDLiveStreamSession.leave_stage",
    "UTDStageMember",
)
def test_live_stream_when_live_runs_its_stage(people: People) -> None:
    """On air, a raised hand, on stage, off stage by either side."""
    name = fresh("show")
    joined: list[UTDLiveStreamSession] = []
    for role in ("host", "viewer"):
        stack = people.stack
        client = UTDStreamClient(
            stack.app_id, stack.app_key, base_url=stack.base_url, devices=small_devices()
        )
        people.keep(client)
        joined.append(client.join_live_stream(identity=fresh(role), room_name=name, as_host=role == "host"))
    host, viewer = joined
    host.go_live(with_video=True)
    assert host.camera_on.value
    assert host.microphone_on.value
    hands: list[str] = []
    host.stage_requests.subscribe(lambda hand: hands.append(hand.identity))
    viewer.request_stage()
    eventually(lambda: len(hands) == 1, "the hand was seen")
    host.invite_to_stage(hands[0])
    first, second = host.stage.value
    assert isinstance(first, UTDStageMember)
    assert (first.role, second.identity) == ("host", hands[0])
    viewer.refresh_stage()
    assert len(viewer.stage.value) == 2
    viewer.can_publish.wait_for(True, timeout=5)
    viewer.leave_stage()
    assert len(viewer.stage.value) == 1
    host.invite_to_stage(hands[0])
    host.remove_from_stage(hands[0])
    assert len(host.stage.value) == 1
    viewer.can_publish.wait_for(False, timeout=5)


@pytest.mark.seed(
    "UTDAudioRoomSession.setup_seats",
    "UTDAudioRoomSession.get_seats",
    "UTDAudioRoomSession.take_seat",
    "UTDAudioRoomSession.leave_seat",
    "UTDAudioRoomSession.request_to_speak",
    "UTDAudioRoomSession.approve_speaker",
    "UTDAudioRoomSession.invite_to_speak",
)
def test_audio_room_when_set_up_seats_its_speakers(people: People) -> None:
    """Set up, asked, approved, left; invited, accepted; free, taken, left."""
    host, guest = audio_pair(people)
    answer = host.setup_seats(seat_count=4, seat_mode="request", mode_id="3")
    assert (answer["seat_count"], answer["seat_mode"]) == (4, "request")
    host.approve_speaker(guest.request_to_speak())
    guest.seat.wait_for(lambda seat: seat is not None, timeout=5)
    guest.microphone_on.wait_for(True, timeout=5)
    guest.leave_seat()
    assert not guest.microphone_on.value
    invitations: list[int] = []
    guest.invitations.subscribe(lambda invitation: invitations.append(invitation.id))
    assert guest.local_participant is not None
    host.invite_to_speak(guest.local_participant.identity, seat_index=2)
    eventually(lambda: len(invitations) == 1, "the invitation came")
    guest.accept_invitation(invitations[0])
    assert guest.seat.value == 2
    guest.leave_seat()
    host.setup_seats(seat_mode="free")
    guest.take_seat(3)
    seats = host.get_seats()["seats"]
    assert isinstance(seats, list)
    assert seats[3]["occupant_identity"] == guest.local_participant.identity
    guest.leave_seat()


@pytest.mark.seed(
    "UTDRoom",
    "UTDRoom.room",
    "UTDRoom.events",
    "UTDRoom.connect",
    "UTDRoom.set_microphone",
    "UTDRoom.set_camera",
    "UTDRoom.send_data",
    "UTDTokenResponse",
)
def test_room_when_given_a_token_of_ones_own_serves(client: UTDStreamClient) -> None:
    """A url and a token are enough; the mint's answer has both."""
    identity, name = fresh("own"), fresh("show")
    mint = client._api.mint_room(
        Actor(identity),
        name,
        UTDStreamType.LIVE_STREAM,
        Deadline(5, 5, "mint"),
        role="host",
        room_owner_id=identity,
    )
    assert isinstance(mint, UTDTokenResponse)
    assert mint.room_name == name
    assert mint.token not in repr(mint)
    devices = Devices(microphone=small_devices().microphone, camera=small_devices().camera)
    with UTDRoom(adaptive_stream=True, dynacast=True, devices=devices) as room:
        events: list[RoomEvent] = []
        room.events.subscribe(events.append)
        room.connect(mint.url, mint.token, auto_subscribe=True)
        assert room.room is not None
        room.set_microphone(True)
        room.set_camera(True)
        assert room.microphone_on.value
        assert room.camera_on.value
        room.send_data(b"hello", reliable=True, destination_identities=[identity])
        eventually(lambda: any(e.name == "local_track_published" for e in events), "raw events come")


@pytest.mark.seed("UTDStreamException")
def test_error_when_raised_is_a_utd_stream_exception(client: UTDStreamClient) -> None:
    """Status, code and sentence of the engine's answer; banned and rate limited are told apart."""
    client.authenticate(identity=fresh("u"))
    with pytest.raises(UTDStreamException) as refusal:
        client.call_session(UTDStreamType.AUDIO_CALL).accept("call_000000000000000000000000")
    assert isinstance(refusal.value, NotFound)
    assert (refusal.value.status_code, refusal.value.code) == (404, "call_not_found")
    assert refusal.value.message
    assert not refusal.value.is_banned
    assert not refusal.value.is_rate_limited
