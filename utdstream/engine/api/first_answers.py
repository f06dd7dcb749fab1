"""Requests that are asked again because their answer was lost: nothing is done twice, or it is taken back.

Owns: `FirstAnswers`, by Idempotency-Key: the answers of every operation that changes something (of create and
accept of calls the handlers know a repeat, by keys in the database), and what takes back what was done. Runs on
the loop thread.

1. A key is its asker's, and stands for one request: with another operation, path or body it is refused.
2. What was decided is answered again, also a refusal. What failed (a 5xx) is not kept: asked again, it is tried
   again.
3. A repeat that comes while the first is under way gets its answer.
4. A key that is withdrawn is refused from then on, also to a request that was still on its way. What was done
   with it is taken back. Where it stands (`is_undone` of the operation, `rules/undoing`), it is answered again.
5. In memory, bounded in time and number: the engine has forgotten them after a restart.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from starlette.responses import Response

from utdstream.engine.api.operations.table import Operation
from utdstream.engine.api.operations.withdrawal import NOT_DONE, STANDS, UNDONE, WITHDRAW
from utdstream.engine.api.request import Answer, Ask, Handler
from utdstream.engine.rules.refusals import Refusal, invalid
from utdstream.limits import MAX_IDEMPOTENCY_KEY

KEPT_S = 300.0
MOST = 10_000


@dataclass(frozen=True, slots=True)
class _First:
    """The first request with a key, its answer, and what takes it back; or, `withdrawn`, what became of it."""

    at: float
    request: object = None
    answer: asyncio.Future[Answer | Response] | None = None
    undos: list[Callable[[], bool]] | None = None
    withdrawn: str | None = None


class FirstAnswers:
    """The answers that may be asked for again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._firsts: OrderedDict[object, _First] = OrderedDict()

    def handlers(self) -> Mapping[str, Handler]:
        """Operation id to handler."""
        return {WITHDRAW: self.withdraw}

    def once(self, operation: Operation, handler: Handler) -> Handler:
        """The handler of an operation that is asked once with each key. What the first raised is raised again."""

        def ask_once(ask: Ask) -> Awaitable[Answer | Response]:
            if ask.idempotency_key is None:
                return handler(ask)
            return self._once(operation, ask, handler, _of_asker(ask, ask.idempotency_key))

        return ask_once if operation.changes else handler

    async def _once(self, operation: Operation, ask: Ask, handler: Handler, key: object) -> Answer | Response:
        self._forget_old()
        request = (operation.id, *sorted(ask.path.items()), ask.body_hash)
        first = self._firsts.get(key)
        if first is not None and first.withdrawn is not None:
            raise Refusal("withdrawn", "This Idempotency-Key was withdrawn; ask again with a new one")
        if first is None or first.answer is None or operation.keeps_key:
            undoable = replace(ask, undos=[]) if operation.is_undone else ask
            return await self._do(key, request, undoable, handler)
        if first.request != request:
            raise invalid("Idempotency-Key was used for another request")
        return await asyncio.shield(first.answer)

    async def withdraw(self, ask: Ask) -> Answer:
        """POST /requests/withdraw."""
        key = ask.fields.text("idempotency_key", longest=MAX_IDEMPOTENCY_KEY)
        if key is None or key == ask.idempotency_key:
            raise invalid("idempotency_key is required: that of the request to withdraw, not of this one")
        self._forget_old()
        return Answer({"ok": True, "outcome": await self._withdraw(_of_asker(ask, key))})

    async def _withdraw(self, key: object) -> str:
        first = self._firsts.get(key)
        if first is not None and first.answer is not None and not first.answer.done():
            await asyncio.wait([first.answer])
            first = self._firsts.get(key)
        if first is not None and first.withdrawn is not None:
            return first.withdrawn
        outcome = NOT_DONE
        if first is not None and first.answer is not None and first.answer.exception() is None:
            if first.undos is None or not all(undo() for undo in reversed(first.undos)):
                return STANDS
            outcome = UNDONE
        self._keep(key, _First(self._clock(), withdrawn=outcome))
        return outcome

    async def _do(self, key: object, request: object, ask: Ask, handler: Handler) -> Answer | Response:
        future: asyncio.Future[Answer | Response] = asyncio.get_running_loop().create_future()
        self._keep(key, _First(self._clock(), request, future, ask.undos))
        try:
            answer = await handler(ask)
        except BaseException as error:
            is_decided = isinstance(error, Refusal) and error.status < 500
            if not is_decided:
                self._firsts.pop(key, None)
            future.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
            future.exception()  # there may be no repeat
            raise
        future.set_result(answer)
        return answer

    def _keep(self, key: object, first: _First) -> None:
        """Writes one down, as the newest."""
        self._firsts.pop(key, None)
        self._firsts[key] = first

    def _forget_old(self) -> None:
        until = self._clock() - KEPT_S
        while self._firsts:
            key, first = next(iter(self._firsts.items()))
            if first.at > until and len(self._firsts) < MOST:
                return
            del self._firsts[key]


def _of_asker(ask: Ask, key: str) -> object:
    """A key is its asker's (rule 1)."""
    return ask.asker.trusted, ask.asker.identity, ask.asker.own_key_id, key
