"""One deadline for a whole call."""

from __future__ import annotations

import math
import threading

import pytest

from utdstream._threads.deadline import Deadline, forbid_blocking_on_loop, mark_loop_thread
from utdstream.errors import DeadlineExceeded, InvalidConfig, WrongThread


@pytest.mark.parametrize("timeout", [math.nan, -1, -0.001, -math.inf, math.inf, True, "3", b"3"])
def test_deadline_when_timeout_is_no_length_of_time_is_refused(timeout: object) -> None:
    """Nonsense is found where it was written, as InvalidConfig, which is a ValueError too."""
    with pytest.raises(InvalidConfig):
        Deadline(timeout, 1.0, "test")  # type: ignore[arg-type]


def test_deadline_when_infinite_is_allowed_on_waits() -> None:
    """And the rest of it can be given to any wait of the standard library."""
    remaining = Deadline(math.inf, 1.0, "test", may_be_infinite=True).remaining()
    assert remaining > 3600
    assert threading.Event().wait(0) is False
    assert remaining <= threading.TIMEOUT_MAX


def test_deadline_when_none_takes_the_default() -> None:
    """None means: as configured."""
    deadline = Deadline(None, 7.0, "test")
    assert deadline.timeout == 7.0
    assert 6.0 < deadline.remaining() <= 7.0


def test_deadline_when_zero_has_passed_and_never_goes_negative() -> None:
    """Zero is legal: look once, do not wait."""
    deadline = Deadline(0, 1.0, "test")
    assert deadline.passed
    assert deadline.remaining() == 0.0


def test_error_when_it_passed_names_the_call_and_the_timeout() -> None:
    """One class for all of them, which is a TimeoutError and a ConnectionError."""
    error = Deadline(0.5, 1.0, "start a call").error()
    assert isinstance(error, DeadlineExceeded)
    assert isinstance(error, TimeoutError)
    assert isinstance(error, ConnectionError)
    assert "start a call" in str(error)
    assert "0.5 s" in str(error)


def test_deadline_when_made_on_the_loop_thread_is_wrong_thread() -> None:
    """A blocking call there would wait for itself; other threads are free to make it."""
    raised: list[BaseException] = []

    def on_loop() -> None:
        mark_loop_thread()
        for attempt in (lambda: Deadline(1, 1, "wait"), lambda: forbid_blocking_on_loop("wait")):
            try:
                attempt()
            except WrongThread as error:
                raised.append(error)

    thread = threading.Thread(target=on_loop)
    thread.start()
    thread.join()
    assert len(raised) == 2
    forbid_blocking_on_loop("wait")


def test_step_when_it_leaves_time_to_the_next_passes_before_and_says_the_same() -> None:
    """Of a short deadline it leaves a quarter: a step with no time at all would not be begun."""
    whole = Deadline(2.0, 2.0, "end")
    step = whole.but(0.5)
    assert 1.4 < step.remaining() <= 1.5
    assert str(step.error("too late")) == str(whole.error("too late"))
    short = Deadline(0.04, 0.04, "end")
    assert 0.0 < short.but(0.5).remaining() <= 0.03
