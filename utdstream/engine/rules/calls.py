"""The rules of a 1:1 call: what each party may do in which state, and which party is told.

Owns: every decision about a call; which state may follow which is in `_wire.call_states`. Pure: no clock, no I/O,
no asyncio; `now` is given. Imports vocabulary, the message names of `_wire` and `refusals`.

1. A step returns a new record with `rev` one higher, or the very same record when nothing changes.
2. A step that the table does not hold raises `Refusal("invalid_state")` and changes nothing.
3. `end` of a call that is over is no error (the final call is the answer).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from utdstream._wire import messages
from utdstream._wire.call_states import OPEN_STATES, TRANSITIONS, UNANSWERED_STATES
from utdstream.engine.rules.refusals import Refusal, invalid
from utdstream.limits import MAX_CALLEES
from utdstream.models import UTDCall, UTDCallStatus, UTDStreamType

S = UTDCallStatus

JOIN_WITHIN_S = 15.0
"""Both parties must have joined the room this long after the answer."""
LEG_GRACE_S = 3.0
"""After this a party that vanished is looked for (a full reconnect takes 0.2 s)."""
LEFT_GRACE_S = 1.0
"""So long a party that left on purpose may be away: a rejoin with a fresh token is faster than this."""
RINGING_AWAY_S = 15.0
"""So long a caller may have vanished while it rings: nobody should run to a door that is dead."""
RING_AGAIN_S = 3.0
"""Between publications of the ring, until a device of the callee says that it rings."""

CALLER_HANGUP = "caller_hangup"
CALLEE_HANGUP = "callee_hangup"
CALLER_CANCELLED = "caller_cancelled"
RING_TIMEOUT = "ring_timeout"
MAX_DURATION = "max_duration"
PARTICIPANT_LEFT = "participant_left"
ANSWERED_ELSEWHERE = "answered_elsewhere"

GROUP_PATTERN = "^[A-Za-z0-9_-]{1,64}$"


_BY_TRIGGER = {row.trigger: row for row in TRANSITIONS}


@dataclass(frozen=True, slots=True)
class CallRecord:
    """A call and what only the engine knows of it.

    `caller_seen` and `callee_seen`: the media server has had them in the room. `room_open`: the room
    may still exist there. `accept_key`: the Idempotency-Key of the accept that won. `caller_key` and `callee_key`:
    the ids of the app keys by which it was made and answered; empty for the open key and the secret.
    """

    call: UTDCall
    max_duration_s: float
    caller_seen: bool = False
    callee_seen: bool = False
    room_open: bool = True
    accept_key: str | None = None
    caller_key: str = ""
    callee_key: str = ""

    @property
    def call_id(self) -> str:
        return self.call.call_id

    @property
    def status(self) -> UTDCallStatus:
        return self.call.status

    @property
    def caller(self) -> str:
        return self.call.caller_identity or ""

    @property
    def callee(self) -> str:
        return self.call.callee_identity or ""

    @property
    def rev(self) -> int:
        return self.call.rev or 0

    @property
    def is_open(self) -> bool:
        return self.call.status in OPEN_STATES

    @property
    def is_unanswered(self) -> bool:
        return self.call.status in UNANSWERED_STATES

    @property
    def was_joined(self) -> bool:
        """True when a party was seen in the room."""
        return self.caller_seen or self.callee_seen

    def has_party(self, identity: str) -> bool:
        return identity in (self.caller, self.callee)


def new_call(
    *,
    call_id: str,
    type: UTDStreamType,
    caller: str,
    callee: str,
    now: datetime,
    ring_timeout_s: float,
    max_duration_s: float,
    caller_name: str | None = None,
    callee_name: str | None = None,
    metadata: Mapping[str, object] | None = None,
    group: str | None = None,
    caller_key: str = "",
) -> CallRecord:
    """The record of a call that begins now. Raises: Refusal when caller and callee are one."""
    if caller == callee:
        raise invalid("caller_identity and callee_identity must differ")
    return CallRecord(
        call=UTDCall(
            call_id=call_id,
            status=_BY_TRIGGER["create"].target,
            type=type,
            room_name=call_id,
            caller_identity=caller,
            callee_identity=callee,
            caller_name=caller_name,
            callee_name=callee_name,
            created_at=now,
            expires_at=now + timedelta(seconds=ring_timeout_s),
            metadata=metadata,
            rev=1,
            group=group,
        ),
        max_duration_s=max_duration_s,
        caller_key=caller_key,
    )


def superseded_by_new_call(record: CallRecord, caller: str, callee: str, group: str | None = None) -> bool:
    """True when a new call from `caller` to `callee` ends this one first.

    It ends the caller's own unanswered call, unless both ring in one group for different callees; and an answered
    call between the same two: a caller who calls the other party again has lost that call (the device was
    restarted in the middle of it).
    """
    if not record.is_open:
        return False
    if record.caller == caller and record.is_unanswered:
        return not _rings_with(record, caller, group) or record.callee == callee
    return record.status is S.ACTIVE and {record.caller, record.callee} == {caller, callee}


def _rings_with(record: CallRecord, caller: str, group: str | None) -> bool:
    return group is not None and record.caller == caller and record.call.group == group


def check_group(calls: list[CallRecord], caller: str, group: str | None) -> None:
    """Raises: Refusal when a group is full, or was answered already."""
    members = [record for record in calls if record.is_open and _rings_with(record, caller, group)]
    if any(not record.is_unanswered for record in members):
        raise Refusal("invalid_state", "A call of this group was answered already")
    if len(members) >= MAX_CALLEES:
        raise invalid(f"a group holds at most {MAX_CALLEES} calls")


def answered_elsewhere(record: CallRecord, answered: CallRecord, now: datetime) -> CallRecord:
    """What becomes of a call when another one was answered: it ends when both ring in one group."""
    if record.call_id == answered.call_id or not record.is_unanswered:
        return record
    if not _rings_with(record, answered.caller, answered.call.group):
        return record
    return _move(record, "end", now, ANSWERED_ELSEWHERE)


def ring(record: CallRecord, actor: str, now: datetime) -> CallRecord:
    """A device of the callee rings. Said again, it changes nothing."""
    _only_callee(record, actor, "ring for")
    if record.status is S.RINGING:
        return record
    return _move(record, "ring", now)


def accept(
    record: CallRecord, actor: str, now: datetime, key: str | None = None, *, app_key: str = ""
) -> CallRecord:
    """The callee answers; the same `key` again (a retry whose answer was lost) changes nothing."""
    _only_callee(record, actor, "accept")
    if record.status is S.ACTIVE and key is not None and key == record.accept_key:
        return record
    return replace(_move(record, "answer", now), accept_key=key, callee_key=app_key)


def reject(record: CallRecord, actor: str, now: datetime) -> CallRecord:
    """The callee refuses."""
    _only_callee(record, actor, "reject")
    return _move(record, "reject", now)


def busy(record: CallRecord, actor: str, now: datetime) -> CallRecord:
    """The callee says that it is on another call."""
    _only_callee(record, actor, "answer busy to")
    return _move(record, "be_busy", now)


def give_way(record: CallRecord, now: datetime) -> CallRecord:
    """A ring of a stranger makes place for a known caller's."""
    return _move(record, "be_busy", now)


def end(record: CallRecord, actor: str, now: datetime) -> CallRecord:
    """Either party hangs up; a call that is over stays as it is."""
    only_party(record, actor)
    if not record.is_open:
        return record
    if actor == record.caller:
        reason = CALLER_CANCELLED if record.is_unanswered else CALLER_HANGUP
    else:
        reason = CALLEE_HANGUP
    return _move(record, "end", now, reason)


def party_by_key(record: CallRecord, key_id: str) -> str | None:
    """The party that made or answered the call with this app key, or None."""
    return {record.callee_key: record.callee, record.caller_key: record.caller}.get(key_id)


def miss(record: CallRecord, now: datetime) -> CallRecord:
    """The ring time is up; no effect on a call that was answered or is over."""
    return _move(record, "miss", now, RING_TIMEOUT) if record.is_unanswered else record


def time_up(record: CallRecord, now: datetime) -> CallRecord:
    """The longest duration is reached; no effect on a call that is not active."""
    return _move(record, "end", now, MAX_DURATION) if record.status is S.ACTIVE else record


def leg_lost(record: CallRecord, now: datetime) -> CallRecord:
    """A party that must be in the room is not; no effect on a call that is over."""
    if not record.is_open:
        return record
    return _move(record, "end", now, CALLER_CANCELLED if record.is_unanswered else PARTICIPANT_LEFT)


def see(record: CallRecord, present: frozenset[str]) -> CallRecord:
    """The record with the parties in `present` marked as having been in the room (`rev` stays)."""
    caller_seen = record.caller_seen or record.caller in present
    callee_seen = record.callee_seen or record.callee in present
    if (caller_seen, callee_seen) == (record.caller_seen, record.callee_seen):
        return record
    return replace(record, caller_seen=caller_seen, callee_seen=callee_seen)


def absent_leg(record: CallRecord, present: frozenset[str], *, must_have_joined: bool = False) -> str | None:
    """The party missing from the room of an open call, or None.

    A party that never came is missing only when `must_have_joined` (the time for it is over). Before
    the answer only the caller can be missing.
    """
    if not record.is_open:
        return None
    if record.caller not in present and (
        record.caller_seen or (must_have_joined and record.status is S.ACTIVE)
    ):
        return record.caller
    if record.status is not S.ACTIVE or record.callee in present:
        return None
    return record.callee if record.callee_seen or must_have_joined else None


def patience_s(
    record: CallRecord,
    present: frozenset[str],
    left: Collection[str],
    away_s: float,
    *,
    must_have_joined: bool = False,
) -> float:
    """How long the parties that are missed may be away before the call is over.

    `left`: those that said good-bye. `away_s`: for one party that vanished from an answered call; half of it when
    both did, for then nobody waits for anybody. `must_have_joined`: as in `absent_leg`; before that one that has
    not come is on its way.
    """
    was_seen = {record.caller: record.caller_seen, record.callee: record.callee_seen}
    missing = {party for party in was_seen.keys() - present if was_seen[party] or must_have_joined}
    if not missing.isdisjoint(left):
        return LEFT_GRACE_S
    if record.is_unanswered:
        return RINGING_AWAY_S
    if not all(was_seen[party] for party in missing):
        return 0.0  # it had its time to come
    return away_s if len(missing) == 1 else away_s / 2


def may_join(record: CallRecord, identity: str) -> bool:
    """True when this identity gets a token now: the caller while it is open, the callee once active."""
    if identity == record.caller:
        return record.is_open
    return identity == record.callee and record.status is S.ACTIVE


def events_after(before: UTDCallStatus, record: CallRecord) -> tuple[tuple[str, str], ...]:
    """`(event, identity)` of every call event that this step sends over MQTT.

    All devices of the callee listen on one topic, so "answered elsewhere" also reaches the one that
    answered; it knows. The ring itself is sent when the call is created.
    """
    after = record.status
    if after is before or after in UNANSWERED_STATES:
        return ()
    if after is S.ACTIVE:
        return ((messages.CALL_ANSWERED_ELSEWHERE, record.callee),)
    if after is S.MISSED:
        told = messages.CALL_MISSED
    elif after in (S.REJECTED, S.BUSY) or record.call.end_reason == ANSWERED_ELSEWHERE:
        told = messages.CALL_ANSWERED_ELSEWHERE
    elif before in UNANSWERED_STATES:
        told = messages.CALL_CANCELLED
    else:
        told = messages.CALL_ENDED
    return ((told, record.callee), (messages.CALL_ENDED, record.caller))


def only_party(record: CallRecord, actor: str) -> None:
    """Raises: Refusal for an actor that is neither caller nor callee."""
    if not record.has_party(actor):
        raise Refusal("forbidden", "Only the caller and the callee have access to this call")


def _only_callee(record: CallRecord, actor: str, verb: str) -> None:
    if actor != record.callee:
        raise Refusal("forbidden", f"Only the callee can {verb} the call")


def _move(record: CallRecord, trigger: str, now: datetime, end_reason: str | None = None) -> CallRecord:
    row = _BY_TRIGGER[trigger]
    call = record.call
    if call.status not in row.sources:
        raise Refusal(
            "invalid_state",
            f"A call that is {call.status.wire} cannot become {row.target.wire}",
            details={"call_id": call.call_id, "status": call.status.wire},
        )
    final = row.target not in OPEN_STATES
    answered_at = now if row.target is S.ACTIVE else call.answered_at
    duration_s = max(0, int((now - answered_at).total_seconds())) if final and answered_at else 0
    return replace(
        record,
        call=replace(
            call,
            status=row.target,
            answered_at=answered_at,
            ended_at=now if final else None,
            duration_seconds=duration_s if final else None,
            end_reason=end_reason if final else None,
            rev=record.rev + 1,
        ),
    )
