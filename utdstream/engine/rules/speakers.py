"""The rules of speak requests and invitations in an audio room.

Owns: asking to speak, being asked to speak, and what becomes of it. Pure: no I/O. `actor` None is the
project's own server. Every function returns the next state or raises a Refusal, and then nothing changes.

1. Requests exist only where seats are given on request; one of each participant, answered by a host or an admin.
2. An invitation is for one participant who has no seat; one at a time for each participant.
3. An approved requester, or a participant who accepts, is seated at once: on the seat that the invitation names,
   else on the first that is free, unlocked and not reserved for another identity. When there is none, nothing
   changes and it can be tried again.
4. Ids only grow.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

from utdstream._wire import codec, messages
from utdstream.engine.rules import seats
from utdstream.engine.rules.refusals import Refusal, no_participant
from utdstream.engine.rules.roles import moderators, must_moderate
from utdstream.engine.rules.room_state import (
    REQUEST,
    Invitation,
    Notice,
    Outcome,
    Request,
    RoomState,
    reserved_for,
)
from utdstream.engine.rules.rooms import Room

MAX_PENDING = 100
"""Requests, and invitations, that may wait in one room."""


def request(room: Room, state: RoomState, actor: str, *, name: str | None, now_ms: int) -> Outcome:
    """Adds a request to speak; hosts and admins are told."""
    seats.must_have_seats(room)
    if state.seat_of(actor) is not None:
        raise Refusal("already_seated", "You are on a seat already")
    if state.mode != REQUEST:
        raise Refusal("invalid_state", "Seats are free to take here; there is nothing to ask for")
    if state.request_of(actor) is not None:
        raise Refusal("request_pending", "You have a pending request already")
    if len(state.requests) >= MAX_PENDING:
        raise Refusal("invalid_state", "Too many requests are waiting; try again later")
    asked = Request(state.next_id, actor, now_ms)
    after = replace(state, requests=(*state.requests, asked), next_id=state.next_id + 1)
    fields = {
        "request_id": asked.id,
        "identity": actor,
        "name": name,
        "created_at": codec.iso(datetime.fromtimestamp(now_ms / 1000, timezone.utc)),
    }
    notice = Notice(messages.SPEAKER_REQUEST, fields, moderators(room, state))
    return Outcome(after, {"ok": True, "request_id": asked.id}, (notice,))


def cancel(room: Room, state: RoomState, actor: str) -> Outcome:
    """Withdraws a request to speak."""
    seats.must_have_seats(room)
    asked = state.request_of(actor)
    if asked is None:
        raise Refusal("request_not_found", "You have no pending request to speak")
    return Outcome(_without_request(state, asked), {"ok": True})


def approve(room: Room, state: RoomState, actor: str | None, request_id: int) -> Outcome:
    """Seats the requester, who is told."""
    seats.must_have_seats(room)
    must_moderate(room, state, actor)
    asked = _request(state, request_id)
    index = seats.first_free(room, state, asked.identity)
    fields = {"request_id": asked.id, "identity": asked.identity, "seat_index": index}
    notice = Notice(messages.SPEAKER_REQUEST_APPROVED, fields, (asked.identity,))
    return Outcome(seats.seated(state, asked.identity, index), {"ok": True, **fields}, (notice,))


def reject(room: Room, state: RoomState, actor: str | None, request_id: int) -> Outcome:
    """Refuses the request; the requester is told."""
    seats.must_have_seats(room)
    must_moderate(room, state, actor)
    asked = _request(state, request_id)
    fields = {"request_id": asked.id, "identity": asked.identity}
    notice = Notice(messages.SPEAKER_REQUEST_REJECTED, fields, (asked.identity,))
    return Outcome(_without_request(state, asked), {"ok": True, **fields}, (notice,))


def invite(
    room: Room, state: RoomState, actor: str | None, target: str, seat_index: int | None, *, is_here: bool
) -> Outcome:
    """Invites a participant to speak, who is told."""
    seats.must_have_seats(room)
    must_moderate(room, state, actor)
    if state.seat_of(target) is not None:
        raise Refusal("already_seated", "The participant is on a seat already")
    if not is_here:
        raise no_participant()
    if any(asked.target == target for asked in state.invitations):
        raise Refusal("invitation_pending", "The participant has a pending invitation already")
    if seat_index is not None:
        if not 0 <= seat_index < len(state.seats):
            raise Refusal(
                "seat_not_found", f"The room has no seat {seat_index}; the last one is {len(state.seats) - 1}"
            )
        if reserved_for(room, state, seat_index) not in (None, target):
            raise Refusal("seat_reserved", "The seat is reserved for the host")
    if len(state.invitations) >= MAX_PENDING:
        raise Refusal("invalid_state", "Too many invitations are waiting; try again later")
    asked = Invitation(state.next_id, actor or "", target, seat_index)
    after = replace(state, invitations=(*state.invitations, asked), next_id=state.next_id + 1)
    fields = {
        "invitation_id": asked.id,
        "inviter_identity": asked.inviter,
        "target_identity": target,
        "seat_index": seat_index,
    }
    notice = Notice(messages.SPEAKER_INVITATION, fields, (target,))
    return Outcome(after, {"ok": True, "invitation_id": asked.id}, (notice,))


def accept(room: Room, state: RoomState, actor: str, invitation_id: int) -> Outcome:
    """Seats the invited participant; the inviter is told."""
    seats.must_have_seats(room)
    asked = _invitation(state, actor, invitation_id)
    if asked.seat_index is None:
        index = seats.first_free(room, state, actor)
    else:
        index = asked.seat_index
        seats.must_be_free(room, state, index, actor)
    fields = {"invitation_id": asked.id, "target_identity": actor, "seat_index": index}
    notice = Notice(messages.SPEAKER_INVITATION_ACCEPTED, fields, _askers(room, state, asked))
    answer = {"ok": True, "invitation_id": asked.id, "seat_index": index}
    return Outcome(seats.seated(state, actor, index), answer, (notice,))


def decline(room: Room, state: RoomState, actor: str, invitation_id: int) -> Outcome:
    """Declines the invitation; the inviter is told."""
    seats.must_have_seats(room)
    asked = _invitation(state, actor, invitation_id)
    after = replace(state, invitations=tuple(other for other in state.invitations if other != asked))
    fields = {"invitation_id": asked.id, "target_identity": actor}
    notice = Notice(messages.SPEAKER_INVITATION_DECLINED, fields, _askers(room, state, asked))
    return Outcome(after, {"ok": True, "invitation_id": asked.id}, (notice,))


def _request(state: RoomState, request_id: int) -> Request:
    for asked in state.requests:
        if asked.id == request_id:
            return asked
    raise Refusal(
        "request_not_found", "No pending request has this id; it may have been answered or withdrawn"
    )


def _without_request(state: RoomState, asked: Request) -> RoomState:
    return replace(state, requests=tuple(other for other in state.requests if other != asked))


def _invitation(state: RoomState, actor: str, invitation_id: int) -> Invitation:
    for asked in state.invitations:
        if asked.id == invitation_id:
            if asked.target != actor:
                raise Refusal("forbidden", "The invitation is for another participant")
            return asked
    raise Refusal("invitation_not_found", "No pending invitation has this id; it may have been answered")


def _askers(room: Room, state: RoomState, asked: Invitation) -> tuple[str, ...]:
    return (asked.inviter,) if asked.inviter else moderators(room, state)
