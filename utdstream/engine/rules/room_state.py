"""What the engine knows of one room: seats, requests, stage, roles, rights.

Owns: `RoomState`, one document per room, its JSON in the database and its views for the wire. Pure: no I/O.
The rules that change it are in `seats`, `speakers`, `stage` and `roles`; each takes a state and returns
an `Outcome` with the next one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone

from utdstream.engine.rules.rooms import Room
from utdstream.models import Seat, SeatGrid, SpeakRequest, UTDStreamType

FREE, REQUEST = "free", "request"
SEAT_MODES = (FREE, REQUEST)
DEFAULT_SEATS = 8
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


@dataclass(frozen=True, slots=True)
class SeatState:
    """One seat; its index is its place in the grid. A locked seat is always empty."""

    identity: str | None = None
    locked: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """A request to speak; at most one of each identity."""

    id: int
    identity: str
    created_ms: int


@dataclass(frozen=True, slots=True)
class Invitation:
    """An invitation to speak; at most one for each target."""

    id: int
    inviter: str
    target: str
    seat_index: int | None = None


@dataclass(frozen=True, slots=True)
class Override:
    """What a moderator decided about a participant's rights; None: what the rules say."""

    can_publish: bool | None = None
    can_subscribe: bool | None = None
    can_publish_data: bool | None = None


@dataclass(frozen=True, slots=True)
class RoomState:
    """One room. `rev` grows with every change; ids of requests and invitations only grow.

    `roles` holds what differs from the default: the owner is host, any other participant audience. `muted` and
    `forbidden` follow the identity, not the seat. `metadata` are the application's keys of the room metadata.
    """

    rev: int = 0
    seats: tuple[SeatState, ...] = ()
    mode: str = FREE
    mode_id: str | None = None
    host_seat: int = 0
    is_set_up: bool = False
    """Whether the grid was chosen; the default one may still be replaced by the host's mint."""
    requests: tuple[Request, ...] = ()
    invitations: tuple[Invitation, ...] = ()
    next_id: int = 1
    stage: tuple[str, ...] = ()
    """The members by invitation, in the order of joining; the host is on the stage by right."""
    roles: Mapping[str, str] = field(default_factory=dict)
    muted: frozenset[str] = frozenset()
    forbidden: frozenset[str] = frozenset()
    overrides: Mapping[str, Override] = field(default_factory=dict)
    comments_locked: bool = False
    comments_locked_by: str | None = None
    metadata: Mapping[str, object] = field(default_factory=dict)

    def seat_of(self, identity: str) -> int | None:
        """The index of this identity's seat, or None."""
        return next((index for index, seat in enumerate(self.seats) if seat.identity == identity), None)

    def request_of(self, identity: str) -> Request | None:
        """This identity's pending request, or None."""
        return next((request for request in self.requests if request.identity == identity), None)

    def holders(self) -> frozenset[str]:
        """The identities that hold something a participant loses by leaving."""
        return frozenset(
            [
                *(seat.identity for seat in self.seats if seat.identity is not None),
                *(request.identity for request in self.requests),
                *(invitation.target for invitation in self.invitations),
                *self.stage,
            ]
        )


@dataclass(frozen=True, slots=True)
class Notice:
    """One data message; `to` None: to every participant."""

    type: str
    fields: Mapping[str, object]
    to: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a rule decided: the next state, the answer, and the messages beyond the updates of the views."""

    state: RoomState
    answer: Mapping[str, object] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()


def new_state(room: Room) -> RoomState:
    """The state of a room that was not set up: eight free seats in an audio room."""
    if room.type is UTDStreamType.AUDIO_ROOM:
        return RoomState(seats=(SeatState(),) * DEFAULT_SEATS)
    return RoomState()


def reserved_for(room: Room, state: RoomState, index: int) -> str | None:
    """The identity this seat is reserved for: the host's seat for the owner, as soon as there is one."""
    return room.owner if index == state.host_seat else None


def grid(room: Room, state: RoomState, names: Mapping[str, str]) -> SeatGrid:
    """The seats as the wire knows them; `names` are display names by identity."""
    return SeatGrid(
        count=len(state.seats),
        mode=state.mode,
        mode_id=state.mode_id,
        seats=tuple(
            Seat(
                index,
                seat.identity,
                seat.locked,
                reserved_for(room, state, index),
                names.get(seat.identity) if seat.identity is not None else None,
            )
            for index, seat in enumerate(state.seats)
        ),
        requests=tuple(
            SpeakRequest(
                request.id,
                request.identity,
                datetime.fromtimestamp(request.created_ms / 1000, timezone.utc),
            )
            for request in state.requests
        ),
        rev=state.rev,
    )


def drop_person(state: RoomState, identity: str) -> RoomState:
    """The state without what a participant who left held: seat, request, invitation, stage."""
    if identity not in state.holders():
        return state
    return replace(
        state,
        seats=tuple(
            SeatState(locked=seat.locked) if seat.identity == identity else seat for seat in state.seats
        ),
        requests=tuple(request for request in state.requests if request.identity != identity),
        invitations=tuple(asked for asked in state.invitations if asked.target != identity),
        stage=tuple(member for member in state.stage if member != identity),
    )


def to_json(state: RoomState) -> str:
    """The document for the database; what is as in a new state is left out."""
    document: dict[str, object] = {"rev": state.rev, "next_id": state.next_id}
    if state.seats:
        document["seats"] = [[seat.identity, int(seat.locked)] for seat in state.seats]
        document["mode"] = state.mode
        document["mode_id"] = state.mode_id
        document["host_seat"] = state.host_seat
        document["is_set_up"] = state.is_set_up
    if state.requests:
        document["requests"] = [[asked.id, asked.identity, asked.created_ms] for asked in state.requests]
    if state.invitations:
        document["invitations"] = [
            [asked.id, asked.inviter, asked.target, asked.seat_index] for asked in state.invitations
        ]
    if state.overrides:
        document["overrides"] = {
            identity: [over.can_publish, over.can_subscribe, over.can_publish_data]
            for identity, over in state.overrides.items()
        }
    if state.comments_locked or state.comments_locked_by is not None:
        document["comments"] = [state.comments_locked, state.comments_locked_by]
    for name, value in (
        ("stage", list(state.stage)),
        ("roles", dict(state.roles)),
        ("muted", sorted(state.muted)),
        ("forbidden", sorted(state.forbidden)),
        ("metadata", dict(state.metadata)),
    ):
        if value:
            document[name] = value
    return _encode(document)


def from_json(text: str) -> RoomState:
    """The state in a document that `to_json` wrote."""
    document = json.loads(text)
    comments = document.get("comments", (False, None))
    return RoomState(
        rev=document["rev"],
        seats=tuple(SeatState(identity, bool(locked)) for identity, locked in document.get("seats", ())),
        mode=document.get("mode", FREE),
        mode_id=document.get("mode_id"),
        host_seat=document.get("host_seat", 0),
        is_set_up=document.get("is_set_up", False),
        requests=tuple(Request(*row) for row in document.get("requests", ())),
        invitations=tuple(Invitation(*row) for row in document.get("invitations", ())),
        next_id=document["next_id"],
        stage=tuple(document.get("stage", ())),
        roles=document.get("roles", {}),
        muted=frozenset(document.get("muted", ())),
        forbidden=frozenset(document.get("forbidden", ())),
        overrides={who: Override(*row) for who, row in document.get("overrides", {}).items()},
        comments_locked=comments[0],
        comments_locked_by=comments[1],
        metadata=document.get("metadata", {}),
    )
