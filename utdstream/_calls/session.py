"""UTDCallSession: a 1:1 call from either side.

Owns: what a program does with a call: start, accept, end. Threads: any may call. What is learnt about the call
comes by `follower` (the room's metadata on the loop, a poll on the work thread) or with an answer on the caller's
thread; both fire the table of call states under the session's brief lock (`life`).

1. `start`, `accept`, `ringing`, `reject`, `busy` of one session are errands that take turns (`_threads/errands`).
   `end`, `leave` and `dispose` do not wait for a turn: they end the life, and whatever is under way notices.
2. An incoming call is ours only once it is accepted here: until then another device may answer it. What fails
   after a call is ours ends it on the engine (`joining`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from utdstream._calls.ending import CallEnding, end_on_engine
from utdstream._calls.follower import CallFollower
from utdstream._calls.group import GroupGone, GroupRing, checked_callees
from utdstream._calls.joining import CallJoining
from utdstream._calls.life import CallLife, PresentCall
from utdstream._session.base import SessionParts, UTDSession
from utdstream._threads.deadline import Deadline
from utdstream._threads.errands import finish_errand, run_errand
from utdstream._threads.facts import Fact
from utdstream._wire.call_states import UNANSWERED_STATES
from utdstream.errors import (
    CallNotAnswered,
    Conflict,
    EngineError,
    InvalidCallTransition,
    InvalidConfig,
    SessionClosed,
    UTDStreamException,
)
from utdstream.models import Connection, DataMessage, RemoteParticipant, UTDCall, UTDCallStatus, UTDStreamType
from utdstream.observe import CallbackError, Change, Watched

S = UTDCallStatus
_Answer = TypeVar("_Answer")

_NO_CALL = "wait_for_answer: there is no call; start one first"


class UTDCallSession(UTDSession):
    """A 1:1 call: `start` on one side, `accept` on the other, `end` on either."""

    def __init__(self, kind: UTDStreamType, parts: SessionParts) -> None:
        if not kind.is_call:
            raise InvalidConfig(f"call_session: type must be AUDIO_CALL or VIDEO_CALL, not {kind}")
        super().__init__(kind, parts)
        self._status: Fact[UTDCallStatus | None] = Fact(None, self._lane)
        self._call_id: Fact[str | None] = Fact(None, self._lane)
        self.status: Watched[UTDCallStatus | None] = self._status
        """Where the call stands; None before the first."""
        self.call_id: Watched[str | None] = self._call_id
        """The engine's id of the present (or last) call."""
        self._media_ready: Fact[bool | None] = Fact(None, self._lane)
        self.media_ready: Watched[bool | None] = self._media_ready
        """Whether there can be sound and picture, by the engine's last word: False while media is away."""
        self._present = PresentCall(self._lock, self._status, self._call_id, self._media_ready)
        self._turn = threading.Lock()  # rule 1; errands hold it, never a thread of the program's
        self._follower = CallFollower(
            self._present,
            self._media,
            kind=kind,
            api=parts.api,
            work=self._work,
            config=parts.config,
            report=parts.report,
        )
        self._joining = CallJoining(
            self._present, self._follower, self._media, parts.api, self._returning, parts.report
        )
        self._ending = CallEnding(self._present, self._media, parts.api)

    @property
    def end_reason(self) -> str | None:
        """Why the call ended, in the engine's word (`callee_hangup`); None while it goes on, or if none was told.

        A call whose media room was lost may have none: `connection` says why.
        """
        life = self._present.life
        return None if life is None else life.end_reason

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
        `client.errors`; the call goes on without it. While the media server is away this returns all the same,
        `media_ready` False and `connection` RECONNECTING, and the room is joined when it can be.
        Blocks: to the deadline (default 20 s). Raises: Conflict when the callee is busy (status BUSY),
        CallNotAnswered when it was refused while we joined, NotAuthenticated, PermissionDenied, NotFound,
        InvalidRequest, RateLimited, EngineUnreachable, ConnectFailed, DeadlineExceeded, SessionClosed when it was
        ended or disposed meanwhile, InvalidCallTransition when this session is in a call.
        """
        deadline = Deadline(timeout, self._config.join_timeout_s, "start")
        if not (isinstance(callee_identity, str) and callee_identity):
            raise InvalidConfig("start: callee_identity must be a non-empty text")
        life = CallLife(None, epoch=self._present.epoch)

        def start() -> UTDCall:
            self._begin(life, "start", deadline)
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
                self._present.close(life, S.BUSY)
                raise
            except BaseException as error:
                raise self._not_begun(life, error, "start") from error
            return self._joining.join(life, call, deadline, "start")

        return run_errand(
            start,
            deadline,
            "start",
            turn=self._turn,
            undo=lambda _: self._ending.end_unwanted(life),
            clean=self._api.settle_late,
        )

    def start_any(
        self,
        *,
        callee_identities: Sequence[str],
        metadata: Mapping[str, object] | None = None,
        timeout: float | None = None,
    ) -> UTDCall:
        """Rings several callees at once, one call each; joins and publishes for the first that accepts.

        The other callees are told that it was answered elsewhere. No room is joined while it rings: there is no
        picture of the visitor before the answer. Returns the answered call (status ACTIVE).
        Blocks: to the deadline (default 30 s, the joining included); on its passing all calls are ended.
        Raises: CallNotAnswered when no callee is left that could answer; Conflict when all were busy at once;
        DeadlineExceeded; FeatureDisabled against an engine that cannot do it; SessionClosed when it was ended or
        disposed meanwhile; else as `start`.
        """
        deadline = Deadline(timeout, self._config.wait_timeout_s, "start_any")
        callees = checked_callees(callee_identities)
        life = CallLife(None, epoch=self._present.epoch)

        def start_any() -> UTDCall:
            self._begin(life, "start_any", deadline)
            ring = GroupRing(self._api, self._kind, callees, metadata)

            def told(status: UTDCallStatus) -> None:
                if not self._present.rings(life, status):
                    raise GroupGone

            try:
                winner = ring.wait_for_winner(deadline, told)
            except BaseException as error:
                ring.end_all()
                ended_here = life.over
                self._present.close(life, ring.outcome)
                if ended_here or isinstance(error, GroupGone):
                    raise SessionClosed("start_any: the call was ended while it rang") from None
                raise
            return self._joining.join(life, winner, deadline, "start_any")

        return run_errand(
            start_any, deadline, "start_any", turn=self._turn, undo=lambda _: self._ending.end_unwanted(life)
        )

    def wait_for_answer(self, *, timeout: float | None = None) -> UTDCall:
        """Returns once the other side accepted.

        Blocks: to the deadline (default 30 s, `math.inf` allowed); on its passing the call goes on ringing.
        Raises: CallNotAnswered at once when it is rejected, busy, missed or ended; DeadlineExceeded;
        InvalidCallTransition when there is no call, or `start` has not made it yet.
        """
        deadline = Deadline(timeout, self._config.wait_timeout_s, "wait_for_answer", may_be_infinite=True)
        life = self._present.life
        if life is None:
            raise InvalidCallTransition(_NO_CALL)
        status = self.status.wait_for(lambda now: now not in UNANSWERED_STATES, timeout=deadline.timeout)
        call = life.call
        if call is not None and (status is S.ACTIVE or life.was_active):
            return call
        if status is None:
            raise InvalidCallTransition(_NO_CALL)
        raise CallNotAnswered(status)

    # -- the callee ------------------------------------------------------------------------------

    def ringing(self, call_id: str, *, timeout: float | None = None) -> None:
        """Tells the caller that this device rings. Said twice is fine.

        Blocks: to the deadline (default 8 s). Raises: NotFound, PermissionDenied, Conflict when it is over,
        InvalidRequest, RateLimited, EngineUnreachable, DeadlineExceeded, SessionClosed, InvalidCallTransition.
        """
        deadline = Deadline(timeout, self._config.rest_timeout_s, "ringing")
        epoch = self._present.epoch

        def ringing() -> None:
            life = self._incoming(call_id, "ringing", deadline, epoch)
            call = self._say(life, "ringing", lambda: self._api.say(call_id, "ringing", deadline))
            self._follower.learn(life, call or UTDCall(call_id, S.RINGING, self._kind))
            self._follower.watch(life)

        finish_errand(ringing, deadline, "ringing", turn=self._turn)

    def accept(self, call_id: str, *, timeout: float | None = None) -> UTDCall:
        """Answers: joins the call's room and publishes, as `start` does. After ringing, or at once.

        Blocks: to the deadline (default 20 s). Raises: NotFound, PermissionDenied, Conflict when it is over
        or was answered elsewhere, InvalidRequest, RateLimited, InvalidCallTransition, EngineUnreachable,
        ConnectFailed, DeadlineExceeded, SessionClosed.
        """
        deadline = Deadline(timeout, self._config.join_timeout_s, "accept")
        epoch = self._present.epoch

        def accept() -> UTDCall:
            with self._parts.answering(call_id):
                life = self._incoming(call_id, "accept", deadline, epoch)
                call = None
                self._present.begin_answer(life)
                try:
                    call = self._say(
                        life, "accept", lambda: self._api.accept_call(call_id, deadline, self._end_late)
                    )
                finally:
                    self._present.end_answer(life, ours=call is not None)
                return self._joining.join(life, call, deadline, "accept")

        return run_errand(accept, deadline, "accept", turn=self._turn, undo=self._ending.end_unwanted_call)

    def reject(self, call_id: str, *, timeout: float | None = None) -> None:
        """Refuses a call.

        Blocks: to the deadline (default 8 s). Raises: NotFound, PermissionDenied, Conflict when it is over,
        InvalidRequest, RateLimited, EngineUnreachable, DeadlineExceeded, SessionClosed, InvalidCallTransition.
        """
        self._refuse(call_id, "reject", S.REJECTED, timeout)

    def busy(self, call_id: str, *, timeout: float | None = None) -> None:
        """Says that this side is busy.

        Blocks: to the deadline (default 8 s). Raises: as `reject`.
        """
        self._refuse(call_id, "busy", S.BUSY, timeout)

    def _refuse(self, call_id: str, action: str, status: UTDCallStatus, timeout: float | None) -> None:
        deadline = Deadline(timeout, self._config.rest_timeout_s, action)
        epoch = self._present.epoch

        def refuse() -> None:
            with self._parts.answering(call_id):
                life = self._incoming(call_id, action, deadline, epoch)
                call = self._say(life, action, lambda: self._api.refuse_call(call_id, action, deadline))
                self._follower.learn(life, call or UTDCall(call_id, status, self._kind))

        finish_errand(refuse, deadline, action, turn=self._turn)

    def _incoming(self, call_id: str, doing: str, deadline: Deadline, epoch: int) -> CallLife:
        """Returns the life of this incoming call: the one already ringing here, or a new one."""
        if not isinstance(call_id, str) or not call_id:
            raise InvalidConfig(f"{doing}: call_id must be the text that the ring brought")
        with self._lock:
            life = self._present.life
            if life is not None and life.call_id == call_id and not life.over:
                if life.status is S.ACTIVE:
                    raise InvalidCallTransition(f"{doing}: this call is already accepted here")
                life.wake = deadline.cut
                return life
        return self._begin(CallLife(S.INITIATING, call_id, epoch=epoch), doing, deadline)

    def _say(self, life: CallLife, action: str, say: Callable[[], _Answer]) -> _Answer:
        """Says one action of the callee over REST; a call that cannot be had leaves no life behind."""
        try:
            return say()
        except EngineError:
            self._follower.ask_soon(life)
            if life.status is S.INITIATING:  # never rang here: nothing was shown, nothing to end
                self._present.close(life, None)
            raise
        except BaseException as error:
            if life.status is S.INITIATING or life.over:
                raise self._not_begun(life, error, action) from error
            raise

    def _not_begun(self, life: CallLife, error: BaseException, doing: str) -> BaseException:
        """Returns what an operation raises whose call never was one here: that it was ended, or what failed."""
        ended_here = life.over
        self._present.close(life, None)
        return life.error_when_over(doing) if ended_here else error

    # -- either side -----------------------------------------------------------------------------

    def end(self, *, timeout: float | None = None) -> None:
        """Hangs up: devices stop at once, the engine is told, the room is left.

        An incoming call that only rings here is refused. Never an error for a call that is over, or when
        there is none. Does not wait for a `start` or `accept` under way: that one gets SessionClosed.
        Blocks: to the deadline (default 8 s). Raises: EngineUnreachable or DeadlineExceeded when the engine
        could not be told (the call is over here; telling it is repeated in the background).
        """
        deadline = Deadline(timeout, self._config.rest_timeout_s, "end")
        hung_up = [self._present.life]
        finish_errand(
            lambda: self._ending.end(hung_up[-1], deadline),
            deadline,
            "end",
            first=lambda: hung_up.append(self._present.hang_up()),
        )

    def leave(self, *, timeout: float | None = None) -> None:
        """Hangs up and keeps the object for the next call. What the engine cannot be told is reported.

        An incoming call that only rings here is let go without a word: another device may answer it.
        Blocks: to the deadline (default 5 s). Raises: InvalidConfig for a wrong `timeout`.
        """
        deadline = Deadline(timeout, self._config.leave_timeout_s, "leave")
        hung_up = [self._present.life]

        def leave() -> None:
            life = hung_up[-1]
            self._ending.end(life, deadline, silently=life is not None and not life.ours)

        try:
            finish_errand(leave, deadline, "leave", first=lambda: hung_up.append(self._present.hang_up()))
        except UTDStreamException as error:
            self._parts.report(CallbackError(error, "leave"))

    def _end_for_ever(self, deadline: Deadline) -> None:
        self.leave(timeout=deadline.remaining())

    def _close_facts(self) -> None:
        for fact in (self._status, self._call_id, self._media_ready):
            fact.close()

    def _end_late(self, call: UTDCall) -> None:
        """Ends a call that was created or accepted after its caller had gone. A REST thread of ours."""
        end_on_engine(self._api, call.call_id)

    # -- what the room tells -----------------------------------------------------------------------

    def _on_metadata(self, metadata: str) -> None:
        self._follower.take_metadata(metadata)

    def _on_message(self, message: DataMessage) -> bool:
        return self._follower.take_message(message)

    def _on_connection(self, change: Change[Connection]) -> None:
        self._follower.take_connection(change)

    def _on_people(self, change: Change[tuple[RemoteParticipant, ...]]) -> None:
        self._follower.take_people(change)

    # -- beginning ---------------------------------------------------------------------------------

    def _begin(self, life: CallLife, doing: str, deadline: Deadline) -> CallLife:
        """Puts the session into this call. Raises: SessionClosed when it was hung up since it was asked for."""
        self._must_be_free(doing)
        life.wake = deadline.cut
        # The room of a call that ended a moment ago: nothing it still says may meet the new call.
        if not self._media.disconnect(deadline):
            raise deadline.error("the room of the call before is still being left")
        with self._lock:
            self._must_be_free(doing)
            if not self._present.replace(life):
                raise life.error_when_over(doing)
        return life

    def _must_be_free(self, doing: str) -> None:
        with self._lock:
            if self._disposed:
                raise SessionClosed(f"{doing}: the session was disposed; make a new one")
            before = self._present.life
            if before is not None and not before.over:
                raise InvalidCallTransition(
                    f"{doing}: this session is in a call ({before.machine.state}); end() it first"
                )

    def __repr__(self) -> str:
        status = self.status.value
        return f"UTDCallSession({self._kind.value}, {status.value if status else 'no call'})"
