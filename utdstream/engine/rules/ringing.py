"""Whose call rings at a callee when several want to, and how soon one caller may ring again.

Owns: call waiting, the pauses of a caller that is never answered. Pure: no I/O and no clock; seconds are given.

1. A callee is busy only while talking, and then not for the callers that may break in (its keys say which). Being
   rung, and calling somebody, makes no one busy: a caller keeps nobody else from ringing.
2. Four calls ring at a callee at once. A fifth whose caller is no stranger (one of the two has answered a call of
   the other, or the caller may break in) takes the place of the stranger that has rung longest. So strangers,
   however many, never keep a known caller out. Any other fifth call is refused as busy.
3. One caller has one of the four places (its new call ends its unanswered one, in `calls`).
4. A caller that is not answered again and again, or rejected, waits between its calls, longer each time, and never
   longer than a call rings: one that lets its calls ring their time is never slowed down.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timezone

from utdstream.engine.rules.calls import CallRecord
from utdstream.engine.rules.refusals import Refusal
from utdstream.limits import MAX_RINGS
from utdstream.models import UTDCallStatus

FIRST_PAUSE_S = 2.0
"""After the first call too many; each further one doubles it."""
REJECTED_COUNTS = 5
"""A call that the callee rejected, in calls that were only not answered."""
FORGET_AFTER_S = 600.0
"""A caller that was quiet for this long begins anew."""
MAX_PAIRS = 20_000
"""Callers and callees that are remembered; the longest quiet pair is forgotten first."""
_NEVER = datetime.min.replace(tzinfo=timezone.utc)


def gives_way(
    open_calls: list[CallRecord],
    caller: str,
    callee: str,
    *,
    have_talked: Callable[[str, str], bool],
    may_break_in: Callable[[str, str], bool],
) -> CallRecord | None:
    """The ring that a new call from `caller` ends to have its place; None when a place is free.

    `open_calls` are the callee's; `may_break_in` takes callee and caller. Raises: Refusal (`callee_busy`).
    """

    def is_stranger(caller: str) -> bool:
        return not (have_talked(caller, callee) or may_break_in(callee, caller))

    is_talking = any(record.status is UTDCallStatus.ACTIVE for record in open_calls)
    if is_talking and not may_break_in(callee, caller):
        raise Refusal("callee_busy", "Callee is already on a call")
    rings = [record for record in open_calls if record.callee == callee and record.is_unanswered]
    if len(rings) < MAX_RINGS:
        return None
    strangers = [record for record in rings if is_stranger(record.caller)]
    if not strangers or is_stranger(caller):
        raise Refusal("callee_busy", f"Callee is already rung by {MAX_RINGS} callers")
    return min(strangers, key=lambda record: record.call.created_at or _NEVER)


class Patience:
    """Counts, for each caller and callee, the calls in a row that were not answered.

    `free` of them cost nothing; no pause is longer than `longest_s`. Seconds are monotonic.
    """

    def __init__(self, free: int, longest_s: float) -> None:
        self._free = free
        self._longest_s = longest_s
        self._in_vain: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()

    def check(self, caller: str, callee: str, now_s: float) -> None:
        """Raises: Refusal (`rate_limited`) for a call that comes too soon."""
        count, since_s = self._of(caller, callee, now_s)
        if count < self._free:
            return
        doublings = min(count - self._free, 16)
        wait_s = since_s + min(self._longest_s, FIRST_PAUSE_S * 2**doublings) - now_s
        if wait_s > 0:
            raise Refusal(
                "rate_limited", "Too many calls to this callee without an answer", retry_after_s=wait_s
            )

    def called(self, caller: str, callee: str, now_s: float) -> None:
        """A call began."""
        count, _ = self._of(caller, callee, now_s)
        self._in_vain[caller, callee] = (count + 1, now_s)
        self._in_vain.move_to_end((caller, callee))
        while len(self._in_vain) > MAX_PAIRS:
            self._in_vain.popitem(last=False)

    def rejected(self, caller: str, callee: str, now_s: float) -> None:
        """The callee said no."""
        count, since_s = self._of(caller, callee, now_s)
        if count:
            self._in_vain[caller, callee] = (count + REJECTED_COUNTS - 1, since_s)

    def answered(self, caller: str, callee: str) -> None:
        """A call was answered, here or elsewhere in its group: the caller begins anew."""
        self._in_vain.pop((caller, callee), None)

    def _of(self, caller: str, callee: str, now_s: float) -> tuple[int, float]:
        count, since_s = self._in_vain.get((caller, callee), (0, now_s))
        return (0, now_s) if now_s - since_s > FORGET_AFTER_S else (count, since_s)
