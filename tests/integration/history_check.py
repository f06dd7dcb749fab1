"""Whether a recorded history could have come from the sequential model, one operation after the other.

Owns: two checkers. Rooms: every answer carries the number of the state it left behind (`rev`), so the
order is known, and only who was never answered is searched for. Calls: just-in-time linearization (Lowe):
all states that are possible are carried along, and an answer drops those in which it would be wrong.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence

from history import LOST, Operation
from history_model import READS, Calls, RoomModel, Step, as_steps, calls_step, room_answer, room_step, tidy

_Belief = tuple[RoomModel, frozenset[int]]
"""A possible state of a room, and which of the unanswered operations happened on the way."""


def check_room(first: RoomModel, first_rev: int, operations: Sequence[Operation]) -> list[str]:
    """What is wrong with the history of one room that was in state `first` when it began."""
    return _RoomCheck(first, first_rev, operations).violations()


class _RoomCheck:
    def __init__(self, first: RoomModel, first_rev: int, operations: Sequence[Operation]) -> None:
        self._first_rev = first_rev
        self._done = [op for op in operations if op.is_done]
        self._refused = [op for op in operations if op.code is not None]
        self._lost = [op for op in operations if op.status is LOST and op.kind not in READS]
        self._latest = [self._seen_after(op.answered) for op in self._lost]
        self._beliefs: list[set[_Belief]] = [{(first, frozenset())}]
        """By rev, from `first_rev` on."""
        self._made_at: list[float] = [float("-inf")]
        """By rev: when the operation was sent that made it (and all before it were)."""
        by_answer = sorted(self._done, key=lambda op: op.answered)
        self._answered = [op.answered for op in by_answer]
        self._highest: list[int] = []
        for op in by_answer:
            self._highest.append(max(self._rev(op), self._highest[-1] if self._highest else first_rev))

    def violations(self) -> list[str]:
        found = self._replay()
        if found:
            return found
        for op in self._done:
            if not self._least(op.sent) <= self._rev(op) <= self._most(op.answered):
                found.append(
                    f"out of its time: a state from {self._least(op.sent)} to {self._most(op.answered)}"
                    f" was there, {op}"
                )
        for op in self._refused:
            revs = range(self._least(op.sent), self._most(op.answered) + 1)
            if not any(
                op.code in room_step(state, op).refusals for rev in revs for state, _ in self._at(rev)
            ):
                found.append(f"refused without a reason in the states {revs.start} to {revs.stop - 1}: {op}")
        return found

    def _replay(self) -> list[str]:
        by_rev: defaultdict[int, list[Operation]] = defaultdict(list)
        for op in self._done:
            if not isinstance(op.answer.get("rev"), int) or self._rev(op) < self._first_rev:
                return [f"without a rev of its time: {op}"]
            by_rev[self._rev(op)].append(op)
        last = max(by_rev, default=self._first_rev)
        self._beliefs[0] = {b for b in self._beliefs[0] if self._all_rest(b[0], by_rev[self._first_rev])}
        if not self._beliefs[0]:
            return [f"nothing begins so: {_lines(by_rev[self._first_rev])}"]
        for rev in range(self._first_rev + 1, last + 1):
            made: set[_Belief] = set()
            sent: list[float] = []
            for state, used in self._beliefs[-1]:
                for after, op, number in self._makers(state, used, by_rev[rev], rev):
                    made.add((after, used if number is None else used | {number}))
                    sent.append(op.sent)
            if not made:
                state = next(iter(self._beliefs[-1]))[0]
                return [f"state {rev} cannot follow from {state}:\n{_lines(by_rev[rev])}"]
            self._beliefs.append(made)
            self._made_at.append(max(self._made_at[-1], min(sent)))
        return []

    def _makers(
        self, state: RoomModel, used: frozenset[int], answered: list[Operation], rev: int
    ) -> Iterable[tuple[RoomModel, Operation, int | None]]:
        """Who can have made this state out of the one before: one that was answered, or one that was not."""
        for place, op in enumerate(answered):
            step = room_step(state, op)
            others = answered[:place] + answered[place + 1 :]
            if step.after != state and _is_right(step, op) and self._all_rest(step.after, others):
                yield step.after, op, None
        for number, op in enumerate(self._lost):
            if number in used or not self._least(op.sent) < rev <= self._latest[number]:
                continue
            step = room_step(state, op)
            if not step.refusals and step.after != state and self._all_rest(step.after, answered):
                yield step.after, op, number

    def _all_rest(self, state: RoomModel, operations: Iterable[Operation]) -> bool:
        """Whether these change nothing in this state, and answer rightly."""
        for op in operations:
            step = room_step(state, op)
            if step.after != state or not _is_right(step, op):
                return False
        return True

    def _seen_after(self, moment: float) -> float:
        """The oldest state that somebody was told of who asked after this moment."""
        return min((self._rev(op) for op in self._done if op.sent > moment), default=float("inf"))

    def _rev(self, op: Operation) -> int:
        return int(op.answer.get("rev", -1))

    def _least(self, sent: float) -> int:
        """The oldest state that somebody who asks now may see: what others were told before."""
        place = bisect_left(self._answered, sent)
        return self._highest[place - 1] if place else self._first_rev

    def _most(self, answered: float) -> int:
        """The newest state that there can be now: each needs somebody who had asked for it."""
        return self._first_rev + bisect_left(self._made_at, answered) - 1

    def _at(self, rev: int) -> set[_Belief]:
        return self._beliefs[rev - self._first_rev]


def _is_right(step: Step, op: Operation) -> bool:
    if step.refusals:
        return False
    answer = room_answer(op)
    return all(name in answer and answer[name] == value for name, value in step.says)


def _lines(operations: Iterable[Operation]) -> str:
    return "\n".join(f"    {op}" for op in operations) or "    (nobody was answered so)"


def check_calls(operations: Sequence[Operation]) -> list[str]:
    """What is wrong with the history of one group of people who call each other."""
    operations = [step for op in operations for step in as_steps(op)]
    events = sorted(
        [(op.sent, 0, number) for number, op in enumerate(operations)]
        + [(op.answered, 1, number) for number, op in enumerate(operations)]
    )
    last_named = _last_named(operations)
    beliefs: set[tuple[Calls, frozenset[int]]] = {((), frozenset())}
    waiting: set[int] = set()
    for now, is_answer, number in events:
        if not is_answer:
            waiting.add(number)
            continue
        op = operations[number]
        after: set[tuple[Calls, frozenset[int]]] = set()
        for calls, early in beliefs:
            if number in early:
                after.add((calls, early - {number}))
                continue
            if op.status is LOST:
                after.add((calls, early))
            after |= _until(number, calls, early, frozenset(waiting), operations)
        waiting.discard(number)
        if not after:
            state = [
                call for call in next(iter(beliefs))[0] if call.status in ("initiating", "ringing", "active")
            ]
            others = _lines(operations[other] for other in waiting)
            return [f"no order explains: {op}\n  open: {state}\n  at the same time:\n{others}"]
        beliefs = {(tidy(calls, last_named, now), early) for calls, early in after}
    return []


def _last_named(operations: Sequence[Operation]) -> dict[object, float]:
    """When the last answer came to a request with this call id, or with this caller's key."""
    last: dict[object, float] = {}
    for op in operations:
        key = (op.actor, op.args.get("key")) if op.kind == "create" else None
        for name in (op.args.get("call_id"), op.answer.get("call_id"), key):
            last[name] = max(op.answered, last.get(name, 0.0))
    return last


def _until(
    number: int, calls: Calls, early: frozenset[int], waiting: frozenset[int], operations: Sequence[Operation]
) -> set[tuple[Calls, frozenset[int]]]:
    """Every state in which this operation has happened, others that wait perhaps before it."""
    found: set[tuple[Calls, frozenset[int]]] = set()
    seen: set[tuple[Calls, frozenset[int]]] = set()
    todo = [(calls, early)]
    while todo:
        state, happened = todo.pop()
        if (state, happened) in seen:
            continue
        seen.add((state, happened))
        found |= {(after, happened) for after in calls_step(state, operations[number])}
        for other in waiting - happened - {number}:
            todo += [(after, happened | {other}) for after in calls_step(state, operations[other])]
    return found
