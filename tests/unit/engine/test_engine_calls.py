"""The rules of calls: every state, every trigger, every party."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from utdstream._wire import messages
from utdstream._wire.call_states import OPEN_STATES
from utdstream.engine.rules import calls
from utdstream.engine.rules.calls import CallRecord
from utdstream.engine.rules.refusals import Refusal
from utdstream.models import UTDCallStatus, UTDStreamType

S = UTDCallStatus
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
LATER = NOW + timedelta(seconds=7)

STEPS: dict[str, tuple[Callable[[CallRecord], CallRecord], set[S], S]] = {
    "ring": (lambda r: calls.ring(r, "house", LATER), {S.INITIATING}, S.RINGING),
    "answer": (lambda r: calls.accept(r, "house", LATER), {S.INITIATING, S.RINGING}, S.ACTIVE),
    "reject": (lambda r: calls.reject(r, "house", LATER), {S.INITIATING, S.RINGING}, S.REJECTED),
    "be_busy": (lambda r: calls.busy(r, "house", LATER), {S.INITIATING, S.RINGING}, S.BUSY),
}
QUIET_STEPS: dict[str, tuple[Callable[[CallRecord], CallRecord], set[S], S]] = {
    "end": (lambda r: calls.end(r, "door", LATER), {S.INITIATING, S.RINGING, S.ACTIVE}, S.ENDED),
    "miss": (lambda r: calls.miss(r, LATER), {S.INITIATING, S.RINGING}, S.MISSED),
    "time_up": (lambda r: calls.time_up(r, LATER), {S.ACTIVE}, S.ENDED),
    "leg_lost": (lambda r: calls.leg_lost(r, LATER), {S.INITIATING, S.RINGING, S.ACTIVE}, S.ENDED),
}


def call_in(status: S = S.INITIATING, **changes: object) -> CallRecord:
    record = calls.new_call(
        call_id="call_1",
        type=UTDStreamType.VIDEO_CALL,
        caller="door",
        callee="house",
        now=NOW,
        ring_timeout_s=30.0,
        max_duration_s=60.0,
    )
    answered_at = NOW if status in (S.ACTIVE, S.ENDED) else None
    record = replace(record, call=replace(record.call, status=status, answered_at=answered_at))
    return replace(record, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("status", list(S))
@pytest.mark.parametrize("name", list(STEPS))
def test_step_when_the_table_does_not_hold_it_is_refused_and_changes_nothing(name: str, status: S) -> None:
    """A step the table does not hold is refused and changes nothing."""
    step, sources, target = STEPS[name]
    record = call_in(status)
    if status in sources:
        after = step(record)
        assert after.status is target
        assert after.rev == record.rev + 1
    elif name == "ring" and status is S.RINGING:
        assert step(record) is record
    else:
        with pytest.raises(Refusal) as refusal:
            step(record)
        assert (refusal.value.status, refusal.value.code) == (409, "invalid_state")


@pytest.mark.parametrize("status", list(S))
@pytest.mark.parametrize("name", list(QUIET_STEPS))
def test_step_when_nobody_waits_for_it_has_no_effect_where_it_does_not_apply(name: str, status: S) -> None:
    """A step nobody waits for has no effect where it does not apply."""
    step, sources, target = QUIET_STEPS[name]
    record = call_in(status)
    after = step(record)
    assert (after.status is target) if status in sources else (after is record)


@pytest.mark.parametrize("name", list(STEPS))
@pytest.mark.parametrize("actor", ["door", "stranger"])
def test_answer_when_not_by_the_callee_is_refused(name: str, actor: str) -> None:
    """Only the callee answers."""
    step = {"ring": calls.ring, "answer": calls.accept, "reject": calls.reject, "be_busy": calls.busy}[name]
    with pytest.raises(Refusal) as refusal:
        step(call_in(), actor, NOW)
    assert refusal.value.code == "forbidden"


def test_end_when_by_a_stranger_is_refused_even_of_a_call_that_is_over() -> None:
    """A stranger cannot end a call not even one that is over."""
    for status in S:
        with pytest.raises(Refusal, match="caller and the callee"):
            calls.end(call_in(status), "stranger", NOW)


@pytest.mark.parametrize(
    ("status", "actor", "reason"),
    [
        (S.INITIATING, "door", "caller_cancelled"),
        (S.RINGING, "door", "caller_cancelled"),
        (S.RINGING, "house", "callee_hangup"),
        (S.ACTIVE, "door", "caller_hangup"),
        (S.ACTIVE, "house", "callee_hangup"),
    ],
)
def test_end_reason_when_hung_up_tells_which_side_and_when(status: S, actor: str, reason: str) -> None:
    """The end reason tells who hung up and when."""
    assert calls.end(call_in(status), actor, LATER).call.end_reason == reason


def test_duration_when_answered_counts_from_there() -> None:
    """The duration counts from the answer."""
    active = calls.accept(call_in(), "house", NOW + timedelta(seconds=2))
    over = calls.end(active, "door", NOW + timedelta(seconds=9))
    assert over.call.duration_seconds == 7
    assert calls.end(call_in(), "door", LATER).call.duration_seconds == 0
    assert active.call.duration_seconds is None


def test_call_when_its_time_runs_out_has_its_own_reasons() -> None:
    """Time runs out with its own reasons."""
    assert calls.miss(call_in(), LATER).call.end_reason == "ring_timeout"
    assert calls.time_up(call_in(S.ACTIVE), LATER).call.end_reason == "max_duration"
    assert calls.leg_lost(call_in(S.ACTIVE), LATER).call.end_reason == "participant_left"
    assert calls.leg_lost(call_in(S.RINGING), LATER).call.end_reason == "caller_cancelled"


def test_accept_when_its_key_won_is_a_retry_and_any_other_is_refused() -> None:
    """Accept with the key that won is a retry and any other is refused."""
    active = calls.accept(call_in(), "house", NOW, "key")
    assert calls.accept(active, "house", LATER, "key") is active
    for key in ("other", None):
        with pytest.raises(Refusal):
            calls.accept(active, "house", LATER, key)


def test_call_when_to_oneself_is_refused() -> None:
    """Nobody can call their own identity."""
    with pytest.raises(Refusal) as refusal:
        calls.new_call(
            call_id="c",
            type=UTDStreamType.AUDIO_CALL,
            caller="door",
            callee="door",
            now=NOW,
            ring_timeout_s=1,
            max_duration_s=1,
        )
    assert refusal.value.status == 422


@pytest.mark.parametrize(
    ("status", "caller", "callee", "ends"),
    [
        (S.INITIATING, "door", "other", True),
        (S.RINGING, "door", "house", True),
        (S.ACTIVE, "door", "other", False),
        (S.ACTIVE, "door", "house", True),
        (S.ACTIVE, "house", "door", True),
        (S.RINGING, "house", "door", False),
        (S.ENDED, "door", "house", False),
    ],
)
def test_call_when_new_ends_what_it_replaces(status: S, caller: str, callee: str, ends: bool) -> None:
    """A new call ends what it replaces."""
    assert calls.superseded_by_new_call(call_in(status), caller, callee) is ends


def test_join_when_open_is_for_the_caller_and_once_answered_for_the_callee() -> None:
    """The caller may join while it is open and the callee once it is answered."""
    for status in S:
        assert calls.may_join(call_in(status), "door") is (status in OPEN_STATES)
        assert calls.may_join(call_in(status), "house") is (status is S.ACTIVE)
        assert not calls.may_join(call_in(status), "stranger")


@pytest.mark.parametrize(
    ("record", "present", "must", "lost"),
    [
        (call_in(), [], False, None),
        (call_in(), [], True, None),
        (call_in(caller_seen=True), [], False, "door"),
        (call_in(S.RINGING, caller_seen=True), ["door"], False, None),
        (call_in(S.ACTIVE), [], False, None),
        (call_in(S.ACTIVE), [], True, "door"),
        (call_in(S.ACTIVE), ["door"], True, "house"),
        (call_in(S.ACTIVE), ["door", "house"], True, None),
        (call_in(S.ACTIVE, caller_seen=True, callee_seen=True), ["door"], False, "house"),
        (call_in(S.ACTIVE, caller_seen=True, callee_seen=True), ["house"], False, "door"),
        (call_in(S.ENDED, caller_seen=True), [], True, None),
    ],
)
def test_a_leg_is_missing_when_it_was_there_or_should_be(
    record: CallRecord, present: list[str], must: bool, lost: str | None
) -> None:
    """A leg is missing when it was there or should be."""
    assert calls.absent_leg(record, frozenset(present), must_have_joined=must) == lost


@pytest.mark.parametrize(
    ("status", "seen", "present", "left", "must", "seconds"),
    [
        (S.ACTIVE, (True, True), {"door"}, set(), True, 120.0),
        (S.ACTIVE, (True, True), {"house"}, set(), True, 120.0),
        (S.ACTIVE, (True, True), set(), set(), True, 60.0),
        (S.ACTIVE, (True, True), {"door"}, {"house"}, True, calls.LEFT_GRACE_S),
        (S.ACTIVE, (True, True), {"house"}, {"house"}, True, 120.0),  # came back after its good-bye
        (S.ACTIVE, (True, False), {"door"}, set(), True, 0.0),
        (S.ACTIVE, (True, False), set(), set(), True, 0.0),
        (S.ACTIVE, (True, False), set(), set(), False, 120.0),  # the room was lost while the callee comes
        (S.RINGING, (True, False), set(), set(), False, calls.RINGING_AWAY_S),
        (S.RINGING, (True, False), set(), {"door"}, False, calls.LEFT_GRACE_S),
    ],
)
def test_party_when_missed_is_waited_for_by_how_it_went(
    status: S, seen: tuple[bool, bool], present: set[str], left: set[str], must: bool, seconds: float
) -> None:
    """Good-bye is an end; one that vanished comes back; nobody waits for anybody when both did."""
    record = replace(call_in(status), caller_seen=seen[0], callee_seen=seen[1])
    waited_s = calls.patience_s(record, frozenset(present), left, 120.0, must_have_joined=must)
    assert waited_s == seconds


def test_participant_when_seen_is_remembered_and_the_call_is_unchanged() -> None:
    """Being seen is remembered and no change of the call."""
    record = call_in()
    after = calls.see(record, frozenset({"door", "stranger"}))
    assert (after.caller_seen, after.callee_seen, after.rev) == (True, False, record.rev)
    assert calls.see(after, frozenset({"door"})) is after


@pytest.mark.parametrize(
    ("before", "after", "events"),
    [
        (S.INITIATING, S.RINGING, []),
        (S.RINGING, S.RINGING, []),
        (S.RINGING, S.ACTIVE, [(messages.CALL_ANSWERED_ELSEWHERE, "house")]),
        (
            S.RINGING,
            S.REJECTED,
            [(messages.CALL_ANSWERED_ELSEWHERE, "house"), (messages.CALL_ENDED, "door")],
        ),
        (S.INITIATING, S.BUSY, [(messages.CALL_ANSWERED_ELSEWHERE, "house"), (messages.CALL_ENDED, "door")]),
        (S.INITIATING, S.MISSED, [(messages.CALL_MISSED, "house"), (messages.CALL_ENDED, "door")]),
        (S.RINGING, S.ENDED, [(messages.CALL_CANCELLED, "house"), (messages.CALL_ENDED, "door")]),
        (S.ACTIVE, S.ENDED, [(messages.CALL_ENDED, "house"), (messages.CALL_ENDED, "door")]),
    ],
)
def test_change_of_a_call_when_made_is_told_to_those_it_concerns(
    before: S, after: S, events: list[tuple[str, str]]
) -> None:
    """Each change is told to the participants it concerns."""
    assert list(calls.events_after(before, call_in(after))) == events
