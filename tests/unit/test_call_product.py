"""Caller, callee and engine together, breadth first: every order of what each may do, of loss and delay.

The engine is its rules (`rules/calls`), the caller and the answering callee are `CallLife` under `PresentCall`,
and the callee's inbox is the `RingBook`, asked in the order of its keeper. What was sent once may come never,
often, and behind what was sent later. Times are events: a timer may fire at any moment in which it is set.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone

from utdstream._calls.life import CallLife, PresentCall
from utdstream._calls.states import CallMachine
from utdstream._rings.book import CancelReason, Live, OwnAnswer, RingBook, Stage, Todo, reason_of
from utdstream._threads.facts import Fact
from utdstream._threads.lanes import EventsLane
from utdstream._wire import messages
from utdstream._wire.call_states import FINAL_STATES, TRANSITIONS, allowed
from utdstream.engine.rules import calls
from utdstream.engine.rules.calls import CallRecord
from utdstream.engine.rules.refusals import Refusal
from utdstream.models import UTDCall, UTDCallStatus, UTDStreamType

S = UTDCallStatus
NOW = datetime(2031, 1, 1, tzinfo=timezone.utc)
CALLER, CALLEE, CALL = "door", "house", "call_1"
STATES = int(os.environ.get("UTD_PRODUCT_STATES", "5000"))
"""How many are looked at; there are 88,801."""

Side = tuple[UTDCallStatus | None, UTDCallStatus | None, bool, bool, bool, int | None, bool, bool]
"""A `CallLife` and what its session shows."""
Told = tuple[UTDCallStatus, int, str | None, bool]
"""The call as the engine told it once: status, rev, end reason, answered."""


@dataclass(frozen=True)
class Book:
    """The inbox between two steps; a question under way holds what the engine said, and if news came since."""

    stage: Stage | None = None
    rang: bool | None = None
    confirm_waits: bool = False
    answering: int = 0
    maybe_answered: bool = False
    todo: frozenset[str] = frozenset()
    question: tuple[str, Told, bool] | None = None


@dataclass(frozen=True)
class World:
    """Everything; `rings` and `ends` are what the callee's program was told, `own`: its answer was taken."""

    told: tuple[Told, ...] = ()
    caller: Side | None = None
    callee: Side | None = None
    book: Book = Book()
    accept: str = ""
    """The accept of this device: under way, taken (its answer is coming), refused."""
    rings: int = 0
    ends: tuple[CancelReason, ...] = ()
    own: bool = False

    @property
    def engine(self) -> Told:
        return self.told[-1]


@dataclass
class Explored:
    states: set[World] = field(default_factory=set)
    steps: Counter[str] = field(default_factory=Counter)
    entered: Counter[str] = field(default_factory=Counter)


class Half:
    """One session's call: its real objects, put into a state and looked at again."""

    def __init__(self) -> None:
        lane = EventsLane("test")
        self.shown: Fact[UTDCallStatus | None] = Fact(None, lane)
        self.present = PresentCall(threading.RLock(), self.shown, Fact(None, lane), Fact(None, lane))
        self.machine = CallMachine()
        self.blank = CallLife(None)
        self.blank.machine = self.machine

    def begin(self, *, incoming: bool) -> Side:
        return (S.INITIATING if incoming else None, None, False, not incoming, False, None, False, False)

    def load(self, side: Side) -> CallLife:
        life = self.blank
        status, shown, life.over, life.ours, life.answering, life._rev, life.was_active, life.owes_end = side
        life.machine, life.call_id = self.machine, CALL
        self.machine.state = CallMachine._NONE if status is None else status.wire
        self.shown._value = shown
        self.present.life = life
        return life

    def look(self) -> Side:
        life = self.blank
        return (
            life.status,
            self.shown.value,
            life.over,
            life.ours,
            life.answering,
            life._rev,
            life.was_active,
            life.owes_end,
        )


CALLER_HALF, CALLEE_HALF = Half(), Half()


def call_of(status: UTDCallStatus, rev: int, reason: str | None, answered: bool) -> UTDCall:
    return UTDCall(
        CALL,
        status,
        UTDStreamType.AUDIO_CALL,
        caller_identity=CALLER,
        callee_identity=CALLEE,
        created_at=NOW,
        expires_at=NOW + timedelta(seconds=30),
        answered_at=NOW if answered else None,
        end_reason=reason,
        rev=rev,
    )


def record_of(world: World) -> CallRecord:
    return CallRecord(call_of(*world.engine), 3600.0, caller_seen=True)


# -- what the engine does ------------------------------------------------------------------------------


def committed(world: World, after: CallRecord) -> World:
    """The engine's step, and the messages of it."""
    before = record_of(world)
    if after.rev == before.rev:
        return world
    assert after.rev == before.rev + 1
    assert allowed(before.status, after.status), (before.status, after.status)
    call = after.call
    now: Told = (call.status, after.rev, call.end_reason, call.answered_at is not None)
    return replace(world, told=(*world.told, now))


def asked(world: World, act: str, actor: str) -> World | None:
    """The world after a request, None when the engine refuses it."""
    try:
        return committed(world, getattr(calls, act)(record_of(world), actor, NOW))
    except Refusal:
        return None


# -- the sides -------------------------------------------------------------------------------------------


def learnt(world: World, side: str, told: Told) -> World:
    state = world.caller if side == "caller" else world.callee
    if state is None:
        return world
    half = CALLER_HALF if side == "caller" else CALLEE_HALF
    half.present.take(half.load(state), call_of(*told))
    after = half.look()
    return replace(world, caller=after) if side == "caller" else replace(world, callee=after)


def with_book(world: World, act: str) -> World:
    """One step of the inbox, as its keeper makes it."""
    was = world.book
    book = RingBook(CALLEE)
    if was.stage is not None:
        book._live[CALL] = Live(call_of(S.INITIATING, 1, None, False), was.stage, 0.0)
        book._live[CALL].confirm_waits = was.confirm_waits
    if was.rang is not None:
        book._past[CALL] = was.rang
    if was.answering:
        book._answering[CALL] = was.answering
    if was.maybe_answered:
        book._maybe_answered[CALL] = None
    news_since = was.question is not None and was.question[2]
    if news_since:
        book.mark = book._cancel_hints[CALL] = 1
    todo, question, rings, ends = set(was.todo), was.question, world.rings, world.ends

    def plan(what: Todo) -> None:
        nonlocal rings
        if what is Todo.RING:
            rings += 2 if world.own else 1  # what this device has answered rings once too often
        elif what is not Todo.NOTHING:
            todo.add(what.name)

    kind, _, detail = act.partition(" ")
    if kind == "message":
        event = messages.CALL_INITIATED if detail == "ring" else messages.CALL_CANCELLED
        call = call_of(S.INITIATING, 1, None, False)
        plan(book.take(messages.CallEvent(event, 1, NOW, call), None, 0.0))
    elif kind == "ask":
        todo.discard(detail)
        if (
            (detail == "VERIFY" and book.pending(CALL) is not None)
            or detail == "POLL"
            or (detail == "CONFIRM" and book.confirm_begins(CALL) is not None)
        ):
            question = (detail, world.engine, False)
        book.mark = 0
        book._cancel_hints.clear()
    elif kind == "answered":
        assert was.question is not None
        question = None
        what, told, _ = was.question
        call = call_of(*told)
        if what == "CONFIRM":
            reason = reason_of(call)
            over = None if reason is None else book.cancel(CALL, reason)
            if over is not None:
                ends = (*ends, over[1])
            elif reason is None:
                plan(book.still_rings(CALL, 0))
        elif what == "VERIFY" or call.status in (S.INITIATING, S.RINGING):
            plan(book.ring(call, None, 0.0, 0, by_poll=what == "POLL"))
        else:
            for _ in book.gone(set()):
                plan(Todo.CONFIRM)
    elif kind == "begin":
        book.answer_begins(CALL)
    elif kind == "end":
        plan(book.answer_ended(CALL, OwnAnswer[detail]))
    live = book._live.get(CALL)
    hint = book._cancel_hints.get(CALL, 0) > 0
    after = Book(
        live.stage if live is not None else None,
        book._past.get(CALL),
        live is not None and live.confirm_waits,
        book._answering[CALL],
        CALL in book._maybe_answered,
        frozenset(todo),
        None if question is None else (question[0], question[1], hint),
    )
    return replace(world, book=after, rings=rings, ends=ends)


# -- every step that may come next --------------------------------------------------------------------------


def steps(world: World) -> Iterator[tuple[str, World]]:
    if not world.told:
        record = calls.new_call(
            call_id=CALL,
            type=UTDStreamType.AUDIO_CALL,
            caller=CALLER,
            callee=CALLEE,
            now=NOW,
            ring_timeout_s=30,
            max_duration_s=60,
        )
        first: Told = (record.status, record.rev, None, False)
        made = replace(world, told=(first,), caller=CALLER_HALF.begin(incoming=False))
        yield "the caller starts", learnt(made, "caller", first)
        return
    yield from _network(world)
    yield from _engine_alone(world)
    yield from _caller(world)
    yield from _callee(world)


def _network(world: World) -> Iterator[tuple[str, World]]:
    for told in world.told[1:]:
        yield "the caller hears", learnt(world, "caller", told)
        yield "the callee hears", learnt(world, "callee", told)
    yield "the inbox hears the ring", with_book(world, "message ring")  # repeated, late, stored
    yield "the inbox hears of an end", with_book(world, "message end")  # true, late or forged


def _engine_alone(world: World) -> Iterator[tuple[str, World]]:
    for name, after in (
        ("the ring time is up", calls.miss(record_of(world), NOW)),
        ("the longest time is up", calls.time_up(record_of(world), NOW)),
        ("a leg is lost", calls.leg_lost(record_of(world), NOW)),
    ):
        yield name, committed(world, after)
    for act in ("accept", "reject"):  # another device of the callee
        after_act = asked(world, act, CALLEE)
        if after_act is not None and not world.own:
            yield f"another device says {act}", after_act


def _caller(world: World) -> Iterator[tuple[str, World]]:
    assert world.caller is not None
    yield "the caller asks", learnt(world, "caller", world.engine)
    life = CALLER_HALF.load(world.caller)
    CALLER_HALF.present.end(life)
    ended = replace(world, caller=CALLER_HALF.look())
    yield "the caller hangs up, and the engine is not told", ended
    yield "the caller hangs up", asked(ended, "end", CALLER) or ended


def _callee(world: World) -> Iterator[tuple[str, World]]:
    book = world.book
    if book.question is None:
        for what in (*sorted(book.todo), "POLL"):
            yield f"the inbox asks ({what})", with_book(world, f"ask {what}")
    else:
        yield "the inbox is answered", with_book(world, "answered")
    rung = asked(world, "ring", CALLEE)
    if rung is not None and world.rings:
        yield "the callee says that it rings", rung
    if world.callee is not None:
        yield "the callee asks", learnt(world, "callee", world.engine)
    if world.accept == "" and world.callee is None:
        begun = with_book(world, "begin")
        side = CALLEE_HALF.begin(incoming=True)
        CALLEE_HALF.present.begin_answer(CALLEE_HALF.load(side))
        yield "the callee accepts", replace(begun, accept="under way", callee=CALLEE_HALF.look())
        refused = asked(world, "reject", CALLEE)
        if refused is not None:
            quiet = with_book(replace(refused, own=True, accept="done"), "begin")
            yield "the callee rejects", with_book(quiet, "end TAKEN")
            yield "the callee rejects, unheard", with_book(quiet, "end UNKNOWN")
    elif world.accept == "under way":
        taken = asked(world, "accept", CALLEE)
        if taken is None:
            yield "the accept is refused", _accepted(world, OwnAnswer.REFUSED)
        else:
            yield "the accept is taken", replace(taken, accept="taken", own=True)
        yield "the accept is lost", _accepted(world, OwnAnswer.UNKNOWN)
    elif world.accept == "taken":
        yield "the accept's answer comes", _accepted(world, OwnAnswer.TAKEN)
        yield "the accept's answer is lost", _accepted(world, OwnAnswer.UNKNOWN)


def _accepted(world: World, how: OwnAnswer) -> World:
    """The accept ended for the callee: its session first, then its inbox."""
    assert world.callee is not None
    life = CALLEE_HALF.load(world.callee)
    CALLEE_HALF.present.end_answer(life, ours=how is OwnAnswer.TAKEN)
    after = replace(world, callee=CALLEE_HALF.look(), accept="done")
    if how is OwnAnswer.TAKEN:
        after = learnt(after, "callee", (S.ACTIVE, 0, None, True))
    else:
        CALLEE_HALF.present.close(CALLEE_HALF.load(CALLEE_HALF.look()), None)
        after = replace(after, callee=CALLEE_HALF.look())
        if world.own:  # it is taken back
            after = asked(after, "end", CALLEE) or after
    return with_book(after, f"end {how.name}")


# -- what holds in every state --------------------------------------------------------------------------------


def faults(world: World) -> Iterator[str]:
    if world.rings > 1:
        yield "it rang twice"
    if len(world.ends) > 1:
        yield "its end was told twice"
    if world.ends and not world.rings:
        yield "its end was told, and it never rang"
    elsewhere = {CancelReason.ANSWERED_ELSEWHERE, CancelReason.REJECTED_ELSEWHERE} & {*world.ends}
    if world.own and elsewhere:
        yield "this device's own answer was told as another's"
    for side in (world.caller, world.callee):
        if side is not None and side[2] and side[0] is not None and side[0] not in FINAL_STATES and side[3]:
            yield "a call is over in a state that is not final"


def at_rest(world: World) -> World:
    """What becomes of a state when nothing more happens than what is due by itself: the polls and the timers."""
    if world.accept == "under way":
        world = _accepted(world, OwnAnswer.UNKNOWN)
    elif world.accept == "taken":
        world = _accepted(world, OwnAnswer.TAKEN)
    for timer in (calls.miss, calls.time_up):
        world = committed(world, timer(record_of(world), NOW))
    for side in ("caller", "callee"):
        world = learnt(world, side, world.engine)
    for _ in range(4):
        if world.book.question is not None:
            world = with_book(world, "answered")
        for what in (*sorted(world.book.todo), "POLL"):
            world = with_book(world, f"ask {what}")
            if world.book.question is not None:
                world = with_book(world, "answered")
    return world


def faults_at_rest(world: World) -> Iterator[str]:
    if world.engine[0] not in FINAL_STATES:
        yield "the engine's call has no end"
    for name, side in (("caller", world.caller), ("callee", world.callee)):
        if side is not None and not side[2]:
            yield f"the {name}'s call has no end"
    if world.book.stage is not None:
        yield "the inbox keeps a call that is over"
    if world.rings and not world.ends and not world.own:
        yield "it rang, and its end was never told"
    yield from faults(world)


def test_states_when_explored_breadth_first_all_end_and_agree() -> None:
    """From each state that can be reached, the two sides and the engine come to one end, told once."""
    first = World()
    explored, waiting = Explored({first}), deque([(first, 0)])
    came_from: dict[World, tuple[World, str]] = {}
    while waiting and len(explored.states) < STATES:
        world, depth = waiting.popleft()
        for name, after in steps(world):
            explored.steps[name] += 1
            if after in explored.states:
                continue
            explored.states.add(after)
            came_from[after] = (world, name)
            found = [*faults(after), *faults_at_rest(at_rest(after))]
            assert not found, f"{found}: {after}\n" + "\n".join(path(after, came_from))
            explored.entered[after.engine[0].value] += 1
            waiting.append((after, depth + 1))
    print(f"{len(explored.states)} states, {sum(explored.steps.values())} steps")  # noqa: T201 - shown by -s
    assert {*explored.entered} == {status.value for status in S} - {"busy"}
    assert {row.target for row in TRANSITIONS} == set(S)
    assert len(explored.states) >= min(STATES, 80_000)


def path(world: World, came_from: dict[World, tuple[World, str]]) -> list[str]:
    names: list[str] = []
    while world in came_from:
        world, name = came_from[world]
        names.append(name)
    return names[::-1]
