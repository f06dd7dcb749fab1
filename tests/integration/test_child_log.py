"""The log of a child of the stack, with real processes: bounded while it runs, and whole when it dies."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from facts import eventually

from utdstream.engine.stack.child import Child
from utdstream.engine.stack.child_log import BoundedLog
from utdstream.engine.stack.settings import LogsSection

pytestmark = pytest.mark.integration

LIMITS = LogsSection(files=3, file_kb=100)
WRITES = "import sys, itertools\nwrite = sys.stdout.write\n"


class Program:
    """A child that runs a few lines of Python, and its log."""

    def __init__(self, folder: Path, limits: LogsSection = LIMITS) -> None:
        self.log = BoundedLog(folder / "livekit.log", limits)
        self.child = Child("livekit", [], self.log)

    def run(self, lines: str) -> None:
        self.child.command = [sys.executable, "-c", WRITES + lines]
        self.child.spawn()

    def ended(self) -> None:
        eventually(self.child.reap, "the program ends", within_s=60)

    def killed(self) -> None:
        """As by somebody else, with -9."""
        assert self.child.pid is not None
        os.kill(self.child.pid, signal.SIGKILL)
        self.ended()

    def files(self) -> list[Path]:
        return sorted(self.log.path.parent.iterdir())

    def text(self) -> str:
        """All that is there, the oldest first."""
        return "".join(file.read_text() for file in reversed(self.files()))


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    program = Program(tmp_path)
    yield program
    program.child.kill()
    assert not [thread for thread in threading.enumerate() if thread.name == "utdstream-log-livekit"]


def test_folder_when_a_child_writes_a_million_lines_and_is_killed_between_keeps_its_bound(
    program: Program,
) -> None:
    """Lines that say something else each time, for ever; each new process goes on in the same files."""
    different = (
        "for number in NUMBERS: write(''.join(chr(97 + int(d)) for d in str(number)) + ' is it' * 9 + '\\n')"
    )
    for _ in range(2):
        program.run(different.replace("NUMBERS", "itertools.count()"))
        eventually(lambda: len(program.files()) == LIMITS.files, "files are full", within_s=60)
        program.killed()
    program.run(different.replace("NUMBERS", "range(1_000_000)"))
    program.ended()
    assert len(program.files()) == LIMITS.files
    assert all(file.stat().st_size <= LIMITS.file_kb * 1000 for file in program.files())
    assert all(file.stat().st_mode & 0o077 == 0 for file in program.files())
    assert program.text().splitlines()[-1].startswith("jjjjjj is it"), "the newest is there"


def test_log_when_a_child_repeats_itself_a_million_times_says_so_in_some_lines(program: Program) -> None:
    """Whatever time and number stand in them."""
    program.run("for number in range(1_000_000): write(f'12:00:{number % 60} refused 10.0.0.1:{number}\\n')")
    program.ended()
    lines = program.text().splitlines()
    assert lines[:10] == [f"12:00:{number} refused 10.0.0.1:{number}" for number in range(10)]
    assert len(lines) < 20
    counted = sum(int(line.split(" ... ")[1].split()[0].replace(",", "")) + 1 for line in lines[10:])
    assert 10 + counted == 1_000_000


def test_last_words_when_a_child_dies_are_in_the_log_when_the_death_is_known(program: Program) -> None:
    """Without an end of the line, before a kill; the tail has repetitions too."""
    program.run("for _ in range(30): write('the same\\n')\nwrite('help me'); sys.stdout.flush()\nsys.exit(3)")
    program.ended()
    assert (
        program.text().endswith("the same ... 19 more like it in 0 s\nhelp me\n")
        or "help me" in program.text()
    )
    assert program.child.ending() == "ended with exit status 3"
    assert program.child.log_tail().endswith("the same\nthe same\nhelp me")
    program.run("pass")
    program.ended()
    assert program.child.log_tail().endswith("is empty"), "it is the next one's"


def test_child_when_it_leaves_another_process_behind_ends_without_waiting_for_it(program: Program) -> None:
    """What holds its pipe does not hold the supervisor."""
    program.run("import subprocess\nprint('here', subprocess.Popen(['sleep', '30']).pid, flush=True)")
    program.ended()
    os.kill(int(program.text().split()[1]), signal.SIGKILL)


def test_log_when_a_child_cannot_be_started_keeps_no_descriptor(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor tries again, for days perhaps."""
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    for _ in range(3):
        with pytest.raises(FileNotFoundError):
            program.run("pass")
    assert len(os.listdir("/proc/self/fd")) == before


def test_child_when_the_disk_is_full_goes_on_and_what_is_missing_is_said(
    program: Program, caplog: pytest.LogCaptureFixture
) -> None:
    """It writes more than a pipe holds; the log goes on when there is room."""
    program.log.path.symlink_to("/dev/full")
    with caplog.at_level(logging.INFO, "utdstream.engine.stack.child_log"):
        program.run(
            "for number in range(100_000): write('line ' + chr(97 + number % 26) * (number % 200) + '\\n')"
        )
        program.ended()
        assert os.readlink(program.log.path) == "/dev/full"
        program.log.path.unlink()
        assert program.files() == []
        program.run("print('room again')")
        program.ended()
    missing, last = program.text().strip().splitlines()
    assert missing.startswith("... ")
    assert missing.endswith("lines or fewer are missing here")
    assert last == "room again"
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_repetitions_when_a_minute_is_over_are_said_also_when_the_child_is_quiet(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread wakes up for it."""
    monkeypatch.setattr("utdstream.engine.stack.log_lines.SAID_EVERY_S", 0.2)
    program.run("for _ in range(100): print('the same', flush=True)\nimport time; time.sleep(60)")
    eventually(lambda: "more like it" in program.text(), "it is said")
    assert program.child.running


def test_tail_when_it_holds_a_token_is_told_without_it(program: Program) -> None:
    """The end of a log stands in the sentence about a start that failed; half a line of it tells nothing."""
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJkb29yIn0." + "c" * 900
    program.run(f"write('refused {token}\\n' * 2 + 'no port\\n')")
    program.ended()
    assert program.log.tail() == "refused (a token)\nno port"
    program.run(f"write('refused {token}\\n')")
    program.ended()
    assert program.log.tail() == "refused (a token)"
