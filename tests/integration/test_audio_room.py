"""Audio rooms on the real servers: who sits speaks, who stands listens, the engine decides."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from between import Between
from facts import eventually
from media_rooms import lose_room
from people import People

from utdstream import (
    Conflict,
    Devices,
    InvalidConfig,
    NotFound,
    PermissionDenied,
    PublishRefused,
    UTDAudioRoomSession,
    UTDStreamClient,
)
from utdstream.synthetic import NullSpeaker, ToneMicrophone

pytestmark = pytest.mark.integration

_numbers = itertools.count(1)


class Lobby:
    """One audio room and the people who join it."""

    def __init__(self, people: People) -> None:
        self._people = people
        self.name = f"lobby-{next(_numbers)}-{id(people) % 9973}"
        self._clients: list[UTDStreamClient] = []

    def join(
        self,
        identity: str,
        *,
        devices: Devices | None = None,
        as_host: bool = False,
        base_url: str | None = None,
        **seats: object,
    ) -> UTDAudioRoomSession:
        stack = self._people.stack
        client = UTDStreamClient(
            stack.app_id,
            stack.app_key,
            base_url=base_url or stack.base_url,
            devices=devices or Devices(microphone=ToneMicrophone(), speaker=NullSpeaker()),
        )
        self._clients.append(client)
        return client.join_audio_room(
            identity=f"{identity}-{self.name}",
            room_name=self.name,
            as_host=as_host,
            **seats,  # type: ignore[arg-type]  # seat_count and seat_mode
        )

    def close(self) -> None:
        for client in self._clients:
            client.dispose()


@pytest.fixture
def lobby(people: People):  # type: ignore[no-untyped-def]  # a generator of Lobby
    """An audio room of its own."""
    made = Lobby(people)
    yield made
    made.close()


def heard(listener: UTDAudioRoomSession, speaker: UTDAudioRoomSession) -> bool:
    """Whether sound of the speaker comes to the listener within 5 s."""
    assert speaker.local_participant is not None
    frames = itertools.islice(listener.audio_frames(speaker.local_participant.identity), 500)
    return any(any(frame.data) for frame in frames)


def test_seat_when_taken_publishes_a_microphone_that_is_heard(lobby: Lobby) -> None:
    """`take_seat` returns when the grant is there and the sound flows."""
    host = lobby.join("host", as_host=True, seat_count=4)
    guest = lobby.join("guest")
    assert not guest.can_publish.value
    guest.take_seat(2)
    assert guest.can_publish.value
    assert guest.microphone_on.value
    assert guest.seat.value == 2
    assert heard(host, guest)
    host.seats.wait_for(lambda grid: grid.count == 4 and grid.seats[2].identity is not None, timeout=5)


def test_seat_when_left_stops_the_microphone(lobby: Lobby) -> None:
    """After `leave_seat` nothing is published and the right is gone."""
    lobby.join("host", as_host=True, seat_count=4)
    guest = lobby.join("guest")
    guest.take_seat(1)
    guest.leave_seat()
    assert not guest.microphone_on.value
    guest.can_publish.wait_for(False, timeout=2)
    guest.seat.wait_for(None, timeout=2)
    assert guest.local_participant is not None
    eventually(lambda: guest.local_participant.publications == (), "nothing is published")  # type: ignore[union-attr]


@pytest.mark.parametrize("how", ["leave", "dispose"])
def test_room_when_left_from_a_seat_and_joined_again_at_once_is_listened_to(lobby: Lobby, how: str) -> None:
    """The engine keeps the seat of a participant who vanished for a moment; who says good-bye gives it back."""
    lobby.join("host", as_host=True, seat_count=4)
    guest = lobby.join("guest")
    guest.take_seat(1)
    getattr(guest, how)()
    again = lobby.join("guest")
    assert again.seat.value is None
    assert not again.microphone_on.value
    again.take_seat(1)


def test_seat_when_a_second_session_took_the_identity_over_is_not_given_back_by_the_first(
    lobby: Lobby,
) -> None:
    """Whoever was replaced has nothing to say good-bye for."""
    host = lobby.join("host", as_host=True, seat_count=4)
    first = lobby.join("guest")
    first.take_seat(1)
    second = lobby.join("guest")
    first.connected.wait_for(False, timeout=10)
    first.dispose()
    assert second.local_participant is not None
    assert second.local_participant.identity in str(host.get_seats())


def test_listener_when_switching_the_microphone_on_is_refused(lobby: Lobby) -> None:
    """Without a seat the microphone is refused at once."""
    listener = lobby.join("listener")
    with pytest.raises(PublishRefused):
        listener.set_microphone(True)


def test_seat_when_taken_muted_is_published_muted(lobby: Lobby) -> None:
    """A wish for silence holds for the next seat: published, but muted; unmuting is heard."""
    host = lobby.join("host", as_host=True, seat_count=4)
    guest = lobby.join("guest")
    guest.set_microphone(False)
    guest.take_seat(1)
    assert guest.can_publish.value
    assert not guest.microphone_on.value
    guest.set_microphone(True)
    assert guest.microphone_on.value
    assert heard(host, guest)


def test_speaker_when_muted_while_the_seat_is_given_is_not_heard(
    lobby: Lobby, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wish for silence comes after the grant and before the microphone is published."""
    lobby.join("host", as_host=True, seat_count=4)
    speaker = lobby.join("ann")
    publish = speaker._media.publish

    def mute_first(*arguments: Any) -> None:
        speaker.set_microphone(False)
        publish(*arguments)

    was_on: list[bool] = []
    speaker.microphone_on.subscribe(lambda change: was_on.append(change.new))
    monkeypatch.setattr(speaker._media, "publish", mute_first)
    speaker.take_seat(1)
    assert speaker.can_publish.value
    assert not speaker.microphone_on.value
    speaker.leave()  # every change has been told when this returns
    assert True not in was_on


def test_seat_when_there_is_no_microphone_is_a_seat(lobby: Lobby) -> None:
    """Nobody needs a microphone to sit."""
    lobby.join("host", as_host=True, seat_count=4)
    guest = lobby.join("guest", devices=Devices())
    guest.take_seat(1)
    assert guest.seat.value == 1
    assert not guest.microphone_on.value


def test_seat_when_refused_says_why(lobby: Lobby) -> None:
    """Out of range, taken, already seated, locked, not a number: one typed error each."""
    host = lobby.join("host", as_host=True, seat_count=3)
    guest, other = lobby.join("guest"), lobby.join("other")
    with pytest.raises(NotFound):
        guest.take_seat(99)
    guest.take_seat(1)
    with pytest.raises(Conflict):
        other.take_seat(1)
    with pytest.raises(Conflict):
        guest.take_seat(2)
    host.lock_seat(2)
    with pytest.raises(PermissionDenied):
        other.take_seat(2)
    host.unlock_seat(2)
    other.take_seat(2)
    with pytest.raises(InvalidConfig):
        other.take_seat(-1)
    with pytest.raises(PermissionDenied):
        other.kick_seat(1)


def test_speaker_when_kicked_or_locked_out_stops_within_a_second(lobby: Lobby) -> None:
    """The host empties seats; the microphones stop."""
    host = lobby.join("host", as_host=True, seat_count=4)
    first, second = lobby.join("first"), lobby.join("second")
    first.take_seat(1)
    second.take_seat(2)
    host.kick_seat(1)
    host.lock_seat(2)
    for speaker in (first, second):
        speaker.microphone_on.wait_for(False, timeout=5)
        speaker.seat.wait_for(None, timeout=5)
        speaker.can_publish.wait_for(False, timeout=5)


def test_speaker_when_moving_keeps_the_right_to_speak(lobby: Lobby) -> None:
    """Changing seats never drops the permission."""
    lobby.join("host", as_host=True, seat_count=4)
    guest = lobby.join("guest")
    guest.take_seat(1)
    lost: list[bool] = []
    guest.can_publish.subscribe(lambda change: lost.append(change.new))
    guest.move_seat(3)
    assert guest.seat.value == 3
    assert guest.microphone_on.value
    assert lost == []


def test_seat_when_muted_by_the_host_cannot_be_unmuted_unseen(lobby: Lobby) -> None:
    """`mute_seat` is done on the media server; the speaker's own fact follows."""
    host = lobby.join("host", as_host=True, seat_count=4)
    guest = lobby.join("guest")
    guest.take_seat(1)
    host.mute_seat(1)
    guest.microphone_on.wait_for(False, timeout=5)
    assert guest.seat.value == 1


def test_request_when_approved_by_the_host_gives_a_seat(lobby: Lobby) -> None:
    """Request, approval, seat: the approved speaker is on air without another call."""
    host = lobby.join("host", as_host=True, seat_count=4, seat_mode="request")
    guest = lobby.join("guest")
    with pytest.raises(PermissionDenied):
        guest.take_seat(1)
    number = guest.request_to_speak()
    with pytest.raises(Conflict):
        guest.request_to_speak()
    requests = host.speak_requests.wait_for(lambda now: len(now) == 1, timeout=5)
    assert requests[0].id == number
    host.approve_speaker(number)
    guest.seat.wait_for(lambda seat: seat is not None, timeout=5)
    guest.microphone_on.wait_for(True, timeout=5)
    host.speak_requests.wait_for((), timeout=5)
    with pytest.raises(NotFound):
        host.approve_speaker(number)


def test_request_when_rejected_or_cancelled_is_gone(lobby: Lobby) -> None:
    """The host rejects one, the guest takes one back."""
    host = lobby.join("host", as_host=True, seat_count=4, seat_mode="request")
    guest = lobby.join("guest")
    host.reject_speaker(guest.request_to_speak())
    host.speak_requests.wait_for((), timeout=5)
    guest.request_to_speak()
    host.speak_requests.wait_for(lambda now: len(now) == 1, timeout=5)
    guest.cancel_request()
    host.speak_requests.wait_for((), timeout=5)
    with pytest.raises(NotFound):
        guest.cancel_request()


def test_invitation_when_accepted_is_a_seat_and_declined_is_none(lobby: Lobby) -> None:
    """The invited one decides; a stale invitation is refused."""
    host = lobby.join("host", as_host=True, seat_count=4)
    guest = lobby.join("guest")
    assert guest.local_participant is not None
    me = guest.local_participant.identity
    invitations = []
    guest.invitations.subscribe(invitations.append)
    host.invite_to_speak(me, seat_index=3)
    eventually(lambda: len(invitations) == 1, "the invitation arrived")
    guest.accept_invitation(invitations[0].id)
    assert guest.seat.value == 3
    assert guest.microphone_on.value
    with pytest.raises(NotFound):
        guest.accept_invitation(invitations[0].id)
    guest.leave_seat()
    host.invite_to_speak(me)
    eventually(lambda: len(invitations) == 2, "the second invitation arrived")
    guest.decline_invitation(invitations[1].id)
    assert guest.seat.value is None


def test_seats_when_set_up_again_keep_the_speakers_that_still_fit(lobby: Lobby) -> None:
    """Resizing keeps overlapping seats; the raw answers are the engine's."""
    host = lobby.join("host", as_host=True, seat_count=6)
    near, far = lobby.join("near"), lobby.join("far")
    near.take_seat(1)
    far.take_seat(5)
    answer = host.setup_seats(seat_count=3, mode_id="cinema")
    assert answer["seat_count"] == 3
    far.seat.wait_for(None, timeout=5)
    assert near.seat.value == 1
    assert host.get_seats()["mode_id"] == "cinema"
    near.seats.wait_for(lambda grid: grid.count == 3 and grid.mode_id == "cinema", timeout=5)


def test_speaker_when_vanished_frees_the_seat(lobby: Lobby) -> None:
    """Leaving the room is leaving the seat."""
    host = lobby.join("host", as_host=True, seat_count=4)
    guest = lobby.join("guest")
    guest.take_seat(2)
    host.seats.wait_for(lambda grid: grid.seats[2].identity is not None, timeout=5)
    guest.leave()
    host.seats.wait_for(lambda grid: grid.seats[2].identity is None, timeout=10)


def test_seat_update_when_forged_by_a_participant_changes_nothing(lobby: Lobby) -> None:
    """A message that begins with an underscore and has a sender is not the engine's."""
    host = lobby.join("host", as_host=True, seat_count=4)
    liar = lobby.join("liar")
    before = host.seats.value
    seen: list[object] = []
    host.messages.subscribe(seen.append)
    liar.send_data(b'{"type":"_seat_update","count":1,"mode":"free","seats":[],"rev":999}')
    liar.send_data(b"an ordinary message")
    eventually(lambda: len(seen) == 1, "the ordinary message arrived")
    assert host.seats.value == before


@pytest.mark.parametrize("meanwhile", ["emptied", "taken", "left"])
def test_seat_when_lost_with_the_room_is_taken_again(lobby: Lobby, between: Between, meanwhile: str) -> None:
    """The same one, or any that is free; muted as before. Whoever left it stays a listener."""
    host = lobby.join("host", as_host=True, seat_count=4)
    guest = lobby.join("guest", base_url=between.url)
    guest.take_seat(2)
    guest.set_microphone(False)
    if meanwhile == "left":
        guest.leave_seat()
    minting = between.hold_requests("/token")
    lose_room(guest)
    assert minting.came.wait(10)
    if meanwhile != "left":
        host.seats.wait_for(lambda grid: grid.seats[2].identity is not None, timeout=5)
        host.kick_seat(2)  # as the engine does with the seat of somebody who is away
    if meanwhile == "taken":
        lobby.join("other").take_seat(2)
    minting.let_go()
    guest.connected.wait_for(True, timeout=15)
    if meanwhile == "left":
        assert guest.seat.value is None
        return
    again = (2,) if meanwhile == "emptied" else (0, 1, 3)
    guest.seat.wait_for(lambda seat: seat in again, timeout=15)  # until the news come it is shown as it was
    guest.can_publish.wait_for(True, timeout=5)
    eventually(lambda: published_muted(guest), "it is published, muted")
    assert not guest.microphone_on.value
    guest.set_microphone(True)
    assert heard(host, guest)


def published_muted(session: UTDAudioRoomSession) -> bool:
    """Whether the own microphone is published and muted."""
    person = session.local_participant
    return person is not None and [track.muted for track in person.publications] == [True]
