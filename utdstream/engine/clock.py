"""Moments as the engine keeps them: UTC, to the millisecond, what the database and the wire can hold."""

from __future__ import annotations

import time
from datetime import datetime, timezone

EPOCH = datetime.fromtimestamp(0, timezone.utc)


def now() -> datetime:
    """This moment."""
    moment = datetime.now(timezone.utc)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def now_ms() -> int:
    """This moment, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def to_ms(moment: datetime) -> int:
    """Milliseconds since 1970."""
    return round(moment.timestamp() * 1000)


def from_ms(milliseconds: int) -> datetime:
    """The moment of so many milliseconds since 1970."""
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc)
