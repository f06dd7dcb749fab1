"""The checker of histories finds what is wrong with one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from history import LOST, Operation
from history_check import check_calls, check_room
from history_model import RoomModel

FIRST = RoomModel("ann", frozenset({"ann", "bob", "cid"}), seats=((None, False),) * 3)


def op(at: float, kind: str, actor: str | None, http: int | None = 200, /, **fields: Any) -> Operation:
    """An operation from `at` to half a second later; `in_` fields are what was asked."""
    args = {name.removeprefix("in_"): value for name, value in fields.items() if name.startswith("in_")}
    answer = {name: value for name, value in fields.items() if not name.startswith("in_")}
    return Operation("room", kind, actor, args, at, at + 0.5, http, answer)


def grid(*seats: str | None) -> dict[str, Any]:
    rows = [{"occupant_identity": who, "locked": 0} for who in seats]
    return {"seats": rows, "requests": [], "seat_count": 3, "seat_mode": "free"}


def room_history() -> list[Operation]:
    """Sound: two take the same seat, one moves away, the host locks a seat twice, somebody looks."""
    return [
        op(1, "take", "bob", in_index=1, seat_index=1, rev=8),
        op(1.2, "take", "cid", 409, in_index=1, code="seat_occupied"),
        op(2, "get_seats", "cid", rev=8, **grid(None, "bob", None)),
        op(3, "move", "bob", in_target_seat=2, **{"from": 1, "to": 2}, rev=9),
        op(4, "lock", "ann", in_index=1, rev=10),
        op(5, "lock", "ann", in_index=1, rev=10),
        op(6, "take", "cid", LOST, in_index=0),
        op(7, "leave", "bob", seat_index=2, rev=11),
    ]


Corrupt = Callable[[list[Operation]], object]


def answered(number: int, **fields: Any) -> Corrupt:
    """Somebody was answered otherwise."""

    def change(history: list[Operation]) -> None:
        history[number] = replace(history[number], answer={**history[number].answer, **fields})

    return change


def took_place(number: int, at: float) -> Corrupt:
    def change(history: list[Operation]) -> None:
        history[number] = replace(history[number], sent=at, answered=at + 0.5)

    return change


def test_room_history_when_sound_has_no_violation() -> None:
    """A sound history of a room has no violation."""
    assert check_room(FIRST, 7, room_history()) == []


@pytest.mark.parametrize(
    ("corrupt", "found"),
    [
        (lambda history: history.pop(0), "cannot follow"),
        (lambda history: history.append(replace(history[0], actor="bob")), "cannot follow"),
        (lambda history: history.append(op(1.1, "take", "cid", in_index=1, seat_index=1, rev=8)), "follow"),
        (lambda history: history.append(op(8, "take", "cid", in_index=2, seat_index=2, rev=13)), "follow"),
        (lambda history: history.append(op(8, "take", "cid", in_index=1, seat_index=1, rev=12)), "follow"),
        (answered(0, seat_index=2), "cannot follow"),
        (answered(2, **grid("bob", None, None)), "cannot follow"),
        (answered(2, rev=9), "cannot follow"),
        (answered(3, rev=6), "without a rev of its time"),
        (answered(1, code="seat_locked"), "refused without a reason"),
        (took_place(1, 6.0), "refused without a reason"),
        (took_place(1, 0.1), "refused without a reason"),
        (took_place(2, 4.6), "out of its time"),
        (took_place(0, 2.6), "out of its time"),
        (took_place(4, 2.0), "out of its time"),
    ],
)
def test_room_history_when_violated_is_found(corrupt: Corrupt, found: str) -> None:
    """A violation in a room is found."""
    history = room_history()
    corrupt(history)
    violations = check_room(FIRST, 7, history)
    assert violations
    assert found in violations[0]


def test_room_request_when_never_answered_may_have_happened() -> None:
    """The gap that a killed engine left is filled by the operation that fits, and by no other."""
    lost = [
        op(1, "take", "cid", LOST, in_index=0),
        op(1.1, "take", "bob", LOST, in_index=1),
        op(3, "get_seats", "ann", rev=8, **grid(None, "bob", None)),
    ]
    assert check_room(FIRST, 7, lost) == []
    assert check_room(FIRST, 7, [lost[0], lost[2]])
    assert check_room(FIRST, 7, [lost[0], replace(lost[1], sent=4.0, answered=5.0), lost[2]])


def call(at: float, kind: str, actor: str, status: str, rev: int, **fields: Any) -> Operation:
    asked = {"in_call_id": "call_1"} if kind != "create" else {"in_callee": "bob"}
    code = 201 if kind == "create" else 200
    parties = {"call_id": "call_1", "caller_identity": "ann", "callee_identity": "bob"}
    return op(at, kind, actor, code, **{**asked, **parties, "status": status, "rev": rev, **fields})


def call_history() -> list[Operation]:
    """Sound: ann calls bob, her retry finds her call, bob answers, cid finds him busy, ann hangs up."""
    return [
        call(1, "create", "ann", "initiating", 1, in_key="k"),
        op(5.1, "create", "cid", 409, in_callee="bob", code="callee_busy"),
        replace(call(3, "create", "ann", "initiating", 1, in_key="k"), status=200),
        call(4, "ring", "bob", "ringing", 2),
        call(5, "accept", "bob", "active", 3),
        op(5.2, "reject", "bob", 409, in_call_id="call_1", code="invalid_state"),
        call(6.2, "end", "ann", "ended", 4, end_reason="caller_hangup"),
        call(7, "end", "bob", "ended", 4, end_reason="caller_hangup"),
    ]


def test_call_history_when_sound_has_no_violation() -> None:
    """A sound history of calls has no violation."""
    assert check_calls(call_history()) == []


@pytest.mark.parametrize(
    "corrupt",
    [
        lambda history: history.pop(0),
        lambda history: history.pop(4),
        lambda history: history.insert(
            1, call(5.55, "create", "cid", "initiating", 1, call_id="call_2", caller_identity="cid")
        ),
        answered(1, code="forbidden"),
        answered(2, call_id="call_2"),
        answered(4, rev=4),
        answered(6, end_reason="callee_hangup"),
        answered(7, status="active", rev=3),
        lambda history: history.append(call(8, "ring", "bob", "ringing", 5)),
        lambda history: history.append(call(8, "get", "cid", "ended", 4, end_reason="caller_hangup")),
        lambda history: history.append(op(8, "create", "cid", 409, in_callee="bob", code="callee_busy")),
        took_place(4, 3.3),
        took_place(5, 2.0),
    ],
)
def test_call_history_when_violated_is_found(corrupt: Corrupt) -> None:
    """A violation in calls is found."""
    history = call_history()
    corrupt(history)
    assert check_calls(history)


def test_call_when_over_before_its_maker_is_answered_is_explained_by_who_ended_it() -> None:
    """The answer to a new call says how it stands when its media room is made, which takes a moment."""
    made = replace(call(1, "create", "ann", "rejected", 2), answered=3.0)
    rejected = call(2, "reject", "bob", "rejected", 2)
    assert check_calls([made, rejected]) == []
    assert check_calls([made])
    assert check_calls([made, replace(rejected, sent=4.0, answered=5.0)])


def test_call_request_when_never_answered_may_have_made_a_call() -> None:
    """A create that the kill swallowed: its retry with the same key finds the call, or makes it."""
    lost = replace(call(1, "create", "ann", "", 0, in_key="k"), status=LOST, answer={})
    retry = call(2, "create", "ann", "initiating", 1, in_key="k")
    assert check_calls([lost, retry]) == []
    assert check_calls([lost, replace(retry, status=200)]) == []
    assert check_calls([replace(retry, status=200)])


def ring_by(at: float, caller: str) -> Operation:
    return call(at, "create", caller, "initiating", 1, call_id=f"call_{caller}", caller_identity=caller)


def busy_for(at: float, caller: str) -> Operation:
    return op(at, "create", caller, 409, in_callee="bob", code="callee_busy")


def test_call_history_when_four_ring_at_once_is_sound_and_a_fifth_stranger_is_busy() -> None:
    """Call waiting: no stranger has the fifth place, and none of the four is refused."""
    four = [ring_by(1 + number / 10, caller) for number, caller in enumerate(("ann", "cid", "dan", "eve"))]
    assert check_calls([*four, busy_for(2, "fay")]) == []
    assert check_calls([*four, ring_by(2, "fay")])
    assert check_calls([*four[:3], busy_for(2, "fay")])


def test_call_history_when_a_known_caller_is_the_fifth_has_one_stranger_busy() -> None:
    """Who has talked with bob gets a place; a stranger's ring is busy from then on, once."""
    talk = [item for item in call_history() if item.actor != "cid"]
    four = [ring_by(8 + number / 10, caller) for number, caller in enumerate(("cid", "dan", "eve", "fay"))]
    known = call(9, "create", "ann", "initiating", 1, call_id="call_ann")
    gone = [
        call(10 + number, "get", caller, "busy", 2, in_call_id=f"call_{caller}", call_id=f"call_{caller}",
             caller_identity=caller)
        for number, caller in enumerate(("dan", "eve"))
    ]  # fmt: skip
    assert check_calls([*talk, *four, known, gone[0]]) == []
    assert check_calls([*talk, *four, known, *gone])
    assert check_calls([*talk, *four, busy_for(9, "ann")])
