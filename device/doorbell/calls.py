"""The calls of a doorbell: rings, answers and ends them, and reports what becomes of each.

Owns: `Calls`, `Numbered`, `aside`. Threads: the app's worker asks and never waits; `utd-call` carries one call;
`utd-aside` does what may take a while; what happened goes to the worker's queue.

1. Each call has a number, and each of its reports carries it: what an old call says is thrown away.
2. A session that is ready too late for its call is freed at once: no one is heard at a door that says `ready`.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from device.doorbell import door, logic, messages
from device.link import Link
from utdstream import (
    CallNotAnswered,
    Conflict,
    Connection,
    DataMessage,
    DeadlineExceeded,
    IncomingCall,
    SessionClosed,
    TransportError,
    UTDCallSession,
    UTDCallStatus,
    UTDStreamException,
    UTDStreamType,
)

_log = logging.getLogger(__name__)

_FINAL = {UTDCallStatus.ENDED, UTDCallStatus.REJECTED, UTDCallStatus.BUSY, UTDCallStatus.MISSED}
_ANSWERS = (CallNotAnswered, Conflict, SessionClosed, TransportError)
"""No fault of this device: no callee answered, the door hung up, the engine is away (`Link` says that)."""


HANG_UP_S = 2.0
"""A call waits so long for the end of the one before, at most: a press comes first."""


@dataclass(frozen=True, slots=True)
class Numbered:
    """An event of one call."""

    number: int
    event: logic.DoorbellEvent


class Calls:
    """One call at a time. `report` must not wait."""

    def __init__(
        self, link: Link, kind: UTDStreamType, ring_timeout_s: float, report: Callable[[Numbered], None]
    ) -> None:
        self._link = link
        self._kind = kind
        self._ring_timeout_s = ring_timeout_s
        self._report = report
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()  # the number of the present call and its session, as one; brief
        self._number = 0
        self._session: UTDCallSession | None = None
        self._hung_up = threading.Event()
        """The call before the present one is over, as far as the engine can be told."""
        self._hung_up.set()
        self.waiting: dict[str, IncomingCall] = {}
        """Calls to the door that were neither answered nor refused yet, by id."""
        self.fault: str | None = None
        """Why the last press could not call; None when it could, or the engine is away."""
        self._requests = 0  # for the door, in the present call; its events lane alone counts

    def call(self, callees: tuple[str, ...]) -> None:
        """Rings one, or several at once."""
        self._begin(lambda number: self._call(number, callees))

    def answer(self, call_id: str) -> None:
        """Takes a call to the door."""
        self._begin(lambda number: self._answer(number, call_id))

    def refuse(self, call_id: str, *, busy: bool) -> None:
        """Says no to a call to the door."""
        refused = self.waiting.pop(call_id, None)
        if refused is not None:
            aside(refused.busy if busy else refused.reject, "refusing a call")

    def hang_up(self) -> None:
        """Ends the present call, whatever it has come to."""
        session = self._forget()
        if session is None:
            return
        self._hung_up = hung_up = threading.Event()

        def end() -> None:
            try:
                session.dispose()
            finally:
                hung_up.set()

        aside(end, "hanging up")

    def close(self) -> None:
        """Ends the present call. Blocks: to the SDK's deadline."""
        session = self._forget()
        if session is not None:
            session.dispose()

    def is_present(self, number: int) -> bool:
        """Tells whether this is the number of the present call."""
        return number == self._number

    @property
    def is_idle(self) -> bool:
        """No session is held."""
        return self._session is None

    def _forget(self) -> UTDCallSession | None:
        with self._lock:
            self._number = next(self._numbers)
            session, self._session = self._session, None
        return session

    def _post(self, number: int, event: logic.DoorbellEvent) -> None:
        self._report(Numbered(number, event))

    # -- `utd-call`

    def _begin(self, work: Callable[[int], None]) -> None:
        with self._lock:
            self._number = number = next(self._numbers)

        def run() -> None:
            try:
                work(number)
            except Exception as error:  # noqa: BLE001 - the thread's outermost frame: the bell must learn of it
                _log.exception("a call failed")
                reason = f"{type(error).__name__}: {error}"
                self._post(number, logic.NotAnswered(reason))  # whichever fits what the call had come to
                self._post(number, logic.CallGone(reason))

        threading.Thread(target=run, name="utd-call", daemon=True).start()

    def _call(self, number: int, callees: tuple[str, ...]) -> None:
        session: UTDCallSession | None = None
        self._hung_up.wait(HANG_UP_S)  # else a callee of the call before would be busy with it
        try:
            session = self._new_session(number, self._kind)
            peer = self._ring(session, callees)
            self.fault = None
            self._talk(number, session, peer)
        except UTDStreamException as error:
            self.fault = None if isinstance(error, _ANSWERS) else error.message
            if isinstance(error, TransportError) and (session is None or session.status.value is None):
                self._link.doubt()  # no call came about
            self._post(number, logic.NotAnswered(reason_of(error)))
            self._free(session)

    def _ring(self, session: UTDCallSession, callees: tuple[str, ...]) -> str:
        """Rings, and returns the callee that answered."""
        if len(callees) > 1:
            call = session.start_any(callee_identities=callees, timeout=self._ring_timeout_s)
            return call.callee_identity or ""
        session.start(callee_identity=callees[0])
        session.wait_for_answer(timeout=self._ring_timeout_s)
        return callees[0]

    def _answer(self, number: int, call_id: str) -> None:
        session: UTDCallSession | None = None
        incoming = self.waiting.pop(call_id, None)
        if incoming is None:
            self._post(number, logic.CallGone("the caller gave up"))
            return
        try:
            session = self._new_session(number, incoming.type)
            session.accept(call_id)
            self._talk(number, session, incoming.caller_identity)
        except UTDStreamException as error:
            self._post(number, logic.CallGone(reason_of(error)))
            self._free(session)

    def _new_session(self, number: int, kind: UTDStreamType) -> UTDCallSession:
        """Makes the session of this call; a hang-up from now on ends it. Raises: SessionClosed after one."""
        session = self._link.client().call_session(kind)
        with self._lock:
            if number == self._number:
                self._session = session
                return session
        session.dispose()
        raise SessionClosed("the call was given up before it was made")

    def _free(self, session: UTDCallSession | None) -> None:
        if session is None:
            return
        with self._lock:
            if self._session is session:
                self._session = None
        session.dispose()

    def _talk(self, number: int, session: UTDCallSession, peer: str) -> None:
        """Follows a call that was answered: the messages of its peer, and its end."""
        self._post(number, logic.Answered(peer, session.call_id.value or ""))  # before what its peer asks
        self._requests = 0
        session.messages.subscribe(lambda message: self._message(number, message))
        session.connection.subscribe(lambda change: self._peer(number, change.new))
        self._peer(number, session.connection.value)
        session.status.subscribe(
            lambda change: self._post(number, logic.Ended()) if change.new in _FINAL else None
        )
        if session.status.value in _FINAL:
            self._post(number, logic.Ended())

    def _peer(self, number: int, connection: Connection) -> None:
        self._post(number, logic.PeerAway(connection.is_peer_away))

    def _message(self, number: int, message: DataMessage) -> None:
        """Takes a message of the call; one that asks for the door is judged. The media server names its sender.

        A message without a sender opens nothing: it may be anybody's. (LiveKit 1.2.1 may not know the other side
        for some seconds when both join in the same moment; the peer is told to ask again.)
        """
        asked = messages.request_of(message.data)
        if asked is None:
            return
        self._requests += 1
        if self._requests <= door.MOST_REQUESTS + 1:  # the last one is answered: it was one too many
            request = door.OpenRequest(
                message.sender or "", asked.call_id, asked.nonce, asked.pin, at_s=time.monotonic()
            )
            self._post(number, request)

    def answer_request(self, request: door.OpenRequest, code: str, sentence: str) -> None:
        """Tells the peer what became of its request for the door; one without a name is the other in the room."""
        session = self._session
        if session is None:
            return
        words = messages.answer(request.nonce, code, sentence)
        to = [request.identity] if request.identity else None
        aside(lambda: session.send_data(words, to=to), "answering a request for the door")


def aside(work: Callable[[], object], what: str) -> None:
    """Does something that may wait for a network or a device, beside the worker. Logs its failure."""

    def run() -> None:
        try:
            work()
        except (UTDStreamException, OSError) as error:
            _log.warning("%s failed: %s", what, error)
        except Exception:  # noqa: BLE001 - the thread's outermost frame: a bug is shown where it is
            _log.exception("%s failed", what)

    threading.Thread(target=run, name="utd-aside", daemon=True).start()


def reason_of(error: UTDStreamException) -> str:
    """Says why a call did not come about, for people."""
    if isinstance(error, CallNotAnswered):
        return {"rejected": "declined", "busy": "busy", "missed": "no answer"}.get(error.status.wire, "ended")
    if isinstance(error, Conflict):
        return "busy"
    if isinstance(error, DeadlineExceeded):
        return "no answer"
    return error.message
