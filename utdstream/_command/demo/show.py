"""What the demo writes on the terminal: steps, a live line, the table.

Owns: words, colours, widths. On a terminal the live line is written over itself; elsewhere every line is
plain and stays. Thread: the parent's main one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from typing import TextIO

from utdstream._command.demo.measure import Bar

_GREEN, _RED, _DIM, _BOLD, _PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[2m", "\x1b[1m", "\x1b[0m"
_METER = 10


class Screen:
    """One terminal, file or pipe."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._live = out.isatty() and os.environ.get("TERM") != "dumb"
        self._colours = self._live and "NO_COLOR" not in os.environ
        speaks_unicode = (out.encoding or "").lower().replace("-", "") == "utf8"
        marks = ("✓", "✗", "█", "░") if speaks_unicode else ("+", "x", "#", ".")
        self._ok, self._bad, self._full, self._empty = marks
        self._said_at = 0.0
        self._line_is_live = False

    def title(self, text: str) -> None:
        self._write(self._coloured(text, _BOLD))

    def step(self, name: str, detail: str = "", *, ok: bool = True) -> None:
        """Shows a step that is done, or failed; it stays on the screen."""
        mark = self._coloured(self._ok, _GREEN) if ok else self._coloured(self._bad, _RED)
        self._write(f"  {mark} {name:<14} {self._coloured(detail, _DIM)}".rstrip())

    def progress(self, name: str, done: float, whole: float, detail: str) -> None:
        """Shows what is under way: one line, written over itself where that is possible."""
        if not self._live:
            if done - self._said_at >= 0.95:  # a line that stays: one a second is enough
                self._said_at = done
                self._write(f"    {name} {done:.1f}/{whole:g} s  {detail}")
            return
        filled = round(_METER * min(1.0, done / whole))
        meter = self._full * filled + self._empty * (_METER - filled)
        text = f"  {name} {meter} {done:4.1f}/{whole:g} s  {detail}"
        width = shutil.get_terminal_size().columns
        self._out.write("\r\x1b[K" + text[: width - 1])
        self._out.flush()
        self._line_is_live = True

    def table(self, bars: Sequence[Bar]) -> None:
        """Shows every bar with its mark."""
        rows = [("", "measured", "wanted"), *((bar.name, bar.measured, bar.wanted) for bar in bars)]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        self._write("")
        for number, row in enumerate(rows):
            cells = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            if number == 0:
                self._write(self._coloured(f"    {cells}".rstrip(), _DIM))
            else:
                ok = bars[number - 1].ok
                mark = self._coloured(self._ok, _GREEN) if ok else self._coloured(self._bad, _RED)
                self._write(f"  {mark} {cells}".rstrip())
        self._write("")

    def text(self, text: str) -> None:
        self._write(text)

    def _write(self, line: str) -> None:
        if self._line_is_live:
            self._out.write("\r\x1b[K")
            self._line_is_live = False
        self._out.write(line + "\n")
        self._out.flush()

    def _coloured(self, text: str, colour: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._colours and text else text
