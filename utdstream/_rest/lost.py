"""Requests about calls whose answer was lost: what the engine did all the same is found, and taken back.

Owns: `LostAnswers`, of one client. Threads: any may note; what is searched for is searched for in the background.

1. A call that was created for nobody is taken back by its key (`decisions`). With an engine that knows no such
   thing it is the caller's own unanswered call to that callee, and none that is known here. Once this client has
   begun another one nothing is searched for: the engine ends the older with the newer.
2. An accept goes by a key for each call: a second accept of it here, a moment later, is the same one to the
   engine, and joins. When none came, the call was answered for nobody, and is ended.
3. A refusal that was said before, unheard, is no error when it is said again.
"""

from __future__ import annotations

import itertools
import logging
import threading
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from utdstream._threads.deadline import Deadline
from utdstream._wire.call_states import UNANSWERED_STATES
from utdstream.backoff import Backoff
from utdstream.errors import RateLimited, TransportError, UTDStreamException
from utdstream.models import UTDCall, UTDCallStatus

if TYPE_CHECKING:
    from utdstream._rest.api import EngineApi

_log = logging.getLogger(__name__)

REMEMBERED = 64
LOOKS_S = (0.1, 1.0)
"""A request that was cut off may still be on its way: so it is looked for twice."""
RETRY_WITHIN_S = 1.0
ASK_TIMEOUT_S = 8.0
BETWEEN_ATTEMPTS = Backoff(first_s=0.5, most_s=5.0)
ATTEMPTS = 6

Undo = Callable[[UTDCall], None]


@dataclass(slots=True)
class Accept:
    """An accept of one call, however often it is asked for."""

    key: str
    is_lost: bool = False
    """The engine's answer was lost: the next accept here is the same one."""


class LostAnswers:
    """What one client asked for and heard no answer to."""

    def __init__(self, api: EngineApi) -> None:
        self._api = api
        self._lock = threading.RLock()
        self._created: deque[str] = deque(maxlen=REMEMBERED)
        self._creates = itertools.count(1)
        self._newest_create = 0
        self._accepts: OrderedDict[str, Accept] = OrderedDict()
        self._refused: deque[tuple[str, str]] = deque(maxlen=REMEMBERED)

    # -- created calls -----------------------------------------------------------------------------

    def create_begins(self) -> int:
        """Returns the number of this create."""
        self._newest_create = next(self._creates)
        return self._newest_create

    def created(self, call_id: str) -> None:
        """Notes a call that its caller knows of."""
        self._created.append(call_id)

    def find_created(self, number: int, callee: str, group: str | None, undo: Undo) -> None:
        """Searches for the call of a create whose answer was lost, and hands it to `undo`. Does not block."""

        def is_lost(call: UTDCall) -> bool:
            actor = self._api.actor
            return (
                actor is not None
                and call.caller_identity == actor.identity
                and call.call_id not in self._created
                and (group is None or call.group == group)
            )

        def look() -> None:
            calls = self._api.list_calls(
                identity=callee, statuses=UNANSWERED_STATES, deadline=_deadline("looking for a lost call")
            )
            if group is None and self._newest_create != number:
                return  # the engine ended it with the newer one (rule 1); those of one group stand side by side
            for call in calls:
                if is_lost(call):
                    _log.info("call %s was created for nobody", call.call_id)
                    undo(call)

        def search() -> None:
            for pause_s in LOOKS_S:
                self._api.pause(pause_s)
                self._until_answered(look)

        self._api.detached(search)

    # -- accepted calls ----------------------------------------------------------------------------

    def accept_begins(self, call_id: str) -> Accept:
        """Returns the accept that this is: the one whose answer was lost, or a new one."""
        with self._lock:
            before = self._accepts.get(call_id)
            if before is not None and not before.is_lost:
                return Accept(uuid.uuid4().hex)  # beside one that is under way: the engine takes one of them
            accept = Accept(before.key if before is not None else uuid.uuid4().hex)
            self._accepts[call_id] = accept
            while len(self._accepts) > REMEMBERED:
                self._accepts.popitem(last=False)
            return accept

    def is_newest(self, call_id: str, accept: Accept) -> bool:
        """Whether this is the accept by which the call is answered here, unless it is settled."""
        with self._lock:
            return self._accepts.get(call_id) is accept

    def accept_settled(self, call_id: str, accept: Accept) -> bool:
        """Forgets the accept: the next is another one. False when there was a newer one before."""
        with self._lock:
            if self._accepts.get(call_id) is not accept:
                return False
            del self._accepts[call_id]
            return True

    def settle_accept(self, call_id: str, accept: Accept, undo: Undo) -> None:
        """Ends, in a moment, a call that was answered for nobody (rule 2). Does not block."""
        accept.is_lost = True
        is_settled = False

        def settle() -> None:
            nonlocal is_settled
            if not is_settled and not self.is_newest(call_id, accept):
                return
            call = self._api.get_call(call_id, _deadline("asking about the call"))
            if call.status is not UTDCallStatus.ACTIVE:
                return
            is_settled = is_settled or self.accept_settled(call_id, accept)
            if is_settled:  # asked with its key the engine says whether it was this one
                undo(self._api.say(call_id, "accept", _deadline("accept"), key=accept.key) or call)

        def wait_and_settle() -> None:
            self._api.pause(RETRY_WITHIN_S)
            self._until_answered(settle)

        self._api.detached(wait_and_settle)

    # -- refused calls -----------------------------------------------------------------------------

    def refusal_lost(self, call_id: str, action: str) -> None:
        """Notes a reject or busy whose answer was lost."""
        self._refused.append((call_id, action))

    def may_be_refused(self, call_id: str, action: str) -> bool:
        """Whether it may have been said before."""
        return (call_id, action) in self._refused

    # -- how ---------------------------------------------------------------------------------------

    def _until_answered(self, ask: Callable[[], None]) -> None:
        """Asks again while the engine does not answer."""
        for attempt in range(ATTEMPTS):
            try:
                ask()
            except (TransportError, RateLimited):
                self._api.pause(BETWEEN_ATTEMPTS.pause_s(attempt))
            except UTDStreamException as error:
                _log.debug("a lost answer needs nothing more: %s", error)
                return
            else:
                return


def _deadline(doing: str) -> Deadline:
    return Deadline.after(ASK_TIMEOUT_S, doing)
