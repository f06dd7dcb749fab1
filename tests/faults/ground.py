"""The stack on which cells are run, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from utdstream import UTDStreamException
from utdstream._wire import routes
from utdstream.engine.stack.ports import PARTS
from utdstream.engine.stack.supervisor import StackError
from utdstream.testing import Faults, LocalStack

_STARTS = 3
"""How often a stack is begun on a machine that is too busy to start it within 20 s."""


class Ground:
    """A stack behind a relay that many cells share; one that is no more as it was is replaced."""

    def __init__(self) -> None:
        self._faults: Faults | None = None

    def faults(self) -> Faults:
        """The relay, with all parts of its stack running."""
        if self._faults is not None and not self._is_well(self._faults):
            self.close()
        for attempt in range(_STARTS):
            if self._faults is None:
                try:
                    self._faults = Faults(LocalStack(log_level="info")).__enter__()
                except StackError:
                    if attempt == _STARTS - 1:
                        raise
        assert self._faults is not None
        return self._faults

    @staticmethod
    def _is_well(faults: Faults) -> bool:
        """So that no cell suffers from another one."""
        if not all(map(faults.stack.is_running, PARTS)):
            return False
        try:
            health = faults.stack._ask("GET", routes.HEALTH, None)
        except UTDStreamException:
            return False
        return health["status"] == "ok" and "down" not in dict(health["parts"]).values()  # type: ignore[call-overload]

    def close(self) -> None:
        """Ends it; the next cell gets another."""
        faults, self._faults = self._faults, None
        if faults is not None:
            faults.__exit__(None, None, None)


@contextmanager
def ground() -> Iterator[Ground]:
    """One for a run."""
    made = Ground()
    try:
        yield made
    finally:
        made.close()
