"""The fault matrix: sixty faults, five phases, seeds; `python tests/faults/matrix.py` runs it.

Owns: which cells there are, the run of one on a stack that many share, and the file of results. A cell's seed
repeats it: `--seed 2 --only "node failure/active"`.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import subprocess
import sys
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

import media_faults  # noqa: E402
import other_faults  # noqa: E402
import server_faults  # noqa: E402
from kinds import Fault  # noqa: E402
from known import KNOWN  # noqa: E402
from phases import JUDGED, PHASES, RUN, Course, Failed  # noqa: E402
from scene import LIMIT_S, Scene  # noqa: E402

from utdstream import UTDStreamException  # noqa: E402
from utdstream._wire import routes  # noqa: E402
from utdstream.engine.stack.ports import PARTS  # noqa: E402
from utdstream.engine.stack.supervisor import StackError  # noqa: E402
from utdstream.testing import Faults, LocalStack  # noqa: E402

SIXTY: tuple[Fault, ...] = (*media_faults.FAULTS, *server_faults.FAULTS, *other_faults.FAULTS)
SEEDS = (1, 2, 3)
_MOST_FAILED_STARTS = 10
"""How often a run may find its machine too busy to start a stack within 20 s."""
RESULTS = HERE.parents[1] / "docs" / "fault-matrix.json"
PASS, LATE, FAIL, KNOWN_TO_FAIL, NOT_APPLICABLE, MISSING, NOT_RUN = (
    "pass",
    "late",
    "fail",
    "known",
    "n/a",
    "missing",
    "not run",
)


@dataclass(frozen=True)
class Cell:
    """One fault in one phase with one seed."""

    fault: Fault
    phase: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.fault.name}/{self.phase}/{self.seed}"


@dataclass
class Outcome:
    """What came of a cell; `figures` are seconds after the end of the fault."""

    fault: str
    phase: str
    seed: int
    result: str
    why: str = ""
    figures: dict[str, float] = field(default_factory=dict)
    took_s: float = 0.0


def cells(seeds: Sequence[int] = SEEDS, only: str = "") -> Iterator[Cell]:
    """All cells, one seed after the other: a run that is cut short has seen every fault."""
    for seed in seeds:
        for fault in SIXTY:
            for phase in PHASES:
                cell = Cell(fault, phase, seed)
                if only in cell.name:
                    yield cell


class Ground:
    """A stack behind a relay that many cells share; one that is no more as it was is replaced."""

    def __init__(self) -> None:
        self._faults: Faults | None = None
        self._failed_starts = 0

    def faults(self) -> Faults:
        """The relay, with all parts of its stack running."""
        if self._faults is not None and not self._is_well(self._faults):
            self.close()
        while self._faults is None:
            try:
                self._faults = Faults(LocalStack(log_level="info")).__enter__()
            except StackError:  # the machine has other work
                self._failed_starts += 1
                if self._failed_starts > _MOST_FAILED_STARTS:
                    raise
        return self._faults

    @staticmethod
    def _is_well(faults: Faults) -> bool:
        """So that no cell suffers from another one."""
        if not all(map(faults.stack.is_running, PARTS)):
            return False
        try:
            health = faults.stack._ask("GET", routes.HEALTH, None)
        except UTDStreamException:
            return False
        return health["status"] == "ok" and "down" not in dict(health["parts"]).values()  # type: ignore[call-overload]

    def close(self) -> None:
        """Ends it; the next cell gets another."""
        faults, self._faults = self._faults, None
        if faults is not None:
            faults.__exit__(None, None, None)


@contextmanager
def ground() -> Iterator[Ground]:
    """One for a run."""
    made = Ground()
    try:
        yield made
    finally:
        made.close()


def run(cell: Cell, ground: Ground) -> Outcome:
    """Runs one cell. What it finds is its outcome; it raises nothing."""
    fault = cell.fault
    outcome = Outcome(fault.name, cell.phase, cell.seed, PASS)
    if cell.phase in fault.not_in:
        outcome.result, outcome.why = NOT_APPLICABLE, fault.not_in[cell.phase]
        return outcome
    if fault.missing is not None:
        outcome.result, outcome.why = MISSING, fault.missing or ""
        return outcome
    began = time.monotonic()
    try:
        _judge(cell, ground, outcome)
    except StackError as error:  # the machine has too much other work: that says nothing of the cell
        outcome.result, outcome.why = (
            NOT_RUN,
            f"a part of the stack did not start: {str(error).partition(';')[0]}",
        )
        return outcome
    except Exception as error:  # noqa: BLE001 - a cell that breaks in another way has failed too
        was_struck = fault.course is not None or "met" in outcome.figures
        outcome.result = FAIL if was_struck else NOT_RUN
        outcome.why = str(error) if isinstance(error, Failed) else f"{type(error).__name__}: {error}"
        if not isinstance(error, Failed):
            traceback.print_exc()
    outcome.took_s = round(time.monotonic() - began, 1)
    known = KNOWN.get((fault.name, cell.phase))
    if known is not None:
        passed = outcome.result == PASS
        outcome.result = FAIL if passed else KNOWN_TO_FAIL
        outcome.why = (
            "it passes: take it off the list of known failures" if passed else f"{known} ({outcome.why})"
        )
    gc.collect()  # an error that is kept keeps its connection
    return outcome


def _judge(cell: Cell, ground: Ground, outcome: Outcome) -> None:
    fault = cell.fault
    scene = Scene(ground.faults(), zlib.crc32(cell.name.encode()), kind=fault.kind, devices=fault.devices)
    try:
        if fault.course is not None:
            fault.course(
                scene, cell.phase, lambda what, seconds: outcome.figures.update({what: round(seconds, 2)})
            )
        else:
            assert fault.strike is not None
            lasts_s = scene.random.uniform(*fault.lasts_s)
            RUN[cell.phase](
                Course(scene, fault.strike, lasts_s, not fault.may_end, fault.hears, outcome.figures)
            )
    finally:
        scene.dispose()
    wrong = [
        *scene.door.untyped(),
        *scene.house.untyped(),
        *scene.door.twice_over(),
        *scene.house.twice_over(),
    ]
    if wrong:
        raise Failed("; ".join(wrong))
    if fault.meets and not outcome.figures["met"]:
        outcome.result, outcome.why = NOT_APPLICABLE, "nothing that it could meet is under way then"
        return
    late = [
        f"{name} after {outcome.figures[name]:g} s"
        for name in JUDGED
        if outcome.figures.get(name, 0.0) > LIMIT_S
    ]
    if late:
        outcome.result, outcome.why = LATE, ", ".join(late)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs cells and says how each went; 0 when none failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, action="append", help="this seed alone (default: 1, 2 and 3)")
    parser.add_argument("--only", default="", help="cells whose name has this: fault/phase/seed")
    parser.add_argument(
        "--minutes", type=float, default=120.0, help="begin no further cell after so many (120)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON line a cell instead of words")
    parser.add_argument(
        "--out", type=Path, default=RESULTS, help=f"the file of results ({RESULTS.name} in docs)"
    )
    parser.add_argument("--list", action="store_true", help="name the cells, and run none")
    options = parser.parse_args(arguments)
    chosen = list(cells(options.seed or SEEDS, options.only))
    if options.list:
        print("\n".join(cell.name for cell in chosen))
        return 0
    for chatty in ("utdstream", "livekit"):
        logging.getLogger(chatty).setLevel(logging.CRITICAL)
    outcomes = _run_all(chosen, options)
    counts = Counter(outcome.result for outcome in outcomes)
    unrun = len(chosen) - len(outcomes)
    print(
        ", ".join(f"{count} {result}" for result, count in counts.most_common())
        + (f", {unrun} not run" if unrun else "")
    )
    return 1 if counts[FAIL] or counts[LATE] or counts[NOT_RUN] or unrun else 0


def _run_all(chosen: Sequence[Cell], options: argparse.Namespace) -> list[Outcome]:
    until = time.monotonic() + options.minutes * 60
    outcomes: list[Outcome] = []
    with ground() as shared:
        for number, cell in enumerate(chosen, 1):
            if time.monotonic() > until:
                break
            outcome = run(cell, shared)
            outcomes.append(outcome)
            if options.json:
                print(json.dumps(asdict(outcome)), flush=True)
            elif outcome.result not in (NOT_APPLICABLE, MISSING):
                print(
                    f"{number}/{len(chosen)} {outcome.result} {cell.name} {outcome.took_s:g} s {outcome.why}",
                    flush=True,
                )
            write(options.out, outcomes)
    return outcomes


def write(path: Path, outcomes: Sequence[Outcome]) -> None:
    """The file of results: what stood there of other cells is kept, with its own date and commit."""
    ran = {"date": datetime.now(UTC).strftime("%Y-%m-%d"), "commit": _commit()}
    rows = {_key(row): row for row in json.loads(path.read_text())["cells"]} if path.exists() else {}
    rows.update({_key(row := {**asdict(one), **ran}): row for one in outcomes})
    seeds = {row["seed"] for row in rows.values() if row["result"] != NOT_RUN}
    every = [
        rows.get(cell.name) or asdict(Outcome(cell.fault.name, cell.phase, cell.seed, NOT_RUN))
        for cell in cells()
        if cell.seed in seeds
    ]
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in every)
    path.write_text(f'{{"cells": [\n{lines}\n]}}\n', encoding="utf-8")


def _key(row: dict[str, object]) -> str:
    return f"{row['fault']}/{row['phase']}/{row['seed']}"


def _commit() -> str:
    asked = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
