"""What a doctor says: one finding a line, with what to do about it.

Owns: `Check`, its table for a person and its JSON for a program. Standard library only. `utdstream doctor` and
`utd-device doctor` speak in these.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum


class CheckState(StrEnum):
    """How a thing that was looked at is."""

    OK = "ok"
    WARN = "warn"
    """Works without it, but less well, or not for long."""
    FAIL = "fail"
    """Does not work without it."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; `remedy` is a command or a sentence, empty when all is well."""

    name: str
    state: CheckState
    found: str
    remedy: str = ""


def passed(checks: Sequence[Check]) -> bool:
    """Whether nothing failed."""
    return all(check.state is not CheckState.FAIL for check in checks)


def as_table(checks: Sequence[Check]) -> str:
    """For a person: a line each, the remedy below what needs one, the count at the end."""
    width = max((len(check.name) for check in checks), default=0)
    lines: list[str] = []
    for check in checks:
        lines.append(f"{check.state.value:4}  {check.name:{width}}  {check.found}")
        if check.remedy:
            lines.append(f"{'':4}  {'':{width}}  -> {check.remedy}")
    failed = sum(check.state is CheckState.FAIL for check in checks)
    warned = sum(check.state is CheckState.WARN for check in checks)
    return "\n".join([*lines, "", f"{len(checks)} checks: {failed} failed, {warned} to look at"])


def as_json(checks: Sequence[Check]) -> str:
    """For a program: `{"ok": true, "checks": [{"name", "state", "found", "remedy"}, ...]}`."""
    return json.dumps({"ok": passed(checks), "checks": [asdict(check) for check in checks]}, indent=1)
