"""Which time is believed where a wrong one does harm that stays: what is deleted by its age, and bans that end.

Owns: the rule. Pure: the wall clock and the seconds of a clock that nobody sets are given.

1. The clock of the wall may go on, be set back, or be set forward by up to a day: it is believed.
2. A longer jump forward (a battery that is empty, a wrong time server, somebody with a keyboard) is doubted: the
   believed time goes on as if it had not been. A clock that still says so after a week is believed.
3. An engine that was off for up to thirty days believes the clock it finds; one that seems to have been off for
   longer doubts it, as in 2.

So a doubted clock deletes nothing and frees nobody; the price is that a ban may last up to a week longer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

JUMP_AT_MOST = timedelta(days=1)
OFF_AT_MOST = timedelta(days=30)
BELIEVED_AFTER_S = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Belief:
    """The time was `wall` at `at_s` of the clock that nobody sets; `doubted_at_s`: since then another is said."""

    wall: datetime
    at_s: float
    doubted_at_s: float | None = None


def begin(wall: datetime, at_s: float, last_seen: datetime | None) -> Belief:
    """What an engine believes at its start that wrote down `last_seen` when it last ran; None: it never did."""
    if last_seen is None or wall - last_seen <= OFF_AT_MOST:
        return Belief(wall, at_s)
    return Belief(last_seen, at_s, doubted_at_s=at_s)


def look(belief: Belief, wall: datetime, at_s: float) -> tuple[Belief, datetime]:
    """What is believed from now on, and the time."""
    expected = belief.wall + timedelta(seconds=at_s - belief.at_s)
    if wall < expected:
        return Belief(wall, at_s), wall
    if wall - expected <= JUMP_AT_MOST:
        return replace(belief, doubted_at_s=None), wall
    doubted_at_s = at_s if belief.doubted_at_s is None else belief.doubted_at_s
    if at_s - doubted_at_s >= BELIEVED_AFTER_S:
        return Belief(wall, at_s), wall
    return replace(belief, doubted_at_s=doubted_at_s), expected
