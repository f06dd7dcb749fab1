"""Work that its caller may leave at any line: at a deadline, by Ctrl-C, by an exception thrown into the thread.

Owns: `run_errand`, `finish_errand`, `start_thread`. Imports the standard library and `deadline` only.

1. What changes something runs on a thread of its own (`utdstream-do-…`): no exception of the caller's thread ever
   comes in the middle of it, and no lock that it takes can be left locked. The caller only waits.
2. A caller that leaves lets the deadline of the errand pass (`Deadline.cut`): whatever the errand waits for ends,
   and it takes back what it did, exactly as when time runs out. What it had done already is handed to `undo`.
3. The result belongs to the errand until the caller returns with it; then, and not earlier, to the caller.
4. Errands of one object take turns. A turn ends when what was left is taken back: a retry begins on clean ground.
5. What gives something up (`end`, `leave`) is finished, not taken back: its caller leaves, the errand goes on.
"""

from __future__ import annotations

import _thread
import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from queue import Empty
from typing import Generic, TypeVar

from utdstream._threads.deadline import Deadline, patiently
from utdstream.errors import SessionClosed
from utdstream.mailbox import Mailbox

T = TypeVar("T")

_log = logging.getLogger(__name__)

_DONE, _LEFT = "done", "left"
GRACE_S = 0.045
"""An errand notices the deadline by itself and says more about it than its caller could: it has this long."""
LOOK_UP_S = 0.1
"""The caller looks up so often: on a busy machine one Ctrl-C in fifteen comes just before its thread sleeps."""
TURN_S = 8.0
"""For the turn in which a result is taken back that nobody took; nothing of ours holds one longer."""


def start_thread(target: Callable[[], object], name: str) -> None:
    """Starts a daemon thread. An exception thrown into the caller comes before that or after, never within:
    `Thread.start` interrupted between two of its lines leaves a thread that waits for ever (Python 3.11)."""
    _thread.start_new_thread(_start, (target, name))


def _start(target: Callable[[], object], name: str) -> None:
    threading.Thread(target=target, name=name, daemon=True).start()


def run_errand(
    work: Callable[[], T],
    deadline: Deadline,
    doing: str,
    *,
    turn: threading.Lock,
    undo: Callable[[T], object],
    clean: Callable[[], object] | None = None,
) -> T:
    """Returns what `work()` does, on a thread of its own; `undo` takes a result back that its caller has left.

    `turn` is held meanwhile, and until all is taken back. `work` keeps `deadline` in all that it waits for.
    `clean` is done when it has failed, after its caller was told.
    Blocks: to the deadline. Raises: what `work` raises; DeadlineExceeded; SessionClosed at interpreter exit.
    """
    errand = _Errand(work, deadline, doing, turn, undo, clean)
    try:
        errand.begin()
        return errand.wait()
    except BaseException:
        errand.leave()
        raise


def finish_errand(
    work: Callable[[], T],
    deadline: Deadline,
    doing: str,
    *,
    turn: threading.Lock | None = None,
    first: Callable[[], object] | None = None,
) -> T:
    """Returns what `work()` does; a caller that leaves does not stop it, not even before it has begun.

    `first` is done on the caller's thread and must be brief: `work` does what an interrupted one left undone.
    Blocks: to the deadline. Raises: what `work` raises; DeadlineExceeded; SessionClosed at interpreter exit.
    """
    errand = None
    try:
        errand = _Errand(work, deadline, doing, turn)
        if first is not None:
            first()
        errand.begin()
        return errand.wait()
    except BaseException:
        (errand or _Errand(work, deadline, doing, turn)).begin()
        raise


def free_once(
    begin: Callable[[], bool], free: Callable[[Deadline], object], deadline: Deadline, again_s: float
) -> None:
    """Does `free(deadline)` on this thread unless `begin()` says no: a signal's handler may do it in any lock.

    What an exception thrown into this thread leaves of it is done on another one, within `again_s`.
    """
    try:
        if begin():
            free(deadline)
    except BaseException:
        start_thread(lambda: free(Deadline.after(again_s, "dispose")), "utdstream-dispose")
        raise


class _Errand(Generic[T]):
    """One errand. Without `undo` it is finished whatever its caller does."""

    def __init__(
        self,
        work: Callable[[], T],
        deadline: Deadline,
        doing: str,
        turn: threading.Lock | None,
        undo: Callable[[T], object] | None = None,
        clean: Callable[[], object] | None = None,
    ) -> None:
        self._work = work
        self._deadline = deadline
        self._doing = doing
        self._until = time.monotonic() + deadline.remaining() + GRACE_S
        """For the caller, also when the deadline is cut: who cuts it wants the errand's own word."""
        self._turn = turn
        self._undo = undo
        self._clean = clean
        # Two decisions that are each made once, by whichever thread comes first: `setdefault` is one step of the
        # interpreter and needs no lock, which an exception could leave locked.
        self._worker: dict[str, object] = {}
        self._fate: dict[str, str] = {}
        self._told: Mailbox[None] = Mailbox()
        self._results: list[T] = []
        self._error: BaseException | None = None

    # -- the caller's thread -----------------------------------------------------------------------

    def begin(self) -> None:
        """Starts the thread; once more, it changes nothing."""
        try:
            start_thread(self._go, f"utdstream-do-{self._doing}")
        except RuntimeError as error:
            raise SessionClosed(f"{self._doing}: the interpreter is shutting down") from error

    def wait(self) -> T:
        """Returns the result. Blocks: to the deadline."""
        try:
            patiently(self._told, self._left, step_s=LOOK_UP_S, look_up=self._begin_again)
        except Empty:
            raise self._deadline.error("it was still under way") from None
        if self._error is not None:
            raise self._error
        return self._results[0]

    def _left(self) -> float:
        return max(0.0, self._until - time.monotonic())

    def _begin_again(self) -> None:
        """Starts the thread once more if it never ran: an exception thrown into this one in the moment in which it
        was started went there, for until it runs it has this one's number (Python 3.11).
        """
        if not self._worker:
            with suppress(SessionClosed):  # no thread can be started now; the first may come all the same
                self.begin()

    def leave(self) -> None:
        """Lets the deadline pass now. A result that had come and was not returned gets a turn to be taken back."""
        self._deadline.cut()
        if self._fate.setdefault("is", _LEFT) is _DONE and self._results:
            held = ExitStack()
            if self._turn is not None and self._turn.acquire(timeout=TURN_S):
                held.callback(self._turn.release)
            start_thread(lambda: self._take_back(held), f"utdstream-undo-{self._doing}")

    # -- the errand's thread -----------------------------------------------------------------------

    def _go(self) -> None:
        token = object()
        if self._worker.setdefault("is", token) is not token:
            return  # begun twice, by a caller that was interrupted and could not know
        held = ExitStack()
        try:
            self._take_turn(held)
            self._results.append(self._work())
        except BaseException as error:  # noqa: BLE001 - a thread's outermost frame; the caller gets it
            self._error = error
        if self._fate.setdefault("is", _DONE) is _DONE:
            self._told.put(None)
            if self._results:
                held.close()
                return
        self._take_back(held)

    def _take_turn(self, held: ExitStack) -> None:
        if self._turn is not None:
            if not self._turn.acquire(timeout=self._deadline.remaining()):
                raise self._deadline.error("another operation of this object is still under way")
            held.callback(self._turn.release)
        if self._undo is not None and self._deadline.passed:
            raise self._deadline.error("it had not begun")
        self._worker["began"] = True

    def _take_back(self, held: ExitStack) -> None:
        """Undoes the result, or tidies up behind the failure; then the turn ends."""
        with held:
            try:
                if self._results and self._undo is not None:
                    self._undo(self._results[0])
                elif self._error is not None and self._clean is not None and "began" in self._worker:
                    self._clean()
            except Exception as error:  # noqa: BLE001 - a thread's outermost frame
                _log.warning("%s: taking it back failed: %s", self._doing, error)
