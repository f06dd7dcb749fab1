"""Learns where a call stands, from whatever tells it first, and asks when nothing does.

Owns: `CallFollower`: the room's metadata and messages, arrivals, the end of the room, the poll. Threads: the loop
brings news of the room and may not wait; whatever asks or waits runs on the session's work lane.

1. A data message is a hint. The room's metadata, which only the server writes, and REST are the truth.
2. Every open state has a deadline: an engine that stays silent cannot keep a call open here for ever.
3. The work lane waits for one answer of the engine at a time and for nothing else: rooms are left and calls are
   ended in the background.
"""

from __future__ import annotations

import logging
import time

from utdstream._calls.ending import end_in_background
from utdstream._calls.life import CallLife, PresentCall
from utdstream._calls.peer import PeerWatch
from utdstream._rest.api import EngineApi
from utdstream._session.media_room import MediaRoom
from utdstream._threads.deadline import Deadline
from utdstream._threads.lanes import WorkLane
from utdstream._wire import messages
from utdstream.config import ClientConfig
from utdstream.errors import EngineUnreachable, NotFound, UTDStreamException
from utdstream.models import (
    Connection,
    ConnectionState,
    DataMessage,
    RemoteParticipant,
    UTDCall,
    UTDCallStatus,
    UTDStreamType,
)
from utdstream.observe import CallbackError, Change, Report

_log = logging.getLogger(__name__)

S = UTDCallStatus
HINT_GRACE_S = 0.25
ACTIVE_POLL_S = 10.0
JOINING_POLL_S = 0.4
"""While the caller's room is being joined it tells nothing: a slow machine would miss that it rings."""
SILENT_ENGINE_S = 180.0
"""Longer than the engine waits for a party that is away (`call_away_s`): a cut ends on both sides alike."""
_IN_THE_ROOM = (ConnectionState.CONNECTED, ConnectionState.RECONNECTING)


class CallFollower:
    """Follows the present call of one session."""

    def __init__(
        self,
        present: PresentCall,
        media: MediaRoom,
        *,
        kind: UTDStreamType,
        api: EngineApi,
        work: WorkLane,
        config: ClientConfig,
        report: Report,
    ) -> None:
        self._present = present
        self._media = media
        self._kind = kind
        self._api = api
        self._work = work
        self._config = config
        self._report = report
        self._peer = PeerWatch(present, media, work)

    # -- learning --------------------------------------------------------------------------------

    def learn(self, life: CallLife, call: UTDCall) -> None:
        """Takes the engine's word on where the call stands. Any thread, brief. Stale news change nothing."""
        if self._present.take(life, call):
            self._leave_room_of(life)

    def _leave_room_of(self, life: CallLife) -> None:
        """Leaves at once, within the engine's grace: a room deleted under its participant leaks threads."""
        if life.room is None:
            self._media.stay_away()  # it was waiting for the media server
        else:
            self._media.begin_leaving(life.room)

    def take_metadata(self, metadata: str) -> None:
        """Takes the room's metadata, which only the server writes: the truth. Loop thread."""
        call = messages.parse_room_metadata(metadata)
        life = self._present.life
        if call is not None and life is not None:
            self.learn(life, call)

    def take_message(self, message: DataMessage) -> bool:
        """Takes a data message as a hint. True when it was the engine's (or pretends to be). Loop thread."""
        if messages.parse(message.data) is None:
            return False
        call, life = messages.parse_call_update(message.data), self._present.life
        if call is None or life is None or call.call_id != life.call_id:
            return True
        if call.status is not life.status:
            self._hint(life)
        return True

    def take_people(self, change: Change[tuple[RemoteParticipant, ...]]) -> None:
        """Hears that a participant came or went; the engine knows what it means. Loop thread."""
        self._peer.take_people()
        life = self._present.life
        if life is None or life.over:
            return
        before, now = ({person.identity for person in side} for side in (change.old, change.new))
        if before != now:
            self._hint(life)

    def take_connection(self, change: Change[Connection]) -> None:
        """Ends the call with a room that ended for good, with the engine's word for it. Any thread."""
        self._peer.take_connection(change)
        life = self._present.life
        if (
            life is not None
            and not life.over
            and change.new.state is ConnectionState.DISCONNECTED
            and change.old.state in _IN_THE_ROOM
            and life.room is not None
            and life.room.over
        ):
            self._work.post(lambda: self._room_lost(life))

    def _room_lost(self, life: CallLife) -> None:
        """Ends an open call whose media room ended. Work thread."""
        self._ask(life)
        if life.over:
            return
        self._present.close(life, S.ENDED)
        if life.call_id is not None:
            end_in_background(self._api, life.call_id)

    def _hint(self, life: CallLife) -> None:
        """Hears that the call changed: asks the engine, once, unless the metadata tells first."""
        before = life.status
        if not self._present.take_hint(life):
            return

        def check() -> None:
            life.hinted = False
            if life.status is before:
                self._ask(life)

        self._work.call_later(HINT_GRACE_S, check)

    # -- asking ----------------------------------------------------------------------------------

    def watch(self, life: CallLife) -> None:
        """Asks the engine whenever no message came for a while; works without any message at all.

        Begun anew, it goes on alone: a call that rings here is watched, and again once it is accepted.
        """
        if life.over:
            return
        pause_s = self._pause_s(life)
        self._present.plan(life, self._work.call_later(pause_s, lambda: self._poll(life, pause_s)))

    def _pause_s(self, life: CallLife) -> float:
        joined = self._media.facts.connection.value.state in _IN_THE_ROOM
        if life.ours and not joined:
            return min(JOINING_POLL_S, self._config.call_poll_s)
        return ACTIVE_POLL_S if life.status is S.ACTIVE else self._config.call_poll_s

    def _poll(self, life: CallLife, pause_s: float) -> None:
        if life.over:
            return
        if time.monotonic() - life.last_word >= pause_s * 0.9:
            self._ask(life)
        silent_s = time.monotonic() - life.last_word
        lonely = not self._media.facts.remote_participants.value
        if silent_s > SILENT_ENGINE_S and lonely:
            error = EngineUnreachable(
                f"the engine said nothing about the call for {silent_s:.0f} s and nobody is in its room: "
                "the call is given up"
            )
            self._report(CallbackError(error, "call"))
            self._present.close(life, S.ENDED)
            self._leave_room_of(life)
            return
        self.watch(life)

    def ask_soon(self, life: CallLife) -> None:
        """Asks the engine on the work lane. Does not block."""
        self._work.post(lambda: self._ask(life))

    def _ask(self, life: CallLife) -> None:
        """Asks for `GET /calls/{id}`; what it says goes through the table. Work thread."""
        call_id = life.call_id
        if call_id is None or life.over:
            return
        try:
            call = self._api.get_call(
                call_id, Deadline.after(self._config.rest_timeout_s, "asking about the call")
            )
        except NotFound:
            self.learn(life, UTDCall(call_id, S.ENDED, self._kind))
        except UTDStreamException as error:
            _log.info("asking the engine about call %s failed: %s", call_id, error)
        else:
            self.learn(life, call)
