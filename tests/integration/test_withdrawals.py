"""A decision about others whose every answer is lost: whoever was told that it failed finds it not done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from between import Between
from facts import eventually
from people import People

from utdstream import Conflict, Devices, EngineUnreachable, NotFound, SeatInvitation, UTDAudioRoomSession

pytestmark = pytest.mark.integration

SOON_S = 10.0
"""Two seconds on a machine that has time; this one may have other work."""


@dataclass(frozen=True)
class Hosted:
    """A room with a host, whose answers may be lost, and a guest."""

    room: UTDAudioRoomSession
    guest: UTDAudioRoomSession
    guest_identity: str

    def seated(self) -> None:
        self.guest.get_seats()
        if self.guest.seat.value is None:
            self.room.setup_seats(seat_mode="free")
            self.room.unlock_seat(1)
            self.guest.take_seat(1)

    def standing(self) -> None:
        self.guest.get_seats()
        if self.guest.seat.value is not None:
            self.guest.leave_seat()

    def asked(self) -> int:
        self.standing()
        self.room.setup_seats(seat_mode="request")
        return self.guest.request_to_speak()

    def told(self) -> dict[str, object]:
        """What everybody is told about seats and requests."""
        return {name: value for name, value in self.guest.get_seats().items() if name != "rev"}


@pytest.fixture
def hosted(people: People, between: Between) -> Hosted:
    host = people("host", Devices(), base_url=between.url)
    room = host.client.join_audio_room(
        identity=host.identity, room_name=host.identity, as_host=True, seat_count=4
    )
    guest = people("guest", Devices())
    listener = guest.client.join_audio_room(identity=guest.identity, room_name=host.identity)
    return Hosted(room, listener, guest.identity)


Decision = Callable[[], object]


def by_host(
    method: str, ready: Callable[[Hosted], object], *arguments: object
) -> Callable[[Hosted], Decision]:
    def prepare(hosted: Hosted) -> Decision:
        ready(hosted)
        return lambda: getattr(hosted.room, method)(*arguments)

    return prepare


def on_request(method: str) -> Callable[[Hosted], Decision]:
    def prepare(hosted: Hosted) -> Decision:
        asked = hosted.asked()
        return lambda: getattr(hosted.room, method)(asked)

    return prepare


def inviting(hosted: Hosted) -> Decision:
    hosted.standing()
    return lambda: hosted.room.invite_to_speak(hosted.guest_identity)


DECISIONS: dict[str, Callable[[Hosted], Decision]] = {
    "/seats/setup": lambda hosted: lambda: hosted.room.setup_seats(seat_count=5),
    "/kick": by_host("kick_seat", Hosted.seated, 1),
    "/lock": by_host("lock_seat", Hosted.standing, 2),
    "/unlock": by_host("unlock_seat", Hosted.standing, 2),
    "/mute": by_host("mute_seat", Hosted.seated, 1),
    "/unmute": by_host("unmute_seat", Hosted.seated, 1),
    "/approve": on_request("approve_speaker"),
    "/reject": on_request("reject_speaker"),
    "/speakers/invite": inviting,
}


def test_decision_when_every_answer_is_lost_is_not_done_and_may_be_decided_again(
    hosted: Hosted, between: Between
) -> None:
    """One lost answer is nothing that a host hears of; when all are lost, it is taken back, unasked."""
    for path_end, prepare in DECISIONS.items():
        decide = prepare(hosted)
        before = hosted.told()
        between.lose_answers(path_end)
        with pytest.raises(EngineUnreachable):
            decide()
        eventually(
            lambda before=before: hosted.told() == before,
            lambda path_end=path_end, before=before: f"{path_end} is not done: {before}, {hosted.told()}",
            SOON_S,
        )
        between.pass_all()
        decide()
        if path_end == "/speakers/invite":
            continue  # it waits for its answer: there is no second one
        decide = prepare(hosted)
        between.lose_answers(path_end, times=1)
        decide()
        between.pass_all()


def test_decision_when_it_was_refused_before_is_refused_again(hosted: Hosted, between: Between) -> None:
    """A lost answer excuses nothing."""
    hosted.standing()
    between.lose_answers("/kick", times=2)
    with pytest.raises(EngineUnreachable):
        hosted.room.kick_seat(1)
    between.pass_all()
    for _ in range(2):
        with pytest.raises(Conflict):
            hosted.room.kick_seat(1)


def test_decision_when_the_guest_acted_on_it_stands_and_may_be_decided_again(
    hosted: Hosted, between: Between
) -> None:
    """The withdrawal comes late: the guest, let in, was muted meanwhile, and the host decides on from there."""
    asked = hosted.asked()
    between.lose_answers("/approve")
    between.lose_requests("/requests/withdraw")
    with pytest.raises(EngineUnreachable):
        hosted.room.approve_speaker(asked)
    hosted.guest.get_seats()
    seat = hosted.guest.seat.value
    assert seat is not None
    hosted.room.mute_seat(seat)
    between.pass_all()
    hosted.room.approve_speaker(asked)
    hosted.guest.get_seats()
    assert hosted.guest.seat.value == seat


def test_invitation_when_its_answer_is_lost_is_withdrawn_and_the_next_one_counts(
    hosted: Hosted, between: Between
) -> None:
    """The guest may have seen the first: it is stale."""
    invited: list[SeatInvitation] = []
    hosted.guest.invitations.subscribe(invited.append)
    between.lose_answers("/speakers/invite", times=2)
    with pytest.raises(EngineUnreachable):
        hosted.room.invite_to_speak(hosted.guest_identity)
    between.pass_all()
    hosted.room.invite_to_speak(hosted.guest_identity)
    eventually(lambda: len(invited) == 2, "the guest is invited", SOON_S)
    with pytest.raises(NotFound):
        hosted.guest.accept_invitation(invited[0].id)
    hosted.guest.accept_invitation(invited[1].id)
    assert hosted.guest.seat.value is not None
