"""The timers of one side's call in virtual time: all orders of what may happen, and of how long it takes.

The real `CallFollower`, with its call, its watch for the other side and the facts of its room; work lane and clock
are virtual. The engine is its rules; it may tell nothing, be away, hang, or have lost the call. A question that
hangs takes its whole time-out, in which the world goes on. In the end all troubles are over and the other side
hangs up. At any time:

1. What the engine says is known within two pauses in which it could be asked, with or without its messages.
2. A silent engine and an empty room end the call after `SILENT_ENGINE_S`, not before, and that is said once.
3. It asks no oftener than its pauses and the hints of others allow. A call that is over asks nothing and plans
   nothing, so that its session keeps no thread.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest
from virtual_time import Lane, VirtualTime

from utdstream._calls import follower as follower_module
from utdstream._calls import life as life_module
from utdstream._calls.follower import (
    ACTIVE_POLL_S,
    HINT_GRACE_S,
    SILENT_ENGINE_S,
    CallFollower,
)
from utdstream._calls.life import CallLife, PresentCall
from utdstream._calls.peer import MISSED_AFTER_S
from utdstream._session.facts import RoomFacts
from utdstream._session.media_room import MediaRoom
from utdstream._threads.deadline import Deadline
from utdstream._threads.facts import Fact
from utdstream._threads.lanes import EventsLane, Timer
from utdstream._wire import messages
from utdstream._wire.call_states import OPEN_STATES
from utdstream.config import ClientConfig
from utdstream.engine.rules import calls
from utdstream.engine.rules.refusals import Refusal
from utdstream.errors import DeadlineExceeded, EngineUnreachable, NotFound
from utdstream.media import Devices
from utdstream.models import (
    Connection,
    ConnectionState,
    DataMessage,
    RemoteParticipant,
    UTDCall,
    UTDCallStatus,
    UTDStreamType,
)
from utdstream.observe import CallbackError

S = UTDCallStatus
DEPTH = int(os.environ.get("UTD_CALL_TIMERS_DEPTH", "2"))
BEGAN = datetime(2031, 1, 1, tzinfo=timezone.utc)
RING_S = 30.0
CALLER, CALLEE, CALL = "door", "house", "call_1"
CONFIG = ClientConfig()
LAST_REACTION_S = max(HINT_GRACE_S, MISSED_AFTER_S)
"""What is planned beside the poll, and finds the call over."""


class CountingLane(Lane):
    """A work lane that shows what is still planned on it, and when that is due."""

    def __init__(self, time: VirtualTime) -> None:
        super().__init__(time)
        self._clock = time
        self._planned: dict[Timer, float] = {}

    def call_later(self, delay_s: float, job: Callable[[], object]) -> Timer:
        def run() -> None:
            del self._planned[timer]
            job()

        timer = super().call_later(delay_s, run)
        self._planned[timer] = self._clock.now_s + delay_s
        return timer

    def last_due_s(self) -> float:
        """From now; 0: nothing is planned."""
        due = [due for timer, due in self._planned.items() if not timer.cancelled]
        return max(due) - self._clock.now_s if due else 0.0


class Room:
    """The connect of the call's room: whether it is over."""

    def __init__(self) -> None:
        self.over = False
        self.loop = self

    def post(self, job: object) -> None: ...

    def begin_leaving(self) -> None: ...


class Side:
    """One side's call, what it asks, and the engine behind it."""

    def __init__(self, *, incoming: bool) -> None:
        self.time = VirtualTime()
        CLOCK.side = self
        self.lane = CountingLane(self.time)
        self.tells = True
        self.access = "up"
        self.is_asking = False
        self.asked = 0
        self.reasons_to_ask = 2
        self.pauses = 0.0
        """So many were there."""
        self.known_s = self.time.now_s
        """When the call was last as the engine has it, or could not be asked for."""
        self.reports: list[CallbackError] = []
        events = EventsLane("test")
        self.status: Fact[UTDCallStatus | None] = Fact(None, events)
        self.facts = RoomFacts(devices=Devices(), config=CONFIG, lane=events, report=self.reports.append)
        media = MediaRoom(self.facts)
        self.present = PresentCall(threading.RLock(), self.status, Fact(None, events), Fact(None, events))
        self.follower = CallFollower(
            self.present,
            media,
            kind=UTDStreamType.AUDIO_CALL,
            api=self,  # type: ignore[arg-type]  # what it asks of the engine: `get_call`
            work=self.lane,  # type: ignore[arg-type]
            config=CONFIG,
            report=self.reports.append,
        )
        self.facts.connection.watch(self.follower.take_connection)
        self.facts.remote_participants.watch(self.follower.take_people)
        self.record = calls.new_call(
            call_id=CALL,
            type=UTDStreamType.AUDIO_CALL,
            caller=CALLER,
            callee=CALLEE,
            now=self.now,
            ring_timeout_s=RING_S,
            max_duration_s=3600,
        )
        self.time.at(self.time.now_s + RING_S, lambda: self.moves(calls.miss(self.record, self.now)))
        self.life: CallLife = CallLife(S.INITIATING, CALL) if incoming else CallLife(None)
        self.present.replace(self.life)
        if incoming:
            self.moves(calls.ring(self.record, CALLEE, self.now))
        self.present.name(self.life, CALL)
        self.follower.learn(self.life, self.record.call)
        self.follower.watch(self.life)

    @property
    def now(self) -> datetime:
        return BEGAN + timedelta(seconds=self.time.now_s)

    # -- the engine --------------------------------------------------------------------------------

    def moves(self, after: calls.CallRecord) -> None:
        if after.rev == self.record.rev:
            return
        self.record = after
        if self.tells and self.facts.connection.value.state is ConnectionState.CONNECTED:
            self.follower.take_metadata(messages.room_metadata(after.call))

    def asked_to(self, act: str, actor: str) -> bool:
        try:
            self.moves(getattr(calls, act)(self.record, actor, self.now))
        except Refusal:
            return False
        return True

    def get_call(self, call_id: str, deadline: Deadline) -> UTDCall:
        """As `EngineApi`. The work lane's question."""
        assert not self.life.over, "a call that is over is asked about"
        self.asked += 1
        if self.access == "down":
            raise EngineUnreachable("refused")
        if self.access == "hangs":
            self.is_asking = True
            self.time.run_until(self.time.now_s + CONFIG.rest_timeout_s)
            self.is_asking = False
            raise DeadlineExceeded("no answer")
        if self.access == "forgot":
            raise NotFound("no such call", 404)
        return self.record.call

    def detached(self, work: Callable[[], None]) -> None:
        """As `EngineApi`: the call whose room was lost is ended there."""
        self.asked_to("end", CALLER if self.life.ours else CALLEE)

    # -- time, and the oracle ------------------------------------------------------------------------

    def passes(self, seconds: float) -> None:
        until = self.time.now_s + seconds
        self.judge(0.0)
        while self.time.now_s < until:
            began = self.time.now_s
            self.time.run_until(min(until, self.time.next_s))
            self.judge(self.time.now_s - began)

    def judge(self, passed_s: float) -> None:
        life, now_s = self.life, self.time.now_s
        if life.over:
            due_s = self.lane.last_due_s()
            assert due_s <= LAST_REACTION_S, f"it is over, and something is planned in {due_s:.1f} s"
            return
        pause_s = self.follower._pause_s(life)
        self.pauses += passed_s / pause_s
        if self.access != "up" or self.is_asking or life.status is self.record.status:
            self.known_s = now_s
        assert now_s - self.known_s <= 2 * pause_s, f"{life.status}, and it is {self.record.status}"
        assert self.asked <= self.reasons_to_ask + 2 * self.pauses, f"asked {self.asked} times"
        silent_s, is_alone = now_s - life.last_word, not self.facts.remote_participants.value
        longest_s = SILENT_ENGINE_S + ACTIVE_POLL_S + CONFIG.rest_timeout_s
        assert silent_s <= longest_s or not is_alone, f"silent for {silent_s} s"

    def comes_to_rest(self) -> None:
        """All troubles are over, and the other side hangs up."""
        self.access = "up" if self.access != "forgot" else "forgot"
        self.asked_to("end", CALLEE if self.life.ours else CALLER)
        self.passes(2 * ACTIVE_POLL_S + CONFIG.rest_timeout_s)
        assert self.life.over
        assert self.status.value not in OPEN_STATES
        assert len(self.reports) <= 1, self.reports
        self.passes(2 * ACTIVE_POLL_S)
        assert self.lane.last_due_s() == 0


# -- what may happen ---------------------------------------------------------------------------------


def show(side: Side, state: ConnectionState) -> None:
    if side.life.room is None:
        side.present.enter(side.life, Room())  # type: ignore[arg-type]
    with side.facts.lock:
        side.facts.show(Connection(state))


def lose_the_room(side: Side) -> None:
    room = side.life.room
    if room is not None:
        room.over = True
        with side.facts.lock:
            side.facts.show_away("gone", comes_back=False)
        side.reasons_to_ask += 1


def people(side: Side, *identities: str) -> None:
    side.facts.remote_participants.set(tuple(map(RemoteParticipant, identities)))
    side.reasons_to_ask += 1


def accept(side: Side) -> None:
    """This side's own accept, if it is the callee's; else the other side's."""
    if side.life.ours:
        side.asked_to("accept", CALLEE)
        return
    side.present.begin_answer(side.life)
    is_taken = side.asked_to("accept", CALLEE)
    side.present.end_answer(side.life, ours=is_taken)
    if is_taken:
        side.follower.learn(side.life, side.record.call)
        side.follower.watch(side.life)  # as `CallJoining` does


def hear(side: Side, status: UTDCallStatus) -> None:
    call = UTDCall(CALL, status, UTDStreamType.AUDIO_CALL, rev=99)
    side.follower.take_message(DataMessage(messages.call_update(call), None))
    side.reasons_to_ask += 1


def give_up(side: Side) -> None:
    side.present.end(side.life)


def set_access(access: str) -> Callable[[Side], object]:
    return lambda side: setattr(side, "access", access)


EVENTS: dict[str, Callable[[Side], object]] = {
    "it rings": lambda side: side.asked_to("ring", CALLEE),
    "it is accepted": accept,
    "it is refused": lambda side: side.asked_to("reject", CALLEE),
    "the other side hangs up": lambda side: side.asked_to("end", CALLEE if side.life.ours else CALLER),
    "this side hangs up": give_up,
    "messages are lost": lambda side: setattr(side, "tells", False),
    "the engine is away": set_access("down"),
    "the engine hangs": set_access("hangs"),
    "the engine has lost the call": set_access("forgot"),
    "the engine is back": set_access("up"),
    "the room is joined": lambda side: show(side, ConnectionState.CONNECTED),
    "the link is away": lambda side: show(side, ConnectionState.RECONNECTING),
    "the room is lost": lose_the_room,
    "the other side is there": lambda side: people(side, "other"),
    "the other side vanishes": people,
    "a forged message comes": lambda side: hear(side, S.ENDED),
}
PAUSES_S = (0.0, 7.0, 210.0)


class Clock:
    """What the modules under test ask for the time: the world that is walked now."""

    side: Side

    def monotonic(self) -> float:
        return self.side.time.monotonic()


CLOCK = Clock()


@pytest.fixture(autouse=True)
def virtual_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (follower_module, life_module):
        monkeypatch.setattr(module, "time", CLOCK)


Order = tuple[tuple[str, float], ...]


def walk(order: Order, *, incoming: bool) -> tuple[bool, int]:
    """Goes through one order and comes to rest; whether the call was over before that, and the questions."""
    side = Side(incoming=incoming)
    try:
        for name, pause_s in order:
            EVENTS[name](side)
            side.passes(pause_s)
        was_over = side.life.over
        side.comes_to_rest()
    except AssertionError as error:
        raise AssertionError(f"{error}, after {order}") from error
    return was_over, side.asked


@pytest.mark.parametrize("incoming", [False, True], ids=["caller", "callee"])
def test_timers_when_anything_happens_in_any_order_find_one_end(incoming: bool) -> None:
    """48 events with their pauses, two of them in any order; `make machine`: three."""
    waiting: list[Order] = [()]
    walked = asked = 0
    while waiting:
        order = waiting.pop()
        was_over, questions = walk(order, incoming=incoming)
        walked, asked = walked + 1, asked + questions
        if not was_over and len(order) < DEPTH:  # nothing moves one that is over: `test_call_sequences`
            waiting += [(*order, (name, pause_s)) for name in EVENTS for pause_s in PAUSES_S]
    print(f"{walked} orders, {asked} questions")  # noqa: T201 - shown by -s
    assert walked > len(EVENTS) * len(PAUSES_S)
    assert asked > walked
