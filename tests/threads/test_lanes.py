"""The events lane and the work lane: order, isolation, end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from facts import eventually

from utdstream._threads import lanes as lanes_module
from utdstream._threads.lanes import EventsLane, WorkLane
from utdstream.observe import CallbackError


@pytest.fixture
def events() -> Iterator[EventsLane]:
    lane = EventsLane("utdstream-events-test")
    yield lane
    lane.close()


@pytest.fixture
def work() -> Iterator[WorkLane]:
    lane = WorkLane("utdstream-work-test")
    yield lane
    lane.close()


def test_callbacks_when_posted_by_many_threads_never_overlap_and_keep_each_threads_order(
    events: EventsLane,
) -> None:
    """One at a time, in the order in which each thread posted."""
    seen: list[tuple[int, int]] = []
    inside, overlaps = threading.Lock(), []

    def callback(item: tuple[int, int]) -> None:
        if not inside.acquire(blocking=False):
            overlaps.append(item)
            return
        seen.append(item)
        inside.release()

    def post_all(who: int) -> None:
        for number in range(300):
            events.post(callback, (who, number))

    threads = [threading.Thread(target=post_all, args=(who,)) for who in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    eventually(lambda: len(seen) == 900, "all ran")
    assert not overlaps
    for who in range(3):
        assert [number for poster, number in seen if poster == who] == list(range(300))


@pytest.mark.parametrize("error", [ValueError("mine"), SystemExit(3), KeyboardInterrupt()])
def test_callback_when_it_raises_is_reported_and_the_lane_goes_on(error: BaseException) -> None:
    """Whatever it was; the report carries the error itself and the lane's name."""
    reports: list[CallbackError] = []
    lane = EventsLane("utdstream-events-test", reports.append)
    ran = threading.Event()

    def fail(_argument: None) -> None:
        raise error

    lane.post(fail, None)
    lane.post(lambda _argument: ran.set(), None)
    assert ran.wait(5)
    lane.close()
    assert reports == [CallbackError(error, "utdstream-events-test")]


def test_report_when_it_raises_too_is_survived() -> None:
    """The last line of defence."""

    def report(_error: CallbackError) -> None:
        raise RuntimeError("broken report")

    lane = EventsLane("utdstream-events-test", report)
    ran = threading.Event()
    lane.post(lambda _argument: 1 // 0, None)
    lane.post(lambda _argument: ran.set(), None)
    assert ran.wait(5)
    lane.close()


def test_queue_when_a_callback_hangs_drops_the_oldest_and_counts(
    events: EventsLane, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Bounded, said once."""
    monkeypatch.setattr(lanes_module, "MAX_QUEUED", 10)
    begun, go_on = threading.Event(), threading.Event()
    seen: list[int] = []

    def hang(_argument: None) -> None:
        begun.set()
        go_on.wait(5)

    events.post(hang, None)
    assert begun.wait(5)
    for number in range(25):
        events.post(seen.append, number)
    assert events.dropped == 15
    go_on.set()
    eventually(lambda: len(seen) == 10, "what was kept ran")
    assert seen == list(range(15, 25))
    assert caplog.text.count("too slow") == 1


def test_close_when_called_by_its_own_callback_does_not_wait_for_itself() -> None:
    """And what was queued still runs, as it does for any close."""
    lane = EventsLane("utdstream-events-test")
    done, last = threading.Event(), threading.Event()

    def close_it(_argument: None) -> None:
        lane.post(lambda _argument: last.set(), None)
        lane.close(timeout=30)
        done.set()

    lane.post(close_it, None)
    assert done.wait(5)
    assert last.wait(5)


def test_close_when_told_to_forget_begins_nothing_more() -> None:
    """The running callback finishes, the queue is gone."""
    lane = EventsLane("utdstream-events-test")
    begun, go_on = threading.Event(), threading.Event()
    seen: list[int] = []

    def first(number: int) -> None:
        seen.append(number)
        begun.set()
        go_on.wait(5)

    lane.post(first, 1)
    lane.post(seen.append, 2)
    assert begun.wait(5)
    closer = threading.Thread(target=lambda: lane.close(5, forget_queued=True))
    closer.start()
    eventually(lambda: lane._closed, "the lane is closing")
    go_on.set()
    closer.join()
    lane.post(seen.append, 3)
    assert seen == [1]


def test_close_when_a_callback_hangs_returns_in_time_and_forgets_the_rest() -> None:
    """Bounded by its timeout."""
    lane = EventsLane("utdstream-events-test")
    go_on = threading.Event()
    seen: list[int] = []
    lane.post(lambda _argument: go_on.wait(10), None)
    lane.post(seen.append, 1)
    begun = time.monotonic()
    lane.close(timeout=0.1)
    assert time.monotonic() - begun < 1.0
    go_on.set()
    lane.close(timeout=5)
    assert seen == []


def test_lanes_when_never_used_have_no_thread() -> None:
    """Idle objects cost nothing, and close all the same, twice."""
    before = threading.active_count()
    lanes: list[EventsLane | WorkLane] = [
        EventsLane("utdstream-events-test"),
        WorkLane("utdstream-work-test"),
    ]
    for lane in lanes:
        lane.close()
        lane.close()
    assert threading.active_count() == before


def test_work_when_planned_runs_in_the_order_of_its_times(work: WorkLane) -> None:
    """Sooner first, whatever was posted first; equal times in the order of posting."""
    seen: list[str] = []
    work.call_later(0.08, lambda: seen.append("late"))
    work.call_later(0.03, lambda: seen.append("soon"))
    for number in range(3):
        work.post(lambda number=number: seen.append(f"now{number}"))
    eventually(lambda: len(seen) == 5, "all ran")
    assert seen == ["now0", "now1", "now2", "soon", "late"]


def test_work_when_cancelled_does_not_run(work: WorkLane) -> None:
    """From any thread, before it begins."""
    seen: list[int] = []
    work.call_later(0.02, lambda: seen.append(1)).cancel()
    work.call_later(0.04, lambda: seen.append(2))
    eventually(lambda: bool(seen), "the other one ran")
    assert seen == [2]


def test_work_when_a_job_raises_is_reported_and_the_lane_goes_on() -> None:
    """A failing poll does not end polling."""
    reports: list[CallbackError] = []
    lane = WorkLane("utdstream-work-test", reports.append)
    ran = threading.Event()
    lane.post(lambda: 1 // 0)
    lane.post(ran.set)
    assert ran.wait(5)
    lane.close()
    assert [type(report.error) for report in reports] == [ZeroDivisionError]


def test_work_when_closed_forgets_what_has_not_begun() -> None:
    """Also from its own thread, and what is planned later never runs."""
    lane = WorkLane("utdstream-work-test")
    seen: list[int] = []
    done = threading.Event()

    def close_it() -> None:
        assert lane.is_here
        lane.close(timeout=30)
        done.set()

    lane.call_later(0.05, lambda: seen.append(1))
    lane.post(close_it)
    assert done.wait(5)
    assert lane.post(lambda: seen.append(2)).cancelled
    assert not lane.is_here
    lane.close(timeout=5)
    assert seen == []


@pytest.mark.parametrize("kind", [EventsLane, WorkLane])
def test_lane_when_nothing_is_left_to_do_holds_no_thread_and_serves_the_next_post(
    kind: type[EventsLane] | type[WorkLane], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever never closes it loses nothing but a thread that had nothing to do."""
    monkeypatch.setattr(lanes_module, "IDLE_S", 0.02)
    lane = kind(f"utdstream-idle-{kind.__name__}")
    for turn in range(3):
        ran = threading.Event()
        if isinstance(lane, EventsLane):
            lane.post(lambda _argument, ran=ran: ran.set(), None)
        else:
            lane.post(ran.set)
        assert ran.wait(5), turn
        eventually(lambda: not serving(lane), "its thread has gone")
    lane.close()


def test_lane_when_posted_to_as_its_thread_goes_runs_everything_once_and_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A post never falls between a thread that goes and the one that comes."""
    monkeypatch.setattr(lanes_module, "IDLE_S", 0.0005)
    lane = EventsLane("utdstream-idle-race")
    seen: list[int] = []
    for number in range(2000):
        lane.post(seen.append, number)
        time.sleep(0.0005 * (number % 3))
    eventually(lambda: len(seen) == 2000, "all ran")
    assert seen == list(range(2000))
    lane.close()


def test_work_when_only_cancelled_jobs_are_planned_holds_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor what they would have worked on."""
    monkeypatch.setattr(lanes_module, "IDLE_S", 0.02)
    lane = WorkLane("utdstream-idle-cancelled")
    planned = [lane.call_later(3600.0, lambda: None) for _ in range(3)]
    for timer in planned:
        timer.cancel()
    eventually(lambda: not serving(lane), "its thread has gone")
    assert lane._due == []
    lane.close()


def test_lane_when_the_start_of_its_thread_was_interrupted_has_another_one_with_the_next_post(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ctrl-C within `Thread.start` leaves a thread that never runs."""
    lane = EventsLane("utdstream-interrupted")
    seen: list[int] = []

    def interrupted(_thread: threading.Thread) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lane.post(seen.append, 1)
    lane.post(seen.append, 2)
    eventually(lambda: seen == [1, 2], "both ran, in order")
    lane.close()


def serving(lane: EventsLane | WorkLane) -> list[threading.Thread]:
    """The threads of this lane."""
    return [thread for thread in threading.enumerate() if thread.name == lane._name]
