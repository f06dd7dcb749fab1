"""The rules of rooms: names, who is host, what a token may publish.

Owns: room naming on the media server, the role a mint grants, publish rights by role and type. Pure:
no I/O. Imports vocabulary and `problems`. Seats, stage, roles and bans get files of their own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from utdstream.engine.problems import Refusal, invalid
from utdstream.models import UTDStreamType

ROLES = ("visitor", "audience", "guest", "admin", "host")
EMPTY_ROOM_TIMEOUT_S = 300
MAX_PARTICIPANTS = {UTDStreamType.LIVE_STREAM: 0, UTDStreamType.AUDIO_ROOM: 500}
"""What the media server enforces; 0 is no limit (a live stream has none)."""

MICROPHONE, CAMERA = "microphone", "camera"
SCREEN, SCREEN_AUDIO = "screen_share", "screen_share_audio"

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}\Z")


@dataclass(frozen=True, slots=True)
class Room:
    """A room the engine made; `owner` is its verified owner (None: nobody claimed it yet)."""

    name: str
    type: UTDStreamType
    owner: str | None
    created_at: datetime


def room_name(value: str, app_id: str) -> str:
    """The plain name out of either spelling (`name`, `p<app id>_name`). Raises: Refusal."""
    name = value.removeprefix(f"p{app_id}_")
    if not _NAME.match(name):
        raise invalid("room_name must be alphanumeric (letters, digits, '_', '.', '-'), 1 to 128 characters")
    return name


def livekit_name(name: str, app_id: str) -> str:
    """The name of a room on the media server."""
    return f"p{app_id}_{name}"


def first_owner(identity: str, claimed_role: str | None, room_owner_id: str | None) -> str | None:
    """Who owns a room that nobody owns yet: the recorded owner, else the first who comes as host."""
    if room_owner_id is not None:
        return room_owner_id
    return identity if claimed_role == "host" else None


def granted_role(identity: str, claimed: str | None, owner: str | None, *, trusted: bool) -> str:
    """The role a mint grants. A server with the secret is believed, anybody else is host or audience."""
    role = claimed or "audience"
    if role not in ROLES:
        raise invalid(f"role must be one of {', '.join(ROLES)}")
    if trusted:
        return role
    if role == "host" and identity == owner:
        return "host"
    return "visitor" if role == "visitor" else "audience"


def publish_sources(type: UTDStreamType, role: str) -> tuple[str, ...]:
    """The sources a room token may publish; in an audio room the seat grants it, never the token."""
    if type is UTDStreamType.LIVE_STREAM:
        if role == "host":
            return (MICROPHONE, CAMERA, SCREEN, SCREEN_AUDIO)
        if role == "guest":
            return (MICROPHONE, CAMERA)
    return ()


def call_sources(type: UTDStreamType) -> tuple[str, ...]:
    """The sources either party of a call may publish."""
    return (MICROPHONE, CAMERA) if type.has_video else (MICROPHONE,)


def same_type(room: Room, type: UTDStreamType) -> None:
    """Raises: Refusal when the room exists as something else."""
    if room.type is not type:
        raise Refusal("invalid_state", f"The room exists as {room.type.wire}, not as {type.wire}")


def may_moderate(room: Room | None, identity: str) -> bool:
    """True for the owner; admins come with the role rules."""
    return room is not None and room.owner == identity
