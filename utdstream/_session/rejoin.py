"""A media room that was lost, joined again with a fresh token: of calls and of rooms with a name alike.

Owns: `Rejoin`, one for each thing that has a room to return to (a call, a room's session), and the reasons that
may pass. Threads: whatever ends the room asks `begins`, under the facts' lock; the attempts run on a lane of
their own (`utdstream-rejoin-…`).

1. It begins when a room that was joined ends for a reason that may pass, and goes on for ever, slower and slower,
   until it is joined, is not wanted any more, or the engine refuses it for good.
2. Meanwhile the room is `reconnecting`: a program sees one interruption, however it is mended. (A room with a name
   that is away for long is shown as an outage: `RoomSession`.)
3. The media server's door is knocked at, between two attempts and beside one that began while it was shut: when it
   opens, the next attempt is at once, in place of the one under way, and the pauses begin anew. A media server
   that restarts is so found sooner than the pauses are long; and what an attempt sent into a cut is lost, and
   would be repeated seconds later.
4. What is wanted is asked before each step; what is joined for nobody is left (`MediaRoom.join`, `wanted`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from utdstream._threads.deadline import Deadline
from utdstream._threads.errands import start_thread
from utdstream._threads.lanes import WorkLane
from utdstream.backoff import Backoff
from utdstream.errors import NotFound, PermissionDenied, SessionClosed, UTDStreamException

_log = logging.getLogger(__name__)

REASONS = frozenset(
    {
        "UNKNOWN_REASON",
        "SERVER_SHUTDOWN",
        "STATE_MISMATCH",
        "JOIN_FAILURE",
        "MIGRATION",
        "SIGNAL_CLOSE",
        "CONNECTION_TIMEOUT",
        "MEDIA_FAILURE",
    }
)
"""LiveKit's reasons that may pass; not another device with our identity, removal, or a deleted room."""
TAKEN, OWN_S = "DUPLICATE_IDENTITY", 30.0
"""So soon after a loss it was no other device: the core brought the connection back that was given up."""
BETWEEN_ATTEMPTS = Backoff(first_s=0.1, most_s=2.0)
"""The first attempt comes within 0.1 s: most losses are short. What returns later is found within 2 s."""
BETWEEN_KNOCKS_S = 0.1
"""From one answer to the next knock."""
ATTEMPT_S = 20.0
FINAL = (PermissionDenied, NotFound, SessionClosed)
"""What will not pass by itself."""


class Rejoin:
    """Returns to one room again and again, as long as `is_wanted`.

    `enter` asks for a token and joins. `gave_up` is told what will not pass by itself. Both run on the lane.
    `is_wanted` may be asked under a lock and must not block. `knock` says whether the media server takes
    connections, on the lane or a thread beside it, and may block for a moment. `is_asking` says that an attempt
    has not come to the media server yet: one that has is not cut, for the core finishes what it began.
    """

    def __init__(
        self,
        work: WorkLane,
        what: str,
        *,
        enter: Callable[[Deadline], None],
        is_wanted: Callable[[], bool],
        gave_up: Callable[[UTDStreamException], None],
        knock: Callable[[], bool] = lambda: True,
        is_asking: Callable[[], bool] = lambda: True,
        reasons: frozenset[str] = REASONS,
    ) -> None:
        self._work = work
        self._what = what
        self._enter = enter
        self._is_wanted = is_wanted
        self._gave_up = gave_up
        self._knock = knock
        self._is_asking = is_asking
        self._was_shut = self._was_cut = False
        self._reasons = reasons
        # Both only grow: a room that is lost again, before the lane has noted that it was joined, stays lost.
        self._lost_at = float("-inf")
        self._losses = 0
        self._settled = 0

    @property
    def is_under_way(self) -> bool:
        """Whether the room is away, and will be there again by itself."""
        return self._losses > self._settled and self._is_wanted()

    def begins(self, reason: str) -> bool:
        """Hears why a room that was joined has ended; returns whether it is joined again. Does not block."""
        if not self._may_pass(reason) or not self._is_wanted():
            self._losses += 1  # an attempt that was about to be done is over too
            self._settled = self._losses
            return False
        self._losses += 1
        self._later(0, self._losses, time.monotonic())
        return True

    def _may_pass(self, reason: str) -> bool:
        now = time.monotonic()
        if reason == TAKEN:
            is_own, self._lost_at = now - self._lost_at < OWN_S, float("-inf")  # once a loss
            return is_own
        if reason in self._reasons:
            self._lost_at = now
            return True
        return False

    def _later(self, attempt: int, loss: int, lost_at: float) -> None:
        over = time.monotonic() + BETWEEN_ATTEMPTS.pause_s(attempt)

        def wait() -> None:
            if loss != self._losses or not self._is_wanted():
                return
            was_shut, self._was_shut = self._was_shut, not self._knock()
            left_s = over - time.monotonic()
            if was_shut and not self._was_shut:
                self._try(0, loss, lost_at)
            elif left_s > 0:
                self._work.call_later(min(BETWEEN_KNOCKS_S, left_s), wait)
            else:
                self._try(attempt, loss, lost_at)

        wait_s = min(BETWEEN_KNOCKS_S, over - time.monotonic())
        self._work.call_later(max(0.0, wait_s), wait)

    def _try(self, attempt: int, loss: int, lost_at: float) -> None:
        """One attempt, unless the room was joined and lost anew since."""
        if loss != self._losses or not self._is_wanted():
            return
        deadline, over = Deadline.after(ATTEMPT_S, "rejoining"), threading.Event()
        may_be_stuck, self._was_cut = self._was_shut and not self._was_cut, False  # never two in a row
        try:
            if may_be_stuck:
                with suppress(RuntimeError):  # no thread to be had: the attempt has its own deadline
                    start_thread(partial(self._cut_when_open, deadline, over), "utdstream-knock")
            self._enter(deadline)
        except UTDStreamException as error:
            if not self._is_wanted():
                _log.info("%s: rejoining has ended, it was left", self._what)
            elif isinstance(error, FINAL):
                self._settled = max(self._settled, loss)
                _log.warning("%s: rejoining is given up: %s", self._what, error)
                self._gave_up(error)
            else:
                _log.info("%s: rejoining failed, trying again: %s", self._what, error)
                self._later(0 if self._was_cut else attempt + 1, loss, lost_at)
        except Exception:  # noqa: BLE001 - a fault of ours must not be the end of the room
            _log.exception("%s: rejoining failed, trying again", self._what)
            self._later(attempt + 1, loss, lost_at)
        else:
            self._settled = max(self._settled, loss)
            _log.info("%s: joined again after %.1f s", self._what, time.monotonic() - lost_at)
        finally:
            over.set()

    def _cut_when_open(self, deadline: Deadline, over: threading.Event) -> None:
        while not over.wait(BETWEEN_KNOCKS_S):
            if self._is_asking() and self._knock() and self._is_asking() and not over.is_set():
                self._was_cut = True
                deadline.cut()
                return
