"""One call on this device, from its beginning to its end: what is known of it, and which news count.

Owns: `CallLife`. No I/O, no lock: the session calls it under its own. Each method that may change the
state returns the state to show now, or None when nothing changed.
"""

from __future__ import annotations

import time

from utdstream._calls.states import CallMachine
from utdstream._threads.lanes import Timer
from utdstream._wire.call_states import FINAL_STATES, allowed
from utdstream.models import UTDCall, UTDCallStatus

S = UTDCallStatus


class CallLife:
    """`at` None: a caller's, which the engine does not know yet. `call_id`: an incoming call's."""

    def __init__(self, at: UTDCallStatus | None, call_id: str | None = None) -> None:
        self.machine = CallMachine(at)
        self.call_id = call_id
        self.call: UTDCall | None = None
        self.over = False
        self.was_active = False
        self.ours = call_id is None
        """To be ended by us: our own call, or one that this device accepted."""
        self.answering = False
        """This device's accept is under way: that the call is active is no news then."""
        self.last_word = time.monotonic()
        """When the engine was last heard about this call."""
        self.timer: Timer | None = None
        self.hinted = False
        self._rev: int | None = None

    @property
    def status(self) -> UTDCallStatus | None:
        return self.machine.status

    def take(self, news: UTDCall) -> UTDCallStatus | None:
        """The engine says where the call stands; stale news and those of another call change nothing."""
        if self.over or news.call_id != self.call_id:
            return None
        self.last_word = time.monotonic()
        if news.rev is not None:
            if self._rev is not None and news.rev < self._rev:
                return None
            self._rev = news.rev
        if self.call is not None:
            self.call = _merge(self.call, news)
        if news.status is S.ACTIVE and not self.ours:
            return None if self.answering else self.finish(S.ENDED)  # answered on another device
        if self.status is None and news.status is not S.INITIATING:
            self.machine = CallMachine(S.INITIATING)  # created, and already further
        if not allowed(self.status, news.status):
            return None
        if news.status in FINAL_STATES:
            return self.finish(news.status)
        self.machine.move_to(news.status)
        self.was_active = self.was_active or news.status is S.ACTIVE
        return news.status

    def finish(self, status: UTDCallStatus | None) -> UTDCallStatus | None:
        """The life is over, in `status`; None: there never was a call, so there is nothing to show."""
        self.over = True
        if status is None:
            return None
        if self.status is None:
            self.machine.move_to(S.INITIATING)
        if not allowed(self.status, status):
            return None
        self.machine.move_to(status)
        return status


def _merge(known: UTDCall, news: UTDCall) -> UTDCall:
    """The newer state with the credentials and names we already have."""
    return UTDCall(
        **{
            name: value if (value := getattr(news, name)) is not None else getattr(known, name)
            for name in UTDCall.__dataclass_fields__
        }
    )
