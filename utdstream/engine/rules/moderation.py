"""The rules of moderation: rights, mutes, the comment lock, the room's own metadata.

Owns: what a host, an admin or the server decides about participants, beyond seats, stage and roles. Pure: no
I/O. `actor` None is the project's own server.

1. An admin decides nothing about a host.
2. Forbidding takes every right to publish until it is lifted, over seats, stage and reconnects.
3. `can_publish` false silences like that, and true takes it back. In an audio room it gives nothing: a
   seat does. In a live stream it gives microphone and camera without the stage. A host publishes by
   right, until forbidden.
4. `can_subscribe` and `can_publish_data` hold for the identity, also after a reconnect.
5. A mute of the microphone follows the participant: it is muted again whenever it is seen unmuted. Lifting the
   mute does not unmute: the participant does.
6. A banned participant loses seat, stage, role and what was decided about their rights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from utdstream._wire import messages
from utdstream.engine.rules import grants, roles
from utdstream.engine.rules.refusals import Refusal, invalid
from utdstream.engine.rules.room_state import Notice, Outcome, Override, RoomState
from utdstream.engine.rules.rooms import Room
from utdstream.models import UTDStreamType

ENGINE_KEYS = frozenset({"role", "_device", "appId", "projectId", "service"})
"""What the engine wrote into a participant's metadata: no request changes it."""


@dataclass(frozen=True, slots=True)
class PermissionWish:
    """What a request wants of a participant's rights; None: as it is."""

    can_publish: bool | None = None
    can_subscribe: bool | None = None
    can_publish_data: bool | None = None


def permit(room: Room, state: RoomState, actor: str | None, target: str, wish: PermissionWish) -> Outcome:
    """Changes a participant's rights as far as the room's rules allow. Raises: Refusal."""
    roles.must_moderate(room, state, actor, target)
    before = state.overrides.get(target, Override())
    can_publish = before.can_publish if wish.can_publish is None else _publishing(room, state, target, wish)
    after = Override(
        can_publish,
        _newer(wish.can_subscribe, before.can_subscribe),
        _newer(wish.can_publish_data, before.can_publish_data),
    )
    overrides = {who: override for who, override in state.overrides.items() if who != target}
    if after != Override():
        overrides[target] = after
    changed = replace(state, overrides=overrides)
    granted = grants.rights(room, changed, target)
    permission = {
        "canPublish": bool(granted.sources),
        "canSubscribe": granted.can_subscribe,
        "canPublishData": granted.can_publish_data,
    }
    return Outcome(changed, {"ok": True, "permission": permission})


def look_at(room: Room, state: RoomState, actor: str | None, target: str) -> Outcome:
    """Changes nothing. Raises: Refusal when the actor may not moderate this participant."""
    roles.must_moderate(room, state, actor, target)
    return Outcome(state)


def forbid(room: Room, state: RoomState, actor: str | None, target: str) -> Outcome:
    """Takes every right to publish from a participant."""
    roles.must_moderate(room, state, actor, target)
    return Outcome(replace(state, forbidden=state.forbidden | {target}), {"ok": True})


def resume(room: Room, state: RoomState, actor: str | None, target: str) -> Outcome:
    """Gives back the rights to publish that the room's rules give a participant."""
    roles.must_moderate(room, state, actor, target)
    return Outcome(replace(state, forbidden=state.forbidden - {target}), {"ok": True})


def mute_microphone(
    room: Room, state: RoomState, actor: str | None, target: str, *, is_muted: bool
) -> Outcome:
    """Mutes a participant's microphone until the mute is lifted, or lifts the mute."""
    roles.must_moderate(room, state, actor, target)
    muted = state.muted | {target} if is_muted else state.muted - {target}
    return Outcome(replace(state, muted=muted), {"ok": True})


def lock_comments(room: Room, state: RoomState, actor: str | None, *, locked: bool) -> Outcome:
    """Locks or unlocks the comments; every participant is told of a change."""
    roles.must_moderate(room, state, actor)
    answer = {"ok": True, "locked": locked}
    if locked == state.comments_locked:
        return Outcome(state, answer)
    return Outcome(replace(state, comments_locked=locked, comments_locked_by=actor or ""), answer)


def set_metadata(room: Room, state: RoomState, actor: str | None, metadata: Mapping[str, object]) -> Outcome:
    """Replaces the application's keys of the room metadata."""
    roles.must_be_host(room, state, actor)
    own = next((key for key in metadata if key.startswith("_")), None)
    if own is not None:
        raise invalid("metadata must not hold a key that begins with '_': those are the engine's own")
    return Outcome(replace(state, metadata=dict(metadata)), {"ok": True})


def put_out(room: Room, state: RoomState, identity: str) -> Outcome:
    """Frees what a banned participant holds, and forgets what was decided about the participant."""
    outcome = roles.gone(room, state, identity)
    after, notices = outcome.state, outcome.notices
    role = after.roles.get(identity)
    if role is not None:
        fields = {"identity": identity, "role": "audience", "previous_role": role}
        notices = (*notices, Notice(messages.ROLE_CHANGE, fields))
    return Outcome(
        replace(
            after,
            roles={who: given for who, given in after.roles.items() if who != identity},
            overrides={who: over for who, over in after.overrides.items() if who != identity},
        ),
        {},
        notices,
    )


def merged_metadata(before: Mapping[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    """A participant's metadata after a change: null takes a key away, the engine's keys stay."""
    own = {key: value for key, value in before.items() if key in ENGINE_KEYS}
    wanted = {key: value for key, value in {**before, **changes}.items() if value is not None}
    return {**{key: value for key, value in wanted.items() if key not in ENGINE_KEYS}, **own}


def _newer(wished: bool | None, before: bool | None) -> bool | None:
    """What is decided now; what the rules give anyhow needs no decision."""
    decided = before if wished is None else wished
    return None if decided is True else decided


def _publishing(room: Room, state: RoomState, target: str, wish: PermissionWish) -> bool | None:
    if grants.is_host(room, state, target):
        raise Refusal("invalid_state", "A host publishes by right; use forbid-stream to stop a host")
    if not wish.can_publish:
        return False
    if room.type is not UTDStreamType.AUDIO_ROOM:
        return True
    if state.seat_of(target) is None:
        raise Refusal(
            "not_seated", "In an audio room a seat gives the microphone; seat the participant first"
        )
    return None
