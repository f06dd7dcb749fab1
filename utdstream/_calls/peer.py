"""Whether the other side of a call is there.

Owns: `PeerWatch`, one a session. Threads: whatever brings news of the room; the work lane for what takes a moment.

1. It is away when it was in the room and is not, or when nothing comes of what it publishes though the media
   server is heard: the media server itself misses a party that was killed or frozen only after 20 s.
2. A good-bye is told by the engine within a moment: until then a party that has just left is not missed.
3. Only an active call has another side.
"""

from __future__ import annotations

from utdstream._calls.life import CallLife, PresentCall
from utdstream._session.media_room import MediaRoom
from utdstream._threads.lanes import WorkLane
from utdstream.models import Connection, ConnectionState, UTDCallStatus
from utdstream.observe import Change

MISSED_AFTER_S = 1.5


class PeerWatch:
    """Shows in `connection` that the other side of the present call is away."""

    def __init__(self, present: PresentCall, media: MediaRoom, work: WorkLane) -> None:
        self._present = present
        self._media = media
        self._work = work
        self._is_silent = False
        media.facts.is_peer_missing = self._is_missing
        media.facts.on_silence = self.take_silence

    def take_people(self) -> None:
        """Hears that a participant came or went. Any thread, with the facts' lock."""
        life = self._present.life
        if life is None or life.over:
            return
        if self._media.facts.remote_participants.value:
            life.peer_seen = True
            self._show(life)
        elif self._is_missing():
            self._work.call_later(MISSED_AFTER_S, lambda: self._show(life))

    def take_silence(self, silent: bool) -> None:
        """Hears that what others publish does not come any more, or comes. Any thread."""
        self._is_silent = silent
        life = self._present.life
        if life is not None:
            self._show(life)

    def take_connection(self, change: Change[Connection]) -> None:
        """Hears how the room stands: what was silent there is forgotten with the link. Any thread."""
        if change.new.state is not ConnectionState.CONNECTED and not change.new.is_peer_away:
            self._is_silent = False

    def _is_missing(self) -> bool:
        life = self._present.life
        return (
            life is not None
            and not life.over
            and life.peer_seen
            and life.status is UTDCallStatus.ACTIVE
            and not self._media.facts.remote_participants.value
        )

    def _show(self, life: CallLife) -> None:
        facts = self._media.facts
        with facts.lock:
            if self._present.life is life and not life.over:
                is_active = life.status is UTDCallStatus.ACTIVE
                facts.show_peer(away=is_active and (self._is_silent or self._is_missing()))
