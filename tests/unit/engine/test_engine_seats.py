"""The rules of seats and speakers, one sentence each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone

import pytest

from utdstream._wire import codec, messages
from utdstream.engine.rules import room_state, room_views, seats, speakers
from utdstream.engine.rules.refusals import Refusal
from utdstream.engine.rules.room_state import Outcome, Override, RoomState, SeatState, new_state
from utdstream.engine.rules.rooms import Room
from utdstream.engine.rules.seats import GridWish
from utdstream.models import UTDStreamType

NOW = datetime(2026, 1, 2, tzinfo=timezone.utc)
ROOM = Room("lobby", UTDStreamType.AUDIO_ROOM, "host", NOW)
LIVE = Room("show", UTDStreamType.LIVE_STREAM, "host", NOW)


def a_state(*seated: str | None, mode: str = "free", **fields: object) -> RoomState:
    """People on the seats from the first on, an empty one for None; ada is an admin."""
    rows = tuple(SeatState(identity) for identity in seated)
    rows += (SeatState(),) * (4 - len(rows))
    state = RoomState(seats=rows, mode=mode, roles={"ada": "admin"})
    return replace(state, **fields)  # type: ignore[arg-type]


def occupants(state: RoomState) -> list[str | None]:
    return [seat.identity for seat in state.seats]


def refused(rule: Callable[[], object]) -> str:
    with pytest.raises(Refusal) as refusal:
        rule()
    return refusal.value.code


def ask(state: RoomState, who: str = "ann") -> Outcome:
    return speakers.request(ROOM, state, who, name="Ann", now_ms=1_000)


# Sitting down.


def test_room_when_new_has_eight_free_seats_and_a_live_stream_none() -> None:
    """A new audio room has eight free seats and a live stream none."""
    assert new_state(ROOM).seats == (SeatState(),) * 8
    assert new_state(LIVE).seats == ()


def test_seat_when_free_and_taken_has_its_speaker() -> None:
    """Taking a free seat sits the speaker there."""
    outcome = seats.take(ROOM, a_state(), "ann", 2)
    assert occupants(outcome.state) == [None, None, "ann", None]
    assert outcome.answer == {"ok": True, "seat_index": 2}


@pytest.mark.parametrize(
    ("state", "index", "code"),
    [
        (a_state(), 4, "seat_not_found"),
        (a_state(None, "ann"), 2, "already_seated"),
        (a_state(None, "ann"), 1, "already_seated"),
        (a_state(None, "bob"), 1, "seat_occupied"),
        (a_state(seats=(SeatState(), SeatState(locked=True))), 1, "seat_locked"),
        (a_state(), 0, "seat_reserved"),
        (a_state(mode="request"), 1, "seat_request_required"),
    ],
)
def test_seat_when_refused_says_the_reason(state: RoomState, index: int, code: str) -> None:
    """A seat is refused for a reason."""
    assert refused(lambda: seats.take(ROOM, state, "ann", index)) == code


def test_hosts_seat_when_there_is_no_owner_is_anybodys() -> None:
    """The host's seat is anybody's until there is an owner."""
    nobodys = replace(ROOM, owner=None)
    assert occupants(seats.take(nobodys, a_state(), "ann", 0).state)[0] == "ann"
    assert room_state.grid(nobodys, a_state(), {}).seats[0].reserved_for is None
    assert room_state.grid(ROOM, a_state(), {}).seats[0].reserved_for == "host"


def test_seat_when_requests_are_needed_is_free_to_hosts_and_admins() -> None:
    """Hosts and admins need no request."""
    for who, index in (("host", 0), ("ada", 1)):
        assert occupants(seats.take(ROOM, a_state(mode="request"), who, index).state)[index] == who


def test_speaker_when_standing_up_is_on_no_seat() -> None:
    """A speaker that stands up is on no seat."""
    outcome = seats.leave(ROOM, a_state(None, "ann"), "ann")
    assert occupants(outcome.state) == [None] * 4
    assert outcome.answer == {"ok": True, "seat_index": 1}
    assert refused(lambda: seats.leave(ROOM, outcome.state, "ann")) == "not_seated"


def test_move_when_made_is_one_step_and_obeys_locks_and_reservations() -> None:
    """A move is one step and obeys locks and reservations."""
    state = a_state(None, "ann", "bob")
    outcome = seats.move(ROOM, state, "ann", 3)
    assert occupants(outcome.state) == [None, None, "bob", "ann"]
    assert outcome.answer == {"ok": True, "from": 1, "to": 3}
    assert seats.move(ROOM, state, "ann", 1).state == state
    assert refused(lambda: seats.move(ROOM, state, "ann", 2)) == "seat_occupied"
    assert refused(lambda: seats.move(ROOM, state, "ann", 0)) == "seat_reserved"
    assert refused(lambda: seats.move(ROOM, state, "ann", 4)) == "seat_not_found"
    assert refused(lambda: seats.move(ROOM, state, "eve", 3)) == "not_seated"
    locked = replace(state, seats=(*state.seats[:3], SeatState(locked=True)))
    assert refused(lambda: seats.move(ROOM, locked, "ann", 3)) == "seat_locked"


# What hosts and admins do.


@pytest.mark.parametrize("rule", [seats.kick, seats.lock, seats.unlock, seats.mute, seats.unmute])
def test_seat_when_acted_on_needs_a_host_or_an_admin_and_never_an_admin_against_a_host(
    rule: Callable[[Room, RoomState, str | None, int], Outcome],
) -> None:
    """Only hosts and admins act on a seat and admins not on the host's."""
    state = a_state("host", "ann")
    assert refused(lambda: rule(ROOM, state, "ann", 1)) == "forbidden"
    assert refused(lambda: rule(ROOM, state, "ada", 0)) == "forbidden"
    assert refused(lambda: rule(ROOM, state, "host", 9)) == "seat_not_found"
    assert refused(lambda: rule(LIVE, state, "host", 1)) == "invalid_state"
    for who in ("ada", "host", None):
        assert rule(ROOM, state, who, 1).answer == {"ok": True}


def test_seat_when_kicked_or_locked_is_empty() -> None:
    """A kick and a lock unseat."""
    state = a_state("host", "ann")
    assert occupants(seats.kick(ROOM, state, "ada", 1).state) == ["host", None, None, None]
    locked = seats.lock(ROOM, state, "ada", 1).state
    assert locked.seats[1] == SeatState(locked=True)
    assert seats.lock(ROOM, locked, "ada", 1).state == locked
    assert seats.unlock(ROOM, locked, "ada", 1).state.seats[1] == SeatState()
    assert refused(lambda: seats.kick(ROOM, state, "ada", 2)) == "not_seated"
    assert refused(lambda: seats.lock(ROOM, a_state(), "ada", 0)) == "forbidden"


def test_mute_when_the_speaker_moves_follows_until_it_is_lifted() -> None:
    """A mute follows the person until it is lifted."""
    muted = seats.mute(ROOM, a_state(None, "ann"), "ada", 1).state
    moved = seats.move(ROOM, muted, "ann", 3).state
    again = seats.take(ROOM, seats.leave(ROOM, moved, "ann").state, "ann", 2).state
    assert again.muted == {"ann"}
    assert seats.unmute(ROOM, again, "ada", 2).state.muted == frozenset()
    assert refused(lambda: seats.mute(ROOM, a_state(), "ada", 1)) == "not_seated"


def test_seats_when_swapped_are_exchanged_at_once() -> None:
    """A swap exchanges two seats at once."""
    state = a_state("host", "ann", "bob")
    assert occupants(seats.swap(ROOM, state, "ada", 1, 2).state) == ["host", "bob", "ann", None]
    assert occupants(seats.swap(ROOM, state, "ada", 3, 1).state) == ["host", None, "bob", "ann"]
    assert occupants(seats.swap(ROOM, state, "host", 0, 1).state) == ["ann", "host", "bob", None]
    assert refused(lambda: seats.swap(ROOM, state, "ada", 0, 1)) == "forbidden"
    assert refused(lambda: seats.swap(ROOM, a_state(None, "ann"), "ada", 0, 1)) == "seat_reserved"
    assert refused(lambda: seats.swap(ROOM, state, "ann", 1, 2)) == "forbidden"
    assert refused(lambda: seats.swap(ROOM, state, "host", 1, 1)) == "validation_failed"
    assert refused(lambda: seats.swap(ROOM, state, "host", 1, 4)) == "seat_not_found"
    assert refused(lambda: seats.swap(ROOM, a_state(), "host", 1, 2)) == "not_seated"
    locked = replace(state, seats=(*state.seats[:3], SeatState(locked=True)))
    assert refused(lambda: seats.swap(ROOM, locked, "host", 1, 3)) == "seat_locked"


# The grid.


def test_grid_when_its_size_changes_keeps_the_seats_that_both_have() -> None:
    """Another number of seats keeps those that both have."""
    state = a_state("host", "ann", "bob", "eve")
    outcome = seats.set_up(ROOM, state, "ada", GridWish(count=2, mode_id="3"))
    assert occupants(outcome.state) == ["host", "ann"]
    assert [(notice.type, dict(notice.fields), notice.to) for notice in outcome.notices] == [
        (messages.MODE_CHANGE, {"mode_id": "3", "seat_count": 2}, None)
    ]
    assert occupants(seats.set_up(ROOM, state, None, GridWish(count=5)).state)[3:] == ["eve", None]
    assert seats.set_up(ROOM, state, "host", GridWish(mode="request")).notices == ()
    assert refused(lambda: seats.set_up(ROOM, state, "ann", GridWish(count=2))) == "forbidden"


def test_set_up_when_an_admin_would_unseat_the_host_is_refused() -> None:
    """An admin cannot set the host on the street."""
    state = a_state(None, "ann", "bob", "host", host_seat=3)
    assert refused(lambda: seats.set_up(ROOM, state, "ada", GridWish(count=2))) == "forbidden"
    assert seats.set_up(ROOM, state, "host", GridWish(count=2)).state.host_seat == 0


def test_requests_when_seats_become_free_are_gone() -> None:
    """Free seats need no requests."""
    asked = ask(a_state(mode="request")).state
    assert seats.set_up(ROOM, asked, "host", GridWish(mode="free")).state.requests == ()
    assert seats.set_up(ROOM, asked, "host", GridWish(mode_id="x")).state.requests == asked.requests


def test_host_when_minting_chooses_a_grid_that_nobody_chose() -> None:
    """The host's mint chooses a grid that nobody chose."""
    first = seats.seed(new_state(ROOM), GridWish(12, "request", "3", 2))
    assert (len(first.seats), first.mode, first.mode_id, first.host_seat) == (12, "request", "3", 2)
    assert seats.seed(first, GridWish(5, "free")) == first
    assert seats.seed(new_state(ROOM), GridWish()) == new_state(ROOM)


# Speakers.


def test_request_when_made_waits_and_hosts_and_admins_are_told() -> None:
    """A listener that asks to speak waits and hosts and admins are told."""
    outcome = ask(a_state(mode="request"))
    assert outcome.answer == {"ok": True, "request_id": 1}
    assert [(notice.type, notice.to) for notice in outcome.notices] == [
        (messages.SPEAKER_REQUEST, ("host", "ada"))
    ]
    assert outcome.notices[0].fields == {
        "request_id": 1,
        "identity": "ann",
        "name": "Ann",
        "created_at": "1970-01-01T00:00:01.000Z",
    }
    assert refused(lambda: ask(outcome.state)) == "request_pending"
    assert refused(lambda: ask(a_state())) == "invalid_state"
    assert refused(lambda: ask(a_state(None, "ann", mode="request"))) == "already_seated"


def test_requests_when_too_many_wait_are_refused() -> None:
    """Requests that wait are bounded."""
    state = a_state(mode="request")
    for number in range(speakers.MAX_PENDING):
        state = ask(state, f"ann {number}").state
    assert refused(lambda: ask(state, "late")) == "invalid_state"


def test_request_when_withdrawn_or_rejected_is_gone() -> None:
    """A request is withdrawn or rejected."""
    asked = ask(a_state(mode="request")).state
    assert speakers.cancel(ROOM, asked, "ann").state.requests == ()
    assert refused(lambda: speakers.cancel(ROOM, asked, "bob")) == "request_not_found"
    rejected = speakers.reject(ROOM, asked, "ada", 1)
    assert rejected.state.requests == ()
    assert rejected.notices[0].to == ("ann",)
    assert refused(lambda: speakers.reject(ROOM, asked, "ann", 1)) == "forbidden"
    assert refused(lambda: speakers.reject(ROOM, rejected.state, "ada", 1)) == "request_not_found"


def test_request_when_approved_gets_the_first_seat_that_is_free_unlocked_and_not_reserved() -> None:
    """An approval seats on the first seat that is free unlocked and not reserved."""
    asked = ask(a_state(mode="request")).state
    asked = replace(asked, seats=(SeatState(), SeatState(locked=True), SeatState("bob"), SeatState()))
    outcome = speakers.approve(ROOM, asked, "ada", 1)
    assert outcome.state.seat_of("ann") == 3
    assert outcome.state.requests == ()
    assert outcome.answer == {"ok": True, "request_id": 1, "identity": "ann", "seat_index": 3}
    full = replace(asked, seats=(SeatState(), SeatState("bob")))
    assert refused(lambda: speakers.approve(ROOM, full, "ada", 1)) == "seat_occupied"


def test_ids_when_given_only_grow() -> None:
    """Ids only grow."""
    asked = ask(a_state(mode="request")).state
    again = ask(speakers.cancel(ROOM, asked, "ann").state)
    assert again.answer["request_id"] == 2
    invited = speakers.invite(ROOM, again.state, "host", "bob", None, is_here=True)
    assert invited.answer["invitation_id"] == 3


def test_invitation_when_made_is_for_one_listener_who_is_here() -> None:
    """An invitation is for one person who is here and not seated."""
    state = a_state(None, "bob", mode="request")
    outcome = speakers.invite(ROOM, state, "ada", "ann", 2, is_here=True)
    assert outcome.notices[0].to == ("ann",)
    assert codec.parse_invitation(outcome.notices[0].fields) is not None
    for who, target, index, is_here, code in (
        ("ann", "eve", None, True, "forbidden"),
        ("ada", "bob", None, True, "already_seated"),
        ("ada", "eve", None, False, "participant_not_found"),
        ("ada", "ann", None, True, "invitation_pending"),
        ("ada", "eve", 9, True, "seat_not_found"),
        ("ada", "eve", 0, True, "seat_reserved"),
    ):
        after = outcome.state
        assert (
            refused(lambda: speakers.invite(ROOM, after, who, target, index, is_here=is_here)) == code  # noqa: B023
        )


def test_invitation_when_accepted_gives_the_seat_it_named() -> None:
    """A listener that accepts sits on the seat of the invitation."""
    invited = speakers.invite(ROOM, a_state(mode="request"), "ada", "ann", 2, is_here=True).state
    outcome = speakers.accept(ROOM, invited, "ann", 1)
    assert outcome.state.seat_of("ann") == 2
    assert outcome.state.invitations == ()
    assert outcome.notices[0].to == ("ada",)
    assert refused(lambda: speakers.accept(ROOM, invited, "bob", 1)) == "forbidden"
    assert refused(lambda: speakers.accept(ROOM, invited, "ann", 2)) == "invitation_not_found"
    taken = replace(invited, seats=(SeatState(), SeatState(), SeatState("bob")))
    assert refused(lambda: speakers.accept(ROOM, taken, "ann", 1)) == "seat_occupied"
    anywhere = speakers.invite(ROOM, a_state(), None, "ann", None, is_here=True).state
    accepted = speakers.accept(ROOM, anywhere, "ann", 1)
    assert accepted.state.seat_of("ann") == 1
    assert accepted.notices[0].to == ("host", "ada")


def test_invitation_when_declined_is_gone() -> None:
    """An invitation that is declined is gone."""
    invited = speakers.invite(ROOM, a_state(), "ada", "ann", 2, is_here=True).state
    outcome = speakers.decline(ROOM, invited, "ann", 1)
    assert outcome.state.invitations == ()
    assert (outcome.notices[0].type, outcome.notices[0].to) == (
        messages.SPEAKER_INVITATION_DECLINED,
        ("ada",),
    )


def test_seat_when_taken_settles_request_and_invitation() -> None:
    """Sitting down settles request and invitation."""
    state = ask(a_state(mode="request")).state
    state = speakers.invite(ROOM, state, "ada", "ann", None, is_here=True).state
    seated = speakers.accept(ROOM, state, "ann", 2).state
    assert (seated.requests, seated.invitations) == ((), ())


def test_invitation_when_its_seat_is_gone_names_none() -> None:
    """No invitation names a seat that is gone."""
    invited = speakers.invite(ROOM, a_state(), "ada", "ann", 3, is_here=True).state
    smaller = seats.set_up(ROOM, invited, "host", GridWish(count=2)).state
    assert speakers.accept(ROOM, smaller, "ann", 1).state.seat_of("ann") == 1


def test_participant_when_gone_holds_nothing() -> None:
    """A participant that left holds nothing."""
    state = ask(a_state(None, "bob", mode="request")).state
    state = speakers.invite(ROOM, state, "ada", "eve", None, is_here=True).state
    assert state.holders() == {"ann", "bob", "eve"}
    for who in ("ann", "bob", "eve"):
        state = room_state.drop_person(state, who)
    assert state.holders() == frozenset()
    assert room_state.drop_person(state, "ann") is state


# The document.


def test_state_when_written_and_read_is_the_same() -> None:
    """A state is the same after it was written."""
    state = RoomState(
        rev=7,
        seats=(SeatState("ann"), SeatState(locked=True), SeatState()),
        mode="request",
        mode_id="3",
        host_seat=2,
        is_set_up=True,
        requests=(room_state.Request(1, "bob", 5),),
        invitations=(room_state.Invitation(2, "host", "eve", None),),
        next_id=3,
        stage=("x",),
        roles={"ada": "admin"},
        muted=frozenset({"ann"}),
        forbidden=frozenset({"bob"}),
        overrides={"eve": Override(can_publish=False)},
        comments_locked=True,
        comments_locked_by="host",
        metadata={"theme": {"color": "grün"}},
    )
    assert room_state.from_json(room_state.to_json(state)) == state
    assert room_state.from_json(room_state.to_json(RoomState())) == RoomState()


def test_grid_when_written_reads_back_in_both_spellings() -> None:
    """The grid reads back in both spellings."""
    grid = room_state.grid(ROOM, ask(a_state("host", "bob", mode="request")).state, {"bob": "Bob"})
    assert codec.parse_seat_grid(codec.seat_grid_to_message(grid)) == grid
    assert codec.parse_seat_grid(codec.seat_grid_to_answer(grid)) == grid
    assert grid.seats[1].name == "Bob"


def test_metadata_when_made_holds_the_engines_keys_and_the_applications() -> None:
    """The metadata holds the engine's keys and the application's."""
    state = a_state(None, "ann", metadata={"theme": "dark"}, rev=3)
    views = room_views.of(ROOM, state, {})
    read = room_views.read(views.metadata)
    assert codec.json_object(views.metadata) == {"theme": "dark", "_seats": read.parts["_seats"]}
    assert list(views.changes_since(read)) == []
    assert list(room_views.of(ROOM, replace(state, rev=4), {}).changes_since(read)) == []
    locked = room_views.of(ROOM, replace(state, comments_locked=True, comments_locked_by="host"), {})
    assert list(locked.changes_since(read)) == [
        (messages.COMMENT_LOCK, {"locked": True, "by": "host", "rev": 3})
    ]
    assert [kind for kind, _ in views.changes_since(None)] == [messages.SEAT_UPDATE]


def test_grid_when_too_large_goes_without_names() -> None:
    """A grid that is too large goes without names."""
    people = tuple(SeatState(f"{number}" + "x" * 250) for number in range(100))
    names = {seat.identity or "": "n" * 256 for seat in people}
    views = room_views.of(ROOM, RoomState(seats=people), names)
    assert len(views.metadata.encode()) < room_views.MAX_METADATA_BYTES
