"""What survives what: the table of the fault matrix's last run, from `docs/fault-matrix.json`.

Owns: how a cell of several seeds is told in a word. The file is written by `make faults`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from generators.markdown import table

RESULTS = Path(__file__).resolve().parents[1] / "fault-matrix.json"
GROUPS = (
    ("Signalling and media", 16),
    ("The media server", 8),
    ("The engine", 9),
    ("The broker", 8),
    ("Name, time and route", 6),
    ("Devices", 9),
    ("The machine", 4),
)
PHASES = ("idle", "ringing out", "ringing in", "connecting", "active")
Row = Mapping[str, object]


def _published() -> dict[str, Any]:
    return json.loads(RESULTS.read_text(encoding="utf-8"))


def _rows() -> list[Row]:
    return _published()["cells"]


def survival() -> str:
    """A table for each group of faults; below each what does not survive yet."""
    rows = _rows()
    faults = list(dict.fromkeys(str(row["fault"]) for row in rows))
    parts, at = [], 0
    for title, size in GROUPS:
        mine = faults[at : at + size]
        at += size
        body = [
            (
                _sentence(fault),
                *(
                    _word([row for row in rows if (row["fault"], row["phase"]) == (fault, phase)])
                    for phase in PHASES
                ),
            )
            for fault in mine
        ]
        parts.append(f"### {title}\n\n" + table(("fault", *PHASES), body))
    return "\n".join(parts)


def survival_run() -> str:
    """When and with what the table was made, and its counts for each seed."""
    run, rows = _published()["run"], _rows()
    words = {
        "pass": "passed",
        "late": "came to the same end, but later than 5 s",
        "fail": "failed",
        "n/a": "do not apply",
        "not run": "were not run",
    }
    load = run["load"]
    lines = [
        f"Run on {run['date']} at {run['commit']} in {run['minutes']:g} minutes, {run['workers']} cells at a "
        f"time; the load of the machine ({run['processors']} processors) was {load['median']:g} "
        f"({load['least']:g} to {load['most']:g}).",
        "",
    ]
    for seed in sorted({int(str(row["seed"])) for row in rows}):
        counts = Counter(str(row["result"]) for row in rows if row["seed"] == seed)
        said = ", ".join(f"{counts[result]} {word}" for result, word in words.items() if counts[result])
        lines.append(f"- Seed {seed}: of {counts.total()} cells {said}.")
    return "\n".join(lines) + "\n"


def survival_reasons() -> str:
    """Why cells are left out, and what was wrong in those that did not pass: each reason once, with its cells."""
    reasons: dict[tuple[str, str], dict[str, None]] = {}
    for row in _rows():
        result = str(row["result"])
        if result != "pass":
            cell = (
                str(row["fault"])
                if result == "n/a"
                else f"{row['fault']} ({row['phase']}, seed {row['seed']})"
            )
            reasons.setdefault((result, str(row["why"])), {})[cell] = None
    words = {"fail": "failed", "late": "late", "not run": "not run", "n/a": "not applicable"}
    body = [
        (words[result], _sentence(why) or "-", "; ".join(faults))
        for (result, why), faults in sorted(reasons.items(), key=lambda item: list(words).index(item[0][0]))
    ]
    return table(("", "why", "faults"), body)


def _word(rows: Iterable[Row]) -> str:
    """What the seeds of one cell came to: the worst of them, with the slowest figure."""
    rows = list(rows)
    results = {str(row["result"]) for row in rows}
    for worst, word in (("fail", "**fails**"), ("not run", "")):
        if worst in results:
            return word
    if results == {"n/a"}:
        return "-"
    slowest = max((_slowest(row) for row in rows), default=0.0)
    return f"{'late: ' if 'late' in results else ''}{slowest:.1f} s"


def _slowest(row: Row) -> float:
    figures = row["figures"]
    assert isinstance(figures, dict)
    return max((float(figures.get(name, 0.0)) for name in ("agreed", "heard", "rung", "ended")), default=0.0)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
