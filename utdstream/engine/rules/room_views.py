"""How a room's state looks from outside: seats, stage, comments, the metadata of room and participants.

Owns: the engine's keys in the two metadata documents, and which messages tell a change of them. Pure: no
I/O. The spelling is the wire's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from utdstream._wire import codec, messages
from utdstream.engine.rules import room_state
from utdstream.engine.rules.roles import role_of
from utdstream.engine.rules.room_state import RoomState
from utdstream.engine.rules.rooms import Room
from utdstream.models import UTDStageMember, UTDStreamType

MAX_METADATA_BYTES = 60_000
"""LiveKit refuses more than 64,000; a grid that does not fit is written without the display names."""

_PARTS = (
    (messages.METADATA_SEATS, messages.SEAT_UPDATE),
    (messages.METADATA_STAGE, messages.STAGE_UPDATE),
    (messages.METADATA_COMMENTS, messages.COMMENT_LOCK),
)


@dataclass(frozen=True, slots=True)
class Views:
    """The room metadata and the engine's objects in it, by metadata key."""

    metadata: str
    parts: Mapping[str, codec.JsonObject]

    def changes_since(self, told: Views | None) -> Iterator[tuple[str, codec.JsonObject]]:
        """The messages `(type, fields)` that tell what differs; a `rev` alone is no difference."""
        for key, kind in _PARTS:
            part = self.parts.get(key)
            before = told.parts.get(key) if told is not None else None
            if part is not None and (before is None or _plain(before) != _plain(part)):
                yield kind, part


def of(room: Room, state: RoomState, names: Mapping[str, str]) -> Views:
    """The views of this state; `names` are display names by identity."""
    views = _of(room, state, names)
    return views if len(views.metadata.encode()) <= MAX_METADATA_BYTES else _of(room, state, {})


def read(metadata: str) -> Views:
    """The views that a room's metadata on the media server shows."""
    holder = codec.json_object(metadata) or {}
    parts = {key: part for key, _ in _PARTS if (part := codec.mapping(holder.get(key))) is not None}
    return Views(metadata, parts)


def named(room: Room, state: RoomState) -> list[str]:
    """The identities whose display name the views show."""
    seated = [seat.identity for seat in state.seats if seat.identity is not None]
    return [*seated, *_stage(room, state)]


def stage_members(room: Room, state: RoomState, names: Mapping[str, str]) -> list[UTDStageMember]:
    """The stage of a live stream: hosts first, then by the time of joining."""
    return [UTDStageMember(who, names.get(who), stage_role(room, state, who)) for who in _stage(room, state)]


def stage_role(room: Room, state: RoomState, identity: str) -> str:
    """The role of a member of the stage: audience that was invited is a guest there."""
    role = role_of(room, state, identity)
    return role if role in ("host", "admin") else "guest"


def person_metadata(metadata: str, room: Room, state: RoomState, identity: str) -> str | None:
    """The participant metadata with the role that the state says, other keys kept; None: it is so already."""
    holder = codec.json_object(metadata) if metadata else {}
    if holder is None:
        return None  # not ours, and not an object: it is left alone
    role = shown_role(metadata, room, state, identity)
    if holder.get("role") == role:
        return None
    return json.dumps({**holder, "role": role}, separators=(",", ":"), ensure_ascii=False)


def shown_role(metadata: str, room: Room, state: RoomState, identity: str) -> str:
    """A participant's role; one that came as a visitor and was given no role is a visitor."""
    role = role_of(room, state, identity)
    if role != "audience":
        return role
    holder = codec.json_object(metadata) if metadata else None
    return "visitor" if holder is not None and holder.get("role") == "visitor" else role


def _stage(room: Room, state: RoomState) -> list[str]:
    if room.type is not UTDStreamType.LIVE_STREAM:
        return []
    hosts = [room.owner] if room.owner is not None else []
    hosts += [who for who, role in state.roles.items() if role == "host" and who != room.owner]
    return [*hosts, *(who for who in state.stage if who not in hosts)]


def _of(room: Room, state: RoomState, names: Mapping[str, str]) -> Views:
    parts: dict[str, codec.JsonObject] = {}
    if room.type is UTDStreamType.AUDIO_ROOM:
        parts[messages.METADATA_SEATS] = codec.seat_grid_to_message(room_state.grid(room, state, names))
    else:
        members = codec.stage_to_json(stage_members(room, state, names))
        parts[messages.METADATA_STAGE] = {"members": members, "rev": state.rev}
    if state.comments_locked or state.comments_locked_by is not None:
        parts[messages.METADATA_COMMENTS] = {
            "locked": state.comments_locked,
            "by": state.comments_locked_by,
            "rev": state.rev,
        }
    metadata = json.dumps({**state.metadata, **parts}, separators=(",", ":"), ensure_ascii=False)
    return Views(metadata, parts)


def _plain(part: codec.JsonObject) -> dict[str, object]:
    return {name: value for name, value in part.items() if name != "rev"}
