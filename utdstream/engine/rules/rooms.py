"""The rules of rooms: names, types, owners.

Owns: room naming on the media server, the ownership of a room, what a call may publish. Pure: no I/O.
Seats, stage, roles, grants and bans have files of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from utdstream._wire import names
from utdstream.engine.rules.refusals import Refusal, invalid
from utdstream.models import UTDStreamType

ROLES = ("visitor", "audience", "guest", "admin", "host")
EMPTY_ROOM_TIMEOUT_S = 300

MICROPHONE, CAMERA = "microphone", "camera"
SCREEN, SCREEN_AUDIO = "screen_share", "screen_share_audio"


@dataclass(frozen=True, slots=True)
class Room:
    """A room the engine made; `owner` is its verified owner (None: not claimed yet)."""

    name: str
    type: UTDStreamType
    owner: str | None
    created_at: datetime


def room_name(value: str, app_id: str) -> str:
    """The plain name out of either spelling (`name`, `p<app id>_name`). Raises: Refusal."""
    prefix = livekit_name("", app_id)
    name = value.removeprefix(prefix)
    fault = names.room_name_fault(name)
    if fault is None and name.startswith(prefix):
        fault = f"room_name must not begin with {prefix} twice; choose another name"
    if fault is not None:
        raise invalid(fault)
    return name


def max_participants(type: UTDStreamType, per_room: int) -> int:
    """What the media server enforces; 0 is no limit (a live stream has none)."""
    return 0 if type is UTDStreamType.LIVE_STREAM else per_room


def livekit_name(name: str, app_id: str) -> str:
    """The name of a room on the media server."""
    return f"p{app_id}_{name}"


def own_name(media_room: str, app_id: str) -> str | None:
    """The plain name of a room on the media server; None: it is no live stream or audio room, but a call's."""
    prefix = livekit_name("", app_id)
    return media_room.removeprefix(prefix) if media_room.startswith(prefix) else None


def first_owner(identity: str, claimed_role: str | None, room_owner_id: str | None) -> str | None:
    """The owner of a room that has none yet: the recorded one, else the first identity that mints as host."""
    if room_owner_id is not None:
        return room_owner_id
    return identity if claimed_role == "host" else None


def call_sources(type: UTDStreamType) -> tuple[str, ...]:
    """The sources either party of a call may publish."""
    return (MICROPHONE, CAMERA) if type.has_video else (MICROPHONE,)


def same_type(room: Room, type: UTDStreamType) -> None:
    """Raises: Refusal when the room exists as something else."""
    if room.type is not type:
        raise Refusal("invalid_state", f"The room exists as {room.type.wire}, not as {type.wire}")
