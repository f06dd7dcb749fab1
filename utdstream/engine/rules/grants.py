"""The right to publish: the one place that says what each participant may.

Owns: the rights of one identity in one room, from the room's state. Pure: no I/O. Used for the token of a
mint, after each change, and by the reconciler, so the three cannot differ.

1. A forbidden participant publishes nothing.
2. Audio room: a seat gives the microphone; nothing else does, not even being the host.
3. Live stream: the host publishes everything, members of the stage microphone and camera, the audience nothing.
4. A moderator's override goes before 2 and 3: never before 1, and never against a host.
5. A mute is no right taken away: the track is muted on the media server (see `media/room_follower`).
"""

from __future__ import annotations

from dataclasses import dataclass

from utdstream.engine.rules.room_state import RoomState
from utdstream.engine.rules.rooms import CAMERA, MICROPHONE, SCREEN, SCREEN_AUDIO, Room
from utdstream.models import UTDStreamType

ALL_SOURCES = (MICROPHONE, CAMERA, SCREEN, SCREEN_AUDIO)
STAGE_SOURCES = (MICROPHONE, CAMERA)
SEAT_SOURCES = (MICROPHONE,)


@dataclass(frozen=True, slots=True)
class Rights:
    """What a participant may do in a room; no sources: publish nothing."""

    sources: tuple[str, ...] = ()
    can_subscribe: bool = True
    can_publish_data: bool = True


def is_host(room: Room, state: RoomState, identity: str) -> bool:
    """True for the owner, and for an identity that a trusted server made host."""
    return room.owner == identity or state.roles.get(identity) == "host"


def publish_rights(room: Room, state: RoomState, identity: str) -> tuple[str, ...]:
    """The sources this identity may publish now."""
    if identity in state.forbidden:
        return ()
    host = is_host(room, state, identity)
    override = state.overrides.get(identity)
    if override is not None and override.can_publish is not None and not host:
        if not override.can_publish:
            return ()
        return SEAT_SOURCES if room.type is UTDStreamType.AUDIO_ROOM else STAGE_SOURCES
    if room.type is UTDStreamType.AUDIO_ROOM:
        return SEAT_SOURCES if state.seat_of(identity) is not None else ()
    if host:
        return ALL_SOURCES
    return STAGE_SOURCES if identity in state.stage else ()


def rights(room: Room, state: RoomState, identity: str, *, may_host: bool = True) -> Rights:
    """Everything this identity may do now; with a key that may not host a host publishes nothing."""
    sources = publish_rights(room, state, identity)
    if not may_host and is_host(room, state, identity):
        sources = ()
    override = state.overrides.get(identity)
    if override is None:
        return Rights(sources)
    return Rights(
        sources,
        override.can_subscribe is not False,
        override.can_publish_data is not False,
    )
