"""Facts and occurrences: the four rules of `utdstream.observe`, and what may be subscribed."""

from __future__ import annotations

import itertools
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from facts import eventually

from utdstream._threads.facts import Fact, Occurrences, set_together
from utdstream._threads.lanes import EventsLane
from utdstream.errors import DeadlineExceeded, InvalidConfig, SessionClosed
from utdstream.observe import Change


@pytest.fixture
def lane() -> Iterator[EventsLane]:
    made = EventsLane("utdstream-events-test")
    yield made
    made.close()


class StuckLane:
    """A lane whose callbacks never run."""

    def __init__(self) -> None:
        self.posted: list[object] = []

    def post(self, callback: Callable[..., object], argument: object) -> None:
        self.posted.append(argument)


def in_thread(function: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """Runs `function` on a thread; its result or error goes into the list."""
    results: list[object] = []

    def run() -> None:
        try:
            results.append(function())
        except Exception as error:  # noqa: BLE001 - handed to the test
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, results


def test_value_when_a_callback_runs_is_already_new(lane: EventsLane) -> None:
    """Rule 1."""
    fact = Fact(0, lane)
    seen: list[tuple[int, int]] = []
    fact.subscribe(lambda change: seen.append((fact.value, change.new)))
    fact.set(1)
    eventually(lambda: seen == [(1, 1)], "the callback saw the new value")


def test_wait_when_the_events_lane_is_stuck_is_woken_all_the_same() -> None:
    """Rule 2: the thread that changes the fact wakes the waiter."""
    fact, signal = Fact(0, StuckLane()), Occurrences[int](StuckLane())
    fact.subscribe(lambda _change: None)
    waits = [in_thread(lambda: fact.wait_for(1, timeout=5)), in_thread(lambda: signal.wait(timeout=5))]
    eventually(lambda: fact._waiters and signal._waiters, "both wait")
    fact.set(1)
    signal.emit(2)
    for thread, _ in waits:
        thread.join()
    assert [results for _, results in waits] == [[1], [2]]


def test_facts_when_set_together_are_never_seen_apart() -> None:
    """Whoever is told of one of them finds the others as they are now, in whatever order they were told."""
    seen: list[tuple[str, bool]] = []

    class LookingLane:
        def post(self, callback: Callable[..., object], argument: object) -> None:
            seen.append((state.value, connected.value))

    state, connected = Fact("connected", LookingLane()), Fact(True, LookingLane())
    for fact in (state, connected):
        fact.subscribe(lambda _change: None)
    set_together((state, "reconnecting"), (connected, False))
    set_together((connected, True), (state, "connected"))
    set_together((connected, True), (state, "connected"))
    assert seen == 2 * [("reconnecting", False)] + 2 * [("connected", True)]


def test_wait_when_made_in_a_callback_works(lane: EventsLane) -> None:
    """Rule 2 again: a callback may wait for a fact that another thread makes true."""
    fact, trigger = Fact(0, lane), Occurrences[None](lane)
    results: list[int] = []
    trigger.subscribe(lambda _none: results.append(fact.wait_for(1, timeout=5)))
    trigger.emit(None)
    eventually(lambda: bool(fact._waiters), "the callback waits")
    fact.set(1)
    eventually(lambda: results == [1], "the callback went on")


def test_wait_when_the_value_is_gone_again_has_seen_it() -> None:
    """Rule 3: a wait sees every value, however short."""
    fact = Fact("a", StuckLane())
    thread, results = in_thread(lambda: fact.wait_for("b", timeout=5))
    eventually(lambda: bool(fact._waiters), "it waits")
    fact.set("b")
    fact.set("c")
    thread.join()
    assert results == ["b"]


def test_locks_when_code_of_the_user_runs_are_free(lane: EventsLane) -> None:
    """Rule 4: predicates and callbacks may use the very object they are called about."""
    fact, signal = Fact(0, lane), Occurrences[int](lane)

    def predicate(value: int) -> bool:
        fact.subscribe(lambda _change: None).close()
        return value == fact.value == 1

    done = threading.Event()

    def callback(_change: Change[int]) -> None:
        fact.subscribe(lambda _change: None)
        signal.subscribe(lambda _number: done.set())
        signal.emit(1)

    fact.subscribe(callback)
    thread, results = in_thread(lambda: fact.wait_for(predicate, timeout=5))
    eventually(lambda: bool(fact._waiters), "it waits")
    fact.set(1)
    thread.join()
    assert results == [1]
    assert done.wait(5)


def test_changes_when_many_threads_make_them_form_one_chain(lane: EventsLane) -> None:
    """Each change begins where the one before it ended: order of callbacks is order of values."""
    fact = Fact(-1, lane)
    changes: list[Change[int]] = []
    fact.subscribe(changes.append)
    threads = [
        threading.Thread(target=lambda base=base: [fact.set(base + i) for i in range(200)])
        for base in (0, 1000, 2000)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    eventually(lambda: len(changes) == 600, "all changes were told")
    assert all(before.new == after.old for before, after in itertools.pairwise(changes))
    assert changes[-1].new == fact.value


def test_set_when_equal_is_no_change() -> None:
    """A fact that is so already tells nobody."""
    lane = StuckLane()
    fact = Fact(1, lane)
    fact.subscribe(lambda _change: None)
    assert fact.set(1) is False
    assert fact.set(2) is True
    assert lane.posted == [Change(1, 2)]


@pytest.mark.parametrize("wanted", [1, lambda value: value == 1])
def test_wait_when_the_fact_holds_already_returns_at_once(wanted: object) -> None:
    """A value or a predicate, with no time to spare."""
    assert Fact(1, StuckLane()).wait_for(wanted, timeout=0) == 1  # type: ignore[arg-type]


def test_wait_when_it_never_comes_ends_at_its_deadline() -> None:
    """The sentence says what was there instead."""
    begun = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="7"):
        Fact(7, StuckLane()).wait_for(8, timeout=0.1)
    with pytest.raises(DeadlineExceeded):
        Occurrences[int](StuckLane()).wait(timeout=0.1)
    assert 0.2 <= time.monotonic() - begun < 1.0


def test_wait_when_infinite_is_legal_and_ends_with_the_object() -> None:
    """`math.inf` waits; disposing the owner ends it with SessionClosed, and so it does later waits."""
    fact, signal = Fact(0, StuckLane()), Occurrences[int](StuckLane())
    waits = [
        in_thread(lambda: fact.wait_for(1, timeout=math.inf)),
        in_thread(lambda: signal.wait(timeout=math.inf)),
    ]
    eventually(lambda: fact._waiters and signal._waiters, "both wait")
    fact.close()
    signal.close()
    for thread, results in waits:
        thread.join()
        assert isinstance(results[0], SessionClosed)
    with pytest.raises(SessionClosed):
        fact.wait_for(1)
    assert fact.wait_for(0) == 0


def test_wait_when_a_signal_does_not_wake_its_thread_is_interrupted_all_the_same(lane: EventsLane) -> None:
    """Control-C that another thread of the process receives."""
    fact = Fact(0, lane)

    def interrupt() -> None:
        eventually(lambda: len(fact._waiters) == 1, "the main thread waits")
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    other = threading.Thread(target=interrupt)
    began = time.monotonic()
    other.start()
    with pytest.raises(KeyboardInterrupt):
        fact.wait_for(1, timeout=20)
    assert time.monotonic() - began < 5.0
    other.join()


def test_wait_when_its_predicate_raises_passes_it_on_and_forgets_the_waiter() -> None:
    """The error is the caller's own."""
    fact = Fact(0, StuckLane())
    with pytest.raises(ZeroDivisionError):
        fact.wait_for(lambda value: 1 // value == 1, timeout=1)
    assert fact._waiters == []


def test_signal_wait_when_filtered_takes_the_first_that_fits() -> None:
    """Others pass by."""
    signal = Occurrences[int](StuckLane())
    thread, results = in_thread(lambda: signal.wait(lambda number: number > 2, timeout=5))
    eventually(lambda: bool(signal._waiters), "it waits")
    for number in range(5):
        signal.emit(number)
    thread.join()
    assert results == [3]


async def coroutine_function(_change: object) -> None: ...


@pytest.mark.parametrize(
    "wrong",
    [None, 7, "text", lambda: None, lambda a, b: None, lambda *, key: None, coroutine_function],
    ids=["None", "int", "str", "no argument", "two", "keyword only", "coroutine"],
)
def test_subscribe_when_the_callback_cannot_be_called_refuses_at_once(wrong: object) -> None:
    """Not at the first event, in the night, on a thread."""
    for observable in (Fact(0, StuckLane()), Occurrences[int](StuckLane())):
        with pytest.raises(InvalidConfig):
            observable.subscribe(wrong)  # type: ignore[arg-type]


class Listener:
    def method(self, change: object) -> None: ...

    def __call__(self, change: object, more: int = 0) -> None: ...


@pytest.mark.parametrize("right", [Listener().method, Listener(), print, [].append, lambda *all_of_it: None])
def test_subscribe_when_the_callback_takes_one_argument_accepts(right: Callable[[object], object]) -> None:
    """Functions, methods, callable objects, builtins."""
    Occurrences[object](StuckLane()).subscribe(right).close()


def test_subscription_when_closed_silences_what_is_queued(lane: EventsLane) -> None:
    """Nothing begins after close(), not even what had been posted before."""
    signal = Occurrences[int](lane)
    begun, go_on = threading.Event(), threading.Event()
    seen: list[int] = []

    def callback(number: int) -> None:
        seen.append(number)
        begun.set()
        go_on.wait(5)

    with signal.subscribe(callback) as subscription:
        for number in range(5):
            signal.emit(number)
        assert begun.wait(5)
    subscription.close()
    go_on.set()
    lane.close()
    assert seen == [0]


def test_subscription_when_one_is_closed_leaves_its_twin() -> None:
    """The same function twice is two subscriptions."""
    lane = StuckLane()
    signal = Occurrences[int](lane)
    first = signal.subscribe(print)
    signal.subscribe(print)
    first.close()
    first.close()
    signal.emit(1)
    assert lane.posted == [1]


def test_signal_when_holding_keeps_the_newest_for_the_first_listener(lane: EventsLane) -> None:
    """Bounded; given once, in order, and only to the first."""
    signal = Occurrences[int](lane, hold=3)
    for number in range(5):
        signal.emit(number)
    first: list[int] = []
    second: list[int] = []
    signal.subscribe(first.append)
    signal.subscribe(second.append)
    signal.emit(5)
    eventually(lambda: first == [2, 3, 4, 5] and second == [5], f"got {first} and {second}")


def test_signal_when_holding_gives_waits_one_each() -> None:
    """A loop of waits misses nothing in between."""
    signal = Occurrences[int](StuckLane(), hold=3)
    for number in range(3):
        signal.emit(number)
    assert [signal.wait(timeout=0) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(DeadlineExceeded):
        signal.wait(timeout=0)


def test_signal_when_not_holding_forgets_what_nobody_heard() -> None:
    """An occurrence is for those who listen."""
    signal = Occurrences[int](StuckLane())
    signal.emit(1)
    with pytest.raises(DeadlineExceeded):
        signal.wait(timeout=0)


def test_signal_when_told_to_forget_drops_only_that() -> None:
    """And says whether there was any."""
    signal = Occurrences[int](StuckLane(), hold=3)
    signal.emit(1)
    signal.emit(2)
    assert signal.forget(lambda number: number == 1)
    assert not signal.forget(lambda number: number == 1)
    assert signal.wait(timeout=0) == 2
