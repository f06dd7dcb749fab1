"""Which time is believed where a wrong one does harm that stays: what is deleted by its age, and bans that end.

Owns: the rule. Pure: the wall clock and the seconds of a clock that nobody sets are given.

1. The clock of the wall may go on, be set back, or be set forward by up to a day: it is believed.
2. A longer jump forward (a battery that is empty, a wrong time server, somebody with a keyboard) is doubted: the
   believed time goes on as if it had not been. A clock that still says so after a week is believed.
3. An engine begins with the later of the clock and of the time it wrote down when it last ran, and doubts a clock
   that is behind that. One that seems to have been off for more than thirty days doubts the clock, as in 2.
4. A machine without a battery begins with an old time, and its clock is set when the network is there. So in the
   first day after the machine's start a jump forward is measured from what was written down, as in 3.

So a doubted clock deletes nothing and frees nobody; the price is that a ban may last up to a week longer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone

JUMP_AT_MOST = timedelta(days=1)
OFF_AT_MOST = timedelta(days=30)
BELIEVED_AFTER_S = 7 * 24 * 3600.0
SET_WITHIN_S = 24 * 3600.0
NEVER = datetime.min.replace(tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True)
class Belief:
    """The time was `wall` at `at_s` of the clock that nobody sets, the seconds since the machine's start.

    `doubted_at_s`: since then the wall clock says another. `noted`: what was written down before the start.
    """

    wall: datetime
    at_s: float
    doubted_at_s: float | None = None
    noted: datetime = NEVER


def begin(wall: datetime, at_s: float, last_seen: datetime | None) -> Belief:
    """What an engine believes at its start that wrote down `last_seen` when it last ran; None: it never did."""
    noted = last_seen or NEVER
    if last_seen is None or noted <= wall <= noted + OFF_AT_MOST:
        return Belief(wall, at_s, noted=noted)
    return Belief(noted, at_s, doubted_at_s=at_s, noted=noted)


def look(belief: Belief, wall: datetime, at_s: float) -> tuple[Belief, datetime]:
    """What is believed from now on, and the time."""
    expected = belief.wall + timedelta(seconds=at_s - belief.at_s)
    soon = latest = expected + JUMP_AT_MOST
    if at_s <= SET_WITHIN_S:
        latest = max(soon, belief.noted + OFF_AT_MOST)
    if belief.noted <= wall <= latest:
        if expected <= wall <= soon:
            return replace(belief, doubted_at_s=None), wall
        return Belief(wall, at_s, noted=belief.noted), wall
    doubted_at_s = at_s if belief.doubted_at_s is None else belief.doubted_at_s
    if at_s - doubted_at_s >= BELIEVED_AFTER_S:
        return Belief(wall, at_s), wall
    return replace(belief, doubted_at_s=doubted_at_s), expected
