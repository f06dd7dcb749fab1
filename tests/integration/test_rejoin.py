"""A call whose room is lost goes on: its sides join again by themselves, and see one interruption."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from between import Between
from engine_site import _twirp, people_of
from facts import eventually
from half_open import deafen_signal
from media_rooms import hear, lose_room
from people import People, Person, small_devices

from utdstream import (
    Change,
    Connection,
    ConnectionState,
    TrackPublication,
    UTDCallSession,
    UTDCallStatus,
    UTDStreamType,
)
from utdstream._session import rejoin
from utdstream._session.connect import RoomLife
from utdstream._threads.deadline import Deadline

pytestmark = pytest.mark.integration

S = UTDCallStatus
DOOR_HZ, HOUSE_HZ = 700, 1900
BACK_S = 20.0


class TwoInACall:
    """A door and a house that talk, and the states that each session shows from then on."""

    def __init__(self, people: People, base_url: str | None = None) -> None:
        self.stack = people.stack
        self.door = people("door", small_devices(DOOR_HZ), base_url=base_url)
        self.house = people("house", small_devices(HOUSE_HZ))
        inbox = self.house.inbox()
        self.calling = self.door.call(UTDStreamType.AUDIO_CALL)
        self.call_id = self.calling.start(callee_identity=self.house.identity).call_id
        self.answering = inbox.ringing.wait(timeout=10).accept()
        self.calling.wait_for_answer(timeout=10)
        self.hear_each_other()
        self.at_door, self.at_house = states(self.calling), states(self.answering)

    def hear_each_other(self) -> None:
        for session in (self.calling, self.answering):
            session.connected.wait_for(True, timeout=BACK_S)
        hear(self.calling.room, HOUSE_HZ, within_s=BACK_S)
        hear(self.answering.room, DOOR_HZ, within_s=BACK_S)

    def in_the_room(self) -> list[str]:
        return people_of(self.stack, self.call_id)

    def remove(self, person: Person) -> None:
        """The media server throws a party out, and nobody knows why."""
        _twirp(self.stack, "RemoveParticipant", {"room": self.call_id, "identity": person.identity})

    def is_active(self) -> bool:
        return self.calling.status.value is S.ACTIVE and self.answering.status.value is S.ACTIVE


def states(session: UTDCallSession) -> list[ConnectionState]:
    """The states of its room from now on, each once in a row, as a list that grows."""
    seen: list[ConnectionState] = []

    def note(change: Change[Connection]) -> None:
        if change.new.state is not change.old.state:
            seen.append(change.new.state)

    session.connection.subscribe(note)
    return seen


INTERRUPTED_ONCE = [ConnectionState.RECONNECTING, ConnectionState.CONNECTED]


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_call_when_the_media_server_restarts_goes_on(
    own_people: People, how: Literal["stop", "kill"]
) -> None:
    """In good order, or not: both sides are told that they reconnect, and then hear each other again."""
    two = TwoInACall(own_people)
    getattr(two.stack, how)("livekit")
    for session in (two.calling, two.answering):
        session.connection.wait_for(lambda now: now.state is ConnectionState.RECONNECTING, timeout=10)
    two.stack.start("livekit")
    two.hear_each_other()
    assert two.is_active()
    for seen in (two.at_door, two.at_house):  # twice, when one side was back much earlier than the other
        eventually(
            lambda seen=seen: seen in (INTERRUPTED_ONCE, 2 * INTERRUPTED_ONCE), "it was told of its return"
        )
    two.calling.end()
    two.answering.status.wait_for(S.ENDED, timeout=10)


def test_room_when_the_media_server_has_lost_it_is_there_when_a_party_asks(own_people: People) -> None:
    """A restart may be shorter than the pauses between the engine's looks at it."""
    two = TwoInACall(own_people)
    two.stack.kill("livekit")
    two.stack.start("livekit")
    call = two.door.client._api.get_call(two.call_id, Deadline(5, 5, "asking"))
    assert call.media_ready is True
    rooms: Any = _twirp(two.stack, "ListRooms", {"names": [two.call_id]})["rooms"]
    assert [room["name"] for room in rooms] == [two.call_id]
    two.hear_each_other()


def test_call_when_the_media_server_is_frozen_says_so_at_once_and_goes_on(own_people: People) -> None:
    """Nothing comes, and no connection ends: what a cut of the link looks like. The core says it after 15 s."""
    two = TwoInACall(own_people)
    with two.stack.frozen("livekit"):
        for session in (two.calling, two.answering):
            session.connection.wait_for(lambda now: now.state is ConnectionState.RECONNECTING, timeout=10)
    two.hear_each_other()
    assert two.is_active()


def test_call_when_the_signal_connection_is_half_open_says_so_and_obeys_again(people: People) -> None:
    """Media flows on, and what is said is lost: the core says it after 15 s."""
    two = TwoInACall(people)
    deafen_signal(two.calling)
    two.calling.connection.wait_for(lambda now: now.state is ConnectionState.RECONNECTING, timeout=10)
    two.calling.connected.wait_for(True, timeout=BACK_S)
    two.calling.set_microphone(False)
    eventually(lambda: all(track.muted for track in tracks_of(two.answering)), "the mute has arrived", 10)
    eventually(lambda: two.at_door == INTERRUPTED_ONCE, "the door was told of one interruption")
    assert ConnectionState.RECONNECTING not in two.at_house


def tracks_of(session: UTDCallSession) -> list[TrackPublication]:
    """What the other side publishes, as this one sees it."""
    return [track for other in session.remote_participants.value for track in other.publications]


@pytest.mark.parametrize("whose", ["door", "house"])
def test_call_when_one_side_is_removed_from_the_room_goes_on(people: People, whose: str) -> None:
    """The engine says that the call is active, so the side that was thrown out comes back; muted as it was."""
    two = TwoInACall(people)
    two.calling.set_microphone(False)
    two.remove(two.door if whose == "door" else two.house)
    lost = two.calling if whose == "door" else two.answering
    lost.connection.wait_for(lambda now: now.state is ConnectionState.RECONNECTING, timeout=10)
    lost.connected.wait_for(True, timeout=BACK_S)
    hear(two.calling.room, HOUSE_HZ, within_s=BACK_S)
    assert not two.calling.microphone_on.value
    two.calling.set_microphone(True)
    two.hear_each_other()
    assert two.is_active()
    seen = two.at_door if whose == "door" else two.at_house
    eventually(lambda: seen == INTERRUPTED_ONCE, "it was told of one interruption")


def test_call_when_an_attempt_is_over_in_the_moment_it_has_joined_is_joined_by_the_next(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time is up: what came of it is undone, and that is no end for good."""
    two = TwoInACall(people)
    attempts: list[Deadline] = []
    joined = RoomLife.on_connection

    class Noted(Deadline):
        @classmethod
        def after(cls, seconds: float, doing: str) -> Deadline:
            attempts.append(Deadline.after(seconds, doing))
            return attempts[-1]

    def cut_the_first(life: RoomLife, connection: Connection) -> None:
        joined(life, connection)
        if connection.state is ConnectionState.CONNECTED and len(attempts) == 1:
            attempts[0].cut()

    monkeypatch.setattr(rejoin, "Deadline", Noted)
    monkeypatch.setattr(RoomLife, "on_connection", cut_the_first)
    lose_room(two.calling)
    eventually(lambda: len(attempts) == 2, "it is tried again", BACK_S)
    two.hear_each_other()
    assert two.is_active()


def test_ring_when_the_callers_room_is_lost_goes_on(people: People) -> None:
    """The caller is back before anybody answers, and is heard."""
    door, house = people("door", small_devices(DOOR_HZ)), people("house", small_devices(HOUSE_HZ))
    inbox = house.inbox()
    calling = door.call(UTDStreamType.AUDIO_CALL)
    calling.start(callee_identity=house.identity)
    incoming = inbox.ringing.wait(timeout=10)
    lose_room(calling)
    calling.connected.wait_for(True, timeout=BACK_S)
    answering = incoming.accept()
    hear(answering.room, DOOR_HZ, within_s=BACK_S)
    assert calling.wait_for_answer(timeout=10).status is S.ACTIVE


@pytest.fixture
def held(people: People, between: Between) -> Any:
    """Two in a call, whose door has lost the room and asks the engine, which does not answer yet."""
    two = TwoInACall(people, base_url=between.url)
    asked = between.hold_answers(f"/calls/{two.call_id}")
    lose_room(two.calling)
    assert asked.came.wait(10)
    return two, asked


def test_end_when_the_room_is_being_joined_again_leaves_nobody_there(held: Any) -> None:
    """Whoever hangs up meanwhile has hung up: the answer that comes later joins nothing."""
    two, asked = held
    two.calling.end()
    assert two.calling.connection.value.state is ConnectionState.DISCONNECTED
    asked.let_go()
    two.answering.status.wait_for(S.ENDED, timeout=10)
    eventually(lambda: not two.in_the_room(), "nobody is in the room", 10)
    lost = [ConnectionState.RECONNECTING, ConnectionState.DISCONNECTED]
    eventually(lambda: two.at_door == lost, "the door was told of the end")


def test_call_when_the_other_side_hangs_up_meanwhile_is_over(held: Any) -> None:
    """The engine says so when it is asked for a token."""
    two, asked = held
    two.answering.end()
    asked.let_go()
    two.calling.status.wait_for(S.ENDED, timeout=10)
    two.calling.connection.wait_for(lambda now: now.state is ConnectionState.DISCONNECTED, timeout=10)
    assert not two.calling.connected.value


def test_start_when_the_call_before_was_being_joined_again_is_a_call_of_its_own(held: Any) -> None:
    """What the old call still does touches nothing of the new one."""
    two, asked = held
    two.calling.end()
    second = two.calling.start(callee_identity=two.house.identity)
    asked.let_go()
    eventually(lambda: people_of(two.stack, second.call_id) == [two.door.identity], "it is joined", 10)
    assert two.calling.connected.value
    assert two.calling.call_id.value == second.call_id
    two.calling.end()


def test_call_when_the_engine_restarts_is_not_interrupted(own_people: People) -> None:
    """Sound does not pass the engine; what is said to it later is heard."""
    two = TwoInACall(own_people)
    two.stack.kill("engine")
    two.hear_each_other()
    two.stack.start("engine")
    two.hear_each_other()
    two.answering.end()
    two.calling.status.wait_for(S.ENDED, timeout=15)
    assert ConnectionState.RECONNECTING not in two.at_door + two.at_house


def test_call_when_the_engine_is_away_while_the_room_is_lost_goes_on(own_people: People) -> None:
    """Nobody gives a token: it is asked for until there is one."""
    two = TwoInACall(own_people)
    two.stack.kill("engine")
    lose_room(two.answering)
    hear(two.calling.room, within_s=BACK_S)
    two.stack.start("engine")
    two.hear_each_other()
    assert two.is_active()
    eventually(lambda: two.at_house == INTERRUPTED_ONCE, "the house was told of one interruption")
