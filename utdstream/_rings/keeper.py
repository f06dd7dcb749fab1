"""Asks the engine about calls that may ring here: verifies, polls, confirms the end.

Owns: the work lane of an inbox and its `RingBook`, what is retried and for how long. Must not import a
transport, `_rest` or `_livekit`: the engine comes in as the port `CallEngine`. The transport's thread calls
`take_message` and `take_connection`, which only sort and hand over; everything that asks runs on the lane.
`on_ring` and `on_cancel` are called under the keeper's lock, so that a ring and its cancel cannot change
places: they may only append to a queue.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Protocol

from utdstream._rings.book import CancelReason, Live, OwnAnswer, RingBook, Todo, is_expired, reason_of
from utdstream._threads.deadline import Deadline
from utdstream._threads.lanes import WorkLane
from utdstream._wire import messages
from utdstream._wire.call_states import UNANSWERED_STATES
from utdstream.backoff import Backoff
from utdstream.config import ClientConfig
from utdstream.errors import (
    AuthenticationFailed,
    NotFound,
    PermissionDenied,
    RateLimited,
    TransportError,
    UTDStreamException,
)
from utdstream.models import UTDCall, UTDCallStatus
from utdstream.observe import Report

_log = logging.getLogger(__name__)

_TRY_AGAIN = (TransportError, RateLimited, AuthenticationFailed)
_BETWEEN_QUESTIONS = Backoff(first_s=0.2, most_s=2.0)
_VERIFY_AT_MOST_S = 60.0


class CallEngine(Protocol):
    """What the inbox asks the engine. The methods raise `UTDStreamException` kinds only."""

    def get_call(self, call_id: str, deadline: Deadline) -> UTDCall: ...

    def list_calls(
        self, *, identity: str, statuses: Sequence[UTDCallStatus], deadline: Deadline
    ) -> list[UTDCall]: ...

    def told_time(self) -> datetime | None:
        """Returns the engine's clock by its own word, aware, UTC; None when it never said it. Does not block.

        A device's own clock may be years off, and a proxy's too.
        """
        ...


class RingKeeper:
    """Keeps what rings for one identity equal to what the engine says."""

    def __init__(
        self,
        *,
        identity: str,
        engine: CallEngine,
        config: ClientConfig,
        report: Report | None,
        on_ring: Callable[[UTDCall], None],
        on_cancel: Callable[[UTDCall, CancelReason], None],
    ) -> None:
        self._identity = identity
        self._engine = engine
        self._config = config
        self._on_ring = on_ring
        self._on_cancel = on_cancel
        self._work = WorkLane(f"utdstream-work-inbox-{identity}", report)
        self._lock = threading.RLock()
        self._book = RingBook(identity)
        self._polls_planned = 0
        """A poll that is not the newest that was planned does nothing, and plans no other: one chain."""
        self._is_far = False
        """The next poll is further away than it should be while anything rings."""
        self._messages_come = False
        self._polls_fail = False
        self._closed = False

    def start(self) -> None:
        """Asks at once, and from then on again and again (`_pause_s`)."""
        self._poll_after(0.0)

    def stop(self) -> None:
        """Lets no `on_ring` or `on_cancel` begin after this returns. Idempotent, does not block."""
        with self._lock:
            self._closed = True

    def close(self, timeout: float) -> None:
        """Ends the lane. Blocks: for a question under way, at most `timeout`."""
        self.stop()
        self._work.close(timeout)

    def counts(self) -> dict[str, int]:
        """Returns what came in so far, by the names of `InboxCounters`."""
        with self._lock:
            return dict(self._book.counts)

    # -- answers of this device ----------------------------------------------------------------

    def answer_begins(self, call_id: str) -> None:
        """Takes what becomes of the call for this device's doing from now on."""
        with self._lock:
            self._book.answer_begins(call_id)

    def answer_ended(self, call_id: str, how: OwnAnswer) -> None:
        """Puts an answered call away, or asks the engine what the call is now."""
        with self._lock:
            todo = self._book.answer_ended(call_id, how)
        self._plan(todo, call_id)

    # -- from the transport's thread -----------------------------------------------------------

    def take_connection(self, up: bool) -> None:
        """Hears that messages come from now on, or not; asks for what was missed at once."""
        with self._lock:
            self._messages_come = up
        self._poll_after(0.0)

    def take_message(self, payload: bytes) -> None:
        """Sorts one message and plans what follows from it."""
        event = messages.parse_call_event(payload)
        now = self._engine.told_time()
        with self._lock:
            if self._closed:
                return
            todo = self._book.take(event, now, time.monotonic())
            if self._is_far and self._book.is_anything_live:
                self._poll_after(self._config.ring_poll_s)
        if event is not None:
            self._plan(todo, event.call.call_id)

    def _plan(self, todo: Todo, call_id: str, delay_s: float = 0.0) -> None:
        if todo is Todo.VERIFY:
            self._work.call_later(delay_s, partial(self._verify, call_id))
        elif todo is Todo.CONFIRM:
            self._work.call_later(delay_s, partial(self._confirm, call_id))

    # -- on the work lane ------------------------------------------------------------------------

    def _ask_deadline(self, doing: str) -> Deadline:
        # Short, so that one silent answer does not hold up the question about the next ring.
        return Deadline.after(min(self._config.rest_timeout_s, self._config.ring_poll_s), doing)

    def _verify(self, call_id: str) -> None:
        """Asks about a call whose message came, and rings it when the engine says that it rings."""
        with self._lock:
            live = self._book.pending(call_id)
            if self._closed or live is None:
                return
            mark = self._book.mark
        refused_as: str | None = "unverified"
        try:
            call = self._engine.get_call(call_id, self._ask_deadline(f"verify incoming call {call_id}"))
            if call.call_id == call_id:
                refused_as = None
                self._ring(call, mark, by_poll=False)
        except _TRY_AGAIN as error:
            refused_as = self._try_again(live, error)
        except UTDStreamException as error:
            _log.warning("%s: a ring of call %s is not confirmed: %s", self._identity, call_id, error)
        finally:
            if refused_as is not None:
                with self._lock:
                    self._book.refuse(call_id, refused_as)

    def _try_again(self, live: Live, error: UTDStreamException) -> str | None:
        """Plans the next question about a pending call; too late: the counter to refuse it under."""
        call = live.call
        if is_expired(call, self._engine.told_time()):
            return "expired"
        if time.monotonic() - live.since > _VERIFY_AT_MOST_S:
            return "unverified"
        if live.tries == 0:
            _log.warning("%s: call %s cannot be confirmed yet: %s", self._identity, call.call_id, error)
        self._plan(Todo.VERIFY, call.call_id, _next_delay(live))
        return None

    def _ring(self, call: UTDCall, mark: int, *, by_poll: bool) -> None:
        now = self._engine.told_time()
        with self._lock:
            if self._closed:
                return
            todo = self._book.ring(call, now, time.monotonic(), mark, by_poll=by_poll)
            if todo is Todo.RING:
                # Under the lock, so that no cancel can be posted first; on_ring only appends to a queue.
                self._on_ring(call)
        self._plan(todo, call.call_id)

    def _confirm(self, call_id: str) -> None:
        """Asks whether a call that rang still rings, and says so when it does not."""
        with self._lock:
            live = self._book.confirm_begins(call_id)
            if self._closed or live is None:
                return
            mark = self._book.mark
        reason: CancelReason | None = None
        try:
            reason = reason_of(
                self._engine.get_call(call_id, self._ask_deadline(f"ask about call {call_id}"))
            )
        except (NotFound, PermissionDenied):
            reason = CancelReason.ENDED
        except UTDStreamException as error:
            _log.debug("%s: call %s cannot be asked about: %s", self._identity, call_id, error)
            with self._lock:
                again = self._book.confirm_later(call_id)
            if again:
                self._plan(Todo.CONFIRM, call_id, _next_delay(live))
            return
        if reason is not None:
            self._cancel(call_id, reason)
            return
        with self._lock:
            todo = self._book.still_rings(call_id, mark)
        self._plan(todo, call_id)

    def _cancel(self, call_id: str, reason: CancelReason) -> None:
        with self._lock:
            over = None if self._closed else self._book.cancel(call_id, reason)
            if over is not None:
                self._on_cancel(*over)

    def _poll_after(self, delay_s: float) -> None:
        """Plans the next poll, in place of one that is planned for later."""
        with self._lock:
            self._polls_planned += 1
            self._is_far = delay_s > self._config.ring_poll_s
            again = partial(self._poll_and_plan, self._polls_planned)
            self._work.call_later(delay_s, again)

    def _poll_and_plan(self, number: int) -> None:
        if number != self._polls_planned:
            return
        try:
            self._poll()
        finally:
            with self._lock:
                if number == self._polls_planned:
                    self._poll_after(self._pause_s)

    @property
    def _pause_s(self) -> float:
        """Rarely while messages come; but what rings is asked about, and an engine that did not answer."""
        if self._messages_come and not self._polls_fail and not self._book.is_anything_live:
            return self._config.ring_check_s
        return self._config.ring_poll_s

    def _poll(self) -> None:
        """Asks for all calls that ring: rings the new ones, confirms those that are gone."""
        with self._lock:
            if self._closed:
                return
            mark = self._book.mark
        try:
            calls = self._engine.list_calls(
                identity=self._identity,
                statuses=UNANSWERED_STATES,
                deadline=self._ask_deadline("ask for ringing calls"),
            )
        except UTDStreamException as error:
            self._survive_failed_poll(error)
            return
        if self._polls_fail:
            self._polls_fail = False
            _log.info("%s: the engine answers again about ringing calls", self._identity)
        for call in calls:
            self._ring(call, mark, by_poll=True)
        with self._lock:
            gone = self._book.gone({call.call_id for call in calls})
        for call_id in gone:
            self._plan(Todo.CONFIRM, call_id)

    def _survive_failed_poll(self, error: UTDStreamException) -> None:
        """Says it once; and ends, as missed, what rings past its own end while the engine cannot be asked."""
        now = self._engine.told_time()
        with self._lock:
            self._book.counts["failed_polls"] += 1
            overdue = self._book.overdue(now, time.monotonic())
        if not self._polls_fail:
            self._polls_fail = True
            _log.warning("%s: the engine cannot be asked for ringing calls: %s", self._identity, error)
        for call_id in overdue:
            self._cancel(call_id, CancelReason.MISSED)


def _next_delay(live: Live) -> float:
    live.tries += 1
    return _BETWEEN_QUESTIONS.pause_s(live.tries - 1)
