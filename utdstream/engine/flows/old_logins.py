"""Broker logins that no one has asked for in a long time end.

Owns: `OldLogins`, when it is looked for them. Loop thread. What ends a login is the notifier's.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from utdstream.engine.background import Timers
from utdstream.engine.rules.keys import Login
from utdstream.engine.store.contract import LoginStore

KEEP_FOR = timedelta(days=90)
"""A login that was not minted for so long ends; a device signs in once a day at least."""
LOOK_EVERY_S = 3600.0


class OldLogins:
    """Ends, by `end`, what is older than `KEEP_FOR` by the clock `now`."""

    def __init__(
        self,
        store: LoginStore,
        timers: Timers,
        *,
        now: Callable[[], datetime],
        end: Callable[[list[Login]], None],
    ) -> None:
        self._store = store
        self._timers = timers
        self._now = now
        self._end = end

    def start(self) -> None:
        """Begins to look, an hour from now: the first mints after a start come before."""
        self._timers.after(LOOK_EVERY_S, "old logins", self._look)

    async def _look(self) -> None:
        try:
            self._end(self._store.unseen_since(self._now() - KEEP_FOR))
        finally:
            self.start()
