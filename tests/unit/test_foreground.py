"""A command's work beside the main thread that waits for its signal: run in processes of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap

import pytest

PATIENCE_S = 20.0

PROGRAM = """
import os, signal, sys, threading
from utdstream import foreground

stopping = threading.Event()

def work():
{work}

def stop():
{stop}

came = foreground.run(work, stop=stop, signals=(signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
print("came", came and came.name, signal.getsignal(signal.SIGINT) is signal.default_int_handler, flush=True)
"""


def program(work: str, stop: str = "stopping.set()") -> subprocess.Popen[str]:
    source = PROGRAM.format(work=textwrap.indent(work, "    "), stop=textwrap.indent(stop, "    "))
    return subprocess.Popen(
        [sys.executable, "-c", source], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_the_work_when_a_signal_comes_is_stopped_and_the_signal_named(number: str) -> None:
    """The work ends by itself when it is told to."""
    with program(
        f"os.kill(os.getpid(), signal.{number}); stopping.wait(); print('stopped', flush=True)"
    ) as one:
        said, errors = one.communicate(timeout=PATIENCE_S)
    assert said == f"stopped\ncame {number} False\n", errors


def test_handlers_when_the_work_ends_by_itself_are_as_before() -> None:
    """Whoever called it has its own signals again."""
    with program("pass") as one:
        said, errors = one.communicate(timeout=PATIENCE_S)
    assert said == "came None True\n", errors


def test_error_when_the_work_raises_it_reaches_the_main_thread() -> None:
    """A start that fails is said as if it had failed there."""
    with program("raise LookupError('mine')") as one:
        _, errors = one.communicate(timeout=PATIENCE_S)
    assert errors.endswith("LookupError: mine\n")
    assert one.returncode == 1


def test_error_when_the_work_was_stopped_belongs_to_the_stop() -> None:
    """What a start raises that is stopped is nobody's business."""
    work = "os.kill(os.getpid(), signal.SIGTERM); stopping.wait(); raise LookupError('stopped')"
    with program(work) as one:
        said, errors = one.communicate(timeout=PATIENCE_S)
    assert (said, errors) == ("came SIGTERM False\n", "")


def test_process_when_a_second_signal_comes_ends_at_once() -> None:
    """Of an impatient user, while the stop hangs."""
    work = "os.kill(os.getpid(), signal.SIGTERM); threading.Event().wait()"
    with program(work, stop="print('stopping', flush=True); os.kill(os.getpid(), signal.SIGINT)") as one:
        said, _ = one.communicate(timeout=PATIENCE_S)
    assert (said, one.returncode) == ("stopping\n", -signal.SIGINT)


def test_hangup_when_it_comes_twice_is_taken_once() -> None:
    """A terminal that closes sends two."""
    work = "os.kill(os.getpid(), signal.SIGHUP); stopping.wait()"
    stop = "os.kill(os.getpid(), signal.SIGHUP); stopping.set()"
    with program(work, stop=stop) as one:
        said, errors = one.communicate(timeout=PATIENCE_S)
    assert said == "came SIGHUP False\n", errors
