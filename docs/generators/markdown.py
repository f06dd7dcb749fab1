"""Markdown from values: a table, the first words of a docstring, what a docstring promises."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table; a bar in a cell is escaped."""

    def line(cells: tuple[str, ...]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"

    return line(head) + line(("---",) * len(head)) + "".join(line(row) for row in rows)


def paragraph(text: str | None) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join(inspect.cleandoc(text or "").split("\n\n")[0].split())


def promises(text: str | None) -> str:
    """The first paragraph, and whatever is said further down of blocking, threads and errors."""
    first, *others = inspect.cleandoc(text or "").split("\n\n")
    said = [" ".join(first.split())]
    for other in others:
        flat = " ".join(other.split())
        said += re.findall(r"(?:Blocks|Thread|Raises):.*?(?=(?:Blocks|Thread|Raises):|$)", flat)
    return " ".join(part.strip() for part in said)
