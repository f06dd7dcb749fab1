"""The rules of the stage of a live stream.

Owns: the members of the stage beside the host. Pure: no I/O. `actor` None is the project's own server. Every
function returns the next state or raises a Refusal, and then nothing changes.

1. The host is on the stage for as long as the room lives, first in the list; others by the time of joining.
2. A host or an admin invites a participant, who is on the stage from then on (microphone, camera).
3. A request for the stage is not kept: hosts and admins are told, once for each request.
4. A guest who leaves the stage, or is taken from it, is audience again.
"""

from __future__ import annotations

from dataclasses import replace

from utdstream._wire import messages
from utdstream.engine.rules.grants import is_host
from utdstream.engine.rules.refusals import Refusal, no_participant
from utdstream.engine.rules.roles import moderators, must_moderate, without_guest
from utdstream.engine.rules.room_state import Notice, Outcome, RoomState
from utdstream.engine.rules.rooms import Room
from utdstream.models import UTDStreamType

MAX_MEMBERS = 100


def must_have_stage(room: Room) -> None:
    """Raises: Refusal for a room without a stage."""
    if room.type is not UTDStreamType.LIVE_STREAM:
        raise Refusal("invalid_state", "An audio room has no stage; it has seats")


def invite(room: Room, state: RoomState, actor: str | None, target: str, *, is_here: bool) -> Outcome:
    """Brings a participant on the stage; no error for a member. The handler adds the member to the answer."""
    must_have_stage(room)
    must_moderate(room, state, actor)
    if target in state.stage or is_host(room, state, target):
        return Outcome(state, {"ok": True})
    if not is_here:
        raise no_participant()
    if len(state.stage) >= MAX_MEMBERS:
        raise Refusal("invalid_state", f"The stage holds at most {MAX_MEMBERS} members")
    return Outcome(replace(state, stage=(*state.stage, target)), {"ok": True})


def remove(room: Room, state: RoomState, actor: str | None, target: str) -> Outcome:
    """Takes a member from the stage."""
    must_have_stage(room)
    must_moderate(room, state, actor)
    if is_host(room, state, target):
        raise Refusal("forbidden", "The host cannot be taken from the stage")
    return _off_stage(state, target, "The participant is not on the stage")


def request(room: Room, state: RoomState, actor: str, *, name: str | None) -> Outcome:
    """Tells hosts and admins that a participant asks for the stage."""
    must_have_stage(room)
    if actor in state.stage or is_host(room, state, actor):
        raise Refusal("invalid_state", "You are on the stage already")
    notice = Notice(messages.STAGE_REQUEST, {"identity": actor, "name": name}, moderators(room, state))
    return Outcome(state, {"ok": True}, (notice,))


def leave(room: Room, state: RoomState, actor: str) -> Outcome:
    """Takes the participant itself from the stage, back to the audience."""
    must_have_stage(room)
    if is_host(room, state, actor):
        raise Refusal("invalid_state", "The host is on the stage as long as the room lives; close the room")
    return _off_stage(state, actor, "You are not on the stage")


def _off_stage(state: RoomState, identity: str, if_not: str) -> Outcome:
    if identity not in state.stage:
        raise Refusal("not_on_stage", if_not)
    after = replace(state, stage=tuple(member for member in state.stage if member != identity))
    after, notices = without_guest(after, identity)
    return Outcome(after, {"ok": True}, notices)
