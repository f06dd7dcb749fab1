"""The handler of call events: a stream for browsers.

Owns: which identity's events a client may read. Runs on the loop thread. The events are in `push/call_events`, the
bytes in `push/event_stream`.
"""

from __future__ import annotations

from collections.abc import Mapping

from utdstream.engine.api.fields import checked_identity
from utdstream.engine.api.quotas import Quotas
from utdstream.engine.api.request import Ask, Handler
from utdstream.engine.push.call_events import CallEvents
from utdstream.engine.push.event_stream import EventStream
from utdstream.engine.rules.refusals import Refusal, invalid

_LONGEST_NUMBER = 18


class EventHandlers:
    """The handler of the operation on call events."""

    def __init__(self, events: CallEvents, quotas: Quotas) -> None:
        self._events = events
        self._quotas = quotas

    def handlers(self) -> Mapping[str, Handler]:
        """Operation id to handler."""
        return {"call_events": self.stream}

    async def stream(self, ask: Ask) -> EventStream:
        """GET /calls/events."""
        named = ask.query.text("identity")
        identity = ask.asker.identity
        if identity is None:
            if named is None:
                raise invalid("identity is required with the app secret")
            identity = checked_identity(named)
        elif named not in (None, identity):
            raise Refusal("identity_mismatch", "identity is not the identity of the user token")
        with self._quotas.streams.one_more(ask.counted_as) as keep:
            reader = self._events.open(identity, _last_seen(ask.last_event_id), ask.asker.key_id)
            keep(reader)
        return EventStream(reader, self._events.close)


def _last_seen(header: str | None) -> int | None:
    """The number in `Last-Event-ID`. What is no number of ours counts as none: a browser that is refused
    never comes back.
    """
    if header is None or not (header.isascii() and header.isdigit()) or len(header) > _LONGEST_NUMBER:
        return None
    return int(header)
