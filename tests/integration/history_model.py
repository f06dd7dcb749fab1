"""What the contract says that a room, and a group of people who call each other, does: one step at a time.

Owns: two sequential models, written from the wire document alone; nothing of the engine is imported. A
step is a pure function. Where several refusals fit, any of them is right: the contract gives no order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from history import LOST, Operation

READS = ("get_seats", "get_stage")
OWN = ("take", "leave", "move", "request", "cancel", "accept", "decline", "ask_stage", "leave_stage")
"""What somebody does for himself, and must have been admitted for."""

# --- rooms


@dataclass(frozen=True)
class RoomModel:
    """A room. `seats` are (who, locked); `requests` (id, who); `invitations` (id, who, seat)."""

    owner: str
    admitted: frozenset[str]
    seats: tuple[tuple[str | None, bool], ...] = ()
    mode: str = "free"
    requests: tuple[tuple[int, str], ...] = ()
    invitations: tuple[tuple[int, str, int | None], ...] = ()
    last_id: int = 0
    stage: tuple[str, ...] = ()
    roles: frozenset[tuple[str, str]] = frozenset()
    muted: frozenset[str] = frozenset()
    is_live: bool = False

    def role(self, who: str) -> str:
        return "host" if who == self.owner else dict(self.roles).get(who, "audience")

    def seat_of(self, who: str) -> int | None:
        return next((index for index, (sitter, _) in enumerate(self.seats) if sitter == who), None)


@dataclass(frozen=True)
class Step:
    """What one operation does: `refusals`, or the next state and what the answer says of it."""

    after: RoomModel
    says: tuple[tuple[str, Any], ...] = ()
    refusals: frozenset[str] = frozenset()


def room_step(room: RoomModel, op: Operation) -> Step:
    """What the contract says of this operation in this state."""
    if op.kind in READS:
        return Step(room, _stage_says(room) if room.is_live else _grid_says(room))
    if op.kind in OWN and op.actor not in room.admitted:
        return _refused(room, "forbidden")
    step = _STEPS[op.kind](room, op.actor or "", op)
    return step if isinstance(step, Step) else _refused(room, *step)


def room_answer(op: Operation) -> dict[str, Any]:
    """The answer in the words of the model."""
    answer = dict(op.answer)
    if "seats" in answer:
        answer["seats"] = tuple((row["occupant_identity"], bool(row["locked"])) for row in answer["seats"])
        answer["requests"] = tuple((row["id"], row["identity"]) for row in answer["requests"])
    if "members" in answer:
        answer["members"] = tuple((row["identity"], row["role"]) for row in answer["members"])
    if "member" in answer:
        answer["member"] = (answer["member"]["identity"], answer["member"]["role"])
    return answer


Result = Step | tuple[str, ...]


def _refused(room: RoomModel, *codes: str) -> Step:
    return Step(room, refusals=frozenset(codes))


def _grid_says(room: RoomModel) -> tuple[tuple[str, Any], ...]:
    return (
        ("seats", room.seats),
        ("seat_count", len(room.seats)),
        ("seat_mode", room.mode),
        ("requests", room.requests),
    )


def _stage_says(room: RoomModel) -> tuple[tuple[str, Any], ...]:
    guests = tuple((who, _stage_role(room, who)) for who in room.stage if who != room.owner)
    return (("members", ((room.owner, "host"), *guests)),)


def _stage_role(room: RoomModel, who: str) -> str:
    return role if (role := room.role(who)) in ("host", "admin") else "guest"


def _moderates(room: RoomModel, op: Operation, target: str | None = None) -> bool:
    if op.actor is None or op.actor == room.owner:
        return True
    return room.role(op.actor) == "admin" and target != room.owner


def _blocks(room: RoomModel, index: int, who: str) -> tuple[str, ...]:
    """Why this person cannot sit there."""
    sitter, locked = room.seats[index]
    found = []
    if sitter is not None:
        found.append("seat_occupied")
    if locked:
        found.append("seat_locked")
    if index == 0 and who != room.owner:
        found.append("seat_reserved")
    return tuple(found)


def _first_free(room: RoomModel, who: str) -> int | None:
    return next((index for index in range(len(room.seats)) if not _blocks(room, index, who)), None)


def _put(room: RoomModel, *places: tuple[int, str | None, bool]) -> RoomModel:
    seats = list(room.seats)
    for index, who, locked in places:
        seats[index] = (who, locked)
    return replace(room, seats=tuple(seats))


def _sit(room: RoomModel, index: int, who: str) -> RoomModel:
    return replace(
        _put(room, (index, who, False)),
        requests=tuple(row for row in room.requests if row[1] != who),
        invitations=tuple(row for row in room.invitations if row[1] != who),
    )


def _take(room: RoomModel, who: str, op: Operation) -> Result:
    index = op.args["index"]
    if index >= len(room.seats):
        return ("seat_not_found",)
    found = list(_blocks(room, index, who))
    if room.seat_of(who) is not None:
        found.append("already_seated")
    if room.mode == "request" and not _moderates(room, op):
        found.append("seat_request_required")
    return tuple(found) or Step(_sit(room, index, who), (("seat_index", index),))


def _leave(room: RoomModel, who: str, op: Operation) -> Result:
    index = room.seat_of(who)
    if index is None:
        return ("not_seated",)
    return Step(_put(room, (index, None, False)), (("seat_index", index),))


def _move(room: RoomModel, who: str, op: Operation) -> Result:
    index, target = room.seat_of(who), op.args["target_seat"]
    found = [] if index is not None else ["not_seated"]
    if target >= len(room.seats):
        return (*found, "seat_not_found")
    if index is None:
        return ("not_seated", *_blocks(room, target, who))
    if index == target:
        return Step(room, (("from", index), ("to", target)))
    moved = Step(_put(room, (index, None, False), (target, who, False)), (("from", index), ("to", target)))
    return _blocks(room, target, who) or moved


def _swap(room: RoomModel, who: str, op: Operation) -> Result:
    a, b = op.args["seat_a"], op.args["seat_b"]
    found = [] if _moderates(room, op) else ["forbidden"]
    if max(a, b) >= len(room.seats):
        return (*found, "seat_not_found")
    if a == b:
        return (*found, "validation_failed")
    (first, first_locked), (second, second_locked) = room.seats[a], room.seats[b]
    if not (_moderates(room, op, first) and _moderates(room, op, second)):
        found.append("forbidden")
    if first is None and second is None:
        found.append("not_seated")
    if first_locked or second_locked:
        found.append("seat_locked")
    if op.actor not in (None, room.owner):
        onto_zero = second if a == 0 else first if b == 0 else None
        if onto_zero not in (None, room.owner):
            found.append("seat_reserved")
    swapped = _put(room, (a, second, second_locked), (b, first, first_locked))
    return tuple(found) or Step(swapped, (("seat_a", a), ("seat_b", b)))


def _kick(room: RoomModel, who: str, op: Operation) -> Result:
    index = op.args["index"]
    if index >= len(room.seats):
        return ("seat_not_found",) if _moderates(room, op) else ("seat_not_found", "forbidden")
    sitter = room.seats[index][0]
    found = [] if _moderates(room, op, sitter) else ["forbidden"]
    if sitter is None:
        found.append("not_seated")
    return tuple(found) or Step(_put(room, (index, None, False)))


def _lock(room: RoomModel, who: str, op: Operation) -> Result:
    index = op.args["index"]
    if index >= len(room.seats):
        return ("seat_not_found",) if _moderates(room, op) else ("seat_not_found", "forbidden")
    sitter = room.seats[index][0]
    kept_for = room.owner if index == 0 else None
    if not (_moderates(room, op, sitter) and _moderates(room, op, kept_for)):
        return ("forbidden",)
    if op.kind == "lock":
        return Step(_put(room, (index, None, True)))
    return Step(_put(room, (index, sitter, False)))


def _mute(room: RoomModel, who: str, op: Operation) -> Result:
    step = _kick(room, who, op)
    if not isinstance(step, Step):
        return step
    sitter = {room.seats[op.args["index"]][0] or ""}
    return Step(replace(room, muted=room.muted | sitter if op.kind == "mute" else room.muted - sitter))


def _set_up(room: RoomModel, who: str, op: Operation) -> Result:
    count, mode = op.args["seat_count"], op.args["seat_mode"]
    dropped = [sitter for sitter, _ in room.seats[count:]]
    if not all(_moderates(room, op, sitter) for sitter in (None, *dropped)):
        return ("forbidden",)
    after = replace(
        room,
        seats=(*room.seats[:count], *((None, False) for _ in range(count - len(room.seats)))),
        mode=mode,
        requests=room.requests if mode == "request" else (),
        invitations=tuple(
            (number, target, None if (seat or 0) >= count else seat)
            for number, target, seat in room.invitations
        ),
    )
    return Step(after, _grid_says(after))


def _request(room: RoomModel, who: str, op: Operation) -> Result:
    found = [] if room.mode == "request" else ["invalid_state"]
    if room.seat_of(who) is not None:
        found.append("already_seated")
    if any(asker == who for _, asker in room.requests):
        found.append("request_pending")
    number = room.last_id + 1
    after = replace(room, requests=(*room.requests, (number, who)), last_id=number)
    return tuple(found) or Step(after, (("request_id", number),))


def _cancel(room: RoomModel, who: str, op: Operation) -> Result:
    left = tuple(row for row in room.requests if row[1] != who)
    return ("request_not_found",) if left == room.requests else Step(replace(room, requests=left))


def _decide(room: RoomModel, who: str, op: Operation) -> Result:
    """Approve or reject."""
    number = op.args["id"]
    asker = dict(room.requests).get(number)
    found = [] if _moderates(room, op) else ["forbidden"]
    if asker is None:
        return (*found, "request_not_found")
    says = (("request_id", number), ("identity", asker))
    if op.kind == "reject":
        left = tuple(row for row in room.requests if row[0] != number)
        return tuple(found) or Step(replace(room, requests=left), says)
    index = _first_free(room, asker)
    if index is None:
        return (*found, "seat_occupied")
    return tuple(found) or Step(_sit(room, index, asker), (*says, ("seat_index", index)))


def _invite(room: RoomModel, who: str, op: Operation) -> Result:
    target, seat = op.args["target_identity"], op.args.get("seat_index")
    found = [] if _moderates(room, op) else ["forbidden"]
    if room.seat_of(target) is not None:
        found.append("already_seated")
    if target not in room.admitted:
        found.append("participant_not_found")
    if any(asked == target for _, asked, _ in room.invitations):
        found.append("invitation_pending")
    if seat is not None and seat >= len(room.seats):
        found.append("seat_not_found")
    elif seat == 0 and target != room.owner:
        found.append("seat_reserved")
    number = room.last_id + 1
    after = replace(room, invitations=(*room.invitations, (number, target, seat)), last_id=number)
    return tuple(found) or Step(after, (("invitation_id", number),))


def _answer_invitation(room: RoomModel, who: str, op: Operation) -> Result:
    number = op.args["id"]
    asked = next((row for row in room.invitations if row[0] == number), None)
    if asked is None:
        return ("invitation_not_found",)
    if asked[1] != who:
        return ("forbidden",)
    if op.kind == "decline":
        left = tuple(row for row in room.invitations if row != asked)
        return Step(replace(room, invitations=left), (("invitation_id", number),))
    index = asked[2] if asked[2] is not None else _first_free(room, who)
    if index is None:
        return ("seat_occupied",)
    seated = Step(_sit(room, index, who), (("invitation_id", number), ("seat_index", index)))
    return _blocks(room, index, who) or seated


def _invite_stage(room: RoomModel, who: str, op: Operation) -> Result:
    target = op.args["target_identity"]
    if not _moderates(room, op):
        return ("forbidden", "participant_not_found") if target not in room.admitted else ("forbidden",)
    says = (("member", (target, _stage_role(room, target))),)
    if target in room.stage or target == room.owner:
        return Step(room, says)
    if target not in room.admitted:
        return ("participant_not_found",)
    return Step(replace(room, stage=(*room.stage, target)), says)


def _off_stage(room: RoomModel, who: str) -> Result:
    if who not in room.stage:
        return ("not_on_stage",)
    return Step(
        replace(
            room,
            stage=tuple(member for member in room.stage if member != who),
            roles=room.roles - {(who, "guest")},
        )
    )


def _remove_stage(room: RoomModel, who: str, op: Operation) -> Result:
    target = op.args["target_identity"]
    if not _moderates(room, op, target) or target == room.owner:
        return ("forbidden",) if target in room.stage else ("forbidden", "not_on_stage")
    return _off_stage(room, target)


def _ask_stage(room: RoomModel, who: str, op: Operation) -> Result:
    return ("invalid_state",) if who in room.stage or who == room.owner else Step(room)


def _leave_stage(room: RoomModel, who: str, op: Operation) -> Result:
    return ("invalid_state",) if who == room.owner else _off_stage(room, who)


def _change_role(room: RoomModel, who: str, op: Operation) -> Result:
    target, role = op.args["target"], op.args["role"]
    found = [] if op.actor in (None, room.owner) else ["not_owner"]
    if target == room.owner:
        found.append("forbidden")
    if target not in room.admitted:
        found.append("participant_not_found")
    before = room.role(target)
    if before == role:
        found.append("already_in_role")
    roles = frozenset(row for row in room.roles if row[0] != target)
    stage = room.stage
    if room.is_live and role == "guest" and target not in stage:
        stage = (*stage, target)
    elif room.is_live and role in ("audience", "visitor"):
        stage = tuple(member for member in stage if member != target)
    after = replace(room, roles=roles if role == "audience" else roles | {(target, role)}, stage=stage)
    says = (("identity", target), ("role", role), ("previous_role", before))
    return tuple(found) or Step(after, says)


_STEPS = {
    "take": _take,
    "leave": _leave,
    "move": _move,
    "swap": _swap,
    "kick": _kick,
    "lock": _lock,
    "unlock": _lock,
    "mute": _mute,
    "unmute": _mute,
    "set_up": _set_up,
    "request": _request,
    "cancel": _cancel,
    "approve": _decide,
    "reject": _decide,
    "invite": _invite,
    "accept": _answer_invitation,
    "decline": _answer_invitation,
    "invite_stage": _invite_stage,
    "remove_stage": _remove_stage,
    "ask_stage": _ask_stage,
    "leave_stage": _leave_stage,
    "change_role": _change_role,
}

# --- calls

OPEN = ("initiating", "ringing", "active")
UNANSWERED = ("initiating", "ringing")
JOIN_WITHIN_S = 15.0
MOST_RINGS = 4
_TO = {"ring": "ringing", "accept": "active", "reject": "rejected", "busy": "busy", "end": "ended"}


class CallModel(NamedTuple):
    """One call; `id` None: its maker was never told. `since` is when an answer can have been given."""

    id: str | None
    caller: str
    callee: str
    status: str = "initiating"
    reason: str | None = None
    rev: int = 1
    key: str | None = None
    accept_key: str | None = None
    since: float = 0.0

    @property
    def was_answered(self) -> bool:
        return self.since > 0

    def is_between(self, one: str, other: str) -> bool:
        return {self.caller, self.callee} == {one, other}


Calls = tuple[CallModel, ...]


def as_steps(op: Operation) -> tuple[Operation, ...]:
    """The steps of one request. A new call is made, then its media room, and the answer says how the call stands
    after that: meanwhile it may have given way to a known caller, or have been rejected.
    """
    if op.kind != "create" or op.status != 201 or op.answer.get("rev") == 1:
        return (op,)
    as_made = {**op.answer, "status": "initiating", "rev": 1, "end_reason": None}
    later = math.nextafter(op.answered, math.inf)  # the check handles one answer at a time
    looked = replace(op, kind="get", args={"call_id": op.answer.get("call_id")}, status=200, answered=later)
    return replace(op, answer=as_made), looked


def calls_step(calls: Calls, op: Operation) -> Iterator[Calls]:
    """The next states in which the answer of this operation is right (none: it is wrong here)."""
    yield from _calls_step(calls, op)
    if op.kind != "create" and op.answer.get("end_reason") == "participant_left":
        yield from _calls_step(_left(calls, op), op)
    elif op.kind == "create" or op.code == "invalid_state":
        left = _left(calls, op)
        if left != calls:
            yield from _calls_step(left, op)


def _left(calls: Calls, op: Operation) -> Calls:
    """Nobody joins in these histories, so the engine may end what was answered fifteen seconds ago."""
    return tuple(
        _to(call, "ended", "participant_left")
        if call.status == "active" and op.answered - call.since >= JOIN_WITHIN_S
        else call
        for call in calls
    )


def tidy(calls: Calls, last_named: Mapping[object, float], now: float) -> Calls:
    """The same state in one spelling, whatever led to it: of a call that is over and never named again only stays
    that the two have talked.
    """
    kept, talked = [], set()
    for call in calls:
        names = (call.id, None if call.key is None else (call.caller, call.key))
        if call.status in OPEN or any(name is not None and last_named.get(name, 0.0) > now for name in names):
            kept.append(call)
        elif call.was_answered:
            talked.add((min(call.caller, call.callee), max(call.caller, call.callee)))
    kept.sort(key=lambda call: call.caller)  # the order of one caller's calls is the one that counts
    return (*(CallModel(None, *pair, status="ended", since=1.0) for pair in sorted(talked)), *kept)


def _calls_step(calls: Calls, op: Operation) -> Iterator[Calls]:
    if op.kind == "create":
        yield from _create(calls, op)
        return
    index = next((n for n, call in enumerate(calls) if call.id == op.args["call_id"]), None)
    if index is None:
        if op.status is LOST or op.code == "call_not_found":
            yield calls
        return
    before = calls[index]
    codes, after = _act(before, op)
    if op.status is not LOST:
        if bool(codes) == op.is_done or (codes and op.code not in codes):
            return
        if not codes and not _is_answer(after, op):
            return
    yield calls if codes else (*calls[:index], after, *calls[index + 1 :])


def _create(calls: Calls, op: Operation) -> Iterator[Calls]:
    caller, callee, key = op.actor or "", op.args["callee"], op.args.get("key")
    for index in range(len(calls) - 1, -1, -1):
        call = calls[index]
        if key is not None and (call.caller, call.key) == (caller, key):
            if call.callee != callee:
                if op.status is LOST or op.code == "validation_failed":
                    yield calls
                return
            found = call._replace(id=call.id or op.answer.get("call_id"))
            if op.status is LOST or (op.status == 200 and _is_answer(found, op)):
                yield (*calls[:index], found, *calls[index + 1 :])
            return
    ended = tuple(_superseded(call, caller, callee) for call in calls)
    places = tuple(_places(ended, caller, callee))
    if not places and (op.status is LOST or op.code == "callee_busy"):
        yield calls
    made = CallModel(op.answer.get("call_id"), caller, callee, key=key)
    is_known = made.id is not None and any(call.id == made.id for call in calls)
    if op.status is LOST or (op.status == 201 and not is_known and _is_answer(made, op)):
        for others in places:
            yield (*others, made)


def _places(calls: Calls, caller: str, callee: str) -> Iterator[Calls]:
    """The calls beside which a new one may ring: all, or all but one stranger's, whichever; none: busy."""
    if any(call.status == "active" and callee in (call.caller, call.callee) for call in calls):
        return
    rings = [n for n, call in enumerate(calls) if call.status in UNANSWERED and call.callee == callee]
    if len(rings) < MOST_RINGS:
        yield calls
    elif _have_talked(calls, caller, callee):
        for n in rings:
            if not _have_talked(calls, calls[n].caller, callee):
                yield (*calls[:n], _to(calls[n], "busy", None), *calls[n + 1 :])


def _have_talked(calls: Calls, one: str, other: str) -> bool:
    return any(call.was_answered and call.is_between(one, other) for call in calls)


def _superseded(call: CallModel, caller: str, callee: str) -> CallModel:
    if call.status in UNANSWERED and call.caller == caller:
        return _to(call, "ended", "caller_cancelled")
    if call.status == "active" and call.is_between(caller, callee):
        return _to(call, "ended", "caller_hangup" if call.caller == caller else "callee_hangup")
    return call


def _act(call: CallModel, op: Operation) -> tuple[tuple[str, ...], CallModel]:
    if op.actor not in (call.caller, call.callee):
        return ("forbidden",), call
    if op.kind == "get":
        return (), call
    if op.kind == "end":
        if call.status not in OPEN:
            return (), call
        reason = "callee_hangup" if op.actor == call.callee else "caller_hangup"
        if op.actor == call.caller and call.status in UNANSWERED:
            reason = "caller_cancelled"
        return (), _to(call, "ended", reason)
    if op.actor != call.callee:
        return ("forbidden",), call
    if op.kind == "ring" and call.status == "ringing":
        return (), call
    key = op.args.get("key")
    if op.kind == "accept" and call.status == "active" and key is not None and key == call.accept_key:
        return (), call
    if call.status not in (("initiating",) if op.kind == "ring" else UNANSWERED):
        return ("invalid_state",), call
    after = _to(call, _TO[op.kind], None)
    return (), after._replace(accept_key=key, since=op.sent) if op.kind == "accept" else after


def _to(call: CallModel, status: str, reason: str | None) -> CallModel:
    return call._replace(status=status, reason=reason, rev=call.rev + 1)


def _is_answer(call: CallModel, op: Operation) -> bool:
    said = op.answer
    return (
        call.id,
        call.caller,
        call.callee,
        call.status,
        call.reason,
        call.rev,
    ) == (
        said.get("call_id"),
        said.get("caller_identity"),
        said.get("callee_identity"),
        said.get("status"),
        said.get("end_reason"),
        said.get("rev"),
    )
