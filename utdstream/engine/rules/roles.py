"""The rules of roles: what each may moderate, what a mint grants, how a role is changed.

Owns: role questions of every other rule file. Pure: no I/O. `actor` None is the project's own server.

1. The owner is host for as long as the room lives; another identity becomes host by a server's mint alone.
2. Hosts and admins moderate; an admin never against a host.
3. Only the owner (or the server) changes roles, to visitor, audience, guest or admin.
4. A guest of a live stream is on its stage: the role puts there, and losing it takes away.
5. A mint never lowers a role; what a client claims is worth nothing beyond visitor.
"""

from __future__ import annotations

from dataclasses import replace

from utdstream._wire import messages
from utdstream.engine.rules.grants import is_host
from utdstream.engine.rules.refusals import Refusal, no_participant, not_moderator
from utdstream.engine.rules.room_state import Notice, Outcome, RoomState, drop_person
from utdstream.engine.rules.rooms import Room
from utdstream.models import UTDStreamType

CHANGEABLE = ("visitor", "audience", "guest", "admin")
ATTRIBUTES = ("fr", "frt", "avatar", "cn")
"""What a list of people shows of the attributes that clients set."""
_PROMOTED = ("guest", "admin", "host")


def role_of(room: Room, state: RoomState, identity: str) -> str:
    """The role of an identity: the owner is host, and without a given role it is audience."""
    return "host" if is_host(room, state, identity) else state.roles.get(identity, "audience")


def moderators(room: Room, state: RoomState) -> tuple[str, ...]:
    """The hosts and admins of a room, the owner first."""
    given = tuple(who for who, role in state.roles.items() if role in ("host", "admin") and who != room.owner)
    return given if room.owner is None else (room.owner, *given)


def may_moderate(room: Room, state: RoomState, actor: str | None, target: str | None = None) -> bool:
    """Whether the actor may moderate the room, and (when one is named) this participant of it."""
    if actor is None:
        return True
    role = role_of(room, state, actor)
    if role == "admin":
        return target is None or not is_host(room, state, target)
    return role == "host"


def must_moderate(room: Room, state: RoomState, actor: str | None, target: str | None = None) -> None:
    """Raises: Refusal (`forbidden`) when the actor may not moderate."""
    if may_moderate(room, state, actor, target):
        return
    if may_moderate(room, state, actor):
        raise Refusal("forbidden", "An admin cannot do this to the host")
    raise not_moderator()


def must_be_host(room: Room, state: RoomState, actor: str | None) -> None:
    """Raises: Refusal (`forbidden`) when the actor is no host of the room."""
    if actor is not None and not is_host(room, state, actor):
        raise Refusal("forbidden", "Only the host of the room can do this")


def at_mint(
    room: Room, state: RoomState, identity: str, claimed: str | None, *, trusted: bool
) -> tuple[str, RoomState]:
    """The role that a mint grants, and the state that remembers it. A server with the secret is believed."""
    if trusted and claimed in _PROMOTED and identity != room.owner:
        state = _with_role(room, state, identity, claimed)
    role = role_of(room, state, identity)
    return ("visitor" if role == "audience" and claimed == "visitor" else role), state


def change(
    room: Room, state: RoomState, actor: str | None, target: str, role: str, *, is_here: bool
) -> Outcome:
    """Gives a participant another role; every participant is told. Raises: Refusal."""
    if actor is not None and actor != room.owner:
        raise Refusal("not_owner", "Only the owner of the room can change roles")
    if target == room.owner:
        raise Refusal("forbidden", "The owner of the room stays its host")
    previous = role_of(room, state, target)
    if not is_here and target not in state.roles:
        raise no_participant()
    if previous == role:
        raise Refusal("already_in_role", f"The role is {role} already")
    fields = {"identity": target, "role": role, "previous_role": previous}
    after = _with_role(room, state, target, role)
    return Outcome(after, {"ok": True, **fields}, (Notice(messages.ROLE_CHANGE, fields),))


def gone(room: Room, state: RoomState, identity: str) -> Outcome:
    """Frees the seat, request, invitation and stage of a participant who left the room."""
    after = drop_person(state, identity)
    if identity in state.stage:
        after, notices = without_guest(after, identity)
        return Outcome(after, {}, notices)
    return Outcome(after)


def without_guest(state: RoomState, identity: str) -> tuple[RoomState, tuple[Notice, ...]]:
    """The state in which a member who left the stage is no longer a guest, and the notice of that."""
    if state.roles.get(identity) != "guest":
        return state, ()
    roles = {who: role for who, role in state.roles.items() if who != identity}
    fields = {"identity": identity, "role": "audience", "previous_role": "guest"}
    return replace(state, roles=roles), (Notice(messages.ROLE_CHANGE, fields),)


def _with_role(room: Room, state: RoomState, identity: str, role: str) -> RoomState:
    roles = {who: given for who, given in state.roles.items() if who != identity}
    if role != "audience":
        roles[identity] = role
    stage = state.stage
    if room.type is UTDStreamType.LIVE_STREAM:
        if role == "guest" and identity not in stage:
            stage = (*stage, identity)
        elif role in ("audience", "visitor"):
            stage = tuple(member for member in stage if member != identity)
    return replace(state, roles=roles, stage=stage)
