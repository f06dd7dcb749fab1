"""A world in virtual time around the real keeper of rings: an engine, a network that loses and repeats, a device.

Owns: `World`, one seeded run, and its oracle. Nothing waits: an hour takes a second. The keeper's lane and clock
are replaced; what it decides is its own. Questions to the engine take time, in which messages go on to arrive.

The oracle, for each call:
1. It rings at most once, and only if the engine had it unanswered when it was asked, no end was heard since, and
   this device has not answered it.
2. It rings, if it was unanswered for `found_within_s` in which the device ran and the engine could be asked.
3. What rang and ended elsewhere is told once, with the reason; what this device answered is not, nor what rings.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone

import pytest
from virtual_time import Lane, VirtualTime

from utdstream._rings import keeper as keeper_module
from utdstream._rings.book import CancelReason, OwnAnswer
from utdstream._rings.keeper import RingKeeper
from utdstream._threads.deadline import Deadline
from utdstream._wire import messages
from utdstream.config import ClientConfig
from utdstream.errors import AuthenticationFailed, EngineUnreachable, NotFound, RateLimited
from utdstream.models import UTDCall, UTDCallStatus, UTDStreamType

S = UTDCallStatus
ME = "house"
BEGAN = datetime(2031, 1, 1, tzinfo=timezone.utc)
RING_S = 30.0
POLL_S, CHECK_S = 4.0, 20.0
ASK_AT_MOST_S = 0.4
TRUE_REASON = {
    "caller_cancelled": CancelReason.CANCELLED,
    "ring_timeout": CancelReason.MISSED,
    "answered": CancelReason.ANSWERED_ELSEWHERE,
    "rejected": CancelReason.REJECTED_ELSEWHERE,
}


@dataclass
class Fate:
    """One call as it really was, and what the device said of it."""

    call: UTDCall
    made_at: float
    over_at: float | None = None
    reason: str | None = None
    answered_here: bool = False
    """The engine took this device's answer."""
    tried_here: list[float] = field(default_factory=list)
    heard_over_at: float | None = None
    rang_at: float | None = None
    askable_s: float = 0.0
    """For how long it was unanswered while it could have been found."""
    told: list[tuple[float, CancelReason]] = field(default_factory=list)


class World:
    """One run of `hours`; `faults` is what the oracle found, `deliveries` what the device was sent."""

    def __init__(self, seed: int, *, tells_time: bool = True) -> None:
        self.random = random.Random(seed)
        random.seed(seed)  # the product's own chance, in its pauses
        self.time = VirtualTime()
        self.lane = Lane(self.time)
        self.tells_time = tells_time
        self.fates: dict[str, Fate] = {}
        self.faults: list[str] = []
        self.deliveries = 0
        self.counts: Counter[str] = Counter()
        self.engine_is_up = True
        self.link_is_up = True
        self.held: list[Callable[[], None]] = []
        self.is_quiet = False
        self._numbers = itertools.count(1)
        self._asked_at = 0.0
        check_s = self.random.choice((POLL_S, CHECK_S))
        self.found_within_s = check_s + 3 * ASK_AT_MOST_S + 1.0
        self.keeper = RingKeeper(
            identity=ME,
            engine=self,
            config=ClientConfig(ring_poll_s=POLL_S, ring_check_s=check_s),
            report=None,
            on_ring=self._rang,
            on_cancel=self._told,
        )
        self.keeper._work = self.lane  # type: ignore[assignment]  # in virtual time

    def run(self, deliveries: int) -> None:
        """Goes on until so many messages were delivered, then lets everything come to rest."""
        with self._virtual_time():
            self.keeper.start()
            self.keeper.take_connection(True)
            self._next_call()
            self._next_trouble()
            while self.deliveries < deliveries:
                self._step()
            self.is_quiet = True
            self._end_of_troubles()
            until = self.time.now_s + 4 * RING_S
            while self.time.now_s < until:
                self._step(0.5)
            self._judge()

    @contextmanager
    def _virtual_time(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(keeper_module, "time", self.time)
            yield

    def _step(self, seconds: float = 0.25) -> None:
        self.time.run_until(self.time.now_s + seconds)
        if self.engine_is_up and self.lane.is_on:
            for fate in self.fates.values():
                if fate.over_at is None and fate.rang_at is None and not fate.tried_here:
                    fate.askable_s += seconds
        else:
            for fate in self.fates.values():
                if fate.rang_at is None:
                    fate.askable_s = min(fate.askable_s, 0.0)

    # -- the engine, as the keeper sees it -----------------------------------------------------------

    def told_time(self) -> datetime | None:
        return self.moment() if self.tells_time else None

    def moment(self) -> datetime:
        return BEGAN + timedelta(seconds=self.time.now_s)

    def get_call(self, call_id: str, deadline: Deadline) -> UTDCall:
        answer = self._ask()
        fate = answer.get(call_id)
        if fate is None:
            raise NotFound("no such call", 404)
        return fate

    def list_calls(
        self, *, identity: str, statuses: Sequence[UTDCallStatus], deadline: Deadline
    ) -> list[UTDCall]:
        return [call for call in self._ask().values() if call.status in statuses]

    def _ask(self) -> dict[str, UTDCall]:
        """What the engine has now; its answer takes a while, in which the world goes on."""
        asked_at = self.time.now_s
        if not self.engine_is_up:
            self.time.run_until(asked_at + self.random.choice((0.0, 0.1, ASK_AT_MOST_S)))
            raise self.random.choice(
                (EngineUnreachable("down"), RateLimited("slow"), AuthenticationFailed("bearer", 401))
            )
        has = {call_id: fate.call for call_id, fate in self.fates.items()}
        self.time.run_until(asked_at + self.random.choice((0.0, 0.01, 0.1, ASK_AT_MOST_S)))
        self._asked_at = asked_at
        return has

    # -- what happens --------------------------------------------------------------------------------

    def _next_call(self) -> None:
        pause_s = self.random.choice((0.5, 3.0, 20.0, 60.0))
        self.time.at(self.time.now_s + self.random.uniform(0, pause_s), self._make_call)

    def _make_call(self) -> None:
        if self.is_quiet:
            return
        now_s = self.time.now_s
        call_id = f"call_{next(self._numbers)}"
        call = UTDCall(
            call_id,
            S.INITIATING,
            UTDStreamType.VIDEO_CALL,
            caller_identity="door",
            callee_identity=ME,
            created_at=self.moment(),
            expires_at=self.moment() + timedelta(seconds=RING_S),
        )
        self.fates[call_id] = Fate(call, now_s)
        for number in range(int(RING_S // 3)):
            self.time.at(now_s + 3.0 * number, lambda: self._ring_again(call_id))
        end, after_s = self.random.choice(
            (
                ("caller_cancelled", self.random.uniform(0, 2)),
                ("caller_cancelled", self.random.uniform(0, RING_S)),
                ("answered", self.random.uniform(0, RING_S)),
                ("rejected", self.random.uniform(0, RING_S)),
                ("ring_timeout", RING_S),
            )
        )
        self.time.at(now_s + after_s, lambda: self.end(call_id, end))
        self.time.at(now_s + RING_S, lambda: self.end(call_id, "ring_timeout"))
        if self.random.random() < 0.3:
            after_s = self.random.choice((0.5, 15.0)) * self.random.random()  # also before it can have rung
            self.time.at(now_s + after_s, lambda: self._answer(call_id))
        self._next_call()

    def _ring_again(self, call_id: str) -> None:
        fate = self.fates[call_id]
        if fate.over_at is None and not fate.tried_here:
            self._send(messages.CALL_INITIATED, fate.call)
        if self.random.random() < 0.1:
            self._send_rubbish(fate.call)

    def end(self, call_id: str, reason: str, *, here: bool = False) -> bool:
        """False when it was over, or answered, before."""
        fate = self.fates[call_id]
        if fate.over_at is not None:
            return False
        fate.over_at, fate.reason, fate.answered_here = self.time.now_s, reason, here
        status = {"answered": S.ACTIVE, "rejected": S.REJECTED, "ring_timeout": S.MISSED}.get(reason, S.ENDED)
        answered = self.moment() if reason == "answered" else None
        told_as = None if reason in ("answered", "rejected") else reason
        fate.call = replace(fate.call, status=status, end_reason=told_as, answered_at=answered)
        event = {"ring_timeout": messages.CALL_MISSED, "caller_cancelled": messages.CALL_CANCELLED}.get(
            reason, messages.CALL_ANSWERED_ELSEWHERE
        )
        self._send(event, fate.call)
        if reason == "answered":
            self.time.at(self.time.now_s + self.random.uniform(0, 20), lambda: self._hang_up(call_id))
        return True

    def _hang_up(self, call_id: str) -> None:
        fate = self.fates[call_id]
        fate.call = replace(fate.call, status=S.ENDED, end_reason="caller_hangup")
        self._send(messages.CALL_ENDED, fate.call)

    def _answer(self, call_id: str) -> None:
        """This device answers, whether it rang or not (a push brought the id)."""
        fate = self.fates[call_id]
        if not self.lane.is_on:
            return
        fate.tried_here.append(self.time.now_s)
        self.keeper.answer_begins(call_id)
        took_s = self.random.choice((0.0, 0.2, 3.0, 10.0))
        reason = self.random.choice(("answered", "rejected"))
        reaches = self.engine_is_up and self.random.random() < 0.9
        outcome: list[OwnAnswer] = [OwnAnswer.UNKNOWN]

        def arrive() -> None:
            if reaches:
                outcome[0] = OwnAnswer.TAKEN if self.end(call_id, reason, here=True) else OwnAnswer.REFUSED
                if outcome[0] is OwnAnswer.TAKEN and self.random.random() < 0.3:
                    outcome[0] = OwnAnswer.UNKNOWN  # the answer was lost, or the room could not be joined

        self.time.at(self.time.now_s + took_s * self.random.random(), arrive)
        self.time.at(self.time.now_s + took_s, lambda: self.keeper.answer_ended(call_id, outcome[0]))

    # -- the network -----------------------------------------------------------------------------------

    def _send(self, event: str, call: UTDCall) -> None:
        if self.random.random() < 0.2:
            return  # lost
        copies = self.random.choice((1, 1, 1, 2, 10))
        payload = messages.encode_call_event(messages.CallEvent(event, 1, self.moment(), call))
        for _ in range(copies):
            late_s = self.random.choice((0.0, 0.001, 0.05, 1.0, 5.0, 40.0, 3600.0))
            self.time.at(
                self.time.now_s + late_s * self.random.random(),
                lambda: self._deliver(payload, event, call.call_id),
            )

    def _send_rubbish(self, call: UTDCall) -> None:
        """Forged, foreign, and broken messages; none of them may ring, or end what rings."""
        forged = replace(call, call_id=f"forged_{next(self._numbers)}")
        foreign = replace(call, callee_identity="neighbour")
        for event, each in (
            (messages.CALL_INITIATED, forged),
            (messages.CALL_INITIATED, foreign),
            (messages.CALL_CANCELLED, call),
        ):
            payload = messages.encode_call_event(messages.CallEvent(event, 1, self.moment(), each))
            self._deliver(payload, "", "")
        self._deliver(payload[:-9], "", "")

    def _deliver(self, payload: bytes, event: str, call_id: str) -> None:
        if not (self.link_is_up and self.lane.is_on):
            self.held.append(lambda: self._deliver(payload, event, call_id))
            return
        self.deliveries += 1
        fate = self.fates.get(call_id)
        if fate is not None and event != messages.CALL_INITIATED and fate.heard_over_at is None:
            fate.heard_over_at = self.time.now_s
        self.keeper.take_message(payload)

    # -- troubles --------------------------------------------------------------------------------------

    def _next_trouble(self) -> None:
        self.time.at(self.time.now_s + self.random.uniform(5, 120), self._trouble)

    def _trouble(self) -> None:
        if self.is_quiet:
            return
        lasts_s = self.random.choice((0.5, 3.0, 20.0, 200.0))
        kind = self.random.choice(("engine", "link", "device"))
        if kind == "engine":
            self.engine_is_up = False
        elif kind == "link":
            self.link_is_up = False
            if self.random.random() < 0.5:  # or it is half-open, and nobody has noticed
                self.keeper.take_connection(False)
        else:
            self.lane.is_on = False
        self.counts[kind] += 1
        self.time.at(self.time.now_s + lasts_s * self.random.random(), self._end_of_troubles)
        self._next_trouble()

    def _end_of_troubles(self) -> None:
        self.engine_is_up = self.link_is_up = self.lane.is_on = True
        held, self.held = self.held, []
        self.random.shuffle(held)
        if held and self.random.random() < 0.3:
            held = []  # a broker without a memory
        for deliver in held:
            deliver()
        self.keeper.take_connection(True)
        self.lane.work()

    # -- the oracle ------------------------------------------------------------------------------------

    def _rang(self, call: UTDCall) -> None:
        now_s, fate = self.time.now_s, self.fates.get(call.call_id)
        self.counts["rings"] += 1
        if fate is None or call.callee_identity != ME:
            self.faults.append(f"{call.call_id} rings, and is no call of ours")
            return
        if fate.rang_at is not None:
            self.faults.append(f"{call.call_id} rings twice")
        if fate.over_at is not None and fate.over_at < self._asked_at:
            self.faults.append(f"{call.call_id} rings, and was over when the engine was asked")
        if fate.heard_over_at is not None and fate.heard_over_at <= now_s:
            self.faults.append(f"{call.call_id} rings, and its end was heard")
        if fate.answered_here:
            self.faults.append(f"{call.call_id} rings, and this device had answered it")
        fate.rang_at = now_s

    def _told(self, call: UTDCall, reason: CancelReason) -> None:
        self.counts["ends"] += 1
        self.fates[call.call_id].told.append((self.time.now_s, reason))

    def _judge(self) -> None:
        for call_id, fate in self.fates.items():
            self._judge_call(call_id, fate)
        left = set(self.keeper._book._live)
        ringing = {call_id for call_id, fate in self.fates.items() if fate.over_at is None}
        if not left <= ringing:
            self.faults.append(f"not forgotten: {sorted(left - ringing)}")

    def _judge_call(self, call_id: str, fate: Fate) -> None:
        reasons = [reason for _, reason in fate.told]
        if fate.rang_at is None:
            if fate.askable_s > self.found_within_s:
                self.faults.append(f"{call_id} was unanswered for {fate.askable_s:.1f} s and never rang")
            if reasons:
                self.faults.append(f"{call_id} never rang, and its end was told: {reasons}")
            return
        if len(reasons) > 1:
            self.faults.append(f"{call_id}: its end was told more than once: {reasons}")
        if fate.over_at is None:
            return
        elsewhere = {CancelReason.ANSWERED_ELSEWHERE, CancelReason.REJECTED_ELSEWHERE} & {*reasons}
        if fate.answered_here and elsewhere:
            self.faults.append(f"{call_id} was answered here, and told as {reasons}")
        if not fate.answered_here and not reasons:
            self.faults.append(f"{call_id} rang, was over, and nobody was told ({fate.reason})")
        expected = TRUE_REASON[fate.reason or ""]
        is_sure = not fate.tried_here and not self._was_silent(fate)
        if reasons and is_sure and reasons[0] is not expected:
            self.faults.append(f"{call_id}: told as {reasons[0]}, was {expected}")
        if reasons and fate.told[0][0] < fate.over_at and not self._was_silent(fate):
            self.faults.append(f"{call_id} was told as over before it was")

    def _was_silent(self, fate: Fate) -> bool:
        """True when it rang past its end because nobody could be asked: then it counts as missed."""
        ended_s = fate.made_at + RING_S
        return bool(fate.told) and fate.told[0][1] is CancelReason.MISSED and fate.told[0][0] >= ended_s
