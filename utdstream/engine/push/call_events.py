"""Call events: one object each, to the broker and to the streams of browsers.

Owns: the numbers of events, the open streams, what a stream that comes back has missed. Runs on the loop
thread; nothing here waits, but for a stream's own reader.

1. An event has one number on every channel. Numbers only grow, also over a restart of the engine: they
   follow the clock in milliseconds.
2. What a stream missed comes from memory, as far back as that reaches, and else from the calls in the
   database: then the newest event of each call, not every one.
3. A reader that does not keep up is cut off, and asks again with the number it has seen last.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Iterable
from datetime import datetime, timezone

from utdstream._wire import messages
from utdstream._wire.messages import CallEvent
from utdstream.engine.push.notifier import Notifier
from utdstream.engine.rules import calls
from utdstream.engine.rules.calls import CallRecord
from utdstream.engine.rules.refusals import Refusal
from utdstream.engine.store.contract import CallFilter, Store
from utdstream.models import UTDCall, UTDCallStatus

MAX_STREAMS = 1000
MAX_STREAMS_EACH = 8
"""Open pages of one identity; the oldest is closed for a new one."""
MAX_WAITING = 200
KEPT_EACH, KEPT_IDENTITIES = 50, 2000
MAX_CALLS_LOOKED_AT = 100

_log = logging.getLogger(__name__)


class Reader:
    """One reader, let in by the app key of this id: the events that wait for it. `closed` is set when it ends."""

    def __init__(self, identity: str, missed: Iterable[CallEvent], key_id: str = "") -> None:
        self.identity = identity
        self.key_id = key_id
        self.closed = asyncio.Event()
        self._waiting: asyncio.Queue[CallEvent] = asyncio.Queue(MAX_WAITING)
        for event in missed:
            self.put(event)

    def put(self, event: CallEvent) -> None:
        """Hands over one event; a stream with too many of them waiting is closed."""
        try:
            self._waiting.put_nowait(event)
        except asyncio.QueueFull:
            if not self.closed.is_set():
                _log.warning("a call event stream of %s does not keep up: it is closed", self.identity)
            self.closed.set()

    async def next(self) -> CallEvent:
        """The next event; waits for it."""
        return await self._waiting.get()


class CallEvents:
    """Sends call events to the broker and to open streams; `notifier` None: to streams alone."""

    def __init__(self, store: Store, notifier: Notifier | None = None) -> None:
        self._store = store
        self._notifier = notifier
        self._streams: dict[str, list[Reader]] = {}
        self._recent: OrderedDict[str, deque[CallEvent]] = OrderedDict()
        self._lost_until: dict[str, int] = {}
        self._all_lost_until = self._seq = _number(datetime.now(timezone.utc))

    def publish(
        self, event: str, identity: str, call: UTDCall, now: datetime, *, is_repetition: bool = False
    ) -> None:
        """Sends one event to one identity. A repetition is for the broker alone: streams lose nothing."""
        self._seq = max(self._seq + 1, _number(now))
        told = CallEvent(event, self._seq, now, call)
        if self._notifier is not None:
            self._notifier.publish(identity, told)
        if not is_repetition:
            self._keep(identity, told)
            for stream in self._streams.get(identity, ()):
                stream.put(told)

    def open(self, identity: str, last_seen: int | None, key_id: str = "") -> Reader:
        """A stream of this identity's events, what it missed first. Raises: Refusal.

        `last_seen` is the number of the last event the reader knows; None: it begins with the calls that
        ring now.
        """
        own = self._streams.get(identity, [])
        if len(own) >= MAX_STREAMS_EACH:
            self.close(own[0])
        if sum(map(len, self._streams.values())) >= MAX_STREAMS:
            raise Refusal("unavailable", "Too many event streams are open; try again", retry_after_s=5.0)
        stream = Reader(identity, self._missed(identity, last_seen), key_id)
        self._streams.setdefault(identity, []).append(stream)
        return stream

    def close(self, stream: Reader) -> None:
        """Ends a stream. Idempotent."""
        stream.closed.set()
        own = self._streams.get(stream.identity, [])
        if stream in own:
            own.remove(stream)
            if not own:
                del self._streams[stream.identity]

    def close_all(self, identity: str | None = None, *, key_id: str | None = None) -> None:
        """Ends every stream; of this identity, or let in by this key, when one is given."""
        chosen = [self._streams.get(identity, [])] if identity is not None else [*self._streams.values()]
        for stream in [stream for own in chosen for stream in own]:
            if key_id in (None, stream.key_id):
                self.close(stream)

    def _keep(self, identity: str, event: CallEvent) -> None:
        kept = self._recent.setdefault(identity, deque(maxlen=KEPT_EACH))
        self._recent.move_to_end(identity)
        if len(kept) == KEPT_EACH:
            self._lost_until[identity] = kept[0].seq
        kept.append(event)
        while len(self._recent) > KEPT_IDENTITIES:
            forgotten, events = self._recent.popitem(last=False)
            self._lost_until.pop(forgotten, None)
            self._all_lost_until = max(self._all_lost_until, events[-1].seq)

    def _missed(self, identity: str, last_seen: int | None) -> list[CallEvent]:
        recent = list(self._recent.get(identity, ()))
        if last_seen is not None:
            recent = [event for event in recent if event.seq > last_seen]
            if last_seen >= max(self._all_lost_until, self._lost_until.get(identity, 0)):
                return recent
        told = {(event.call.call_id, event.event): event for event in recent}
        found: list[CallEvent] = []
        for record in self._calls_of(identity, ringing_only=last_seen is None):
            event = newest_event(record, identity)
            if event is not None and (last_seen is None or event.seq > last_seen):
                found.append(told.pop((event.call.call_id, event.event), event))
        if last_seen is not None:
            found += told.values()
        return sorted(found, key=lambda event: event.seq)

    def _calls_of(self, identity: str, *, ringing_only: bool) -> list[CallRecord]:
        if ringing_only:
            return [record for record in self._store.calls.open_of(identity) if record.is_unanswered]
        wanted = CallFilter(identity=identity)
        return self._store.calls.page(wanted, page=1, per_page=MAX_CALLS_LOOKED_AT)[0]


def newest_event(record: CallRecord, identity: str) -> CallEvent | None:
    """The event that says the state of a call to one of its parties, with the number of its moment."""
    call = record.call
    if record.is_unanswered:
        told = messages.CALL_INITIATED if identity == record.callee else None
        moment = call.created_at
    else:
        before = UTDCallStatus.ACTIVE if call.answered_at and call.ended_at else UTDCallStatus.RINGING
        told = next((event for event, who in calls.events_after(before, record) if who == identity), None)
        moment = call.ended_at or call.answered_at
    if told is None or moment is None:
        return None
    return CallEvent(told, _number(moment), moment, call)


def _number(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
