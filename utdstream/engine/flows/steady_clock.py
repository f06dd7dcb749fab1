"""The time by which bans end and old calls are forgotten: the wall clock, as long as it can be believed.

Owns: `SteadyClock`, what the log says of a doubt, the note of the time for the next start. Loop thread. The rule
is in `rules/steady_time`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime

from utdstream.engine import clock
from utdstream.engine.background import Timers
from utdstream.engine.rules import steady_time
from utdstream.engine.store.contract import Store, StoreFailed

_log = logging.getLogger(__name__)
NOTE_EVERY_S = 3600.0


def elapsed_s() -> float:
    """Seconds since the machine's start, of a clock that nobody sets and that goes on in its sleep."""
    boot_time = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot_time is None else time.clock_gettime(boot_time)


class SteadyClock:
    """Believes `wall()`, or what it was plus the seconds since."""

    def __init__(
        self,
        store: Store,
        timers: Timers,
        *,
        wall: Callable[[], datetime] = clock.now,
        elapsed: Callable[[], float] = elapsed_s,
    ) -> None:
        self._moments = store.moments
        self._timers = timers
        self._wall = wall
        self._elapsed = elapsed
        self._belief = steady_time.begin(wall(), elapsed(), self._moments.last_seen())
        self._say_what_changed(False)

    def start(self) -> None:
        """Begins to write down the time, for the next start."""
        self._note()

    def now(self) -> datetime:
        """The time that is believed."""
        was_doubted = self._belief.doubted_at_s is not None
        self._belief, now = steady_time.look(self._belief, self._wall(), self._elapsed())
        self._say_what_changed(was_doubted)
        return now.replace(microsecond=now.microsecond // 1000 * 1000)

    def _say_what_changed(self, was_doubted: bool) -> None:
        if self._belief.doubted_at_s is not None and not was_doubted:
            _log.warning(
                "the clock says %s, and it should be about %s: until it is set right, or has said so for a week,"
                " no ban ends by it and no old call is forgotten",
                self._wall().isoformat(timespec="seconds"),
                self._belief.wall.isoformat(timespec="seconds"),
            )
        elif self._belief.doubted_at_s is None and was_doubted:
            _log.info("the clock is believed again: %s", self._wall().isoformat(timespec="seconds"))

    def _note(self) -> None:
        try:
            self._moments.saw(self.now())
        except StoreFailed as error:
            _log.warning("the time is not written down now: %s", error)
        self._timers.after(NOTE_EVERY_S, "note the time", self._note_again)

    async def _note_again(self) -> None:
        self._note()
