"""Errands: the caller may leave at any line, and nothing of what was begun stays."""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from facts import eventually

from utdstream._threads import errands
from utdstream._threads.deadline import Deadline
from utdstream._threads.errands import finish_errand, run_errand
from utdstream.errors import DeadlineExceeded
from utdstream.mailbox import Mailbox

LINES_BEFORE_THE_TRY = 2
"""An exception in these comes as if before the call: nothing in Python could catch it there."""
Tracer = Callable[[FrameType, str, Any], Any]


class Thrown(BaseException):
    """What a test throws into the caller's thread."""


class Account:
    """Something that an errand takes, and that must not stay taken when its caller was told nothing."""

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.begun = 0
        self.taken = 0
        self.ended = threading.Event()

    def take(self) -> str:
        self.begun += 1
        self.taken += 1
        return "taken"

    def give_back(self, _: object = None) -> None:
        self.taken -= 1

    def is_settled(self) -> bool:
        """Whether no errand is under way."""
        free = self.turn.acquire(blocking=False)
        if free:
            self.turn.release()
        return free and not [thread for thread in threading.enumerate() if thread.name.endswith("-taking")]


def limit(seconds: float = 5.0) -> Deadline:
    return Deadline(seconds, seconds, "taking")


def throwing_at(line: int, seen: list[int]) -> Tracer:
    """Throws at the `line`th line that is run in the module of errands, on this thread."""

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename != errands.__file__:
            return None
        if event == "line":
            seen.append(frame.f_lineno)
            if len(seen) == line:
                raise Thrown
        return trace

    return trace


def interrupted_at(line: int, call: Callable[[], object]) -> tuple[object, bool]:
    """What `call()` returned, or "thrown"; and whether it has so many lines."""
    seen: list[int] = []
    before = sys.gettrace()
    sys.settrace(throwing_at(line, seen))
    try:
        got = call()
    except Thrown:
        got = "thrown"
    finally:
        sys.settrace(before)
    return got, len(seen) >= line


def test_errand_when_an_exception_is_thrown_at_any_line_of_its_caller_leaves_nothing() -> None:
    """The caller gets that exception; what the errand took, whenever it did, is given back."""
    lines = 0
    while True:
        account = Account()
        got, thrown = interrupted_at(
            lines + 1,
            lambda account=account: run_errand(
                account.take, limit(), "taking", turn=account.turn, undo=account.give_back
            ),
        )
        if not thrown:
            assert (got, account.taken) == ("taken", 1)
            break
        lines += 1
        assert got == "thrown"
        eventually(
            lambda account=account: account.is_settled() and account.taken == 0, f"line {lines} left nothing"
        )
    assert lines >= 10


def test_errand_that_gives_up_when_an_exception_is_thrown_at_any_line_is_finished() -> None:
    """An interrupted hang-up hangs up: once, also when it had not begun."""
    lines = 0
    while True:
        account = Account()
        account.taken = 1

        def give_up(account: Account = account) -> str:
            account.begun += 1
            account.give_back()
            return "given up"

        got, thrown = interrupted_at(
            lines + 1,
            lambda give_up=give_up: finish_errand(give_up, limit(), "taking"),
        )
        if lines >= LINES_BEFORE_THE_TRY or not thrown:
            eventually(lambda account=account: account.taken == 0, f"line {lines + 1} gave up")
        if not thrown:
            assert got == "given up"
            break
        lines += 1
        assert got == "thrown"
    assert lines >= 10


def test_errand_when_its_caller_leaves_ends_its_waits_at_once() -> None:
    """Control-C is a deadline that passes now: the errand does not wait for its own."""
    account = Account()
    waiting = threading.Event()
    deadline = limit(60)
    ident = threading.main_thread().ident
    assert ident is not None

    def wait() -> str:
        waiting.set()
        signal.pthread_kill(ident, signal.SIGINT)
        return deadline.get(Mailbox[str]())

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_errand(
            wait, deadline, "taking", turn=account.turn, undo=account.give_back, clean=account.ended.set
        )
    assert waiting.is_set()
    assert account.ended.wait(5)
    assert time.monotonic() - began < 5
    eventually(account.is_settled, "the turn has ended")


def test_errand_when_another_thread_throws_into_its_caller_ends_within_a_second() -> None:
    """`PyThreadState_SetAsyncExc` wakes nobody: the wait looks up by itself."""
    account = Account()
    waiting, ended = threading.Event(), threading.Event()
    deadline = limit(60)
    caught: list[BaseException] = []

    def wait() -> str:
        waiting.set()
        return deadline.get(Mailbox[str]())

    def call() -> None:
        try:
            run_errand(wait, deadline, "taking", turn=account.turn, undo=account.give_back)
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            caught.append(error)
        ended.set()

    caller = threading.Thread(target=call)
    caller.start()
    assert waiting.wait(5)
    assert caller.ident is not None
    thrown = ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(caller.ident), ctypes.py_object(Thrown)
    )
    assert thrown == 1
    assert ended.wait(5)
    caller.join(5)
    assert [type(error) for error in caught] == [Thrown]
    eventually(account.is_settled, "the errand was taken back")


def test_errand_when_its_thread_is_lost_before_it_runs_is_begun_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Python 3.11: an exception that is thrown into the caller just then goes to the thread that was started."""
    account, real, lost = Account(), errands.start_thread, ["the first"]

    def start(target: Callable[[], object], name: str) -> None:
        if lost:
            lost.clear()
        else:
            real(target, name)

    monkeypatch.setattr(errands, "start_thread", start)
    got = run_errand(account.take, limit(), "taking", turn=account.turn, undo=account.give_back)
    assert (got, account.begun) == ("taken", 1)


def test_errand_when_time_runs_out_tells_in_time_and_takes_back_what_comes_late() -> None:
    """The caller is held no longer than its deadline, though the work hangs in something that has none."""
    account = Account()
    go_on = threading.Event()

    def hang() -> str:
        go_on.wait(10)
        return account.take()

    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="taking"):
        run_errand(hang, limit(0.1), "taking", turn=account.turn, undo=account.give_back)
    assert time.monotonic() - began < 1.0
    go_on.set()
    eventually(lambda: account.begun == 1 and account.is_settled(), "it came late")
    assert account.taken == 0


def test_errand_when_it_fails_tells_before_it_cleans_and_the_next_waits_for_both() -> None:
    """A retry begins on clean ground."""
    account = Account()
    told, log = threading.Event(), []

    def fail() -> None:
        log.append("fails")
        raise OSError("no")

    def clean() -> None:
        assert told.wait(5), "the caller is told before the cleaning is done"
        log.append("is clean")

    with pytest.raises(OSError, match="no"):
        run_errand(fail, limit(), "taking", turn=account.turn, undo=account.give_back, clean=clean)
    told.set()
    run_errand(lambda: log.append("retries"), limit(), "taking", turn=account.turn, undo=lambda _: None)
    assert log == ["fails", "is clean", "retries"]


def test_errand_when_another_has_the_turn_raises_at_its_deadline() -> None:
    """And has done nothing."""
    account = Account()
    with account.turn, pytest.raises(DeadlineExceeded, match="another operation"):
        run_errand(account.take, limit(0.05), "taking", turn=account.turn, undo=account.give_back)
    assert account.begun == 0
