"""From the engine's call to a joined room with what there is on air; or back, as if it had never been.

Owns: `CallJoining`. Thread: an errand's, in `start`, `start_any` and `accept`; the rejoin thread for a room
that was lost.

1. Whatever fails after the call exists ends it on the engine: no call stays open because of us.
2. A life that ended meanwhile, here or there, is told as what it was.
3. A room that is lost is joined again for as long as the engine says that the call is open; wishes stand.
4. A room that the media server cannot have yet keeps no bell silent: the call goes on, and the room is joined like
   one that was lost.
"""

from __future__ import annotations

import logging

from utdstream._calls.ending import end_in_background
from utdstream._calls.follower import CallFollower
from utdstream._calls.life import CallLife, PresentCall
from utdstream._rest.api import EngineApi
from utdstream._session import rejoin
from utdstream._session.media_room import MediaRoom
from utdstream._session.rejoin import Rejoin
from utdstream._threads.deadline import Deadline
from utdstream._threads.lanes import WorkLane
from utdstream.errors import ConnectFailed, EngineUnreachable, MediaError, SessionClosed, UTDStreamException
from utdstream.models import UTDCall, UTDCallStatus
from utdstream.observe import CallbackError, Report

_log = logging.getLogger(__name__)

S = UTDCallStatus

_ON_AIR = {"microphone": True, "camera": True}
CALL_REASONS = rejoin.REASONS | {"PARTICIPANT_REMOVED"}
"""Whoever removes a party for good has the engine end the call first, or refuse that party a token."""


class CallJoining:
    """Joins the calls of one session."""

    def __init__(
        self,
        present: PresentCall,
        follower: CallFollower,
        media: MediaRoom,
        api: EngineApi,
        work: WorkLane,
        report: Report,
    ) -> None:
        self._present = present
        self._follower = follower
        self._media = media
        self._api = api
        self._work = work
        self._report = report

    def join(self, life: CallLife, call: UTDCall, deadline: Deadline, doing: str) -> UTDCall:
        """Joins the call's room and publishes; any failure ends the call on the engine too.

        While the media server is away it returns at once, and the room is joined when that is back.
        Blocks: to the deadline. Raises: CallNotAnswered when it was refused meanwhile, SessionClosed when it was
        ended here, EngineUnreachable, ConnectFailed, DeadlineExceeded.
        """
        self._adopt(life, call)
        try:
            if call.token is None or call.url is None:
                raise EngineUnreachable(f"{doing}: the engine's answer holds no token and url to join with")
            self._media.rejoin = self._rejoin(life, call.call_id)
            if call.media_ready is False:
                _log.warning("call %s: no sound and no picture yet, the media server is away", call.call_id)
                self._media.come_later(_ON_AIR)
                return life.call or call
            self._media.join(
                call.url,
                call.token,
                deadline,
                publish=_ON_AIR,
                open_early=True,
                wanted=lambda room: self._present.enter(life, room),
            )
            self._media.settle_publishing(deadline)
            if life.over:  # what ended it may have looked for the room in the moment before there was one
                raise SessionClosed(f"{doing}: the call ended while its room was joined")
        except BaseException as error:
            raise self._failed(life, error, doing) from error
        return life.call or call

    def _rejoin(self, life: CallLife, call_id: str) -> Rejoin:
        return Rejoin(
            self._work,
            f"call {call_id}",
            enter=lambda deadline: self._return_to(life, call_id, deadline),
            is_wanted=lambda: not life.over,
            gave_up=lambda error: self._given_up(life, call_id, error),
            knock=self._media.is_door_open,
            is_asking=lambda: self._media.life is None,
            reasons=CALL_REASONS,
        )

    def _return_to(self, life: CallLife, call_id: str, deadline: Deadline) -> None:
        """Joins the room of the call again, if the engine says that it is open. Rejoin thread."""
        life.wake = deadline.cut
        call = self._api.get_call(call_id, deadline)
        self._follower.learn(life, call)
        if life.over:
            raise SessionClosed("rejoining: the call is over")
        if call.token is None or call.url is None:
            raise EngineUnreachable("rejoining: the engine's answer holds no token and url to join with")
        if call.media_ready is False:
            raise ConnectFailed("rejoining: the engine says that the media server is away; it is tried again")
        self._media.join(call.url, call.token, deadline, wanted=lambda room: self._present.enter(life, room))

    def _given_up(self, life: CallLife, call_id: str, error: UTDStreamException) -> None:
        """Ends a call that the engine does not let us return to. Rejoin thread."""
        self._report(CallbackError(error, "rejoining"))
        self._present.close(life, S.ENDED)
        self._media.stay_away(type(error).__name__)
        end_in_background(self._api, call_id)

    def _adopt(self, life: CallLife, call: UTDCall) -> None:
        """Takes the engine's call as ours to end from now on. Raises: SessionClosed when it was ended here."""
        if not self._present.name(life, call.call_id):
            end_in_background(self._api, call.call_id)
            raise SessionClosed("the call was ended here while it was being set up")
        self._follower.learn(life, call)
        life.call = call
        self._follower.watch(life)

    def _failed(self, life: CallLife, error: BaseException, doing: str) -> BaseException:
        """Returns what the caller of a failed `start` or `accept` gets, after everything was taken back."""
        call_id = life.call_id
        if isinstance(error, (MediaError, SessionClosed)) and call_id is not None and not life.over:
            try:  # the room may be gone because the call was refused in this moment
                self._follower.learn(life, self._api.get_call(call_id, Deadline.after(1.0, doing)))
            except UTDStreamException as failure:
                _log.debug("asking for call %s failed: %s", call_id, failure)
        if life.room is not None:
            self._media.begin_leaving(life.room)
        if life.over:
            return life.error_when_over(doing)
        self._present.close(life, S.ENDED)
        if call_id is not None:
            end_in_background(self._api, call_id)
        return error
