"""A room that was lost: when it is joined again, how often, and what makes an end of it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from queue import Empty

import pytest
from facts import eventually

from utdstream import ConnectFailed, EngineUnreachable, NotFound, UTDStreamException
from utdstream._session import rejoin
from utdstream._session.rejoin import Rejoin
from utdstream._threads.deadline import Deadline
from utdstream._threads.lanes import WorkLane
from utdstream.backoff import Backoff
from utdstream.mailbox import Mailbox


class Lost:
    """A room of which `enter` is what the test says; it notes the attempts."""

    def __init__(self, work: WorkLane) -> None:
        self.work = work
        self.wanted = True
        self.deadlines: list[Deadline] = []
        self.given_up: list[UTDStreamException] = []
        self.enter: Callable[[], object] = lambda: None
        self.is_door_open: Callable[[], bool] = lambda: True
        self.is_asking: Callable[[], bool] = lambda: True
        self.rejoin = Rejoin(
            work,
            "room",
            enter=self._enter,
            is_wanted=lambda: self.wanted,
            gave_up=self.given_up.append,
            knock=lambda: self.is_door_open(),
            is_asking=lambda: self.is_asking(),
        )

    @property
    def attempts(self) -> int:
        return len(self.deadlines)

    def _enter(self, deadline: Deadline) -> None:
        self.deadlines.append(deadline)
        self.enter()

    def is_stuck(self, seconds: float = 60.0) -> None:
        """An attempt of which nothing comes for so long, or until it is cut."""
        answer: Mailbox[None] = Mailbox()
        come = threading.Timer(seconds, answer.put, [None])
        come.daemon = True
        come.start()
        try:
            self.deadlines[-1].get(answer)
        except Empty:
            raise self.deadlines[-1].error() from None
        finally:
            come.cancel()

    def work_is_done(self) -> None:
        done = threading.Event()
        self.work.call_later(0.1, done.set)
        assert done.wait(5)


@pytest.fixture
def work() -> Iterator[WorkLane]:
    """Where the attempts are made."""
    made = WorkLane("test-work")
    yield made
    made.close()


@pytest.fixture
def lost(work: WorkLane, monkeypatch: pytest.MonkeyPatch) -> Lost:
    """Nothing is lost yet; attempts follow each other at once."""
    monkeypatch.setattr(rejoin, "BETWEEN_ATTEMPTS", Backoff(first_s=0.001, most_s=0.001))
    return Lost(work)


def fail(times: list[UTDStreamException]) -> Callable[[], None]:
    """Raises these, one an attempt, then no more."""

    def enter() -> None:
        if times:
            raise times.pop(0)

    return enter


def test_rejoin_when_attempts_fail_goes_on_until_one_succeeds(lost: Lost) -> None:
    """It is under way from the loss to the join, and then it is not."""
    lost.enter = fail([EngineUnreachable("no answer"), ConnectFailed("refused"), EngineUnreachable("again")])
    assert not lost.rejoin.is_under_way
    assert lost.rejoin.begins("SERVER_SHUTDOWN")
    assert lost.rejoin.is_under_way
    eventually(lambda: not lost.rejoin.is_under_way, "it is joined")
    assert (lost.attempts, lost.given_up) == (4, [])


def test_rejoin_when_the_room_ends_for_good_before_it_is_done_is_over(lost: Lost) -> None:
    """It was joined, and deleted while the engine was still asked about it: nothing brings it back."""

    def enter() -> None:
        assert not lost.rejoin.begins("ROOM_DELETED")
        assert not lost.rejoin.is_under_way, "it is not shown as one that comes back"

    lost.enter = enter
    assert lost.rejoin.begins("SERVER_SHUTDOWN")
    eventually(lambda: lost.attempts == 1, "an attempt was made")
    lost.work_is_done()
    assert (lost.attempts, lost.rejoin.is_under_way) == (1, False)


def test_rejoin_when_the_room_ends_for_good_and_the_attempt_fails_is_not_tried_again(lost: Lost) -> None:
    """Whoever was removed, and is not to come back, does not come back by an attempt that was under way."""

    def enter() -> None:
        lost.rejoin.begins("PARTICIPANT_REMOVED")
        raise EngineUnreachable("no answer")

    lost.enter = enter
    assert lost.rejoin.begins("SERVER_SHUTDOWN")
    eventually(lambda: lost.attempts == 1, "an attempt was made")
    lost.work_is_done()
    assert (lost.attempts, lost.rejoin.is_under_way) == (1, False)


def test_rejoin_when_the_media_servers_door_opens_in_a_pause_tries_at_once(
    lost: Lost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart is found sooner than the pauses are long."""
    monkeypatch.setattr(Backoff, "pause_s", lambda self, failures: 600.0)
    is_open = threading.Event()
    lost.is_door_open = is_open.is_set
    assert lost.rejoin.begins("SIGNAL_CLOSE")
    eventually(lambda: lost.rejoin._was_shut, "it has knocked")
    is_open.set()
    eventually(lambda: not lost.rejoin.is_under_way, "it is joined", 10)


def test_rejoin_when_the_door_opens_beside_an_attempt_that_is_stuck_tries_anew(lost: Lost) -> None:
    """What it sent while the link was cut is lost; it would wait for seconds more."""
    is_open = threading.Event()
    lost.is_door_open = is_open.is_set

    def enter() -> None:
        if lost.attempts == 1:
            is_open.set()
            lost.is_stuck()

    lost.enter = enter
    assert lost.rejoin.begins("SIGNAL_CLOSE")
    eventually(lambda: not lost.rejoin.is_under_way, "it did not wait for the 20 seconds of an attempt", 10)
    assert lost.attempts == 2


def test_rejoin_when_an_attempt_was_cut_leaves_the_next_one_its_time(lost: Lost) -> None:
    """A door that is knocked at over a slow link seems shut now and then: no attempt would ever be done."""
    knocks = itertools.count()
    lost.is_door_open = lambda: next(knocks) % 2 == 1  # shut before each attempt, open beside it
    lost.enter = lambda: lost.is_stuck(60.0 if lost.attempts == 1 else 1.0)
    assert lost.rejoin.begins("SIGNAL_CLOSE")
    eventually(lambda: not lost.rejoin.is_under_way, "it is joined", 10)
    assert lost.attempts == 2


def test_rejoin_when_an_attempt_fails_by_a_fault_of_ours_tries_again(lost: Lost) -> None:
    """It is no end of the room, which would be shown as coming back for ever."""

    def fail_once() -> None:
        if lost.attempts == 1:
            raise ZeroDivisionError

    lost.enter = fail_once
    assert lost.rejoin.begins("SIGNAL_CLOSE")
    eventually(lambda: not lost.rejoin.is_under_way, "it is joined")
    assert lost.attempts == 2


def test_rejoin_when_an_attempt_has_come_to_the_media_server_does_not_cut_it(lost: Lost) -> None:
    """The core finishes what it began, and the next attempt would wait for that."""
    is_open = threading.Event()
    lost.is_door_open = is_open.is_set
    looked = threading.Semaphore(0)
    lost.is_asking = lambda: bool(looked.release())  # False: it has come there

    def enter() -> None:
        is_open.set()
        for _ in range(3):
            assert looked.acquire(timeout=10)

    lost.enter = enter
    assert lost.rejoin.begins("SIGNAL_CLOSE")
    eventually(lambda: not lost.rejoin.is_under_way, "it is joined", 10)
    assert [deadline.passed for deadline in lost.deadlines] == [False]


def test_rejoin_when_the_engine_knows_no_such_room_is_given_up(lost: Lost) -> None:
    """What will not pass by itself is told once."""
    lost.enter = fail([NotFound("no call has this id")])
    assert lost.rejoin.begins("SIGNAL_CLOSE")
    eventually(lambda: lost.given_up, "it is told")
    lost.work_is_done()
    assert (lost.attempts, lost.rejoin.is_under_way) == (1, False)


@pytest.mark.parametrize("reason", ["CLIENT_INITIATED", "DUPLICATE_IDENTITY", "ROOM_DELETED", "ROOM_CLOSED"])
def test_rejoin_when_the_room_ended_for_good_does_not_begin(lost: Lost, reason: str) -> None:
    """Two devices of one identity would throw each other out for ever."""
    assert not lost.rejoin.begins(reason)
    lost.work_is_done()
    assert lost.attempts == 0


def test_rejoin_when_the_connection_that_was_given_up_took_the_identity_begins_anew_once(lost: Lost) -> None:
    """The core may bring it back in the same moment; a second time it is another device."""
    assert lost.rejoin.begins("CONNECTION_TIMEOUT")
    eventually(lambda: not lost.rejoin.is_under_way, "it is joined")
    assert lost.rejoin.begins("DUPLICATE_IDENTITY")
    eventually(lambda: not lost.rejoin.is_under_way, "it is joined again")
    assert not lost.rejoin.begins("DUPLICATE_IDENTITY")
    lost.work_is_done()
    assert lost.attempts == 2


def test_rejoin_when_it_is_not_wanted_any_more_tries_no_more(lost: Lost) -> None:
    """Left between two attempts: nothing is joined, nothing is told."""

    def leave() -> None:
        lost.wanted = False
        raise EngineUnreachable("no answer")

    lost.enter = leave
    assert lost.rejoin.begins("SIGNAL_CLOSE")
    lost.work_is_done()
    assert (lost.attempts, lost.given_up, lost.rejoin.is_under_way) == (1, [], False)


def test_rejoin_when_the_room_is_lost_again_in_the_moment_it_was_joined_begins_anew(lost: Lost) -> None:
    """The second loss comes before the first attempt has returned: it is not taken for the first one's end."""
    losses = iter(("SERVER_SHUTDOWN", None))

    def joined_and_lost() -> None:
        reason = next(losses)
        if reason is not None:
            assert lost.rejoin.begins(reason)

    lost.enter = joined_and_lost
    assert lost.rejoin.begins("SIGNAL_CLOSE")
    eventually(lambda: not lost.rejoin.is_under_way, "it is joined")
    lost.work_is_done()
    assert lost.attempts == 2


def test_rejoin_when_an_attempt_fails_and_its_room_was_lost_again_tries_once_at_a_time(lost: Lost) -> None:
    """The attempts of the first loss end where those of the second begin."""
    first = threading.Event()

    def enter() -> None:
        if not first.is_set():
            first.set()
            assert lost.rejoin.begins("SIGNAL_CLOSE")
            raise EngineUnreachable("no answer")

    lost.enter = enter
    assert lost.rejoin.begins("SIGNAL_CLOSE")
    eventually(lambda: not lost.rejoin.is_under_way, "it is joined")
    lost.work_is_done()
    assert lost.attempts == 2
