"""Incoming calls: each rings once, in time, and only after the engine confirmed it.

Owns: `IncomingCall`, `CallCancelled`, the inbox that makes them, and the port (`IncomingCalls`) that a
message transport implements. Must not import a transport, `_rest` or `_livekit`: the client hands in
what the inbox needs of them.

1. A message is a hint, the engine is the truth: nothing rings that `get_call` or `list_calls` has not shown
   as initiating or ringing, for this identity, unexpired by the engine's clock (its own word; no proxy's `Date`).
2. A call id rings once for ever. A second press of the button is a new call id and rings again.
3. A ring whose message is lost is found by asking: at the start, when the transport comes up or goes down, every
   `config.ring_poll_s` while it is down, anything rings or the engine did not answer, and every
   `config.ring_check_s` else (a broker may lose what it accepted): one small GET.
4. A cancel is confirmed too, told once, and only for a call that rang here and was not answered here.
5. The transport's thread only decodes and hands over; asking happens on the work lane (`keeper`),
   callbacks on the events lane. Every table (`book`) is bounded; a message for which there is no room
   is dropped, counted, and its call left to the poll.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from queue import Empty
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from utdstream._rings.book import MAX_LIVE, CancelReason, OwnAnswer
from utdstream._rings.keeper import CallEngine, RingKeeper
from utdstream._threads.deadline import Deadline
from utdstream._threads.errands import free_once, start_thread
from utdstream._threads.facts import Fact, Occurrences
from utdstream._threads.lanes import EventsLane
from utdstream.config import ClientConfig
from utdstream.errors import EngineError
from utdstream.mailbox import Mailbox
from utdstream.models import UTDCall, UTDStreamType
from utdstream.observe import Report, Signal, Watched

if TYPE_CHECKING:
    from utdstream._calls.session import UTDCallSession

__all__ = [
    "CallAnswers",
    "CallCancelled",
    "CallEngine",
    "CancelReason",
    "InboxCounters",
    "IncomingCall",
    "IncomingCallInbox",
    "IncomingCalls",
    "IncomingSink",
]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CallCancelled:
    """A call that rang here need not ring any more."""

    call_id: str
    reason: CancelReason
    caller_identity: str = ""


@dataclass(frozen=True, slots=True)
class InboxCounters:
    """What came in since the inbox was made, as a snapshot.

    Every message counts under `received` and, when it leads to nothing, under one of the reasons:
    `malformed` (unreadable, or of another version), `foreign` (for somebody else), `duplicates` (this
    call is known), `expired` (too old by the engine's clock), `dropped` (no room), `unverified` (the
    engine does not know it, or not for us), `suppressed` (over before it could ring), `stray_cancels`
    (of a call that does not ring here). `rung`, `cancelled` and `found_by_poll` count calls;
    `failed_polls` counts unanswered questions.
    """

    received: int = 0
    rung: int = 0
    cancelled: int = 0
    found_by_poll: int = 0
    duplicates: int = 0
    expired: int = 0
    malformed: int = 0
    foreign: int = 0
    unverified: int = 0
    suppressed: int = 0
    stray_cancels: int = 0
    dropped: int = 0
    failed_polls: int = 0


@dataclass(frozen=True, slots=True)
class IncomingCall:
    """A verified call that rings now. `caller_identity` is empty when the engine does not tell it.

    `media_ready` False: there is no sound and no picture yet, the media server is away; None: that is not known.
    """

    call_id: str
    type: UTDStreamType
    caller_identity: str
    caller_name: str | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None
    metadata: Mapping[str, object] | None = field(default=None, hash=False)
    media_ready: bool | None = None
    _answers: CallAnswers = field(kw_only=True, repr=False, compare=False)

    def accept(self, *, timeout: float | None = None) -> UTDCallSession:
        """Answers; returns the session, connected if the media server is there.

        The same as `client.call_session(type).accept(call_id)`.

        Blocks: to `timeout` (None: `config.join_timeout_s`). May be called from the ring callback.
        Raises: Conflict when the call is over or was answered elsewhere; TransportError; MediaError.
        """
        return self._answers.accept(self.call_id, self.type, timeout)

    def reject(self, *, timeout: float | None = None) -> None:
        """Refuses the call.

        Blocks: to `timeout` (None: `config.rest_timeout_s`). Raises: Conflict when it is over, TransportError.
        """
        self._answers.reject(self.call_id, timeout)

    def busy(self, *, timeout: float | None = None) -> None:
        """Says that this device is on another call.

        Blocks: to `timeout` (None: `config.rest_timeout_s`). Raises: as `reject`.
        """
        self._answers.busy(self.call_id, timeout)


class IncomingSink(Protocol):
    """Where a transport puts what it hears. Neither method blocks or raises; any thread, one at a time."""

    def message(self, payload: bytes) -> None: ...

    def connection(self, up: bool) -> None:
        """True once messages can arrive (subscribed, not merely connected), False when they cannot."""
        ...


class IncomingCalls(Protocol):
    """A message transport for incoming calls."""

    def start(self, *, app_id: str, identity: str, sink: IncomingSink) -> None:
        """Begins to deliver, from its own thread, and keeps trying for ever. Does not block.

        Raises: InvalidConfig when it cannot work at all (a missing package, an unreadable file).
        """
        ...

    def stop(self) -> None:
        """No call of the sink begins after this returns. Idempotent. Blocks: two seconds at most."""
        ...


class CallAnswers(Protocol):
    """How a ring is answered: inside `answering` of every inbox that may have rung it."""

    def prepare(self) -> None:
        """Makes ready what an answer needs: a call rings. Never blocks, never raises."""

    def accept(self, call_id: str, type: UTDStreamType, timeout: float | None) -> UTDCallSession: ...

    def reject(self, call_id: str, timeout: float | None) -> None: ...

    def busy(self, call_id: str, timeout: float | None) -> None: ...


class _Answering:
    """While inside, the inbox takes changes of the call for this device's own doing."""

    __slots__ = ("_call_id", "_keeper")

    def __init__(self, keeper: RingKeeper, call_id: str) -> None:
        self._keeper = keeper
        self._call_id = call_id

    def __enter__(self) -> None:
        self._keeper.answer_begins(self._call_id)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        refused = isinstance(error, EngineError)
        how = OwnAnswer.TAKEN if kind is None else OwnAnswer.REFUSED if refused else OwnAnswer.UNKNOWN
        self._keeper.answer_ended(self._call_id, how)


class IncomingCallInbox:
    """Rings and cancels for one identity. Made by `client.incoming_calls()`.

    Several calls may ring at once, each from another caller (call waiting; the newest belongs on top): to answer
    one leaves the others ringing, and each that stops has a `cancelled` of its own. `ringing` and `cancelled`
    happen on this inbox's events thread, in order, one at a time. A ring that comes before anybody listens waits
    for the first `subscribe` or `wait`, as long as the call rings. `connected` is whether the transport delivers:
    without it rings are found by asking, within 5 s; with it, one whose message was lost, within 21 s.
    """

    def __init__(
        self,
        *,
        app_id: str,
        identity: str,
        transport: IncomingCalls,
        engine: CallEngine,
        answers: CallAnswers,
        config: ClientConfig,
        report: Report | None = None,
    ) -> None:
        self._identity = identity
        self._transport = transport
        self._answers = answers
        self._config = config
        self._events = EventsLane(f"utdstream-events-inbox-{identity}", report)
        self._ringing: Occurrences[IncomingCall] = Occurrences(self._events, hold=MAX_LIVE)
        self._cancelled: Occurrences[CallCancelled] = Occurrences(self._events)
        self._connected = Fact(False, self._events)
        self.ringing: Signal[IncomingCall] = self._ringing
        self.cancelled: Signal[CallCancelled] = self._cancelled
        self.connected: Watched[bool] = self._connected
        self._lock = threading.RLock()
        self._closed = False
        self._keeper = RingKeeper(
            identity=identity,
            engine=engine,
            config=config,
            report=report,
            on_ring=self._ring,
            on_cancel=self._cancel,
        )
        sink = _Sink(self._keeper.take_message, self._take_connection)
        transport.start(app_id=app_id, identity=identity, sink=sink)
        self._keeper.start()

    @property
    def counters(self) -> InboxCounters:
        """What came in so far."""
        return InboxCounters(**self._keeper.counts())

    @property
    def problem(self) -> str | None:
        """Why the transport does not deliver, in a sentence; None while it does, or when it does not tell."""
        problem = getattr(self._transport, "problem", None)  # a transport of the user's own may have none
        return None if problem is None or self._connected.value else str(problem)

    def dispose(self, *, timeout: float | None = None) -> None:
        """Ends the inbox: nothing rings after it returned, calls that ring are left to the engine.

        Blocks: for a callback that is running, at most `timeout` (None: `config.dispose_timeout_s`); not for
        itself when called from a callback. Idempotent, any thread. Waits end with SessionClosed.
        Raises: InvalidConfig for a wrong `timeout`.
        """
        deadline = Deadline(timeout, self._config.dispose_timeout_s, "dispose the inbox")
        free_once(self._close_door, self._free, deadline, self._config.dispose_timeout_s)

    def _close_door(self) -> bool:
        """Lets nothing ring any more; False when that was so."""
        with self._lock:
            was_open, self._closed = not self._closed, True
            return was_open

    def _free(self, deadline: Deadline) -> None:
        """Ends the transport, the waits and the lanes; each step may be done twice."""
        self._closed = True
        self._keeper.stop()
        stopped: Mailbox[None] = Mailbox()

        def stop() -> None:  # it may take its two seconds: on a thread of its own
            try:
                self._transport.stop()
            finally:
                stopped.put(None)

        start_thread(stop, "utdstream-dispose")
        with suppress(Empty):
            deadline.get(stopped)
        self._connected.set(False)
        for observable in (self._ringing, self._cancelled, self._connected):
            observable.close()
        self._keeper.close(min(1.0, deadline.remaining()))
        self._events.close(min(1.0, deadline.remaining()), forget_queued=True)

    close = dispose

    def __enter__(self) -> IncomingCallInbox:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.dispose()

    def __repr__(self) -> str:
        return f"IncomingCallInbox(identity={self._identity!r}, connected={self.connected.value})"

    # -- answers of this device ------------------------------------------------------------------

    def answering(self, call_id: str) -> _Answering:
        """Returns a context to answer a call in, on this device (also past `IncomingCall`).

        What becomes of the call inside is this device's doing and no `cancelled`; when the block raises, the
        inbox asks the engine at once what the call is now.
        """
        return _Answering(self._keeper, call_id)

    def _ring(self, call: UTDCall) -> None:
        self._ringing.emit(
            IncomingCall(
                call_id=call.call_id,
                type=call.type,
                caller_identity=call.caller_identity or "",
                caller_name=call.caller_name,
                created_at=call.created_at,
                expires_at=call.expires_at,
                metadata=call.metadata,
                media_ready=call.media_ready,
                _answers=self._answers,
            )
        )
        self._answers.prepare()

    def _cancel(self, call: UTDCall, reason: CancelReason) -> None:
        if self._ringing.forget(lambda held: held.call_id == call.call_id):
            return  # the program was not told that it rings
        self._cancelled.emit(CallCancelled(call.call_id, reason, call.caller_identity or ""))

    def _take_connection(self, up: bool) -> None:
        with self._lock:
            if self._closed or not self._connected.set(up):
                return
        _log.info("%s: incoming call messages are %s", self._identity, "up" if up else "down")
        self._keeper.take_connection(up)


class _Sink:
    """The inbox as its transport sees it."""

    __slots__ = ("connection", "message")

    def __init__(self, message: Callable[[bytes], None], connection: Callable[[bool], None]) -> None:
        self.message = message
        self.connection = connection


class PollingOnly:
    """No messages, for an engine that gives no broker login: the inbox asks every few seconds anyway."""

    def start(self, *, app_id: str, identity: str, sink: IncomingSink) -> None:
        """Nothing will ever arrive."""

    def stop(self) -> None:
        """Nothing to stop."""
