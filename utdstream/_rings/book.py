"""Which calls ring, have rung, or may not: the inbox's table, without threads, clocks or questions.

Owns: duplicates, expiry, the race between a ring and its cancel, the counters. Not locked: the inbox calls
every method under its own lock. Must not import anything but vocabulary and `_wire`.

1. A call id rings once for ever: live calls are in one table, the ids of past ones in another (bounded; an
   older one that is replayed fails verification, because its call is over).
2. Every question to the engine begins with a `mark`. A cancel heard after the mark makes the answer "it
   rings" too old to act on, and the engine is asked again.
3. What this device is answering neither begins nor stops to ring, also when its message comes only then. An answer
   that failed without the engine's no may have been taken all the same: its end is nobody else's doing.
4. `now` is the engine's clock by its own word, None when it never said: then what it shows as ringing rings.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, StrEnum

from utdstream._wire import messages
from utdstream._wire.call_states import UNANSWERED_STATES
from utdstream.models import UTDCall, UTDCallStatus

MAX_LIVE = 256
"""Calls being verified or ringing at a time."""
MAX_REMEMBERED = 4096
"""Ids of past calls."""

_EXPIRY_GRACE = timedelta(seconds=5)
_RING_WITHOUT_EXPIRY_S = 180.0


class CancelReason(StrEnum):
    """Why a call stopped ringing here; each equals its plain string."""

    ANSWERED_ELSEWHERE = "answered_elsewhere"
    REJECTED_ELSEWHERE = "rejected_elsewhere"
    CANCELLED = "cancelled"
    MISSED = "missed"
    ENDED = "ended"


class Stage(Enum):
    """How far a live call is."""

    PENDING = "its message came; the engine has not confirmed it yet"
    RUNG = "it rings"


class OwnAnswer(Enum):
    """How this device's answer to a call ended."""

    TAKEN = "the engine took it"
    REFUSED = "the engine said no"
    UNKNOWN = "it failed, or nobody knows"


class Todo(Enum):
    """What the inbox has to do next about a call."""

    NOTHING = "nothing"
    VERIFY = "ask the engine whether it rings"
    CONFIRM = "ask the engine whether it still rings"
    RING = "tell the program"


@dataclass(slots=True)
class Live:
    """One call that is neither over nor forgotten; `since` is monotonic seconds."""

    call: UTDCall
    stage: Stage
    since: float
    tries: int = 0
    confirm_waits: bool = False

    def is_overdue(self, now: datetime | None, monotonic: float) -> bool:
        """True when it rings past its end."""
        call = self.call
        if call.expires_at is None or (now is None and call.created_at is None):
            return monotonic - self.since > _RING_WITHOUT_EXPIRY_S
        if now is None and call.created_at is not None:  # both are the engine's: the ring time is sure
            return (
                timedelta(seconds=monotonic - self.since) > call.expires_at - call.created_at + _EXPIRY_GRACE
            )
        return now is not None and now - call.expires_at > _EXPIRY_GRACE


class RingBook:
    """The calls of one identity."""

    def __init__(self, identity: str) -> None:
        self._identity = identity
        self._live: dict[str, Live] = {}
        self._past: OrderedDict[str, bool] = OrderedDict()  # call id -> it rang
        self._answering: Counter[str] = Counter()  # call id -> answers under way
        self._maybe_answered: OrderedDict[str, None] = (
            OrderedDict()
        )  # ids of calls that this device tried to answer
        self._cancel_hints: OrderedDict[str, int] = OrderedDict()  # call id -> mark of its newest hint
        self.mark = 0
        self.counts: Counter[str] = Counter()

    @property
    def is_anything_live(self) -> bool:
        """Whether a call rings here, or may be about to."""
        return bool(self._live)

    def take(self, event: messages.CallEvent | None, now: datetime | None, since: float) -> Todo:
        """Sorts one message."""
        self.counts["received"] += 1
        if event is None:
            return self._drop("malformed")
        call = event.call
        if call.callee_identity != self._identity:
            return self._drop("foreign")
        if event.event != messages.CALL_INITIATED:
            return self._take_cancel(call.call_id)
        if call.call_id in self._live or call.call_id in self._past:
            return self._drop("duplicates")
        if is_expired(call, now):
            return self._drop("expired")
        if len(self._live) >= MAX_LIVE:
            return self._drop("dropped")
        self._live[call.call_id] = Live(call, Stage.PENDING, since)
        return Todo.VERIFY

    def _drop(self, counter: str) -> Todo:
        self.counts[counter] += 1
        return Todo.NOTHING

    def _take_cancel(self, call_id: str) -> Todo:
        self._doubt(call_id)
        live = self._live.get(call_id)
        if live is None:
            return self._drop("stray_cancels")
        # What asks about it or answers it now looks at the hints afterwards.
        return Todo.CONFIRM if self.confirm_later(call_id) else Todo.NOTHING

    def _doubt(self, call_id: str) -> None:
        """Makes what the engine was asked before this moment too old to ring on."""
        self.mark += 1
        self._cancel_hints[call_id] = self.mark
        self._cancel_hints.move_to_end(call_id)
        if len(self._cancel_hints) > MAX_LIVE:
            self._cancel_hints.popitem(last=False)

    def pending(self, call_id: str) -> Live | None:
        """Returns the call, while the engine has not confirmed it."""
        live = self._live.get(call_id)
        return live if live is not None and live.stage is Stage.PENDING else None

    def _ringing(self, call_id: str) -> Live | None:
        """Returns the call while it rings and this device is not answering it."""
        live = self._live.get(call_id)
        return (
            live if live is not None and live.stage is Stage.RUNG and not self._answering[call_id] else None
        )

    def refuse(self, call_id: str, counter: str) -> None:
        """Notes why a pending call will not ring; a poll that shows it ringing later may still ring it."""
        if self.pending(call_id) is not None:
            self.counts[counter] += 1
            self._put_away(call_id, rang=False)

    def why_not(self, call: UTDCall, now: datetime | None) -> str | None:
        """Returns the counter of a call that the engine showed and that must not ring; None for one that may."""
        if call.callee_identity != self._identity:
            return "unverified"
        if call.status not in UNANSWERED_STATES:
            return "suppressed"
        return "expired" if is_expired(call, now) else None

    def ring(self, call: UTDCall, now: datetime | None, since: float, mark: int, *, by_poll: bool) -> Todo:
        """Returns what the engine's answer, asked for at `mark`, leads to: RING, VERIFY (once more) or NOTHING."""
        live = self._live.get(call.call_id)
        if live is not None and live.stage is not Stage.PENDING:
            return Todo.NOTHING
        if self._past.get(call.call_id, False) or (live is None and len(self._live) >= MAX_LIVE):
            return Todo.NOTHING
        refused_as = self.why_not(call, now)
        if refused_as is not None:
            self.refuse(call.call_id, refused_as)
            return Todo.NOTHING
        is_too_old = self._cancel_hints.get(call.call_id, 0) > mark
        if is_too_old or self._answering[call.call_id]:
            self._live[call.call_id] = live or Live(call, Stage.PENDING, since)
            return Todo.VERIFY if is_too_old else Todo.NOTHING
        self._past.pop(call.call_id, None)
        self._live[call.call_id] = Live(call, Stage.RUNG, since)
        self.counts["rung"] += 1
        self.counts["found_by_poll"] += by_poll and live is None
        return Todo.RING

    def answer_begins(self, call_id: str) -> None:
        """Takes what becomes of the call for this device's doing from now on."""
        self._answering[call_id] += 1

    def answer_ended(self, call_id: str, how: OwnAnswer) -> Todo:
        """Puts the call away, or lets it ring (again) until the engine was asked."""
        self._answering[call_id] -= 1
        self._doubt(call_id)
        if how is OwnAnswer.TAKEN:
            self._put_away(call_id, rang=True)
        elif how is OwnAnswer.UNKNOWN:
            self._maybe_answered[call_id] = None
            if len(self._maybe_answered) > MAX_LIVE:
                self._maybe_answered.popitem(last=False)
        if self._answering[call_id] > 0:
            return Todo.NOTHING
        del self._answering[call_id]
        if self.pending(call_id) is not None:
            return Todo.VERIFY
        return Todo.CONFIRM if self.confirm_later(call_id) else Todo.NOTHING

    def confirm_begins(self, call_id: str) -> Live | None:
        """Returns the call to ask about, when it still rings."""
        live = self._live.get(call_id)
        if live is not None:
            live.confirm_waits = False
        return self._ringing(call_id)

    def confirm_later(self, call_id: str) -> bool:
        """True when this question is the one to repeat, False when one waits already."""
        live = self._ringing(call_id)
        if live is None or live.confirm_waits:
            return False
        live.confirm_waits = True
        return True

    def still_rings(self, call_id: str, mark: int) -> Todo:
        """Takes the engine's word; CONFIRM when a cancel was heard after `mark`."""
        if self._cancel_hints.get(call_id, 0) > mark and self.confirm_later(call_id):
            return Todo.CONFIRM
        return Todo.NOTHING

    def cancel(self, call_id: str, reason: CancelReason) -> tuple[UTDCall, CancelReason] | None:
        """Returns the call that stops ringing, and why; None when it does not ring (any more, or here)."""
        live = self._ringing(call_id)
        if live is None:
            return None
        self._put_away(call_id, rang=True)
        self.counts["cancelled"] += 1
        is_answered = reason in (CancelReason.ANSWERED_ELSEWHERE, CancelReason.REJECTED_ELSEWHERE)
        return live.call, CancelReason.ENDED if is_answered and call_id in self._maybe_answered else reason

    def _put_away(self, call_id: str, *, rang: bool) -> None:
        self._live.pop(call_id, None)
        self._past[call_id] = rang
        self._past.move_to_end(call_id)
        if len(self._past) > MAX_REMEMBERED:
            self._past.popitem(last=False)

    def gone(self, still_ringing: set[str]) -> list[str]:
        """Calls that ring here and that the engine did not list; each is now waiting to be confirmed."""
        rung = [call_id for call_id in self._live if call_id not in still_ringing]
        return [call_id for call_id in rung if self.confirm_later(call_id)]

    def overdue(self, now: datetime | None, monotonic: float) -> list[str]:
        """Calls that ring past their end although the engine could not be asked."""
        return [
            call_id
            for call_id, live in self._live.items()
            if self._ringing(call_id) is not None and live.is_overdue(now, monotonic)
        ]


def is_expired(call: UTDCall, now: datetime | None) -> bool:
    """True when the call's time is over by the engine's own word on what time it is."""
    return now is not None and call.expires_at is not None and call.expires_at <= now


def reason_of(call: UTDCall) -> CancelReason | None:
    """Returns why a call that was not answered here stopped ringing; None while it rings."""
    if call.status in UNANSWERED_STATES:
        return None
    if call.status is UTDCallStatus.MISSED or call.end_reason == "ring_timeout":
        return CancelReason.MISSED
    if call.status in (UTDCallStatus.REJECTED, UTDCallStatus.BUSY):
        return CancelReason.REJECTED_ELSEWHERE
    if call.status is UTDCallStatus.ACTIVE or call.answered_at is not None:
        return CancelReason.ANSWERED_ELSEWHERE
    if call.end_reason == "answered_elsewhere":
        return CancelReason.ANSWERED_ELSEWHERE
    if call.end_reason in ("caller_cancelled", "participant_left"):
        return CancelReason.CANCELLED
    return CancelReason.ENDED
