"""Text from outside on one line."""

from __future__ import annotations

import io
import logging

import pytest

from utdstream.one_line import OneLineFormatter, one_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, Tür 前门 🚪", "plain, Tür 前门 🚪"),
        ("no\nWATCHDOG=trigger\r\nMAINPID=1", "no WATCHDOG=trigger MAINPID=1"),
        ("a\x0bb\x0cc\x1dd\x85e\u2028f\u2029g\th", "a b c d e f g h"),
        ("\x1b[2Jall is well", "\\x1b[2Jall is well"),
        ("a\x00b\x7fc", "a\\x00b\\x7fc"),
        ("anna\u202eanna\u200b\ud800", "anna\\u202eanna\\u200b\\ud800"),
        ("\nends\n", "ends"),
    ],
)
def test_text_when_it_holds_signs_that_are_not_printed_is_one_line(text: str, shown: str) -> None:
    """Breaks become spaces, the rest is seen."""
    assert one_line(text) == shown
    assert len(shown.splitlines()) == 1


def test_every_sign_when_made_one_line_can_be_printed() -> None:
    """The whole of Unicode, none forgotten."""
    for number in range(0x110000):
        shown = one_line(f"a{chr(number)}b")
        assert shown.isprintable(), hex(number)


def test_log_when_a_name_holds_a_break_begins_no_line_of_its_own() -> None:
    """Nor does an exception's text: each line of its traceback is marked."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(OneLineFormatter("%(levelname)s %(message)s"))
    record = logging.LogRecord(
        "x", logging.ERROR, "x.py", 1, "%s rings", ("anna\nINFO the door is opened",), None
    )
    handler.emit(record)
    try:
        raise ValueError("bad\nINFO the door is opened\x1b[2J")
    except ValueError as error:
        words = (type(error), error, error.__traceback__)
    handler.emit(logging.LogRecord("x", logging.ERROR, "x.py", 1, "it failed", (), words))
    first, second, *traceback = written.getvalue().splitlines()
    assert first == "ERROR anna INFO the door is opened rings"
    assert second == "ERROR it failed"
    assert traceback
    assert all(line.startswith("| ") for line in traceback)
    assert "\x1b" not in written.getvalue()
