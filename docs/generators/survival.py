"""What survives what: the table of the fault matrix's last run, from `docs/fault-matrix.json`.

Owns: how a cell of several seeds is told in a word. The file is written by `make faults`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

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


def _rows() -> list[Row]:
    return json.loads(RESULTS.read_text(encoding="utf-8"))["cells"]


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
    """When and with what the table was made, and its counts."""
    rows = _rows()
    counts = Counter(str(row["result"]) for row in rows)
    dates = sorted({str(row["date"]) for row in rows if "date" in row})
    commits = list(dict.fromkeys(str(row["commit"]) for row in rows if "commit" in row))
    words = {
        "pass": "passed",
        "late": "came to the same end, but later than 5 s",
        "known": "are known to fail",
        "fail": "failed",
        "n/a": "are not applicable",
        "missing": "are not built yet",
        "not run": "were not run",
    }
    said = ", ".join(f"{counts[result]} {word}" for result, word in words.items() if counts[result])
    seeds = sorted({int(str(row["seed"])) for row in rows})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    return f"Run on {when} at {', '.join(commits)}, with {_seeds(seeds)}: of {len(rows)} cells {said}.\n"


def _seeds(seeds: list[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def survival_reasons() -> str:
    """Why cells are left out, and what is wrong in those that fail: each reason once, with its faults."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in _rows():
        if row["result"] in ("n/a", "missing", "known"):
            why = str(row["why"]).partition(" (")[0]
            faults = reasons.setdefault((str(row["result"]), why), [])
            if row["fault"] not in faults:
                faults.append(str(row["fault"]))
    words = {"n/a": "not applicable", "missing": "not built yet", "known": "known to fail"}
    order = ("known", "missing", "n/a")
    body = [
        (words[result], _sentence(why), "; ".join(faults))
        for (result, why), faults in sorted(reasons.items(), key=lambda item: order.index(item[0][0]))
    ]
    return table(("", "why", "faults"), body)


def _word(rows: Iterable[Row]) -> str:
    """What the seeds of one cell came to: the worst of them, with the slowest figure."""
    rows = list(rows)
    results = {str(row["result"]) for row in rows}
    for worst, word in (
        ("fail", "**fails**"),
        ("not run", ""),
        ("known", "**no**"),
        ("missing", "?"),
        ("n/a", "-"),
    ):
        if worst in results:
            return word
    slowest = max((_slowest(row) for row in rows), default=0.0)
    return f"{'late: ' if 'late' in results else ''}{slowest:.1f} s"


def _slowest(row: Row) -> float:
    figures = row["figures"]
    assert isinstance(figures, dict)
    return max((float(figures.get(name, 0.0)) for name in ("agreed", "heard", "rung", "ended")), default=0.0)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
