"""What the slots of one connection share: the room as a publisher meets it.

Owns: `SendingSide`. Thread: the loop.

1. Publish and unpublish are never cancelled and always raced against the end of the room.
2. One track is published after the other. Two at once may be negotiated wrongly: H.264 as VP8, a picture that
   nobody can decode (livekit 1.2.1; three of ten first calls of a process with microphone and camera).
3. A track is not unpublished in the moment it is published. The core of whoever subscribes to it, when the media
   arrives while the track goes, ties the two together and keeps them for ever: the whole room, five threads and
   three descriptors (livekit 1.2.1: `add_subscribed_media_track` beside `remove_publication`; one of eight calls
   that were ended in the moment of the answer).
"""

from __future__ import annotations

import asyncio

from livekit import rtc

from utdstream._livekit.room_end import RoomEnd

PUBLISH_TIMEOUT_S = 12.0
UNPUBLISH_TIMEOUT_S = 5.0
SETTLED_S = 0.5
"""By then the others have a track's media, on a busy machine too (rule 3)."""
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
        self._one_at_a_time = asyncio.Lock()
        self._reconnected_at = 0.0

    def reconnected(self) -> None:
        """Notes that the room is back."""
        self.reconnecting = False
        self._reconnected_at = _now()

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

    async def publish(
        self, kind: str, track: rtc.LocalTrack, options: rtc.TrackPublishOptions
    ) -> rtc.LocalTrackPublication:
        """Publishes the track when no other is being published. Raises: RoomLost, MediaError."""
        options.source = SOURCES[kind]
        async with self._one_at_a_time:
            return await self.end.guarded(
                self.participant.publish_track(track, options), f"publishing the {kind}", PUBLISH_TIMEOUT_S
            )

    def unsettled_s(self, published_at: float) -> float:
        """How long the others may still be about to get a track (rule 3); a reconnect publishes all anew.

        `published_at`: in the loop's time.
        """
        return max(0.0, max(published_at, self._reconnected_at) + SETTLED_S - _now())

    async def unpublish(self, kind: str, publication: rtc.LocalTrackPublication) -> None:
        """Unpublishes a track that has settled. Raises: RoomLost, MediaError."""
        await self.end.guarded(
            self.participant.unpublish_track(publication.sid), f"unpublishing the {kind}", UNPUBLISH_TIMEOUT_S
        )


def _now() -> float:
    return asyncio.get_running_loop().time()
