"""UTDCallSession: a 1:1 call from either side.

Owns: the life of a call on this device. Threads: any may call. What is learnt about the call (the room's
metadata on the loop, a poll on the work thread, an answer on the caller's) goes through `_learn`, which
fires the table of `call_states` under the session's brief lock; effects run on the work thread.

1. `start`, `accept`, `ringing`, `reject`, `busy` of one session queue behind each other. `end`, `leave`
   and `dispose` do not wait: they end the life, and whatever is under way notices.
2. A data message is a hint. The room's metadata, which only the server writes, and REST are the truth.
3. Whatever fails after the call exists ends it on the engine: no call stays open because of us. But an
   incoming call is ours only once it is accepted here: until then another device may answer it.
4. Every open state has a deadline: an engine that stays silent cannot keep a call open here for ever.

Longer than most files: both sides of a call, its end and its polls share one lock, and are read together.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from utdstream._calls.group import GroupGone, GroupRing, checked_callees
from utdstream._calls.life import CallLife
from utdstream._session.base import SessionParts, UTDSession
from utdstream._threads.deadline import Deadline
from utdstream._wire import messages
from utdstream.errors import (
    CallNotAnswered,
    Conflict,
    EngineError,
    EngineUnreachable,
    InvalidCallTransition,
    InvalidConfig,
    MediaError,
    NotFound,
    SessionClosed,
    UTDStreamException,
)
from utdstream.models import (
    Connection,
    ConnectionState,
    DataMessage,
    RemoteParticipant,
    UTDCall,
    UTDCallStatus,
    UTDStreamType,
)
from utdstream.observe import CallbackError, Change, Watched

_log = logging.getLogger(__name__)

S = UTDCallStatus
HINT_GRACE_S = 0.25
ACTIVE_POLL_S = 10.0
JOINING_POLL_S = 0.4
"""While the caller's room is being joined it tells nothing: a slow machine would miss that it rings."""
SILENT_ENGINE_S = 60.0
UNDO_TIMEOUT_S = 8.0
END_RETRIES = (0.5, 2.0, 5.0)


class UTDCallSession(UTDSession):
    """A 1:1 call: `start` on one side, `accept` on the other, `end` on either."""

    def __init__(self, kind: UTDStreamType, parts: SessionParts) -> None:
        if not kind.is_call:
            raise InvalidConfig(f"call_session: type must be AUDIO_CALL or VIDEO_CALL, not {kind}")
        super().__init__(kind, parts)
        self.status: Watched[UTDCallStatus | None] = Watched(None, self._lane)
        """Where the call stands; None before the first."""
        self.call_id: Watched[str | None] = Watched(None, self._lane)
        """The engine's id of the present (or last) call."""
        self._life: CallLife | None = None
        self._operation = threading.Lock()  # rule 1; held by the operation under way, with deadlines
        self._room._metadata_hook = self._on_metadata
        self._room._data_hook = self._on_data
        self._room.connection._watch(self._on_connection)
        self._room.remote_participants._watch(self._on_people)

    # -- the caller ------------------------------------------------------------------------------

    def start(
        self,
        *,
        callee_identity: str,
        callee_name: str | None = None,
        metadata: Mapping[str, object] | None = None,
        timeout: float | None = None,
    ) -> UTDCall:
        """Creates the call, joins its room and publishes what devices there are; it rings there now.

        Does not wait for ringing or an answer (`wait_for_answer` does). A device that fails is reported on
        `client.errors`; the call goes on without it.
        Blocks: to the deadline (default 20 s). Raises: Conflict when the callee is busy (status BUSY),
        CallNotAnswered when it was refused while we joined, NotAuthenticated, PermissionDenied, NotFound,
        ConnectFailed, DeadlineExceeded, SessionClosed when it was ended or disposed meanwhile.
        """
        deadline = Deadline(timeout, self._config.join_timeout_s, "start")
        if not isinstance(callee_identity, str) or not callee_identity:
            raise InvalidConfig("start: callee_identity must be a non-empty text")
        with self._exclusive("start", deadline):
            life = self._begin(CallLife(None), "start")
            try:
                call = self._api.create_call(
                    callee_identity=callee_identity,
                    callee_name=callee_name,
                    kind=self._kind,
                    metadata=metadata,
                    deadline=deadline,
                    undo=self._end_late,
                )
            except Conflict:
                self._close_life(life, S.BUSY)
                raise
            except BaseException:
                self._close_life(life, None)
                raise
            self._adopt(life, call)
            return self._join(life, call, deadline, "start")

    def start_any(
        self,
        *,
        callee_identities: Sequence[str],
        metadata: Mapping[str, object] | None = None,
        timeout: float | None = None,
    ) -> UTDCall:
        """Rings several at once, one call each; joins and publishes only for the first who accepts.

        The others are told that it was answered elsewhere. Nobody is joined while it rings: there is no picture of
        the visitor before the answer. Returns the answered call (status ACTIVE).
        Blocks: to the deadline (default 30 s, the joining included); on its passing all calls are ended.
        Raises: CallNotAnswered when nobody is left who could answer; Conflict when everybody was busy at once;
        DeadlineExceeded; FeatureDisabled against an engine that cannot do it; SessionClosed when it was ended or
        disposed meanwhile; else as `start`.
        """
        deadline = Deadline(timeout, self._config.wait_timeout_s, "start_any")
        callees = checked_callees(callee_identities)
        with self._exclusive("start_any", deadline):
            life = self._begin(CallLife(None), "start_any")
            ring = GroupRing(self._api, self._kind, callees, metadata, self._end_on_engine)
            try:
                winner = ring.wait_for_winner(deadline, lambda status: self._group_status(life, status))
            except BaseException as error:
                ring.end_all()
                self._close_life(life, ring.outcome)
                if isinstance(error, GroupGone):
                    raise SessionClosed("start_any: the call was ended while it rang") from None
                raise
            self._adopt(life, winner)
            return self._join(life, winner, deadline, "start_any")

    def _group_status(self, life: CallLife, status: UTDCallStatus) -> None:
        """The calls of a group have come this far. Raises: GroupGone when it was ended here."""
        with self._lock:
            if life.over:
                raise GroupGone
            if life.status is not status and life.status is not S.RINGING:
                life.machine.move_to(status)
                self.status._set(status)

    def wait_for_answer(self, *, timeout: float | None = None) -> UTDCall:
        """Returns once the other side accepted.

        Blocks: to the deadline (default 30 s, `math.inf` allowed); on its passing the call goes on ringing.
        Raises: CallNotAnswered at once when it is rejected, busy, missed or ended; DeadlineExceeded.
        """
        deadline = Deadline(timeout, self._config.wait_timeout_s, "wait_for_answer", may_be_infinite=True)
        with self._lock:
            life = self._life
        if life is None:
            raise InvalidCallTransition("wait_for_answer: there is no call; start one first")
        status = self.status.wait_for(
            lambda now: now not in (S.INITIATING, S.RINGING), timeout=deadline.timeout
        )
        call = life.call
        if call is not None and (status is S.ACTIVE or life.was_active):
            return call
        assert status is not None
        raise CallNotAnswered(status)

    # -- the callee ------------------------------------------------------------------------------

    def ringing(self, call_id: str, *, timeout: float | None = None) -> None:
        """Tells the caller that this device rings. Said twice is fine.

        Blocks: to the deadline (default 8 s). Raises: NotFound, PermissionDenied, Conflict when it is over.
        """
        deadline = Deadline(timeout, self._config.rest_timeout_s, "ringing")
        with self._exclusive("ringing", deadline):
            life = self._incoming(call_id, "ringing")
            call = self._say(life, call_id, "ringing", deadline)
            self._learn(life, call or UTDCall(call_id, S.RINGING, self._kind))
            if life.timer is None:
                self._watch(life)

    def accept(self, call_id: str, *, timeout: float | None = None) -> UTDCall:
        """Answers: joins the call's room and publishes what devices there are. After ringing, or at once.

        Blocks: to the deadline (default 20 s). Raises: NotFound, PermissionDenied, Conflict when it is over
        or was answered elsewhere, InvalidCallTransition, ConnectFailed, DeadlineExceeded, SessionClosed.
        """
        deadline = Deadline(timeout, self._config.join_timeout_s, "accept")
        with self._exclusive("accept", deadline), self._parts.answering(call_id):
            life = self._incoming(call_id, "accept")
            life.answering = True
            try:
                call = self._say(life, call_id, "accept", deadline)
            finally:
                life.answering = False
            if call is None:
                raise EngineUnreachable("accept: the engine's answer holds no call to join")
            life.ours = True
            self._adopt(life, call)
            return self._join(life, call, deadline, "accept")

    def reject(self, call_id: str, *, timeout: float | None = None) -> None:
        """Refuses a call. Blocks: to the deadline (default 8 s). Raises: NotFound, Conflict when over."""
        self._refuse(call_id, "reject", S.REJECTED, timeout)

    def busy(self, call_id: str, *, timeout: float | None = None) -> None:
        """Says that this side is busy. Blocks: to the deadline (default 8 s). Raises: as `reject`."""
        self._refuse(call_id, "busy", S.BUSY, timeout)

    def _refuse(self, call_id: str, action: str, status: UTDCallStatus, timeout: float | None) -> None:
        deadline = Deadline(timeout, self._config.rest_timeout_s, action)
        with self._exclusive(action, deadline), self._parts.answering(call_id):
            life = self._incoming(call_id, action)
            call = self._say(life, call_id, action, deadline)
            self._learn(life, call or UTDCall(call_id, status, self._kind))

    def _incoming(self, call_id: str, doing: str) -> CallLife:
        """The life of this incoming call: the one already ringing here, or a new one."""
        if not isinstance(call_id, str) or not call_id:
            raise InvalidConfig(f"{doing}: call_id must be the text that the ring brought")
        with self._lock:
            life = self._life
            if life is not None and life.call_id == call_id and not life.over:
                if life.status is S.ACTIVE:
                    raise InvalidCallTransition(f"{doing}: this call is already accepted here")
                return life
        return self._begin(CallLife(S.INITIATING, call_id), doing)

    def _say(self, life: CallLife, call_id: str, action: str, deadline: Deadline) -> UTDCall | None:
        """One REST action of the callee; a call that cannot be had leaves no life behind."""
        try:
            return self._api.call_action(
                call_id, action, deadline, undo=self._end_late if action == "accept" else None
            )
        except EngineError:
            self._work.post(lambda: self._ask_engine(life))
            if life.status is S.INITIATING:  # never rang here: nothing was shown, nothing to end
                self._close_life(life, None)
            raise
        except BaseException:
            if life.status is S.INITIATING:
                self._close_life(life, None)
            raise

    # -- either side -----------------------------------------------------------------------------

    def end(self, *, timeout: float | None = None) -> None:
        """Hangs up: devices stop at once, the engine is told, the room is left.

        An incoming call that only rings here is refused. Never an error for a call that is over, or when
        there is none. Does not wait for a `start` or `accept` under way: that one gets SessionClosed.
        Blocks: to the deadline (default 8 s). Raises: EngineUnreachable or DeadlineExceeded when the engine
        could not be told (the call is over here; telling it is repeated in the background).
        """
        deadline = Deadline(timeout, self._config.rest_timeout_s, "end")
        life = self._hang_up()
        if life is None or life.call_id is None:
            self._room.disconnect(timeout=deadline.remaining())
            return
        call_id = life.call_id
        action = "end" if life.ours else "reject"
        try:
            self._room._begin_disconnect()
            ended = self._api.call_action(call_id, action, deadline)
            if ended is not None:
                life.call = ended
        except (NotFound, Conflict):
            pass  # over already
        except UTDStreamException:
            if life.ours:
                self._api.detached(lambda: self._end_on_engine(call_id))
            raise
        finally:
            self._room.disconnect(timeout=max(0.5, deadline.remaining()))

    def leave(self, *, timeout: float | None = None) -> None:
        """Hangs up and keeps the object for the next call. What the engine cannot be told is reported.

        An incoming call that only rings here is let go without a word: another device may answer it.
        """
        deadline = Deadline(timeout, self._config.leave_timeout_s, "leave")
        with self._lock:
            life = self._life
        if life is not None and not life.ours:
            self._hang_up()
        try:
            self.end(timeout=deadline.remaining())
        except UTDStreamException as error:
            self._parts.report(CallbackError(error, "leave"))

    def _end_for_ever(self, deadline: Deadline) -> None:
        self.leave(timeout=deadline.remaining())

    def _close_facts(self) -> None:
        self.status._close()
        self.call_id._close()

    def _hang_up(self) -> CallLife | None:
        """Ends the life of the present call, if it is open, and says so."""
        with self._lock:
            life = self._life
            if life is None or life.over:
                return None
            shown = life.finish(S.ENDED if life.status is not None else None)
            if shown is not None:
                self.status._set(shown)
        return life

    def _end_late(self, call: UTDCall) -> None:
        """A call was created or accepted after its caller had gone: it is ended."""
        self._end_on_engine(call.call_id)

    def _end_on_engine(self, call_id: str) -> None:
        """Tells the engine, with patience. Never raises; a lost cause is what its poll is for."""
        for pause_s in (0.0, *END_RETRIES):
            time.sleep(pause_s)
            try:
                self._api.call_action(call_id, "end", Deadline(UNDO_TIMEOUT_S, UNDO_TIMEOUT_S, "end"))
            except EngineUnreachable as error:
                _log.info("ending call %s failed, trying again: %s", call_id, error)
            except UTDStreamException as error:
                _log.debug("ending call %s: %s", call_id, error)
                return
            else:
                return

    # -- one operation at a time -----------------------------------------------------------------

    @contextmanager
    def _exclusive(self, doing: str, deadline: Deadline) -> Iterator[None]:
        if not self._operation.acquire(timeout=deadline.remaining()):
            raise deadline.error("another operation of this session is still under way")
        try:
            yield
        finally:
            self._operation.release()

    def _begin(self, life: CallLife, doing: str) -> CallLife:
        with self._lock:
            if self._disposed:
                raise SessionClosed(f"{doing}: the session was disposed; make a new one")
            before = self._life
            if before is not None and not before.over:
                raise InvalidCallTransition(
                    f"{doing}: this session is in a call ({before.machine.state}); end() it first"
                )
        # The room of a call that ended a moment ago: nothing it still says may meet the new call.
        self._room.disconnect()
        with self._lock:
            if self._disposed:
                raise SessionClosed(f"{doing}: the session was disposed; make a new one")
            self._life = life
            self.status._set(None)
            self.call_id._set(life.call_id)
        return life

    def _adopt(self, life: CallLife, call: UTDCall) -> None:
        """The engine has the call: from now on it is ours to end."""
        with self._lock:
            gone = life.over or self._life is not life
            if not gone:
                life.call_id = call.call_id
                self.call_id._set(call.call_id)
        if gone:
            self._api.detached(lambda: self._end_on_engine(call.call_id))
            raise SessionClosed("the call was ended here while it was being set up")
        self._learn(life, call)
        life.call = call
        self._watch(life)

    def _join(self, life: CallLife, call: UTDCall, deadline: Deadline, doing: str) -> UTDCall:
        """Joins the call's room and publishes; any failure ends the call on the engine too."""
        try:
            if call.token is None or call.url is None:
                raise EngineUnreachable(f"{doing}: the engine's answer holds no token and url to join with")
            self._room._join(
                call.url,
                call.token,
                auto_subscribe=True,
                publish={"microphone": True, "camera": True},
                open_early=True,
                timeout=deadline.remaining(),
            )
            self._room._settle_publishing(deadline)
        except BaseException as error:
            raise self._failed(life, error, doing) from error
        if life.over:
            raise self._ended_meanwhile(life, doing)
        return life.call or call

    def _failed(self, life: CallLife, error: BaseException, doing: str) -> BaseException:
        """What the caller of a failed `start` or `accept` gets, after everything was taken back."""
        call_id = life.call_id
        if isinstance(error, (MediaError, SessionClosed)) and call_id is not None and not life.over:
            try:  # the room may be gone because the call was refused in this moment
                self._learn(life, self._api.get_call(call_id, Deadline(1.0, 1.0, doing)))
            except UTDStreamException as failure:
                _log.debug("asking for call %s failed: %s", call_id, failure)
        if life.over:
            self._room._begin_disconnect()
            return self._ended_meanwhile(life, doing)
        self._close_life(life, S.ENDED)
        self._room._begin_disconnect()
        if call_id is not None:
            self._api.detached(lambda: self._end_on_engine(call_id))
        return error

    def _ended_meanwhile(self, life: CallLife, doing: str) -> UTDStreamException:
        status = life.status
        if status in (S.REJECTED, S.BUSY, S.MISSED):
            assert status is not None
            return CallNotAnswered(status)
        return SessionClosed(f"{doing}: the call was ended while it was being set up")

    def _close_life(self, life: CallLife, status: UTDCallStatus | None) -> None:
        """The life is over; with a status the fact says so, without one there never was a call."""
        with self._lock:
            shown = life.finish(status)
            if shown is not None and self._life is life:
                self.status._set(shown)

    # -- learning --------------------------------------------------------------------------------

    def _learn(self, life: CallLife, call: UTDCall) -> None:
        """The engine says where the call stands. Any thread, brief. Stale news change nothing."""
        with self._lock:
            shown = life.take(call) if self._life is life else None
            if shown is not None:
                self.status._set(shown)
        if shown is not None and life.over:
            self._work.post(lambda: self._ended_by_other(life))

    def _ended_by_other(self, life: CallLife) -> None:
        """Work thread: leave within the engine's grace (a room that is deleted under us leaks threads)."""
        with self._lock:  # a newer call sets _life before it joins: what is seen here is this call's room
            media = self._room._life if self._life is life else None
        if media is not None:
            self._room._leave(media, Deadline(None, self._config.leave_timeout_s, "leaving an ended call"))

    def _on_metadata(self, metadata: str) -> None:
        """Loop thread. Only the server writes the metadata: it is the truth."""
        call = messages.parse_room_metadata(metadata)
        life = self._life
        if call is not None and life is not None:
            self._learn(life, call)

    def _on_data(self, message: DataMessage) -> bool:
        """Loop thread. True when it was one of the engine's messages (or pretends to be): a hint only."""
        if messages.parse(message.data) is None:
            return False
        call, life = messages.parse_call_update(message.data), self._life
        if call is None or life is None or call.call_id != life.call_id:
            return True
        if call.status is not life.status:
            self._hint(life)
        return True

    def _hint(self, life: CallLife) -> None:
        """Somebody says the call changed: ask the engine, once, unless the metadata tells first."""
        with self._lock:
            if life.hinted or life.over:
                return
            life.hinted = True
            before = life.status

        def check() -> None:
            life.hinted = False
            if life.status is before:
                self._ask_engine(life)

        self._work.call_later(HINT_GRACE_S, check)

    def _on_people(self, change: Change[tuple[RemoteParticipant, ...]]) -> None:
        """Loop thread: somebody came or went; the engine knows what it means."""
        life = self._life
        if life is None or life.over:
            return
        before, now = ({person.identity for person in side} for side in (change.old, change.new))
        if before != now:
            self._hint(life)

    def _on_connection(self, change: Change[Connection]) -> None:
        """Any thread: a room that ended by itself ends the call, with the engine's word for it."""
        life = self._life
        if (
            life is not None
            and not life.over
            and change.new.state is ConnectionState.DISCONNECTED
            and change.old.state in (ConnectionState.CONNECTED, ConnectionState.RECONNECTING)
        ):
            self._work.post(lambda: self._room_lost(life))

    def _room_lost(self, life: CallLife) -> None:
        """Work thread: the media room ended under an open call."""
        self._ask_engine(life)
        if life.over:
            return
        self._close_life(life, S.ENDED)
        if life.call_id is not None:
            self._end_on_engine(life.call_id)

    # -- polling ---------------------------------------------------------------------------------

    def _watch(self, life: CallLife) -> None:
        """Asks the engine when no message came for a while; works without any message at all."""
        if life.over:
            return
        pause_s = self._pause_s(life)
        life.timer = self._work.call_later(pause_s, lambda: self._poll(life, pause_s))

    def _pause_s(self, life: CallLife) -> float:
        joined = self._room.connection.value.state in (
            ConnectionState.CONNECTED,
            ConnectionState.RECONNECTING,
        )
        if life.ours and not joined:
            return min(JOINING_POLL_S, self._config.call_poll_s)
        return ACTIVE_POLL_S if life.status is S.ACTIVE else self._config.call_poll_s

    def _poll(self, life: CallLife, pause_s: float) -> None:
        if life.over:
            return
        if time.monotonic() - life.last_word >= pause_s * 0.9:
            self._ask_engine(life)
        silent_s = time.monotonic() - life.last_word
        lonely = not self._room.remote_participants.value
        if silent_s > SILENT_ENGINE_S and lonely:
            error = EngineUnreachable(
                f"the engine said nothing about the call for {silent_s:.0f} s and nobody is in its room: "
                "the call is given up"
            )
            self._parts.report(CallbackError(error, "call"))
            self._close_life(life, S.ENDED)
            self._room.disconnect()
            return
        self._watch(life)

    def _ask_engine(self, life: CallLife) -> None:
        """Work thread: `GET /calls/{id}`; what it says goes through the table."""
        call_id = life.call_id
        if call_id is None or life.over:
            return
        try:
            call = self._api.get_call(
                call_id, Deadline(None, self._config.rest_timeout_s, "asking about the call")
            )
        except NotFound:
            self._learn(life, UTDCall(call_id, S.ENDED, self._kind))
        except UTDStreamException as error:
            _log.info("asking the engine about call %s failed: %s", call_id, error)
        else:
            self._learn(life, call)

    def __repr__(self) -> str:
        status = self.status.value
        return f"UTDCallSession({self._kind.value}, {status.value if status else 'no call'})"
