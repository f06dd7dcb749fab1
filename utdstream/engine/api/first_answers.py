"""Requests that are asked again because their answer was lost: nothing is done twice.

Owns: `FirstAnswers`, the answers by Idempotency-Key of every operation that changes something, but for create and
accept of calls, whose keys are in the database. Runs on the loop thread.

1. A key is its asker's, and stands for one request: with another operation, path or body it is refused.
2. What was decided is answered again, also a refusal. What failed (a 5xx) is not kept: asked again, it is tried
   again.
3. A repeat that comes while the first is under way gets its answer.
4. In memory, bounded in time and number: the engine has forgotten them after a restart.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.responses import Response

from utdstream.engine.api.operations.table import Operation
from utdstream.engine.api.request import Answer, Ask, Handler
from utdstream.engine.rules.refusals import Refusal, invalid

KEPT_S = 300.0
MOST = 10_000


@dataclass(frozen=True, slots=True)
class _First:
    """The first request with a key, and its answer."""

    request: object
    answer: asyncio.Future[Answer | Response]
    at: float


class FirstAnswers:
    """The answers that may be asked for again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._firsts: OrderedDict[object, _First] = OrderedDict()

    async def once(self, operation: Operation, ask: Ask, handler: Handler) -> Answer | Response:
        """The answer of `handler`, or that of the first request with this key. Raises: what it raised; Refusal."""
        if ask.idempotency_key is None or not operation.is_repeatable:
            return await handler(ask)
        self._forget_old()
        asker = ask.asker
        key = (asker.trusted, asker.identity, asker.own_key_id, ask.idempotency_key)
        request = (operation.id, *sorted(ask.path.items()), ask.body_hash)
        first = self._firsts.get(key)
        if first is None:
            return await self._do(key, request, handler(ask))
        if first.request != request:
            raise invalid("Idempotency-Key was used for another request")
        return await asyncio.shield(first.answer)

    async def _do(
        self, key: object, request: object, work: Awaitable[Answer | Response]
    ) -> Answer | Response:
        future: asyncio.Future[Answer | Response] = asyncio.get_running_loop().create_future()
        self._firsts[key] = _First(request, future, self._clock())
        try:
            answer = await work
        except BaseException as error:
            is_decided = isinstance(error, Refusal) and error.status < 500
            if not is_decided:
                del self._firsts[key]
            future.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
            future.exception()  # there may be no repeat
            raise
        future.set_result(answer)
        return answer

    def _forget_old(self) -> None:
        until = self._clock() - KEPT_S
        while self._firsts:
            key, first = next(iter(self._firsts.items()))
            if first.at > until and len(self._firsts) < MOST:
                return
            del self._firsts[key]
