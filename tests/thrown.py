"""Exceptions thrown into a call at any line of the SDK that it runs on its caller's own thread."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import utdstream

_SDK = str(Path(utdstream.__file__).parent)


class Thrown(BaseException):
    """What is thrown: nothing in the SDK knows it."""


def thrown_at(line: int, call: Callable[[], object]) -> tuple[object, bool]:
    """Runs `call()` and throws at the `line`th line of the SDK; returns its result, and whether it has so many.

    The result is the `Thrown` itself when that came out.
    """

    def throw(where: str) -> None:
        raise Thrown(f"at {where}")

    try:
        return _traced(line, call, throw)
    except Thrown as thrown:
        return thrown, True


def done_at(line: int, call: Callable[[], object], act: Callable[[], object]) -> tuple[object, bool]:
    """Runs `call()` and, as a signal handler would, `act()` at the `line`th line; returns as `thrown_at`."""

    def handle(_: str) -> None:
        sys.settrace(None)
        act()

    return _traced(line, call, handle)


def _traced(line: int, call: Callable[[], object], at_line: Callable[[str], None]) -> tuple[object, bool]:
    """A `with` is left out when its block ends: between that and the release of its lock the interpreter looks for
    no signal.
    """
    lines = 0
    entered: set[tuple[FrameType, int]] = set()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal lines
        if not frame.f_code.co_filename.startswith(_SDK):
            return trace if event == "call" else None
        if event == "line":
            if linecache.getline(frame.f_code.co_filename, frame.f_lineno).lstrip().startswith("with "):
                if (frame, frame.f_lineno) in entered:
                    return trace
                entered.add((frame, frame.f_lineno))
            lines += 1
            if lines == line:
                at_line(f"{frame.f_code.co_filename}:{frame.f_lineno}")
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        got = call()
    finally:
        sys.settrace(before)
    return got, lines >= line
