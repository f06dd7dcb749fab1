"""The good copy of the database, taken when it is due; and the end of an engine whose database is damaged.

Owns: when it is looked for. Runs on the loop thread; the copy itself is taken on a thread of its own, so that no
request waits for a card. A database that is found damaged while it is open is mended when it is opened: the engine
stops, in good order, and whatever runs it starts it again.
"""

from __future__ import annotations

import asyncio
import logging
import signal

from utdstream.engine.background import Timers
from utdstream.engine.store.contract import Store, StoreFailed

_LOOK_EVERY_S = 2.0

_log = logging.getLogger(__name__)


class GoodCopies:
    """Takes the copies of one store, as long as it is open."""

    def __init__(self, store: Store, timers: Timers) -> None:
        self._store = store
        self._copy = store.copy
        self._timers = timers
        self._fails = False

    def start(self) -> None:
        """Begins to look."""
        self._timers.after(0.0, "good copy", self._look)

    async def _look(self) -> None:
        if self._store.is_damaged:
            _log.error(
                "the database is damaged: the engine stops, and its good copy takes its place at the start"
            )
            signal.raise_signal(signal.SIGTERM)
            return
        if self._copy is None:
            return
        try:
            if self._copy.is_due():
                await asyncio.to_thread(self._copy.take)
                self._fails = False
        except StoreFailed as error:
            if not self._fails:
                _log.warning("%s", error)
            self._fails = True
        finally:
            self._timers.after(_LOOK_EVERY_S, "good copy", self._look)
