"""One fact of a room as the engine tells it by three ways: metadata, messages, and asking.

Owns: which news count. Threads: the loop brings metadata and messages, the work lane and callers ask.

1. One writer: whatever arrives goes through `_apply`, under one brief lock, with all that follows from it: what an
   older state brings about never comes after what a newer one does.
2. `rev` is the guard where the engine sends it: an older one changes nothing.
3. Without `rev` an answer to a question that was asked before newer news came is thrown away.
4. The room's metadata is the truth (only the server writes it). A message is a hint: what it says counts
   when the metadata says it too, or when the engine, asked, does.
5. Equal news do not notify (`Watched` sees to that).
6. An engine that never pushes anything is asked every `poll_s`; with the first push that ends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from utdstream._threads.deadline import Deadline
from utdstream._threads.facts import Fact
from utdstream._threads.lanes import Timer, WorkLane
from utdstream._wire import codec
from utdstream.errors import UTDStreamException

T = TypeVar("T")

HINT_GRACE_S = 0.25
ASK_TIMEOUT_S = 8.0


class Followed(Generic[T]):
    """Keeps `fact` true. `parse` reads the engine's object (None: it holds none), `ask` is the REST way.

    `applied` is told each value before the fact is: who waits for that finds done what follows from it. Under the
    lock: it must not block.
    """

    def __init__(
        self,
        fact: Fact[T],
        *,
        parse: Callable[[codec.JsonObject], T | None],
        ask: Callable[[Deadline], codec.JsonObject] | None,
        work: WorkLane,
        poll_s: float = 0.0,
        applied: Callable[[T], None] | None = None,
    ) -> None:
        self._fact = fact
        self._parse = parse
        self._ask = ask
        self._work = work
        self._applied = applied
        self._poll_s = poll_s
        self._poll: Timer | None = None
        self._pushed = False
        self._lock = threading.RLock()
        self._rev: int | None = None
        self._generation = 0
        self._hinted = False

    @property
    def told(self) -> bool:
        """Whether anything was said in this life."""
        return self._generation > 0

    def forget(self) -> None:
        """Begins anew with a new life of the room: so do the revs."""
        with self._lock:
            self._rev = None
            self._generation = 0
            self._pushed = False

    def metadata(self, fields: codec.JsonObject | None) -> None:
        """Takes what the room's metadata says. Loop thread."""
        value = self._parse(fields) if fields is not None else None
        if fields is not None and value is not None:
            self._pushed = True
            self._apply(value, codec.integer(fields.get("rev")), asked_at=None)

    def hint(self, fields: codec.JsonObject) -> None:
        """Hears that it changed. Loop thread: asks the engine soon, unless the metadata tells first."""
        rev = codec.integer(fields.get("rev"))
        self._pushed = True
        with self._lock:
            known = rev is not None and self._rev is not None and rev <= self._rev
            if known or self._hinted or self._ask is None:
                return
            self._hinted = True
            generation = self._generation

        def check() -> None:
            self._hinted = False
            if self._generation == generation:
                self.refresh_quietly()

        self._work.call_later(HINT_GRACE_S, check)

    def poll_until_pushed(self, is_wanted: Callable[[], bool]) -> None:
        """Asks again and again, as long as nothing is pushed and the room is wanted. Ends with the work lane."""
        if self._poll is not None:
            self._poll.cancel()

        def poll() -> None:
            if not self._pushed and is_wanted():
                self.refresh_quietly()
                self.poll_until_pushed(is_wanted)

        self._poll = self._work.call_later(self._poll_s, poll)

    def refresh_quietly(self) -> None:
        """Work thread: asks; a failure changes nothing, the next news repair it."""
        try:
            self.refresh(Deadline.after(ASK_TIMEOUT_S, "asking about the room"))
        except UTDStreamException:
            return

    def refresh(self, deadline: Deadline) -> codec.JsonObject:
        """Asks the engine; its raw answer. Blocks: to the deadline. Raises: what the request raises."""
        assert self._ask is not None
        with self._lock:
            asked_at = self._generation
        answer = self._ask(deadline)
        value = self._parse(answer)
        if value is not None:
            self._apply(value, codec.integer(answer.get("rev")), asked_at=asked_at)
        return answer

    def _apply(self, value: T, rev: int | None, *, asked_at: int | None) -> None:
        with self._lock:
            if rev is not None and self._rev is not None:
                if rev < self._rev:
                    return
            elif asked_at is not None and asked_at != self._generation:
                return
            self._rev = rev if rev is not None else self._rev
            self._generation += 1
            if self._applied is not None:
                self._applied(value)
            self._fact.set(value)
