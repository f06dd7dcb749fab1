"""The rules of taking a request back: what it changed in a room's state, and the state without that.

Owns: the subjects of a change, and `undo`. Pure: no I/O.

1. What is decided is decided about a seat, a participant or a setting: about its subjects.
2. A request is taken back whole or not at all. When something newer was decided about one of its subjects, all of
   it stands: the newer decision was made in the knowledge of it.
3. A participant who would get a seat, a request, an invitation or a place on stage back must still be in the room.
4. `rev` and the ids of requests and invitations only grow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import zip_longest

from utdstream._wire import messages
from utdstream.engine.rules.room_state import (
    REQUEST,
    Invitation,
    Notice,
    Outcome,
    Override,
    Request,
    RoomState,
    SeatState,
)

Subject = tuple[str, object]
_SEAT, _PERSON, _KEY = "seat", "person", "metadata"
_GRID: Subject = ("grid", None)
_COMMENTS: Subject = ("comments", None)
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class _Person:
    """What a room's state says about one participant, but for the seat."""

    request: Request | None
    invitation: Invitation | None
    is_on_stage: bool
    role: str | None
    is_muted: bool
    is_forbidden: bool
    override: Override | None


@dataclass(frozen=True, slots=True)
class _Grid:
    """How the seats are set up."""

    count: int
    mode: str
    mode_id: str | None
    host_seat: int
    is_set_up: bool


@dataclass(frozen=True, slots=True)
class _Comments:
    """Whether the comments are locked."""

    locked: bool
    by: str | None


def touched(before: RoomState, after: RoomState) -> set[Subject]:
    """The subjects that a change is about."""
    subjects: set[Subject] = set()
    people: set[str | None] = set()
    if before.seats is not after.seats:
        for index, (old, new) in enumerate(zip_longest(before.seats, after.seats)):
            if old != new:
                subjects.add((_SEAT, index))
                people |= {seat.identity for seat in (old, new) if seat is not None}
    if before.requests is not after.requests:
        people |= {asked.identity for asked in {*before.requests} ^ {*after.requests}}
    if before.invitations is not after.invitations:
        people |= {asked.target for asked in {*before.invitations} ^ {*after.invitations}}
    if before.stage is not after.stage:
        people |= {*before.stage} ^ {*after.stage}
    if before.roles is not after.roles:
        people |= {who for who, _ in before.roles.items() ^ after.roles.items()}
    if before.overrides is not after.overrides:
        people |= {who for who, _ in before.overrides.items() ^ after.overrides.items()}
    people |= (before.muted ^ after.muted) | (before.forbidden ^ after.forbidden)
    subjects |= {(_PERSON, who) for who in people if who is not None}
    if before.metadata is not after.metadata:
        subjects |= {
            (_KEY, key)
            for key in before.metadata.keys() | after.metadata.keys()
            if before.metadata.get(key, _ABSENT) != after.metadata.get(key, _ABSENT)
        }
    if _grid(before) != _grid(after):
        subjects.add(_GRID)
    if _comments(before) != _comments(after):
        subjects.add(_COMMENTS)
    return subjects


def parts_of(state: RoomState, subjects: set[Subject]) -> Mapping[Subject, object]:
    """What a state says about these subjects."""
    return {subject: _part(state, *subject) for subject in subjects}


def undo(state: RoomState, parts: Mapping[Subject, object], is_here: Callable[[str], bool]) -> Outcome | None:
    """The state in which these parts are again as they were; None when that cannot be (rule 3).

    Nothing newer was decided about their subjects (rule 2): whoever asks has seen to that.
    """
    grid, comments = parts.get(_GRID, _grid(state)), parts.get(_COMMENTS, _comments(state))
    assert isinstance(grid, _Grid)
    assert isinstance(comments, _Comments)
    seats = (parts.get((_SEAT, index), _part(state, _SEAT, index)) for index in range(grid.count))
    after = replace(
        _with_people(
            state, {str(who): part for (_, who), part in parts.items() if isinstance(part, _Person)}
        ),
        seats=tuple(seat for seat in seats if isinstance(seat, SeatState)),
        mode=grid.mode,
        mode_id=grid.mode_id,
        host_seat=grid.host_seat,
        is_set_up=grid.is_set_up,
        comments_locked=comments.locked,
        comments_locked_by=comments.by,
        metadata=_with_keys(state.metadata, parts),
    )
    come_back = after.holders() - state.holders()
    if (after.requests and after.mode != REQUEST) or not all(is_here(who) for who in come_back):
        return None
    return Outcome(after, {}, _notices(state, after))


def _part(state: RoomState, kind: str, name: object) -> object:
    if kind == _PERSON:
        return _person(state, str(name))
    if kind == _KEY:
        return state.metadata.get(str(name), _ABSENT)
    if kind == _SEAT and isinstance(name, int):
        return state.seats[name] if name < len(state.seats) else None
    return _grid(state) if (kind, name) == _GRID else _comments(state)


def _grid(state: RoomState) -> _Grid:
    return _Grid(len(state.seats), state.mode, state.mode_id, state.host_seat, state.is_set_up)


def _comments(state: RoomState) -> _Comments:
    return _Comments(state.comments_locked, state.comments_locked_by)


def _person(state: RoomState, who: str) -> _Person:
    return _Person(
        state.request_of(who),
        next((asked for asked in state.invitations if asked.target == who), None),
        who in state.stage,
        state.roles.get(who),
        who in state.muted,
        who in state.forbidden,
        state.overrides.get(who),
    )


def _with_people(state: RoomState, people: Mapping[str, _Person]) -> RoomState:
    requests = [asked for asked in state.requests if asked.identity not in people]
    invitations = [asked for asked in state.invitations if asked.target not in people]
    stage = [who for who in state.stage if who not in people or people[who].is_on_stage]
    roles = {who: role for who, role in state.roles.items() if who not in people}
    overrides = {who: over for who, over in state.overrides.items() if who not in people}
    for who, person in people.items():
        requests += [person.request] if person.request is not None else []
        invitations += [person.invitation] if person.invitation is not None else []
        stage += [who] if person.is_on_stage and who not in state.stage else []
        roles |= {who: person.role} if person.role is not None else {}
        overrides |= {who: person.override} if person.override is not None else {}
    return replace(
        state,
        requests=tuple(sorted(requests, key=lambda asked: asked.id)),
        invitations=tuple(sorted(invitations, key=lambda asked: asked.id)),
        stage=tuple(stage),
        roles=roles,
        overrides=overrides,
        muted=(state.muted - people.keys()) | {who for who, person in people.items() if person.is_muted},
        forbidden=(state.forbidden - people.keys())
        | {who for who, person in people.items() if person.is_forbidden},
    )


def _with_keys(metadata: Mapping[str, object], parts: Mapping[Subject, object]) -> Mapping[str, object]:
    changed = {str(name): part for (kind, name), part in parts.items() if kind == _KEY}
    return {key: value for key, value in {**metadata, **changed}.items() if value is not _ABSENT}


def _notices(before: RoomState, after: RoomState) -> tuple[Notice, ...]:
    """The messages of what is told by message alone."""
    notices = [
        Notice(
            messages.ROLE_CHANGE,
            {
                "identity": who,
                "role": after.roles.get(who, "audience"),
                "previous_role": before.roles.get(who, "audience"),
            },
        )
        for who in before.roles.keys() | after.roles.keys()
        if before.roles.get(who) != after.roles.get(who)
    ]
    if (len(before.seats), before.mode_id) != (len(after.seats), after.mode_id):
        notices.append(
            Notice(messages.MODE_CHANGE, {"mode_id": after.mode_id, "seat_count": len(after.seats)})
        )
    return tuple(notices)
