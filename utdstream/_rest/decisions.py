"""Requests of which the engine knows a repeat, so that an answer that is lost is asked for again.

Owns: `Decisions`, of one client. Threads: any.

1. Each goes by a key of its own, and is asked once more, with the same key, when its answer is lost: the engine
   does nothing twice, and gives the first answer.
2. What one decides about others (a host: kick, lock, approve, invite) is not taken back when both are lost: it may
   be done or not. Decided again, it is done: when the engine refuses because it was done before, unheard, what it
   said to the first is the answer.
3. An engine that knows no keys may refuse a repeat of what it has done; then the first answer counts as lost.
"""

from __future__ import annotations

import json
import time
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from utdstream._threads.deadline import Deadline
from utdstream._wire import codec, routes
from utdstream.errors import Conflict, EngineError, EngineUnreachable, NotFound, TransportError

if TYPE_CHECKING:
    from collections.abc import Callable

    from utdstream._rest.api import EngineApi

REMEMBERED = 64
REMEMBERED_S = 240.0
"""Less than the engine keeps its answers."""


class Decisions:
    """What one client asked for by key."""

    def __init__(self, api: EngineApi) -> None:
        self._api = api
        self._lost: OrderedDict[tuple[str, str, str], tuple[str, float]] = OrderedDict()
        """The keys of what both answers were lost to; written in single steps, without a lock."""

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, object],
        deadline: Deadline,
        *,
        late: Callable[[codec.JsonObject], None] | None = None,
    ) -> codec.JsonObject:
        """Returns the answer (rule 1). `late` gets one that comes after the caller has gone.

        Raises: EngineUnreachable when both answers were lost, or as rule 3 says; else what the engine says.
        """
        key = uuid.uuid4().hex
        try:
            return self._once(method, path, body, deadline, key, late)
        except EngineUnreachable as lost:
            try:
                return self._once(method, path, body, deadline, key, late)
            except EngineError:
                raise lost from None

    def decide(
        self, method: str, path: str, body: Mapping[str, object], deadline: Deadline
    ) -> codec.JsonObject:
        """Returns the answer, to this request or to the one before that was the same (rule 2)."""
        thing = (method, path, json.dumps(body, sort_keys=True))
        key = uuid.uuid4().hex
        try:
            answer = self._once(method, path, body, deadline, key, retry=True)
        except TransportError:
            self._lost[thing] = (key, time.monotonic())
            while len(self._lost) > REMEMBERED:
                self._lost.popitem(last=False)
            raise
        except (Conflict, NotFound):
            before, at = self._lost.pop(thing, ("", 0.0))
            if not before or time.monotonic() - at > REMEMBERED_S:
                raise
            return self._once(method, path, body, deadline, before)
        self._lost.pop(thing, None)
        return answer

    def _once(
        self,
        method: str,
        path: str,
        body: Mapping[str, object],
        deadline: Deadline,
        key: str,
        late: Callable[[codec.JsonObject], None] | None = None,
        *,
        retry: bool = False,
    ) -> codec.JsonObject:
        return self._api.privileged(
            method,
            path,
            body=body,
            deadline=deadline,
            retry=retry,
            headers={routes.HEADER_IDEMPOTENCY_KEY: key},
            undo=late,
        )
