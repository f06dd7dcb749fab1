"""The call on one device, exhaustively: every sequence of five events, against a second writing of its rules.

Sequences that lead to the same state (of the product and of the oracle) go on as one, so all of them are walked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from utdstream._calls.life import CallLife, PresentCall
from utdstream._calls.states import CallMachine
from utdstream._threads.facts import Fact
from utdstream._threads.lanes import EventsLane
from utdstream.models import UTDCall, UTDCallStatus, UTDStreamType

S = UTDCallStatus
DEPTH = 5
RANK = {None: 0, S.INITIATING: 1, S.RINGING: 2, S.ACTIVE: 3}
"""How far an open call is; all others are over."""


@dataclass(frozen=True)
class Expected:
    """What the rules say of the call: as the wire document tells them, without the product's table."""

    status: UTDCallStatus | None
    shown: UTDCallStatus | None
    ours: bool
    over: bool = False
    answering: bool = False
    rev: int | None = None
    """Its number counts in comparison only."""

    def hears(self, news: UTDCallStatus, rev: int | None) -> Expected:
        if self.over:
            return self
        if rev is not None:
            if self.rev is not None and rev < self.rev:
                return self
            self = replace(self, rev=rev)
        if news is S.ACTIVE and not self.ours:
            return self if self.answering else self.ends(S.ENDED)
        before = self.status
        if before is None:
            before = S.INITIATING if news is not S.INITIATING else None
            self = replace(self, status=before)
        if news not in RANK:
            is_hangup = news is S.ENDED
            return self.ends(news) if is_hangup or RANK[before] < RANK[S.ACTIVE] else self
        if RANK[news] <= RANK[before]:
            return self
        return replace(self, status=news, shown=news)

    def ends(self, status: UTDCallStatus | None) -> Expected:
        if self.over:
            return self
        last = self.status if status is None else status
        shown = last if last is not None and last not in RANK else self.shown
        return replace(self, over=True, status=last, shown=shown)


Event = tuple[str, UTDCallStatus | None]
EVENTS: tuple[Event, ...] = (
    *(("news", status) for status in S),
    *(("newer", status) for status in S),
    ("older", S.RINGING),
    ("older", S.ACTIVE),
    ("older", S.ENDED),
    ("another call's", S.ENDED),
    ("begin to answer", None),
    ("answer taken", None),
    ("answer failed", None),
    ("hang up", None),
)


class Subject:
    """The product's objects, brought into a state, given an event, and looked at."""

    def __init__(self) -> None:
        lane = EventsLane("test")
        self.status: Fact[UTDCallStatus | None] = Fact(None, lane)
        self.present = PresentCall(threading.RLock(), self.status, Fact(None, lane), Fact(None, lane))
        self.machine = CallMachine()

    def load(self, state: tuple[object, ...]) -> CallLife:
        status, shown, over, ours, answering, rev, was_active, owes_end, call_id = state
        life = CallLife.__new__(CallLife)
        life.__dict__.update(
            epoch=0,
            machine=self.machine,
            call_id=call_id,
            call=None,
            room=None,
            over=over,
            owes_end=owes_end,
            wake=lambda: None,
            was_active=was_active,
            ours=ours,
            answering=answering,
            last_word=0.0,
            timer=None,
            hinted=False,
            end_reason=None,
            _rev=rev,
        )
        self.machine.state = CallMachine._NONE if status is None else status.wire  # type: ignore[attr-defined]
        self.status._value = shown  # type: ignore[assignment]
        self.present.life = life
        self.present._epochs = {0: None}
        return life

    def look(self, life: CallLife) -> tuple[object, ...]:
        rev = None if life._rev is None else 5
        return (
            life.status,
            self.status.value,
            life.over,
            life.ours,
            life.answering,
            rev,
            life.was_active,
            life.owes_end,
            life.call_id,
        )

    def give(self, life: CallLife, event: Event) -> None:
        kind, status = event
        rev = {"newer": 6, "older": 4}.get(kind)
        if status is not None:
            call_id = "call_0" if kind == "another call's" else "call_1"
            self.present.take(life, UTDCall(call_id, status, UTDStreamType.AUDIO_CALL, rev=rev))
        elif kind == "begin to answer":
            self.present.begin_answer(life)
        elif kind == "hang up":
            found = self.present.hang_up()
            if found is not None:
                self.present.end(found)
        else:
            self.present.end_answer(life, ours=kind == "answer taken")


def expected_after(before: Expected, event: Event) -> Expected:
    kind, status = event
    if status is not None:
        if kind == "another call's":
            return before
        after = before.hears(status, {"newer": 6, "older": 4}.get(kind))
        return replace(after, rev=None if after.rev is None else 5)
    if kind == "begin to answer":
        return replace(before, answering=True)
    if kind == "hang up":
        return before.ends(S.ENDED if before.status is not None else None)
    return replace(before, answering=False, ours=before.ours or kind == "answer taken")


FIRST: dict[str, Callable[[], CallLife]] = {
    "a caller's, not made yet": lambda: CallLife(None),
    "a callee's": lambda: CallLife(S.INITIATING, "call_1"),
}


@pytest.mark.parametrize("whose", FIRST)
def test_sequences_when_walked_to_depth_five_show_what_the_rules_say(whose: str) -> None:
    """22 events, five of them in any order: 5,153,632 sequences for each side of a call."""
    subject, life = Subject(), FIRST[whose]()
    life.call_id = "call_1"
    first = Expected(life.status, None, life.ours)
    level = {((*subject.look(life)[:1], None, *subject.look(life)[2:]), first)}
    seen, sequences = set(level), 1
    for _ in range(DEPTH):
        after_all = set()
        for state, expected in level:
            for event in EVENTS:
                life = subject.load(state)
                subject.give(life, event)
                looks, after = subject.look(life), expected_after(expected, event)
                shown = (looks[0], looks[1], looks[2], looks[3], looks[4])
                told = (after.status, after.shown, after.over, after.ours, after.answering)
                assert shown == told, f"{state} and {event}: {shown}, expected {told}"
                after_all.add((looks, after))
        level, sequences = after_all, sequences * len(EVENTS)
        seen |= after_all
    assert sequences == len(EVENTS) ** DEPTH > 5_000_000
    shown_states = {state[0] for state, _ in seen}
    assert shown_states >= set(S), "each state was entered"


def test_states_when_each_meets_each_event_have_one_specified_result() -> None:
    """The whole table once, with a call that is over: nothing moves it, whatever comes."""
    subject = Subject()
    for status in S:
        if status in RANK:
            continue
        for event in EVENTS:
            life = subject.load((status, status, True, True, False, None, False, False, "call_1"))
            subject.give(life, event)
            assert (life.status, subject.status.value, life.over) == (status, status, True), event
