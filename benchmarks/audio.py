"""What sound costs, how late it comes, and whether it holds beside a busy program: utdstream against raw livekit.

One process is measured; a raw peer in another process is on the other side and times the bursts that it hears.
ABBA, pairs; both arms feed the same frames at the same pace, raw with a source that has no buffer.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.audio_party import Settings
from benchmarks.camera import make_room, token
from benchmarks.pairs import RESAMPLES, bootstrap_medians
from utdstream.testing import LocalStack

SETTLE_S = 4.0
"""Until the jitter buffers have found their size."""
MATCH_S = 1.0
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Bar:
    """One figure of a run: its value in both arms, and what it may be. `by` is ratio, difference or value."""

    name: str
    by: str
    bar: float
    of: Callable[[Run], float]
    unit: str = ""


@dataclass(frozen=True)
class Run:
    """One measured window of one party, and what its peer saw meanwhile."""

    before: dict[str, Any]
    after: dict[str, Any]
    peer_before: dict[str, Any]
    peer_after: dict[str, Any]

    def _grew(self, name: str) -> float:
        return float(self.after.get(name, 0) - self.before.get(name, 0))

    @property
    def seconds(self) -> float:
        return self._grew("at_s")

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds a second."""
        return self._grew("cpu_s") * 1000 / self.seconds

    @property
    def wakeups(self) -> float:
        """Voluntary context switches a second."""
        return self._grew("wakeups") / self.seconds

    @property
    def lost(self) -> float:
        """Frames of its microphone that did not get into the core."""
        return self._grew("dropped")

    @property
    def concealed_there(self) -> float:
        """Per cent of what the peer played that was made up."""
        samples = self.peer_after["samples"] - self.peer_before["samples"]
        concealed = self.peer_after["concealed"] - self.peer_before["concealed"]
        return float(100 * concealed / samples) if samples else 100.0

    @property
    def underruns_here(self) -> float:
        """Per cent of its speaker's pulls that found too little."""
        return 100 * self._grew("underruns") / max(1.0, self._grew("heard"))

    @property
    def delays_ms(self) -> list[float]:
        """From the hand-over of each burst to the peer's callback with it."""
        begin, end = self.before["at_s"], self.after["at_s"] - MATCH_S
        sent = [at for at in self.after["bursts_sent"] if begin <= at < end]
        heard = self.peer_after["bursts_heard"]
        first = [
            min((at for at in heard if sent_at < at < sent_at + MATCH_S), default=None) for sent_at in sent
        ]
        return [(at - sent_at) * 1000 for at, sent_at in zip(first, sent, strict=True) if at is not None]

    @property
    def delay_ms(self) -> float:
        return statistics.median(self.delays_ms)


@contextlib.contextmanager
def party(settings: Settings) -> Iterator[Callable[[], dict[str, Any]]]:
    """A party in a process of its own; what it yields measures it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.audio_party"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def ask() -> dict[str, Any]:
        stdin.write("measure\n")
        stdin.flush()
        return dict(json.loads(stdout.readline()))

    try:
        stdin.write(json.dumps(asdict(settings)) + "\n")
        stdin.flush()
        assert stdout.readline().strip() == "on air"
        yield ask
    finally:
        stdin.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        stdout.close()


def measure(stack: LocalStack, kind: str, seconds: float, **what: Any) -> Run:
    """One window of `seconds` of one party."""
    room = f"audio-{next(_numbers)}"
    make_room(stack, room)

    def settings(identity: str, kind: str, **more: Any) -> Settings:
        return Settings(url=stack.livekit_url, token=token(stack, room, identity), kind=kind, **more)

    pause = threading.Event()
    with (
        party(settings("peer", "raw", listens_for_bursts=True)) as ask_peer,
        party(settings("measured", kind, **what)) as ask,
    ):
        pause.wait(SETTLE_S)
        peer_before, before = ask_peer(), ask()
        pause.wait(seconds)
        after, peer_after = ask(), ask_peer()
    return Run(before, after, peer_before, peer_after)


@dataclass(frozen=True)
class Figure:
    """A bar and what came of it: medians of both arms, the figure and its upper end (95 %)."""

    name: str
    ours: float
    raw: float
    figure: float
    upper: float
    bar: float
    unit: str
    pairs: int

    @property
    def holds(self) -> bool:
        return self.figure <= self.bar

    def line(self) -> str:
        mark = "ok  " if self.holds else "OVER"
        return (
            f"{mark} {self.name}: {self.figure:.3f} (95 %: at most {self.upper:.3f}; bar {self.bar:g}), "
            f"{self.ours:.2f} against {self.raw:.2f} {self.unit}, {self.pairs} pairs"
        )


def compare(runs: list[tuple[Run, Run]], bar: Bar) -> Figure:
    """`runs` are pairs of ours and raw."""
    ours, raw = [bar.of(mine) for mine, _ in runs], [bar.of(other) for _, other in runs]
    if bar.by == "ratio":
        values = [a / b for a, b in zip(ours, raw, strict=True)]
    elif bar.by == "difference":
        values = [a - b for a, b in zip(ours, raw, strict=True)]
    else:
        values = ours
    return Figure(
        bar.name,
        statistics.median(ours),
        statistics.median(raw),
        statistics.median(values),
        bootstrap_medians(values)[int(RESAMPLES * 0.975)],
        bar.bar,
        bar.unit,
        len(values),
    )


QUIET_BARS = (
    Bar("two-way, CPU", "ratio", 0.65, lambda run: run.cpu_ms, "ms/s"),
    Bar("two-way, wake-ups", "ratio", 0.8, lambda run: run.wakeups, "/s"),
    Bar(
        "two-way, microphone to the peer's callback, beyond raw",
        "difference",
        1.0,
        lambda run: run.delay_ms,
        "ms",
    ),
    Bar("two-way, frames lost", "value", 0.0, lambda run: run.lost),
)
RECEIVE_BARS = (Bar("receive alone, CPU", "ratio", 0.70, lambda run: run.cpu_ms, "ms/s"),)
PUBLISH_BARS = (Bar("publish alone, CPU", "ratio", 0.60, lambda run: run.cpu_ms, "ms/s"),)
READER_BARS = (Bar("ten readers, CPU", "ratio", 0.70, lambda run: run.cpu_ms, "ms/s"),)


def busy_bars(hogs: int, bar: float) -> tuple[Bar, ...]:
    """What must hold beside threads that compute."""
    beside = f"beside {hogs} busy thread{'s' if hogs > 1 else ''}"
    return (
        Bar(f"{beside}, concealed there", "value", bar, lambda run: run.concealed_there, "%"),
        Bar(f"{beside}, underruns here", "value", bar, lambda run: run.underruns_here, "%"),
    )


JOBS: dict[str, tuple[dict[str, Any], tuple[Bar, ...]]] = {
    "two-way": ({}, QUIET_BARS),
    "receive": ({"sends": False}, RECEIVE_BARS),
    "publish": ({"hears": False}, PUBLISH_BARS),
    "readers": ({"sends": False, "hears": False, "readers": 10}, READER_BARS),
    "busy": ({"hogs": 1}, busy_bars(1, 0.1)),
    "busier": ({"hogs": 2}, busy_bars(2, 1.0)),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=3, help="pairs of each figure, four windows a pair")
    parser.add_argument("--seconds", type=float, default=20.0, help="of one window")
    parser.add_argument("--period-ms", type=int, default=20, help="of the sound card: 10 or 20")
    parser.add_argument(
        "--kind", choices=("direct", "public"), default="direct", help="the SDK's path of sound"
    )
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    figures: list[Figure] = []
    with LocalStack() as stack:
        for job in chosen.jobs:
            what, bars = JOBS[job]
            what = what | {"period_ms": chosen.period_ms}
            runs: list[tuple[Run, Run]] = []
            for _ in range(chosen.pairs):
                order = ("raw", chosen.kind, chosen.kind, "raw")
                first, second, third, fourth = (measure(stack, arm, chosen.seconds, **what) for arm in order)
                runs += [(second, first), (third, fourth)]
            for bar in bars:
                figures.append(compare(runs, bar))
                if not chosen.json:
                    print(figures[-1].line(), flush=True)
    if chosen.json:
        print(json.dumps([asdict(figure) | {"holds": figure.holds} for figure in figures], indent=2))
    else:
        load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
        print(f"{chosen.kind} path, {chosen.period_ms} ms periods, {chosen.seconds:g} s windows, load {load}")
    return 0 if all(figure.holds for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
