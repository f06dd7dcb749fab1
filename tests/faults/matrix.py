"""The fault matrix: sixty faults, five phases, three seeds; `python tests/faults/matrix.py` runs it.

Owns: the run, and the file of its results. A whole run writes every row of `docs/fault-matrix.json` anew; chosen
cells write nothing but what `--out` names. A cell's seed repeats it: `--only "node failure/active/2"`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

from cells import FAIL, LATE, NOT_APPLICABLE, NOT_RUN, SEEDS, Cell, Outcome, cells, unrun  # noqa: E402
from workers import run_all, serve  # noqa: E402

RESULTS = HERE.parents[1] / "docs" / "fault-matrix.json"
TIMES = 3
"""How often a cell is begun whose stack does not start, which says nothing of it."""
LOOK_S = 2.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs cells and says how each went; 0 when every one passed or does not apply."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, action="append", help="this seed alone (default: 1, 2 and 3)")
    parser.add_argument("--only", default="", help="cells whose name has this: fault/phase/seed")
    parser.add_argument("--workers", type=int, default=3, help="so many cells side by side (3)")
    parser.add_argument(
        "--minutes", type=float, default=120.0, help="begin no further cell after so many (120)"
    )
    parser.add_argument(
        "--load",
        type=float,
        default=math.inf,
        help="begin a cell only while the machine's load is below this",
    )
    parser.add_argument(
        "--out", type=Path, help="the file of results (a whole run: fault-matrix.json in docs)"
    )
    parser.add_argument("--list", action="store_true", help="name the cells, and run none")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        serve()
        return 0
    chosen = list(cells(options.seed or SEEDS, options.only))
    if options.list:
        print("\n".join(cell.name for cell in chosen))
        return 0
    is_whole = not options.seed and not options.only
    results = Run(chosen, options.minutes, options.load, options.out or (RESULTS if is_whole else None))
    results.run(options.workers)
    print(results.counts())
    return 0 if results.is_clean() else 1


class Run:
    """One run: what has come of its cells so far, also in its file."""

    def __init__(self, chosen: Sequence[Cell], minutes: float, most_load: float, out: Path | None) -> None:
        self._rows: dict[str, Outcome] = {cell.name: unrun(cell) for cell in chosen}
        self._left = [cell for cell in chosen if self._rows[cell.name].result != NOT_APPLICABLE]
        self._out = out
        self._began = time.monotonic()
        self._until = self._began + minutes * 60
        self._most_load = most_load
        self._load: list[float] = []
        self._number = 0
        self._about: dict[str, object] = {
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "commit": _commit(),
            "processors": os.cpu_count(),
        }

    def run(self, workers: int) -> None:
        """Runs the cells; last and one at a time those that take the processor from all others."""
        self._about["workers"] = workers
        for _ in range(TIMES):
            left = [cell for cell in self._left if self._rows[cell.name].result == NOT_RUN]
            run_all(
                [cell for cell in left if not cell.fault.is_felt_by_all], workers, self._may_begin, self._take
            )
            run_all([cell for cell in left if cell.fault.is_felt_by_all], 1, self._may_begin, self._take)

    def counts(self) -> str:
        """How many cells came to what."""
        counted = Counter(row.result for row in self._rows.values())
        return ", ".join(f"{count} {result}" for result, count in counted.most_common())

    def is_clean(self) -> bool:
        """Whether nothing failed, was late or was not run."""
        return not {row.result for row in self._rows.values()} & {FAIL, LATE, NOT_RUN}

    def _may_begin(self) -> bool:
        """Waits until the machine has time; False when that of the run is up."""
        while time.monotonic() < self._until:
            if os.getloadavg()[0] < self._most_load:
                return True
            time.sleep(LOOK_S)
        return False

    def _take(self, cell: Cell, outcome: Outcome) -> None:
        self._rows[cell.name] = outcome
        self._number += 1
        self._load.append(outcome.load)
        print(
            f"{self._number}/{len(self._left)} {outcome.result} {cell.name} {outcome.took_s:g} s "
            f"(load {outcome.load:g}) {outcome.why}",
            flush=True,
        )
        self._write()

    def _write(self) -> None:
        """The file, as of now: every row is of this run."""
        if self._out is None:
            return
        load = sorted(self._load)
        about = {
            **self._about,
            "minutes": round((time.monotonic() - self._began) / 60, 1),
            "load": {"least": load[0], "median": load[len(load) // 2], "most": load[-1]},
        }
        lines = ",\n".join(json.dumps(asdict(row), ensure_ascii=False) for row in self._rows.values())
        self._out.write_text(f'{{"run": {json.dumps(about)},\n"cells": [\n{lines}\n]}}\n', encoding="utf-8")


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
