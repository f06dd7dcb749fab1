"""Requests of which the engine knows a repeat, so that an answer that is lost is asked for again, or taken back.

Owns: `Decisions`, of one client. Threads: any.

1. Each goes by a key of its own, and is asked once more, with the same key, when its answer is lost: the engine
   does nothing twice, and gives the first answer.
2. When both are lost, or the caller leaves, the key is withdrawn: what was done with it is taken back, and a
   request that is still on its way is refused. Decided again, that comes first.
3. What stands all the same (something newer was decided about it, or it is an engine that knows no withdrawal) may
   be decided again: when the engine refuses because it was done before, unheard, what it said to the first is the
   answer.
4. An engine that knows no keys may refuse a repeat of what it has done; then the first answer counts as lost.
"""

from __future__ import annotations

import json
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from utdstream._threads.deadline import Deadline
from utdstream._wire import codec, routes
from utdstream.backoff import Backoff
from utdstream.errors import (
    Conflict,
    EngineError,
    EngineUnreachable,
    NotFound,
    RateLimited,
    TransportError,
)

if TYPE_CHECKING:
    from utdstream._rest.api import EngineApi

REMEMBERED = 64
REMEMBERED_S = 240.0
"""Less than the engine keeps its answers."""
WITHDRAW_S = 2.0
BETWEEN_ATTEMPTS = Backoff(first_s=0.5, most_s=5.0)
ATTEMPTS = 8
_TAKEN_BACK = ("undone", "not_done")


@dataclass(slots=True)
class _Lost:
    """A request whose answers were lost."""

    key: str = field(repr=False)
    at: float
    is_settled: bool = False
    """Whether it is known what became of it."""
    may_stand: bool = True
    otherwise: Callable[[], None] = lambda: None
    """Done instead with an engine that knows no withdrawal."""


class Decisions:
    """What one client asked for by key."""

    def __init__(self, api: EngineApi) -> None:
        self._api = api
        self._lost: OrderedDict[tuple[str, str, str], _Lost] = OrderedDict()
        """By what was asked for; written in single steps, without a lock."""

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, object],
        deadline: Deadline,
        *,
        late: Callable[[codec.JsonObject], None] | None = None,
    ) -> codec.JsonObject:
        """Returns the answer (rule 1). `late` gets one that comes after the caller has gone; what has none gives
        something up, and is finished, not withdrawn.

        Raises: EngineUnreachable when both answers were lost, or as rule 4 says; else what the engine says.
        """
        key = uuid.uuid4().hex
        try:
            try:
                return self._once(method, path, body, deadline, key, late)
            except EngineUnreachable as lost:
                try:
                    return self._once(method, path, body, deadline, key, late)
                except EngineError:
                    raise lost from None
        except EngineError:
            raise
        except BaseException:  # KeyboardInterrupt, too
            if late is not None:
                self.withdraw(key)
            raise

    def decide(
        self, method: str, path: str, body: Mapping[str, object], deadline: Deadline
    ) -> codec.JsonObject:
        """Returns the answer, to this request or to the one before that was the same (rules 2 and 3)."""
        thing = (method, path, json.dumps(body, sort_keys=True))
        before = self._lost.get(thing)
        if before is not None and time.monotonic() - before.at > REMEMBERED_S:
            before = None
        if before is not None and not before.is_settled:
            self._settle(before, deadline)
        key = uuid.uuid4().hex
        try:
            answer = self._once(method, path, body, deadline, key, retry=True)
        except EngineError as refusal:
            self._lost.pop(thing, None)
            if before is None or not before.may_stand or not isinstance(refusal, (Conflict, NotFound)):
                raise
            return self._once(method, path, body, deadline, before.key)
        except BaseException:
            self._lost[thing] = self.withdraw(key)
            while len(self._lost) > REMEMBERED:
                self._lost.popitem(last=False)
            raise
        self._lost.pop(thing, None)
        return answer

    def withdraw(self, key: str, otherwise: Callable[[], None] = lambda: None) -> _Lost:
        """Has what was asked for with this key taken back, in the background (rule 2). Does not block.

        `otherwise` is done instead with an engine that knows no withdrawal.
        """
        lost = _Lost(key, time.monotonic(), otherwise=otherwise)

        def settle() -> None:
            for attempt in range(ATTEMPTS):
                if lost.is_settled:
                    return
                try:
                    self._settle(lost, Deadline.after(WITHDRAW_S, "taking back what was asked for"))
                except (TransportError, RateLimited):
                    self._api.pause(BETWEEN_ATTEMPTS.pause_s(attempt))

        self._api.detached(settle)
        return lost

    def _settle(self, lost: _Lost, deadline: Deadline) -> None:
        """Withdraws the key; twice is fine. Raises: TransportError, RateLimited."""
        try:
            answer = self._api.privileged(
                "POST", routes.WITHDRAWAL, body={"idempotency_key": lost.key}, deadline=deadline, retry=True
            )
        except RateLimited:
            raise
        except EngineError:  # an engine that knows no withdrawal
            lost.is_settled = True
            lost.otherwise()
            return
        lost.may_stand = answer.get("outcome") not in _TAKEN_BACK
        lost.is_settled = True

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
