"""From the engine's call to a joined room with what there is on air; or back, as if it had never been.

Owns: `CallJoining`. Thread: the caller's, in `start`, `start_any` and `accept`.

1. Whatever fails after the call exists ends it on the engine: no call stays open because of us.
2. A life that ended meanwhile, here or there, is told as what it was.
"""

from __future__ import annotations

import logging

from utdstream._calls.ending import end_in_background
from utdstream._calls.follower import CallFollower
from utdstream._calls.life import CallLife, PresentCall
from utdstream._rest.api import EngineApi
from utdstream._session.media_room import MediaRoom
from utdstream._threads.deadline import Deadline
from utdstream.errors import EngineUnreachable, MediaError, SessionClosed, UTDStreamException
from utdstream.models import UTDCall, UTDCallStatus

_log = logging.getLogger(__name__)

S = UTDCallStatus


class CallJoining:
    """Joins the calls of one session."""

    def __init__(
        self, present: PresentCall, follower: CallFollower, media: MediaRoom, api: EngineApi
    ) -> None:
        self._present = present
        self._follower = follower
        self._media = media
        self._api = api

    def join(self, life: CallLife, call: UTDCall, deadline: Deadline, doing: str) -> UTDCall:
        """Joins the call's room and publishes; any failure ends the call on the engine too.

        Blocks: to the deadline. Raises: CallNotAnswered when it was refused meanwhile, SessionClosed when it was
        ended here, EngineUnreachable, ConnectFailed, DeadlineExceeded.
        """
        self._adopt(life, call)
        try:
            if call.token is None or call.url is None:
                raise EngineUnreachable(f"{doing}: the engine's answer holds no token and url to join with")
            self._media.join(
                call.url,
                call.token,
                deadline,
                publish={"microphone": True, "camera": True},
                open_early=True,
                wanted=lambda room: self._present.enter(life, room),
            )
            self._media.settle_publishing(deadline)
            if life.over:  # what ended it may have looked for the room in the moment before there was one
                raise SessionClosed(f"{doing}: the call ended while its room was joined")
        except BaseException as error:
            raise self._failed(life, error, doing) from error
        return life.call or call

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
