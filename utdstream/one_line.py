"""Text from outside, made fit for one line: of a log, a journal, a status, a terminal.

Owns: `one_line`, `OneLineFormatter`. Standard library only; any thread. Names, reasons and words from elsewhere
go through here wherever lines have a meaning: a break in them would begin a line of the writer's own choice, and a
control character would speak to the terminal that shows it.
"""

from __future__ import annotations

import logging
import re

_BREAKS = re.compile(r"[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+")


def one_line(text: str) -> str:
    r"""The text with breaks made spaces, and whatever else is not printed written as an escape (`\x1b`)."""
    return text if text.isprintable() else _escaped(_BREAKS.sub(" ", text).strip())


class OneLineFormatter(logging.Formatter):
    """A record is one line; the lines of its traceback begin with `| `, as no record does."""

    def format(self, record: logging.LogRecord) -> str:
        """Writes a record."""
        record.message = record.getMessage()
        if self.usesTime():
            record.asctime = self.formatTime(record, self.datefmt)
        lines = [one_line(self.formatMessage(record))]
        # An exception's words may come from outside too.
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        stack = self.formatStack(record.stack_info) if record.stack_info else ""
        return "\n".join(lines + [f"| {_escaped(line)}" for line in (trace + stack).splitlines()])


def _escaped(text: str) -> str:
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii") for sign in text
    )
