"""What a participant changes at the engine about a place in a room; what failed for its caller is taken back.

Owns: `Changes`. Threads: any may call; the work is done on errands, late answers come on REST threads.

1. A caller that is told "failed" (a deadline, a lost answer, an exception thrown into its thread) finds it not
   done a moment later: what may have been done is taken back at once, and again when the engine's answer comes
   late.
2. What the engine refused was not done, and nothing is taken back: the caller may have had it before.
3. A change that was made since is never taken back for an older one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from utdstream._rest.rooms import Late
from utdstream._threads.deadline import Deadline
from utdstream._threads.errands import TURN_S, run_errand, start_thread
from utdstream.backoff import Backoff
from utdstream.errors import Conflict, EngineError, NotFound, TransportError, UTDStreamException

T = TypeVar("T")

_log = logging.getLogger(__name__)

TAKE_BACK_S = 2.0
"""For taking back within the turn, which a retry waits for; then it goes on in the background."""
BETWEEN_ATTEMPTS = Backoff(first_s=0.5, most_s=5.0)
ATTEMPTS = 6


class Changes:
    """The changes of one kind, of one session: one at a time, in the turns of the session."""

    def __init__(self, turn: threading.Lock, asking: Callable[[], object] = lambda: None) -> None:
        """`asking` is called in the turn, before each change is asked for."""
        self._turn = turn
        self._asking = asking
        # Read and written in a turn only:
        self._number = 0
        self._standing = 0
        """The newest change that was made and not taken back; 0: none."""
        self._unsure = False
        """Whether the place was given up and the engine's answer was lost."""

    def make(
        self,
        ask: Callable[[Late], T],
        *,
        take_back: Callable[[Deadline], object],
        deadline: Deadline,
        doing: str,
        then: Callable[[], object] = lambda: None,
    ) -> T:
        """Returns the answer to `ask`, once `then` is done too; else it is as if it had not been asked.

        `ask` gets what its request shall do with an answer that comes too late.
        Blocks: to the deadline. Raises: what `ask` and `then` raise; DeadlineExceeded.
        """
        number = 0

        def work() -> T:
            nonlocal number
            self._number = mine = self._number + 1
            number = mine
            self._asking()
            try:
                answer = ask(lambda _: self._late(mine, take_back))
            except EngineError:
                number = 0  # rule 2
                raise
            self._standing, self._unsure = mine, False
            then()
            return answer

        def undo(_: object = None) -> None:
            if number:
                self._take_back(take_back)

        return run_errand(work, deadline, doing, turn=self._turn, undo=undo, clean=undo)

    def give_up(self, ask: Callable[[Deadline], object], deadline: Deadline) -> None:
        """Gives the place up, in a turn. When the engine's answer is lost, that is finished in the background;
        asked for again, it is no error then that there is nothing to give up.

        Raises: what `ask` raises.
        """
        self._number += 1
        self._standing = 0
        try:
            ask(deadline)
        except TransportError:
            self._unsure = True
            number = self._number
            start_thread(lambda: self._go_on(number, ask), "utdstream-rest-undo")
            raise
        except (Conflict, NotFound):
            if not self._unsure:
                raise
        self._unsure = False

    def _late(self, number: int, take_back: Callable[[Deadline], object]) -> None:
        """Takes a change back that was made for nobody. A REST thread."""
        if self._turn.acquire(timeout=TURN_S):
            try:
                if self._standing <= number:
                    self._take_back(take_back)
            finally:
                self._turn.release()

    def _take_back(self, take_back: Callable[[Deadline], object]) -> None:
        """In a turn."""
        self._standing = 0
        if not _done(take_back):
            number = self._number
            start_thread(lambda: self._go_on(number, take_back), "utdstream-rest-undo")

    def _go_on(self, number: int, take_back: Callable[[Deadline], object]) -> None:
        """Takes back again while the engine does not answer, unless there was another change since."""
        for attempt in range(ATTEMPTS):
            time.sleep(BETWEEN_ATTEMPTS.pause_s(attempt))
            if not self._turn.acquire(timeout=TURN_S):
                continue
            try:
                if self._number != number or _done(take_back):
                    return
            finally:
                self._turn.release()


def _done(take_back: Callable[[Deadline], object]) -> bool:
    """False when the engine did not answer."""
    try:
        take_back(Deadline.after(TAKE_BACK_S, "taking back what came too late"))
    except TransportError:
        return False
    except UTDStreamException as error:
        _log.debug("there was nothing to take back: %s", error)
    return True
