"""The engine's clock, as its answers tell it.

Owns: `EngineClock`. Threads: any may read; the threads of REST write. No I/O.

1. The engine says its time in a header of its own, which nothing in between knows or changes. A `Date` header may
   be a proxy's: it is hearsay, which counts until the engine itself has spoken and never after.
2. A time that no engine can mean (before 2000, after 2199) is none.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

from utdstream._wire import routes

_EARLIEST_S = datetime(2000, 1, 1, tzinfo=timezone.utc).timestamp()
_LATEST_S = datetime(2200, 1, 1, tzinfo=timezone.utc).timestamp()
_DIGITS = 13
"""Milliseconds since 1970 have as many until the year 2286."""
_HALF_A_SECOND = 0.5
"""A `Date` header cuts to whole seconds."""


class EngineClock:
    """What time it is at the engine: its last word and our monotonic clock since."""

    def __init__(self) -> None:
        self._told: float | None = None
        self._hearsay: float | None = None
        # Seconds to add to our monotonic clock.

    def learn(self, headers: Mapping[str, str]) -> None:
        """Takes the time from the headers of an answer that arrived now."""
        arrived = time.monotonic()
        told = _word(headers.get(routes.HEADER_TIME, ""))
        if told is not None:
            self._told = told - arrived
            return
        date = _date(headers.get("Date", ""))
        if date is not None:
            self._hearsay = date + _HALF_A_SECOND - arrived

    def told(self) -> datetime | None:
        """Returns the engine's time by its own word, aware, UTC; None when it never said it."""
        return None if self._told is None else _moment(self._told)

    def now(self) -> datetime:
        """Returns the best that is known: the engine's word, else a `Date` header's, else this machine's clock."""
        offset = self._told if self._told is not None else self._hearsay
        return datetime.now(timezone.utc) if offset is None else _moment(offset)


def _moment(offset: float) -> datetime:
    return datetime.fromtimestamp(time.monotonic() + offset, timezone.utc)


def _word(header: str) -> float | None:
    if not (header.isascii() and header.isdecimal() and len(header) <= _DIGITS):
        return None
    return _plausible(int(header) / 1000)


def _date(header: str) -> float | None:
    try:
        return _plausible(parsedate_to_datetime(header).timestamp())
    except (TypeError, ValueError, OverflowError, IndexError):
        return None


def _plausible(seconds: float) -> float | None:
    return seconds if _EARLIEST_S <= seconds < _LATEST_S else None
