"""What the slots of one connection share: the room as a publisher meets it.

Owns: `SendingSide`. Thread: the loop.
"""

from __future__ import annotations

import asyncio

from livekit import rtc

from utdstream._livekit.room_end import RoomEnd

SOURCES = {
    "microphone": rtc.TrackSource.SOURCE_MICROPHONE,
    "camera": rtc.TrackSource.SOURCE_CAMERA,
}


class SendingSide:
    """The room as a publisher meets it: what the SFU allows, whether it is reconnecting, being left, or over."""

    def __init__(self, end: RoomEnd) -> None:
        self.end = end
        self.room: rtc.Room | None = None
        """None until it is joined."""
        self.reconnecting = False
        self.leaving = False
        self.one_at_a_time = asyncio.Lock()
        """Held while a track is being published (two at once may be negotiated wrongly)."""

    @property
    def is_alone(self) -> bool:
        """Nobody else is in the room."""
        return self.room is None or not self.room.remote_participants

    @property
    def participant(self) -> rtc.LocalParticipant:
        """This participant, in a room that was joined."""
        assert self.room is not None
        return self.room.local_participant

    def allows(self, kind: str) -> bool:
        """Says whether the SFU allows this kind now. A grant that names no sources allows all."""
        if self.room is None or self.end.has_come:
            return False
        permissions = self.participant.permissions
        named = permissions.can_publish_sources
        return permissions.can_publish and (not named or SOURCES[kind] in named)
