"""Several calls that ring at once for one another: the first callee that answers gets the caller.

Owns: `GroupRing`, one `start_any`. Threads: the caller's, and one `utdstream-ring-N` a callee while the calls are
made. Nothing is joined here.

1. Every call that was made is ended again unless it won, however this goes.
2. The engine decides which call won: it ends the others in the transaction in which one is accepted.
3. An engine that knows no groups (the vendor's) would let each new call end the one before: the first call's
   answer tells, and then only that is said.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence

from utdstream._calls.ending import end_in_background, end_on_engine
from utdstream._rest.api import EngineApi
from utdstream._threads.deadline import Deadline
from utdstream._wire.call_states import OPEN_STATES, UNANSWERED_STATES
from utdstream.errors import (
    CallNotAnswered,
    Conflict,
    EngineError,
    FeatureDisabled,
    InvalidConfig,
    TransportError,
    UTDStreamException,
)
from utdstream.limits import MAX_CALLEES
from utdstream.models import UTDCall, UTDCallStatus, UTDStreamType

S = UTDCallStatus

LOOK_S = 0.4
"""How often the engine is asked: 75 times in 30 s, within 120 requests a minute."""
_PAUSE_S = 0.05


class GroupGone(Exception):
    """The caller ended it meanwhile."""


def checked_callees(identities: Sequence[str]) -> tuple[str, ...]:
    """Raises: InvalidConfig."""
    if isinstance(identities, str) or not 1 <= len(identities) <= MAX_CALLEES:
        raise InvalidConfig(f"start_any: callee_identities must be 1 to {MAX_CALLEES} identities")
    if not all(isinstance(identity, str) and identity for identity in identities):
        raise InvalidConfig("start_any: every callee identity must be a non-empty text")
    if len(set(identities)) != len(identities):
        raise InvalidConfig("start_any: a callee identity is named twice")
    return tuple(identities)


class GroupRing:
    """The calls of one `start_any`."""

    def __init__(
        self,
        api: EngineApi,
        kind: UTDStreamType,
        callees: tuple[str, ...],
        metadata: Mapping[str, object] | None,
    ) -> None:
        self._api = api
        self._kind = kind
        self._callees = callees
        self._metadata = metadata
        self._group = uuid.uuid4().hex
        self._lock = threading.Lock()
        self._calls: dict[str, UTDCall] = {}
        self._errors: list[UTDStreamException] = []
        self._over = False
        self.outcome: UTDCallStatus | None = None
        """How it ended without an answer; None when there never was a call."""

    def wait_for_winner(self, deadline: Deadline, told: Callable[[UTDCallStatus], None]) -> UTDCall:
        """Waits for the answered call, with its token. `told` hears INITIATING, then RINGING, again and again.

        Raises: CallNotAnswered, Conflict, DeadlineExceeded, FeatureDisabled, what `told` raises.
        """
        makers = [
            threading.Thread(
                target=self._make, args=(callee, deadline), name=f"utdstream-ring-{number}", daemon=True
            )
            for number, callee in enumerate(self._callees)
        ]
        for maker in makers:
            maker.start()
        for maker in makers:
            while maker.is_alive() and not deadline.passed:
                maker.join(min(LOOK_S, deadline.remaining()))
                if self._calls:
                    told(S.INITIATING)
        self._check_made()
        self.outcome = S.ENDED
        told(S.INITIATING)
        looked = time.monotonic()
        while True:
            if deadline.passed:
                raise deadline.error("nobody answered")
            time.sleep(min(_PAUSE_S, deadline.remaining()))
            told(S.RINGING if self._any(S.RINGING) else S.INITIATING)
            if time.monotonic() - looked < LOOK_S:
                continue
            looked = time.monotonic()
            winner = self._look(deadline)
            if winner is not None:
                return winner

    def end_all(self) -> None:
        """Ends every call that is left, in the background."""
        with self._lock:
            self._over = True
            left = [call_id for call_id, call in self._calls.items() if call.status in OPEN_STATES]
        for call_id in left:
            end_in_background(self._api, call_id)

    def _make(self, callee: str, deadline: Deadline) -> None:
        try:
            call = self._api.create_call(
                callee_identity=callee,
                callee_name=None,
                kind=self._kind,
                metadata=self._metadata,
                deadline=deadline,
                undo=lambda late: end_on_engine(self._api, late.call_id),
                group=self._group,
            )
        except UTDStreamException as error:
            with self._lock:
                self._errors.append(error)
            return
        with self._lock:
            self._calls[call.call_id] = call
            too_late = self._over
        if too_late:
            end_in_background(self._api, call.call_id)

    def _check_made(self) -> None:
        """Checks that a call rings. Raises: what the creation of all of them raised."""
        with self._lock:
            calls, errors = list(self._calls.values()), list(self._errors)
        if len(calls) > 1 and any(call.group != self._group for call in calls):
            raise FeatureDisabled(
                "start_any: this engine cannot ring several at once; call them one after the other", 403
            )
        if calls:
            return
        conflicts = [error for error in errors if isinstance(error, Conflict)]
        if errors and len(conflicts) == len(errors):
            self.outcome = S.BUSY
        others = [error for error in errors if not isinstance(error, Conflict)]
        raise (others or errors or [TransportError("start_any: the engine answered nothing in time")])[0]

    def _any(self, status: UTDCallStatus) -> bool:
        with self._lock:
            return any(call.status is status for call in self._calls.values())

    def _look(self, deadline: Deadline) -> UTDCall | None:
        """Asks the engine for the winner. Raises: CallNotAnswered when no callee can answer any more."""
        with self._lock:
            ours = set(self._calls)
        actor = self._api.actor
        try:
            found = self._api.list_calls(
                identity=actor.identity if actor else "", statuses=tuple(S), deadline=_step(deadline)
            )
            with self._lock:
                self._calls.update((call.call_id, call) for call in found if call.call_id in ours)
                calls = list(self._calls.values())
            for call in calls:
                if call.status is S.ACTIVE:
                    return self._api.get_call(call.call_id, _step(deadline))
        except EngineError:
            raise
        except TransportError:
            return None  # it rings on; the next look may be answered
        if any(call.status in UNANSWERED_STATES for call in calls):
            return None
        ends = {call.status for call in calls}
        self.outcome = next(status for status in (S.REJECTED, S.MISSED, S.BUSY, S.ENDED) if status in ends)
        raise CallNotAnswered(self.outcome)


def _step(deadline: Deadline) -> Deadline:
    """Gives one question at most three seconds of what is left."""
    seconds = min(3.0, deadline.remaining())
    return Deadline.after(seconds, "start_any")
