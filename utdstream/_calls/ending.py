"""Ends a call from here: its room is left, and the engine is told, with patience.

Owns: `CallEnding`, `end_on_engine`, `end_in_background`. Threads: an errand's, or one of the background; never one
of the program's. A lost cause is what the engine's own watch over the room is for.
"""

from __future__ import annotations

import contextlib
import logging

from utdstream._calls.life import CallLife, PresentCall
from utdstream._rest.api import EngineApi
from utdstream._session.media_room import MediaRoom
from utdstream._threads.deadline import Deadline
from utdstream.backoff import Backoff
from utdstream.errors import Conflict, EngineUnreachable, NotFound, UTDStreamException
from utdstream.models import UTDCall

_log = logging.getLogger(__name__)

LEAVE_S = 0.05
"""For the room, which has been leaving since the end began, when the engine uses up what else there is."""
UNWANTED_S = 5.0
END_TIMEOUT_S = 8.0
END_ATTEMPTS = 6
BETWEEN_ENDS = Backoff(first_s=0.5, most_s=5.0)
"""Some 6 s of pauses in all, 12.5 s at most: an engine that restarts is back by then."""


def end_on_engine(api: EngineApi, call_id: str) -> None:
    """Ends the call on the engine; again while it does not answer. Never raises.

    Blocks: a minute at most, so on a thread that is not waited for.
    """
    for attempt in range(END_ATTEMPTS):
        if attempt:
            api.pause(BETWEEN_ENDS.pause_s(attempt - 1))
        try:
            api.say(call_id, "end", Deadline.after(END_TIMEOUT_S, "end"))
        except EngineUnreachable as error:
            _log.info("ending call %s failed, trying again: %s", call_id, error)
        except UTDStreamException as error:
            _log.debug("ending call %s: %s", call_id, error)
            return
        else:
            return


def end_in_background(api: EngineApi, call_id: str) -> None:
    """Ends the call likewise, on a thread of its own. Does not block."""
    api.detached(lambda: end_on_engine(api, call_id))


class CallEnding:
    """Ends the calls of one session. It touches the room of the life it is told, and no other."""

    def __init__(self, present: PresentCall, media: MediaRoom, api: EngineApi) -> None:
        self._present = present
        self._media = media
        self._api = api

    def end(self, life: CallLife | None, deadline: Deadline, *, silently: bool = False) -> None:
        """Ends this life, tells the engine unless it knows or `silently`, and leaves its room.

        Blocks: to the deadline. Raises: EngineUnreachable, DeadlineExceeded when the engine could not be told.
        """
        if life is None:
            return
        self._present.end(life)
        try:
            if self._present.take_debt(life) and not silently:
                self._tell(life, deadline.but(LEAVE_S))
        finally:
            if life.room is None:
                self._media.stay_away()  # it was waiting for the media server
            else:
                self._media.leave(life.room, Deadline.after(deadline.remaining(), "end"))

    def end_unwanted(self, life: CallLife) -> None:
        """Ends a call that was set up for a caller who has left meanwhile."""
        with contextlib.suppress(UTDStreamException):
            self.end(life, Deadline.after(UNWANTED_S, "ending a call that nobody waits for"))

    def end_unwanted_call(self, call: UTDCall) -> None:
        """Ends it likewise, if the session is still in this call."""
        life = self._present.life
        if life is not None and life.call_id == call.call_id:
            self.end_unwanted(life)

    def _tell(self, life: CallLife, deadline: Deadline) -> None:
        call_id = life.call_id
        assert call_id is not None
        if life.room is not None:
            self._media.begin_leaving(life.room)
        try:
            if life.ours:
                ended = self._api.say(call_id, "end", deadline)
            else:
                ended = self._api.refuse_call(call_id, "reject", deadline)
        except (NotFound, Conflict):
            return  # over already
        except UTDStreamException:
            if life.ours:
                end_in_background(self._api, call_id)
            raise
        if ended is not None:
            life.call = ended
