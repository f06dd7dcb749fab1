"""Which news of a call count, without any thread or network."""

from __future__ import annotations

import itertools
import threading

import pytest

from utdstream import UTDCall, UTDCallStatus, UTDStreamType
from utdstream._calls.life import CallLife, PresentCall
from utdstream._threads.facts import Fact
from utdstream._threads.lanes import EventsLane
from utdstream._wire.call_states import OPEN_STATES, allowed

S = UTDCallStatus


def news(status: UTDCallStatus, *, rev: int | None = None, call_id: str = "call_1") -> UTDCall:
    return UTDCall(call_id, status, UTDStreamType.AUDIO_CALL, rev=rev)


def callers_life() -> CallLife:
    life = CallLife(None)
    life.call_id = "call_1"
    life.take(news(S.INITIATING, rev=1))
    return life


@pytest.mark.parametrize(("before", "after"), [*itertools.product(OPEN_STATES, S)])
def test_news_when_they_come_change_the_state_exactly_as_the_table_allows(before: S, after: S) -> None:
    """Every open state and every word of the engine."""
    life = callers_life()
    life.take(news(before))
    shown = life.take(news(after))
    assert shown is (after if allowed(before, after) else None)
    assert life.over is (after.is_terminal and allowed(before, after))


def test_revision_when_older_changes_nothing() -> None:
    """The answer to an early question arrives late."""
    life = callers_life()
    assert life.take(news(S.ACTIVE, rev=5)) is S.ACTIVE
    assert life.take(news(S.ENDED, rev=4)) is None
    assert life.status is S.ACTIVE


def test_news_when_of_another_call_change_nothing() -> None:
    """The last word of an earlier call's room."""
    life = callers_life()
    assert life.take(news(S.ENDED, call_id="call_0")) is None


def test_news_when_the_first_may_be_further_than_created() -> None:
    """A callee quicker than the caller's own answer."""
    life = CallLife(None)
    life.call_id = "call_1"
    assert life.take(news(S.ACTIVE)) is S.ACTIVE
    assert life.was_active


def test_call_when_answered_elsewhere_is_over_here() -> None:
    """An incoming call that is not ours becomes active: another device answered."""
    life = CallLife(S.INITIATING, "call_1")
    assert life.take(news(S.RINGING)) is S.RINGING
    assert life.take(news(S.ACTIVE)) is S.ENDED
    assert life.over


def test_accept_when_under_way_here_is_no_news() -> None:
    """The engine says active before our accept returned."""
    life = CallLife(S.INITIATING, "call_1")
    life.answering = True
    assert life.take(news(S.ACTIVE)) is None
    assert not life.over


@pytest.mark.parametrize("ours", [True, False])
def test_accept_when_it_has_ended_says_at_once_whose_the_call_is(ours: bool) -> None:
    """That it is active is news from then on: of the call here, or of another device's."""
    lane = EventsLane("test")
    present = PresentCall(threading.RLock(), Fact(None, lane), Fact(None, lane), Fact(None, lane))
    life = CallLife(S.INITIATING, "call_1")
    present.replace(life)
    present.begin_answer(life)
    assert not present.take(life, news(S.ACTIVE))
    present.end_answer(life, ours=ours)
    assert present.take(life, news(S.ACTIVE)) is not ours
    assert life.status is (S.ACTIVE if ours else S.ENDED)


def test_life_when_it_never_was_a_call_ends_without_a_state() -> None:
    """Refused before it existed: nothing to show; busy is shown."""
    assert CallLife(None).finish(None) is None
    assert CallLife(None).finish(S.BUSY) is S.BUSY


def test_state_when_newer_keeps_the_credentials() -> None:
    """A push carries no token; the one we joined with stays."""
    life = callers_life()
    life.call = UTDCall("call_1", S.INITIATING, UTDStreamType.AUDIO_CALL, token="t", url="u")
    life.take(news(S.ACTIVE, rev=2))
    assert (life.call.token, life.call.status) == ("t", S.ACTIVE)
