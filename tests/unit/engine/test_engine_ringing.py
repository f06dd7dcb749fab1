"""The rules of call waiting and of pauses between calls that nobody answers."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from utdstream.engine.rules import calls
from utdstream.engine.rules.calls import CallRecord
from utdstream.engine.rules.refusals import Refusal
from utdstream.engine.rules.ringing import FORGET_AFTER_S, MAX_PAIRS, Patience, gives_way
from utdstream.models import UTDStreamType

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


def ring(caller: str, callee: str = "house", *, second: int = 0) -> CallRecord:
    return calls.new_call(
        call_id=f"call_{caller}",
        type=UTDStreamType.VIDEO_CALL,
        caller=caller,
        callee=callee,
        now=NOW + timedelta(seconds=second),
        ring_timeout_s=30.0,
        max_duration_s=60.0,
    )


def displaced(
    open_calls: list[CallRecord], *, by: str, friends: tuple[str, ...] = (), breaks_in: str = ""
) -> str | None:
    found = gives_way(
        open_calls,
        by,
        "house",
        have_talked=lambda one, other: other == "house" and one in friends,
        may_break_in=lambda callee, caller: (callee, caller) == ("house", breaks_in),
    )
    return None if found is None else found.caller


def refused(open_calls: list[CallRecord], *, by: str, friends: tuple[str, ...] = ()) -> str:
    with pytest.raises(Refusal) as refusal:
        displaced(open_calls, by=by, friends=friends)
    assert refusal.value.code == "callee_busy"
    return refusal.value.message


STRANGERS = [ring(f"mallory-{number}", second=second) for number, second in enumerate((3, 1, 2, 4))]


def test_callee_when_talking_on_either_side_is_busy() -> None:
    """An answered call makes both of its parties busy, for known callers too."""
    talk = calls.accept(ring("door"), "house", NOW)
    assert "already on a call" in refused([talk], by="gate", friends=("gate",))
    assert "already on a call" in refused([calls.accept(ring("house", "flat"), "flat", NOW)], by="gate")


def test_callee_when_talking_is_rung_by_a_caller_that_may_break_in() -> None:
    """It waits with the other rings, and is no stranger among them."""
    talk = calls.accept(ring("flat"), "house", NOW)
    assert displaced([talk, *STRANGERS[:3]], by="door", breaks_in="door") is None
    with pytest.raises(Refusal, match="already on a call"):
        displaced([talk], by="gate", breaks_in="door")
    assert displaced([talk, *STRANGERS], by="door", breaks_in="door") == "mallory-1"


def test_callee_when_rung_or_calling_is_not_busy() -> None:
    """Three rings and a call of the callee's own leave a place, for a stranger too."""
    assert displaced([*STRANGERS[:3], ring("house", "flat")], by="door") is None


def test_callee_when_four_strangers_ring_is_rung_by_a_known_caller() -> None:
    """The stranger that has rung longest gives way."""
    assert displaced(STRANGERS, by="door", friends=("door",)) == "mallory-1"


def test_callee_when_four_strangers_ring_is_rung_by_a_caller_that_may_break_in() -> None:
    """The first press of a door counts too: nobody has answered it yet, and the callee's key names it."""
    assert displaced(STRANGERS, by="door", breaks_in="door") == "mallory-1"
    assert (
        displaced([ring("door", second=0), *STRANGERS[:3]], by="gate", friends=("gate",), breaks_in="door")
        == "mallory-1"
    )


def test_known_caller_when_it_rings_gives_way_to_nobody() -> None:
    """The place that is taken is a stranger's, even when a known caller has rung longer."""
    rings = [ring("gate"), *STRANGERS[:3]]
    assert displaced(rings, by="door", friends=("door", "gate")) == "mallory-1"


def test_callee_when_four_ring_is_busy_for_a_stranger() -> None:
    """A stranger displaces nobody, be the others strangers or known."""
    assert "rung by 4" in refused(STRANGERS, by="mallory-9")
    refused(STRANGERS, by="mallory-9", friends=("mallory-0", "mallory-1"))


def test_callee_when_four_known_callers_ring_is_busy() -> None:
    """A known caller is refused only when four known ones ring."""
    friends = tuple(record.caller for record in STRANGERS)
    refused(STRANGERS, by="door", friends=("door", *friends))


def pause(patience: Patience, now_s: float, caller: str = "mallory") -> float:
    try:
        patience.check(caller, "house", now_s)
    except Refusal as refusal:
        return refusal.retry_after_s or 0.0
    return 0.0


def called(times: int, now_s: float = 100.0) -> Patience:
    patience = Patience(3, 30.0)
    for _ in range(times):
        patience.called("mallory", "house", now_s)
    return patience


@pytest.mark.parametrize(("times", "wait_s"), [(0, 0), (2, 0), (3, 2), (4, 4), (6, 16), (7, 30), (5000, 30)])
def test_caller_when_never_answered_waits_longer_each_time(times: int, wait_s: float) -> None:
    """The pause doubles, is never longer than a ring, and ends when it said; the refusal is `rate_limited`."""
    patience = called(times)
    assert pause(patience, 100.0) == wait_s
    assert pause(patience, 100.0 + wait_s) == 0.0
    if wait_s:
        with pytest.raises(Refusal) as refusal:
            patience.check("mallory", "house", 100.0)
        assert refusal.value.code == "rate_limited"


def test_caller_when_its_calls_ring_their_time_is_never_slowed() -> None:
    """The visitors of a house where nobody is at home are not."""
    patience = Patience(3, 30.0)
    for number in range(50):
        assert pause(patience, number * 30.0) == 0.0
        patience.called("mallory", "house", number * 30.0)


def test_caller_when_answered_or_quiet_begins_anew() -> None:
    """An answer resets the count, and so does time; another pair was never slowed."""
    patience = called(9)
    assert pause(patience, 100.0, "door") == 0.0
    patience.answered("mallory", "house")
    assert pause(patience, 100.0) == 0.0
    quiet = called(9)
    assert pause(quiet, 100.0 + FORGET_AFTER_S + 1) == 0.0
    quiet.called("mallory", "house", 100.0 + FORGET_AFTER_S + 1)
    assert pause(quiet, 100.0 + FORGET_AFTER_S + 1) == 0.0


def test_caller_when_rejected_is_slowed_sooner() -> None:
    """A no weighs as much as five calls that nobody answered; of a call that is forgotten it weighs nothing."""
    patience = Patience(6, 30.0)
    patience.called("mallory", "house", 100.0)
    patience.rejected("mallory", "house", 101.0)
    assert pause(patience, 101.0) == 0.0
    patience.called("mallory", "house", 101.0)
    assert pause(patience, 101.0) == 2.0
    patience.rejected("nobody", "house", 101.0)
    assert pause(patience, 101.0, "nobody") == 0.0


def test_patience_when_many_call_is_bounded() -> None:
    """The pair that was quiet for longest is forgotten."""
    patience = called(9)
    for number in range(MAX_PAIRS):
        patience.called(f"bot-{number}", "house", 100.0)
    assert pause(patience, 100.0) == 0.0
