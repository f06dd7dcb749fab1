"""Several ring at once: the first to answer gets the caller, the others are told."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from facts import eventually
from people import People, Person

from utdstream import (
    CallCancelled,
    CallNotAnswered,
    Conflict,
    DeadlineExceeded,
    IncomingCall,
    InvalidConfig,
    SessionClosed,
    UTDCallSession,
    UTDCallStatus,
    UTDStreamType,
)

pytestmark = pytest.mark.integration
S = UTDCallStatus
KIND = UTDStreamType.AUDIO_CALL


class House:
    """Somebody who is rung, and what happened there."""

    def __init__(self, person: Person, react: Callable[[IncomingCall], object] | None = None) -> None:
        self.identity = person.identity
        self.rings: list[IncomingCall] = []
        self.cancels: list[CallCancelled] = []
        self.calls: list[UTDCallSession] = []
        self.refused: list[Exception] = []

        def ring(incoming: IncomingCall) -> None:
            self.rings.append(incoming)
            try:
                made = react(incoming) if react else None
            except Conflict as error:
                self.refused.append(error)
            else:
                if isinstance(made, UTDCallSession):
                    self.calls.append(made)

        inbox = person.inbox()
        inbox.ringing.subscribe(ring)
        inbox.cancelled.subscribe(self.cancels.append)


def open_calls(person: Person) -> int:
    api = person.client._api
    from utdstream._threads.deadline import Deadline

    return len(
        api.list_calls(
            identity=person.identity,
            statuses=(S.INITIATING, S.RINGING, S.ACTIVE),
            deadline=Deadline(5, 5, "list"),
        )
    )


def test_call_when_one_of_three_answers_is_his_and_the_others_are_told(people: People) -> None:
    """One call each, media for the winner alone, `answered elsewhere` for the rest."""
    door = people("door")
    first, second = House(people("a")), House(people("b"))

    def answer_when_all_ring(incoming: IncomingCall) -> UTDCallSession:
        eventually(lambda: first.rings and second.rings, "the others ring too")
        return incoming.accept()

    third = House(people("c"), answer_when_all_ring)
    with door.call(KIND) as call:
        seen: list[S | None] = []
        call.status.subscribe(lambda change: seen.append(change.new))
        made = call.start_any(callee_identities=[first.identity, second.identity, third.identity])
        assert (made.status, made.callee_identity) == (S.ACTIVE, third.identity)
        assert call.call_id.value == made.call_id
        for house in (first, second):
            eventually(lambda house=house: house.cancels, "it is told")
            assert house.cancels[0].reason == "answered_elsewhere"
        eventually(
            lambda: [p.identity for p in call.remote_participants.value] == [third.identity], "they meet"
        )
        assert seen[0] is S.INITIATING
        assert seen[-1] is S.ACTIVE
        assert open_calls(door) == 1
    eventually(lambda: open_calls(door) == 0, "nothing is left")


def test_call_when_everybody_rejects_says_so(people: People) -> None:
    """At once, not at the end of the ring time."""
    door = people("door")
    houses = [House(people("no"), lambda incoming: incoming.reject()) for _ in range(2)]
    with door.call(KIND) as call, pytest.raises(CallNotAnswered) as caught:
        call.start_any(callee_identities=[house.identity for house in houses], timeout=20)
    assert caught.value.status is S.REJECTED


def test_call_when_one_is_busy_rings_the_others(people: People) -> None:
    """Only when all are busy is it a conflict."""
    door, other, talker = people("door"), people("other"), people("talker")
    busy = House(talker, lambda incoming: incoming.accept())
    with other.call(KIND) as talk:
        talk.start(callee_identity=busy.identity)
        talk.wait_for_answer(timeout=20)
        free = House(people("free"), lambda incoming: incoming.accept())
        with door.call(KIND) as call:
            made = call.start_any(callee_identities=[busy.identity, free.identity])
            assert made.callee_identity == free.identity
        with door.call(KIND) as call:
            with pytest.raises(Conflict):
                call.start_any(callee_identities=[busy.identity])
            assert call.status.value is S.BUSY


def test_call_when_nobody_answers_in_time_ends_everywhere(people: People) -> None:
    """The deadline ends all calls: no phone rings on."""
    door, house = people("door"), House(people("late"))
    with door.call(KIND) as call, pytest.raises(DeadlineExceeded):
        call.start_any(callee_identities=[house.identity], timeout=1.5)
    eventually(lambda: house.cancels, "it stops ringing")
    eventually(lambda: open_calls(door) == 0, "nothing is left")


def test_call_when_ended_while_it_rings_raises_and_leaves_nothing(people: People) -> None:
    """end() from another thread does not wait."""
    door, house = people("door"), House(people("rung"))
    raised: list[BaseException] = []
    with door.call(KIND) as call:

        def ring() -> None:
            try:
                call.start_any(callee_identities=[house.identity])
            except SessionClosed as error:
                raised.append(error)

        thread = threading.Thread(target=ring)
        thread.start()
        eventually(lambda: house.rings, "it rings")
        call.end()
        thread.join(10)
        assert len(raised) == 1
    eventually(lambda: open_calls(door) == 0, "nothing is left")


def test_call_when_two_answer_at_once_has_one_winner(people: People) -> None:
    """Both accept in the same moment: the engine decides, the other one gets a Conflict or a cancel."""
    door, barrier = people("door"), threading.Barrier(2)

    def together(incoming: IncomingCall) -> UTDCallSession:
        barrier.wait(10)
        return incoming.accept()

    houses = [House(people("quick"), together) for _ in range(2)]
    with door.call(KIND) as call:
        made = call.start_any(callee_identities=[house.identity for house in houses])
        eventually(lambda: sum(len(house.calls) + len(house.refused) for house in houses) == 2, "both know")
        assert [house.identity for house in houses if house.calls] == [made.callee_identity]
        assert open_calls(door) == 1


def test_callees_when_wrong_are_refused(people: People) -> None:
    """One typed error each."""
    with people("door").call(KIND) as call:
        for wrong in ([], ["a", "a"], ["a", ""], "house", [str(number) for number in range(17)]):
            with pytest.raises(InvalidConfig):
                call.start_any(callee_identities=wrong)
