"""The engine as its clients see it: every operation, every code it refuses with."""

from __future__ import annotations

from generators.markdown import table
from utdstream import errors
from utdstream.engine.api.operations import OPERATIONS
from utdstream.engine.rules.refusals import STATUS_OF_CODE


def operations() -> str:
    """Every operation of the engine."""
    rows = [
        (
            f"`{row.method} {row.path}`",
            row.summary,
            row.access.value,
            ", ".join(f"`{code}`" for code in row.codes),
        )
        for row in OPERATIONS
    ]
    return table(("request", "what it does", "needs", "its own refusals"), rows)


def operations_that_stand() -> str:
    """The operations that change something and are not taken back."""
    rows = [
        (f"`{row.method} {row.path}`", row.summary) for row in OPERATIONS if row.changes and not row.is_undone
    ]
    return table(("request", "what stands"), rows)


def error_codes() -> str:
    """Every code the engine refuses with, and what the SDK raises then."""
    rows = [
        (f"`{code}`", str(status), f"`{type(errors.error_from_answer(status, '', code)).__name__}`")
        for code, status in STATUS_OF_CODE.items()
    ]
    return table(("code", "HTTP status", "the SDK raises"), rows)
