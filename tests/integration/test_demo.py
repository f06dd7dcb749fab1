"""`utdstream demo` as a user runs it: a real call, its report, and nothing left when it is stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest
from facts import eventually

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("programs")]

PATIENCE_S = 60


class Demo:
    """One `utdstream demo --json` in a process of its own, its progress read line by line."""

    def __init__(self, out: Path, seconds: float) -> None:
        self.out = out
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "utdstream.cli", "demo", "--json"),
                *("--seconds", str(seconds), "--out", str(out)),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.progress = ""

    def until(self, words: str) -> str:
        """Reads the progress up to the line that has these words; that line."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.progress += line
            if words in line:
                return line
        raise AssertionError(f"the demo ended without saying {words!r}:\n{self.progress}")

    def ended(self) -> int:
        """Waits for its end; the exit status."""
        self.said, rest = self.process.communicate(timeout=PATIENCE_S)
        self.progress += rest
        return self.process.returncode

    def descendants(self) -> dict[int, str]:
        """Every process below it, with its command line."""
        found: dict[int, str] = {}
        wanted = {self.process.pid}
        table = [_status(Path(entry)) for entry in os.scandir("/proc") if entry.name.isdigit()]
        while more := {pid for pid, parent in filter(None, table) if parent in wanted} - wanted:
            wanted |= more
        for pid in wanted - {self.process.pid}:
            found[pid] = _command(pid)
        return found


def _status(folder: Path) -> tuple[int, int] | None:
    try:
        return int(folder.name), int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
    except (OSError, IndexError):
        return None


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


@pytest.fixture
def demos(tmp_path: Path) -> Iterator[list[Demo]]:
    """Demos to stop at the end."""
    running: list[Demo] = []
    yield running
    for demo in running:
        if demo.process.poll() is None:
            demo.process.send_signal(signal.SIGINT)
        demo.process.communicate(timeout=PATIENCE_S)


def begin(demos: list[Demo], out: Path, seconds: float) -> Demo:
    demos.append(Demo(out, seconds))
    return demos[-1]


def test_every_bar_is_passed_when_the_demo_runs(demos: list[Demo], tmp_path: Path) -> None:
    """The numbers of the acceptance, from the report and the files themselves."""
    out = tmp_path / "new" / "out"
    demo = begin(demos, out, 4)
    status = demo.ended()
    report = json.loads(demo.said)
    assert status == 0, (report.get("failed"), report.get("error"), demo.progress)
    assert report == json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["ok"] is True
    assert 0 < report["press_to_ring_ms"] <= 100
    assert report["video_frames_received"] / report["video_frames_sent"] >= 0.9
    assert report["video_frames_sent"] >= 60
    assert report["video_fps"] >= 15
    assert report["video_size"] == [640, 480]
    for side, sent in (("house_hears", 1000), ("door_hears", 700)):
        assert report["tone_hz"][side]["sent"] == sent
        assert abs(report["tone_hz"][side]["heard"] - sent) <= 5
        assert report["longest_audio_gap_ms"][side] <= 100
        assert report["accept_to_first_audio_ms"][side] > 0
    assert report["first_video_ms"] > 0
    assert report["door_statuses"] == ["initiating", "ringing", "active", "ended"]
    assert report["house_statuses"] == ["ringing", "active", "ended"]
    for names in report["threads_after_names"].values():
        # Dummy: a thread of the native library, which Python has seen once.
        assert {name for name in names if not name.startswith("Dummy")} == {"MainThread", "utdstream-loop"}
    assert {"utdstream", "livekit", "livekit-server", "mosquitto", "python"} <= set(report["versions"])
    picture = (out / "house-sees.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert (int.from_bytes(picture[16:20]), int.from_bytes(picture[20:24])) == (640, 480)
    with wave.open(str(out / "door-hears.wav")) as file:
        assert 3 <= file.getnframes() / file.getframerate() <= 5
    assert not (out / "logs").exists()


def test_it_ends_with_1_and_one_sentence_when_the_house_dies(demos: list[Demo], tmp_path: Path) -> None:
    """What everybody logged is kept, and nothing runs on."""
    demo = begin(demos, tmp_path, 20)
    line = demo.until("house is process")
    house = re.search(r"house is process (\d+)", line)
    assert house is not None
    demo.until("ringing")
    below = demo.descendants()
    os.kill(int(house[1]), signal.SIGKILL)
    assert demo.ended() == 1
    report = json.loads(demo.said)
    assert report == json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["ok"] is False
    assert report["error"] == "the house process ended by SIGKILL before the call was over"
    assert {"door.log", "house.log", "engine.log", "livekit.log"} <= {
        file.name for file in (tmp_path / "logs").iterdir()
    }
    assert not any(_command(pid) for pid in below)


@pytest.mark.parametrize(
    ("number", "status", "when"),
    [
        (signal.SIGINT, 130, "a door calls a house"),
        (signal.SIGINT, 130, "servers"),
        (signal.SIGINT, 130, "answered"),
        (signal.SIGTERM, 143, "ringing"),
    ],
)
def test_nothing_is_left_when_it_is_stopped(
    demos: list[Demo], tmp_path: Path, number: signal.Signals, status: int, when: str
) -> None:
    """At every stage; a second signal of an impatient user changes nothing."""
    demo = begin(demos, tmp_path, 60)
    demo.until(when)
    below = demo.descendants()
    demo.process.send_signal(number)
    demo.process.send_signal(number)
    assert demo.ended() == status, demo.progress
    assert "Traceback" not in demo.progress
    assert not any(_command(pid) for pid in below)


def test_nothing_is_left_when_it_is_killed(demos: list[Demo], tmp_path: Path) -> None:
    """SIGKILL of the parent: the children notice by themselves."""
    demo = begin(demos, tmp_path, 60)
    demo.until("answered")
    below = demo.descendants()
    assert len(below) == 5, below
    demo.process.kill()
    eventually(lambda: not any(_command(pid) for pid in below), "all children have ended", within_s=10)


def test_the_terminal_shows_one_live_line_and_a_table_when_there_is_one() -> None:
    """The live line is written over itself; without a terminal every line stays."""
    import io

    from utdstream._command.demo.measure import Bar
    from utdstream._command.demo.show import Screen

    class Terminal(io.StringIO):
        encoding = "utf-8"

        def isatty(self) -> bool:
            return True

    screen = Screen(terminal := Terminal())
    screen.progress("talking", 1, 4, "first")
    screen.progress("talking", 2, 4, "second")
    screen.step("hung up")
    screen.table([Bar("tone", "700 Hz", "700 Hz", True), Bar("gap", "200 ms", "<= 100 ms", False)])
    shown = terminal.getvalue()
    assert shown.count("\r\x1b[K") == 3
    assert "███░" in shown
    assert "\x1b[31m✗" in shown

    plain = io.StringIO()
    screen = Screen(plain)
    screen.progress("talking", 1, 4, "first")
    screen.progress("talking", 1.5, 4, "too soon for another line")
    screen.progress("talking", 2, 4, "second")
    assert plain.getvalue().splitlines() == ["    talking 1.0/4 s  first", "    talking 2.0/4 s  second"]
