"""The inbox: each call rings once, in time, verified; what does not ring is counted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import cast

import pytest
from facts import eventually

from utdstream._rings.inbox import (
    CallCancelled,
    CallEngine,
    CancelReason,
    IncomingCall,
    IncomingCallInbox,
    IncomingCalls,
    IncomingSink,
)
from utdstream._threads.deadline import Deadline
from utdstream._wire import messages
from utdstream.config import ClientConfig
from utdstream.errors import (
    AuthenticationFailed,
    Conflict,
    EngineUnreachable,
    NotFound,
    PermissionDenied,
    RateLimited,
    SessionClosed,
)
from utdstream.models import UTDCall, UTDCallStatus, UTDStreamType

ME = "house"
NOW = datetime(2031, 1, 1, tzinfo=timezone.utc)
"""The engine's clock: far from this machine's on purpose."""
S = UTDCallStatus


class Transport:
    """A transport whose messages the test sends itself."""

    def __init__(self) -> None:
        self.sink: IncomingSink | None = None
        self.stopped = 0

    def start(self, *, app_id: str, identity: str, sink: IncomingSink) -> None:
        self.sink = sink

    def stop(self) -> None:
        self.stopped += 1

    def tell(self, call: UTDCall, event: str = messages.CALL_INITIATED) -> None:
        assert self.sink is not None
        self.sink.message(messages.encode_call_event(messages.CallEvent(event, 1, NOW, call)))


class Engine:
    """An engine that a test scripts: the calls it knows, and what to do first when it is asked."""

    def __init__(self) -> None:
        self.calls: dict[str, UTDCall] = {}
        self.time = NOW
        self.tells_time = True
        self.lists = 0
        self.gets: list[str] = []
        self.down = False
        self.list_hides = False
        self.before_get: list[Callable[[], None]] = []
        self.after_list: list[Callable[[], None]] = []
        self.lock = threading.Lock()

    def told_time(self) -> datetime | None:
        return self.time if self.tells_time else None

    def get_call(self, call_id: str, deadline: Deadline) -> UTDCall:
        self.gets.append(call_id)
        if self.down:
            raise EngineUnreachable("down")
        call = self.calls.get(call_id)
        if self.before_get:
            self.before_get.pop(0)()
        if call is None:
            raise NotFound("no such call", 404)
        return call

    def list_calls(
        self, *, identity: str, statuses: Sequence[UTDCallStatus], deadline: Deadline
    ) -> list[UTDCall]:
        if self.down:
            self.lists += 1
            raise EngineUnreachable("down")
        found = [
            call
            for call in list(self.calls.values())
            if not self.list_hides and call.status in statuses and call.callee_identity == identity
        ]
        if self.after_list:
            self.after_list.pop(0)()
        self.lists += 1
        return found

    def has(self, call_id: str, status: UTDCallStatus = S.INITIATING, **fields: object) -> UTDCall:
        call = UTDCall(
            call_id=call_id,
            status=status,
            type=UTDStreamType.VIDEO_CALL,
            caller_identity="door",
            callee_identity=ME,
            caller_name="Front door",
            created_at=NOW,
            expires_at=self.time + timedelta(seconds=30),
        )
        self.calls[call_id] = replace(call, **fields)  # type: ignore[arg-type]
        return self.calls[call_id]

    def becomes(self, call_id: str, status: UTDCallStatus, **fields: object) -> UTDCall:
        self.calls[call_id] = replace(self.calls[call_id], status=status, **fields)  # type: ignore[arg-type]
        return self.calls[call_id]


class Answers:
    """What the client does when a ring is answered."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.inbox: IncomingCallInbox
        self.given: list[tuple[object, ...]] = []
        self.raises: Exception | None = None
        self.during: Callable[[], None] | None = None

    def _answer(self, call_id: str, status: UTDCallStatus, *given: object) -> None:
        self.given.append(given)
        with self.inbox.answering(call_id):
            if self.raises is not None:
                raise self.raises
            self.engine.becomes(call_id, status)
            if self.during is not None:
                self.during()

    def prepare(self) -> None:
        self.prepared = getattr(self, "prepared", 0) + 1

    def accept(self, call_id: str, type: UTDStreamType, timeout: float | None) -> object:
        self._answer(call_id, S.ACTIVE, "accept", call_id, type, timeout)
        return "the session"

    def reject(self, call_id: str, timeout: float | None) -> None:
        self._answer(call_id, S.REJECTED, "reject", call_id, timeout)

    def busy(self, call_id: str, timeout: float | None) -> None:
        self._answer(call_id, S.BUSY, "busy", call_id, timeout)


class Desk:
    """An inbox with everything around it."""

    def __init__(self, *, ring_poll_s: float = 60.0, ring_check_s: float = 60.0) -> None:
        self.transport = Transport()
        self.engine = Engine()
        self.answers = Answers(self.engine)
        self.rings: list[IncomingCall] = []
        self.cancels: list[CallCancelled] = []
        self.markers = 0
        self.inbox = self.answers.inbox = self.open(ring_poll_s, ring_check_s)
        self.inbox.ringing.subscribe(self.rings.append)
        self.inbox.cancelled.subscribe(self.cancels.append)
        eventually(lambda: self.engine.lists >= 1, "the first poll is done")

    def open(self, ring_poll_s: float = 60.0, ring_check_s: float = 60.0) -> IncomingCallInbox:
        return IncomingCallInbox(
            app_id="app",
            identity=ME,
            transport=cast("IncomingCalls", self.transport),
            engine=cast("CallEngine", self.engine),
            answers=self.answers,  # type: ignore[arg-type]  # a session made of a string
            config=ClientConfig(ring_poll_s=ring_poll_s, ring_check_s=ring_check_s),
            report=None,
        )

    def rang(self, *call_ids: str) -> None:
        eventually(lambda: len(self.rings) >= len(call_ids), f"{call_ids} rang, got {self.rings}")
        assert [ring.call_id for ring in self.rings] == list(call_ids)

    def settle(self) -> None:
        """Everything sent so far has been worked on: a marker call has rung after it."""
        self.markers += 1
        marker = f"marker{self.markers}"
        self.transport.tell(self.engine.has(marker))
        eventually(lambda: self.rings and self.rings[-1].call_id == marker, "the marker rang")
        self.rings.pop()
        self.engine.calls.pop(marker)

    def count(self, **expected: int) -> None:
        counters = self.inbox.counters
        for name, value in expected.items():
            assert getattr(counters, name) == value, (name, counters)


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.inbox.dispose()


@pytest.fixture
def quick_desk() -> Iterator[Desk]:
    made = Desk(ring_poll_s=0.05)
    yield made
    made.inbox.dispose()


def test_ring_when_the_engine_confirms_it_carries_the_engines_facts(desk: Desk) -> None:
    """What the program gets comes from the engine, not from the message."""
    call = desk.engine.has("c1", metadata={"gate": 3})
    desk.transport.tell(replace(call, caller_name="Forged", caller_identity="mallory"))
    desk.rang("c1")
    ring = desk.rings[0]
    assert (ring.caller_identity, ring.caller_name, ring.type) == ("door", "Front door", call.type)
    assert (ring.created_at, ring.expires_at, ring.metadata) == (NOW, call.expires_at, {"gate": 3})
    assert "inbox" not in repr(ring)
    hash(ring)
    desk.count(received=1, rung=1, found_by_poll=0)


def test_ring_when_delivered_often_happens_once(desk: Desk) -> None:
    """At-least-once delivery is one ring."""
    call = desk.engine.has("c1")
    for _ in range(10):
        desk.transport.tell(call)
    desk.settle()
    desk.rang("c1")
    desk.count(duplicates=9)


def test_ring_when_the_button_is_pressed_again_happens_again(desk: Desk) -> None:
    """A second press is a second call."""
    desk.transport.tell(desk.engine.has("c1"))
    desk.transport.tell(desk.engine.has("c2"))
    desk.rang("c1", "c2")


def test_ring_when_expired_by_the_engines_clock_never_happens(desk: Desk) -> None:
    """This machine's own clock has no say."""
    desk.transport.tell(desk.engine.has("old", expires_at=NOW))
    desk.transport.tell(desk.engine.has("fresh", expires_at=NOW + timedelta(seconds=1)))
    desk.rang("fresh")
    desk.count(expired=1)


def test_ring_when_the_engine_says_it_expired_never_happens(desk: Desk) -> None:
    """A message that claims more time than the engine gives is not believed."""
    call = desk.engine.has("c1", expires_at=NOW - timedelta(seconds=1))
    desk.transport.tell(replace(call, expires_at=NOW + timedelta(days=900)))
    desk.settle()
    assert desk.rings == []
    desk.count(expired=1)


@pytest.mark.parametrize(
    "payload",
    [b"", b"null", b"[]", b"\xff\xfe", b"{}", b'{"v":1}', b"[" * 10_000, b"x" * 20_000, b'{"v":2,"event":1}'],
)
def test_message_when_malformed_is_counted_and_nothing_else(desk: Desk, payload: bytes) -> None:
    """Garbage neither rings nor raises on the transport's thread."""
    assert desk.transport.sink is not None
    desk.transport.sink.message(payload)
    desk.count(received=1, malformed=1)


def test_message_when_for_somebody_else_is_foreign(desk: Desk) -> None:
    """A broker that leaks other people's rings does not ring here, even when the engine would tell."""
    desk.transport.tell(replace(desk.engine.has("c1"), callee_identity="neighbour"))
    desk.count(foreign=1)
    assert desk.engine.gets == []


@pytest.mark.parametrize("error", [NotFound("no", 404), PermissionDenied("no", 403), Conflict("no", 409)])
def test_ring_when_the_engine_refuses_to_confirm_never_happens(desk: Desk, error: Exception) -> None:
    """A forged ring is silence and a count."""

    def refuse() -> None:
        raise error

    desk.engine.before_get.append(refuse)
    desk.transport.tell(desk.engine.has("forged"))
    desk.settle()
    assert desk.rings == []
    desk.count(unverified=1)


def test_ring_when_the_engine_knows_another_callee_never_happens(desk: Desk) -> None:
    """A replay of somebody else's call with our name on it."""
    call = desk.engine.has("c1", callee_identity="neighbour")
    desk.transport.tell(replace(call, callee_identity=ME))
    desk.settle()
    assert desk.rings == []
    desk.count(unverified=1)


@pytest.mark.parametrize("status", [S.ACTIVE, S.ENDED, S.REJECTED, S.BUSY, S.MISSED])
def test_ring_when_the_call_is_over_never_happens(desk: Desk, status: UTDCallStatus) -> None:
    """A late message of a finished call is suppressed."""
    call = desk.engine.has("c1", status)
    desk.transport.tell(replace(call, status=S.INITIATING))
    desk.settle()
    assert desk.rings == []
    desk.count(suppressed=1)


@pytest.mark.parametrize(
    "error", [EngineUnreachable("x", 503), RateLimited("slow"), AuthenticationFailed("x", 401)]
)
def test_ring_when_the_engine_recovers_happens_late(desk: Desk, error: Exception) -> None:
    """A failed question is asked again; nothing rings unverified meanwhile."""

    def fail() -> None:
        raise error

    desk.engine.before_get += [fail, fail]
    desk.transport.tell(desk.engine.has("c1"))
    desk.rang("c1")
    assert desk.engine.gets == ["c1"] * 3


def test_ring_when_the_engine_recovers_after_expiry_never_happens(desk: Desk) -> None:
    """Asking again ends with the call's own time."""

    def fail() -> None:
        desk.engine.time += timedelta(seconds=60)
        raise EngineUnreachable("down")

    desk.engine.before_get.append(fail)
    desk.transport.tell(desk.engine.has("c1"))
    eventually(lambda: desk.inbox.counters.expired == 1, "the ring is given up")
    assert desk.rings == []


def test_ring_when_its_message_is_lost_is_found_by_the_poll(quick_desk: Desk) -> None:
    """The engine is asked every `ring_poll_s` while no messages come."""
    quick_desk.engine.has("c1")
    quick_desk.rang("c1")
    quick_desk.count(found_by_poll=1, received=0)


def test_ring_when_a_connected_broker_loses_its_message_is_found_by_the_check() -> None:
    """The engine is asked every `ring_check_s` while messages do come, and no longer when they do not."""
    desk = Desk(ring_poll_s=3600.0, ring_check_s=0.05)
    assert desk.transport.sink is not None
    desk.transport.sink.connection(True)
    desk.engine.has("c1")
    desk.rang("c1")
    desk.transport.sink.connection(False)
    desk.settle()
    lists = desk.engine.lists
    desk.settle()
    assert desk.engine.lists == lists
    desk.inbox.dispose()


def test_polls_when_one_has_begun_as_the_transport_comes_up_are_one_chain_all_the_same(desk: Desk) -> None:
    """The one that was planned before does nothing any more, and plans no other."""
    keeper = desk.inbox._keeper
    desk.settle()
    planned = keeper._polls_planned
    lists = desk.engine.lists
    keeper.take_connection(True)
    keeper._poll_and_plan(planned)
    eventually(lambda: keeper._polls_planned == planned + 2, "the next one is planned")
    desk.settle()
    assert desk.engine.lists == lists + 1


def test_polls_when_a_call_rings_come_soon_though_messages_come() -> None:
    """Its end may be the message that is lost; at rest the engine is asked rarely."""
    desk = Desk(ring_poll_s=0.05, ring_check_s=3600.0)
    assert desk.transport.sink is not None
    desk.transport.sink.connection(True)
    desk.settle()
    eventually(lambda: not desk.inbox._keeper._book.is_anything_live, "nothing rings")
    eventually(lambda: desk.inbox._keeper._is_far, "it is asked rarely")
    desk.transport.tell(desk.engine.has("c1"))
    desk.rang("c1")
    desk.engine.calls.pop("c1")
    eventually(lambda: [gone.call_id for gone in desk.cancels][-1:] == ["c1"], "its end is found by asking")
    eventually(lambda: desk.inbox._keeper._is_far, "it is asked rarely again")
    desk.inbox.dispose()


def test_polls_when_the_engine_does_not_answer_come_soon_though_messages_come() -> None:
    """A lost ring must not wait for two checks."""
    desk = Desk(ring_poll_s=0.05, ring_check_s=3600.0)
    assert desk.transport.sink is not None
    desk.engine.down = True
    desk.transport.sink.connection(True)
    eventually(lambda: desk.inbox.counters.failed_polls >= 3, "it is asked again and again")
    desk.engine.down = False
    eventually(lambda: desk.inbox._keeper._is_far, "it is asked rarely again")
    desk.inbox.dispose()


def test_ring_when_the_transport_comes_up_is_asked_for_at_once(desk: Desk) -> None:
    """What rang while the transport was away rings on its return, once."""
    assert desk.transport.sink is not None
    call = desk.engine.has("c1")
    desk.transport.sink.connection(True)
    desk.rang("c1")
    assert desk.inbox.connected.value
    desk.transport.tell(call)
    desk.transport.sink.connection(False)
    desk.transport.sink.connection(True)
    desk.settle()
    desk.rang("c1")
    desk.count(duplicates=1)


def test_ring_when_a_poll_fails_is_found_by_a_later_one(quick_desk: Desk) -> None:
    """An engine that was down is asked again, and the failures are counted."""
    quick_desk.engine.down = True
    eventually(lambda: quick_desk.inbox.counters.failed_polls >= 2, "polls fail")
    quick_desk.engine.has("c1")
    quick_desk.engine.down = False
    quick_desk.rang("c1")


def test_ring_when_nobody_listens_yet_waits_for_the_first_listener() -> None:
    """A stored message may be faster than the program's `subscribe`."""
    desk = Desk()
    desk.inbox.dispose()
    desk.engine.has("c1")
    inbox = desk.open()
    eventually(lambda: inbox.counters.rung == 1, "the first poll found it")
    rings: list[str] = []
    inbox.ringing.subscribe(lambda ring: rings.append(ring.call_id))
    eventually(lambda: rings == ["c1"], "the ring was kept")
    inbox.dispose()


def test_ring_when_nobody_listens_and_it_ends_is_forgotten() -> None:
    """A program that subscribes late hears no ghost."""
    desk = Desk()
    desk.inbox.dispose()
    desk.engine.has("c1")
    inbox = desk.open()
    eventually(lambda: inbox.counters.rung == 1, "the first poll found it")
    desk.transport.tell(desk.engine.becomes("c1", S.MISSED), messages.CALL_MISSED)
    eventually(lambda: inbox.counters.cancelled == 1, "its end was noticed")
    rings: list[str] = []
    inbox.ringing.subscribe(lambda ring: rings.append(ring.call_id))
    inbox.dispose()
    assert rings == []


def test_rings_when_waited_for_one_by_one_are_all_seen(desk: Desk) -> None:
    """A script in a loop of `wait()` misses none between two waits."""
    desk.inbox.dispose()
    desk.engine.has("c1")
    desk.engine.has("c2")
    inbox = desk.open()
    seen = {inbox.ringing.wait(timeout=5).call_id}
    desk.transport.tell(desk.engine.has("c3"))
    eventually(lambda: inbox.counters.rung == 3, "all rang")
    seen |= {inbox.ringing.wait(timeout=5).call_id, inbox.ringing.wait(timeout=5).call_id}
    inbox.dispose()
    assert seen == {"c1", "c2", "c3"}


@pytest.mark.parametrize(
    ("event", "status", "fields", "reason"),
    [
        (messages.CALL_CANCELLED, S.ENDED, {"end_reason": "caller_cancelled"}, CancelReason.CANCELLED),
        (messages.CALL_MISSED, S.MISSED, {}, CancelReason.MISSED),
        (messages.CALL_ANSWERED_ELSEWHERE, S.ACTIVE, {}, CancelReason.ANSWERED_ELSEWHERE),
        (messages.CALL_ENDED, S.ENDED, {}, CancelReason.ENDED),
        (messages.CALL_ENDED, S.ENDED, {"answered_at": NOW}, CancelReason.ANSWERED_ELSEWHERE),
        (messages.CALL_ENDED, S.ENDED, {"end_reason": "ring_timeout"}, CancelReason.MISSED),
        (messages.CALL_ENDED, S.REJECTED, {}, CancelReason.REJECTED_ELSEWHERE),
    ],
)
def test_cancel_when_confirmed_is_told_once_with_the_engines_reason(
    desk: Desk, event: str, status: UTDCallStatus, fields: dict[str, object], reason: CancelReason
) -> None:
    """The reason comes from the call's state, whatever the message was called."""
    desk.transport.tell(desk.engine.has("c1"))
    desk.rang("c1")
    over = desk.engine.becomes("c1", status, **fields)
    for _ in range(3):
        desk.transport.tell(over, event)
    desk.settle()
    assert desk.cancels == [CallCancelled("c1", reason, "door")]
    assert desk.cancels[0].reason == reason.value
    desk.count(cancelled=1)


def test_cancel_when_forged_is_ignored(desk: Desk) -> None:
    """A call that the engine still shows as ringing goes on ringing."""
    call = desk.engine.has("c1")
    desk.transport.tell(call)
    desk.rang("c1")
    for _ in range(5):
        desk.transport.tell(call, messages.CALL_CANCELLED)
    desk.settle()
    assert desk.cancels == []
    desk.transport.tell(desk.engine.becomes("c1", S.MISSED), messages.CALL_MISSED)
    eventually(lambda: len(desk.cancels) == 1, "the true end is told")


def test_cancel_when_of_a_call_that_never_rang_is_silent(desk: Desk) -> None:
    """Nobody needs to know."""
    desk.transport.tell(desk.engine.has("c1", S.ENDED), messages.CALL_CANCELLED)
    desk.settle()
    assert desk.cancels == []
    desk.count(stray_cancels=1)


def test_cancel_when_it_overtakes_the_ring_suppresses_it(desk: Desk) -> None:
    """The answer that was under way when the cancel came is too old to ring on."""
    call = desk.engine.has("c1")

    def cancel_meanwhile() -> None:
        desk.transport.tell(desk.engine.becomes("c1", S.ENDED), messages.CALL_CANCELLED)

    desk.engine.before_get.append(cancel_meanwhile)
    desk.transport.tell(call)
    desk.settle()
    assert desk.rings == []
    assert desk.cancels == []
    desk.count(suppressed=1)


def test_cancel_when_it_comes_during_a_poll_suppresses_what_the_poll_found(quick_desk: Desk) -> None:
    """A list that is older than the cancel rings nothing."""
    desk = quick_desk
    done = threading.Event()

    def cancel_meanwhile() -> None:
        desk.transport.tell(desk.engine.becomes("c1", S.ENDED), messages.CALL_CANCELLED)
        done.set()

    with desk.engine.lock:
        desk.engine.has("c1", expires_at=None)
        desk.engine.after_list.append(cancel_meanwhile)
    assert done.wait(5)
    desk.settle()
    assert [ring.call_id for ring in desk.rings] in ([], ["c1"])
    if desk.rings:  # a poll before the scripted one found it first: then its end must be told
        eventually(lambda: [cancel.call_id for cancel in desk.cancels] == ["c1"], "the end is told")


def test_cancel_when_its_message_is_lost_is_found_by_the_poll(quick_desk: Desk) -> None:
    """A ring that the engine no longer lists is confirmed to be over, and told."""
    quick_desk.transport.tell(quick_desk.engine.has("c1"))
    quick_desk.rang("c1")
    quick_desk.engine.becomes("c1", S.MISSED)
    eventually(lambda: [cancel.reason for cancel in quick_desk.cancels] == ["missed"], "the end is found")


def test_poll_when_it_lists_too_little_cancels_nothing(quick_desk: Desk) -> None:
    """Missing from a list is a hint too: the call itself is asked about."""
    quick_desk.transport.tell(quick_desk.engine.has("c1"))
    quick_desk.rang("c1")
    quick_desk.engine.list_hides = True
    polls = quick_desk.engine.lists
    eventually(lambda: quick_desk.engine.lists > polls + 3, "some polls later")
    assert quick_desk.cancels == []


def test_ring_when_the_engine_stays_silent_past_its_end_is_missed(quick_desk: Desk) -> None:
    """Nothing rings for ever because nobody can be asked."""
    quick_desk.transport.tell(quick_desk.engine.has("c1"))
    quick_desk.rang("c1")
    quick_desk.engine.down = True
    quick_desk.engine.time += timedelta(seconds=60)
    eventually(lambda: [cancel.reason for cancel in quick_desk.cancels] == ["missed"], "the ring ends")


@pytest.mark.parametrize("how", ["accept", "reject", "busy"])
def test_answer_when_given_in_the_ring_callback_reaches_the_client_and_is_no_cancel(how: str) -> None:
    """The answering device is not told that the call was answered elsewhere."""
    desk = Desk(ring_poll_s=0.05)
    results: list[object] = []
    desk.inbox.ringing.subscribe(lambda ring: results.append(getattr(ring, how)(timeout=3)))

    def echo() -> None:
        desk.transport.tell(desk.engine.calls["c1"], messages.CALL_ANSWERED_ELSEWHERE)

    desk.answers.during = echo
    desk.transport.tell(desk.engine.has("c1"))
    eventually(lambda: len(results) == 1, "the callback has answered")
    polls = desk.engine.lists
    eventually(lambda: desk.engine.lists > polls + 2, "some polls later")
    assert desk.answers.given == [
        ("accept", "c1", UTDStreamType.VIDEO_CALL, 3) if how == "accept" else (how, "c1", 3)
    ]
    assert results == ["the session" if how == "accept" else None]
    assert desk.cancels == []
    desk.inbox.dispose()


def test_answer_when_it_fails_tells_what_became_of_the_call(desk: Desk) -> None:
    """Answered elsewhere a moment earlier: the conflict is raised, and the cancel follows."""
    desk.transport.tell(desk.engine.has("c1"))
    desk.rang("c1")
    desk.answers.raises = Conflict("it was answered already", 409)
    desk.engine.becomes("c1", S.ACTIVE)
    with pytest.raises(Conflict):
        desk.rings[0].accept()
    eventually(lambda: [cancel.reason for cancel in desk.cancels] == ["answered_elsewhere"], "it is told")


def test_answer_when_given_past_the_inbox_is_no_cancel(desk: Desk) -> None:
    """`client.call_session(...).accept(call_id)` tells the inbox by `answering`."""
    desk.transport.tell(desk.engine.has("c1"))
    desk.rang("c1")
    with desk.inbox.answering("c1"):
        desk.transport.tell(desk.engine.becomes("c1", S.ACTIVE), messages.CALL_ANSWERED_ELSEWHERE)
    desk.settle()
    assert desk.cancels == []


def test_answer_when_its_message_comes_only_meanwhile_neither_rings_nor_cancels(desk: Desk) -> None:
    """Answered by the id that a push brought: what the broker brings later is this device's own call."""
    call = desk.engine.has("c1")
    with desk.inbox.answering("c1"):
        desk.transport.tell(call)
        desk.settle()
        assert desk.rings == []
        desk.transport.tell(desk.engine.becomes("c1", S.ACTIVE), messages.CALL_ANSWERED_ELSEWHERE)
    desk.transport.tell(call)
    desk.settle()
    assert (desk.rings, desk.cancels) == ([], [])


def test_answer_when_it_fails_before_the_call_rang_lets_it_ring(desk: Desk) -> None:
    """An accept of an id whose ring was not confirmed yet takes that ring from nobody."""
    with pytest.raises(EngineUnreachable), desk.inbox.answering("c1"):  # noqa: PT012 - what fails is the answer
        desk.transport.tell(desk.engine.has("c1"))
        desk.settle()
        raise EngineUnreachable("lost")
    desk.rang("c1")
    assert desk.cancels == []


def test_answer_when_two_are_given_at_once_is_no_cancel_of_the_one_that_won(desk: Desk) -> None:
    """The first fails while the second is under way: what becomes of the call is still ours."""
    desk.transport.tell(desk.engine.has("c1"))
    desk.rang("c1")
    with desk.inbox.answering("c1"):
        with pytest.raises(Conflict), desk.inbox.answering("c1"):
            raise Conflict("being answered", 409)
        desk.transport.tell(desk.engine.becomes("c1", S.ACTIVE), messages.CALL_ANSWERED_ELSEWHERE)
        desk.settle()
    desk.settle()
    assert desk.cancels == []


@pytest.mark.parametrize(
    ("status", "fields"),
    [(S.ACTIVE, {}), (S.ENDED, {"answered_at": NOW}), (S.REJECTED, {})],
)
def test_answer_when_it_was_taken_and_failed_then_is_not_told_as_another_devices(
    desk: Desk, status: UTDCallStatus, fields: dict[str, object]
) -> None:
    """The room could not be joined, or the engine's answer was lost: the ring ended, and nobody else did it."""
    desk.transport.tell(desk.engine.has("c1"))
    desk.rang("c1")
    with pytest.raises(EngineUnreachable), desk.inbox.answering("c1"):
        raise EngineUnreachable("the room cannot be reached")
    desk.transport.tell(desk.engine.becomes("c1", status, **fields), messages.CALL_ANSWERED_ELSEWHERE)
    eventually(lambda: [cancel.reason for cancel in desk.cancels] == [CancelReason.ENDED], "it is told")


def test_ring_when_the_engine_never_told_its_time_is_judged_by_its_state(desk: Desk) -> None:
    """Without the engine's own word there is no clock to call anything expired by."""
    desk.engine.tells_time = False
    desk.transport.tell(desk.engine.has("c1", expires_at=NOW - timedelta(days=400)))
    desk.transport.tell(desk.engine.has("over", S.MISSED))
    desk.settle()
    desk.rang("c1")
    desk.count(expired=0, suppressed=1)


def test_ring_when_nobody_tells_the_time_ends_after_its_own_length(quick_desk: Desk) -> None:
    """How long it rings is the difference of two times of the engine: no clock is needed for that."""
    quick_desk.engine.tells_time = False
    call = quick_desk.engine.has("c1", expires_at=NOW - timedelta(seconds=5))
    assert call.created_at is not None
    quick_desk.rang("c1")
    quick_desk.engine.down = True
    eventually(lambda: [cancel.reason for cancel in quick_desk.cancels] == ["missed"], "the ring ends")


def test_messages_when_there_are_too_many_are_dropped_and_the_poll_finds_the_call(desk: Desk) -> None:
    """A flood of forged rings fills a bounded table; the real call rings all the same."""
    hold = threading.Event()
    desk.engine.before_get.append(lambda: hold.wait(5) and None)  # type: ignore[arg-type] # what it answers is not read
    template = desk.engine.has("real")
    for number in range(400):
        desk.transport.tell(replace(template, call_id=f"forged{number}"))
    desk.transport.tell(template)
    assert desk.inbox.counters.dropped == 401 - 256
    hold.set()
    eventually(lambda: desk.inbox.counters.unverified == 256, "the flood is refused")
    assert desk.transport.sink is not None
    desk.transport.sink.connection(True)
    desk.rang("real")


def test_dispose_when_rings_are_under_way_lets_none_through() -> None:
    """A verification that ends after dispose rings nothing; later messages are ignored."""
    desk = Desk()
    asked, hold = threading.Event(), threading.Event()

    def slow() -> None:
        asked.set()
        hold.wait(5)

    desk.engine.before_get.append(slow)
    call = desk.engine.has("c1")
    desk.transport.tell(call)
    assert asked.wait(5)
    closer = threading.Thread(target=desk.inbox.dispose)
    closer.start()
    eventually(lambda: desk.transport.stopped == 1, "dispose is under way")
    hold.set()
    closer.join()
    desk.transport.tell(call)
    desk.inbox.dispose()
    assert desk.rings == []
    assert desk.inbox.counters.received == 1
    assert desk.transport.stopped == 1


def test_dispose_when_called_in_the_ring_callback_ends_the_inbox() -> None:
    """And rings that waited behind that callback never begin."""
    desk = Desk()
    rings: list[str] = []
    second = threading.Event()

    def close_it(ring: IncomingCall) -> None:
        rings.append(ring.call_id)
        second.wait(5)
        desk.inbox.dispose()

    desk.inbox.ringing.subscribe(close_it)
    desk.transport.tell(desk.engine.has("c1"))
    desk.transport.tell(desk.engine.has("c2"))
    eventually(lambda: desk.inbox.counters.rung == 2, "both rang")
    second.set()
    eventually(lambda: desk.transport.stopped == 1, "the callback disposed")
    eventually(lambda: rings == ["c1"], "only the first was told")


def test_dispose_when_its_transport_takes_its_time_is_back_by_its_deadline() -> None:
    """A transport may take two seconds to stop; nothing rings any more meanwhile."""
    desk = Desk()
    may_stop, stopped = threading.Event(), threading.Event()

    def stop() -> None:
        may_stop.wait(10)
        stopped.set()

    desk.transport.stop = stop  # type: ignore[method-assign]  # as slow as a name server can make it
    desk.inbox.dispose(timeout=0.05)
    assert not stopped.is_set()
    desk.transport.tell(desk.engine.has("late"))
    may_stop.set()
    assert stopped.wait(5)
    assert desk.rings == []


def test_wait_when_the_inbox_is_disposed_ends() -> None:
    """Who waits for a ring is not left waiting."""
    desk = Desk()
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            desk.inbox.ringing.wait(timeout=30)
        except SessionClosed as error:
            raised.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    desk.inbox.dispose()
    waiter.join(5)
    assert len(raised) == 1
