"""One call on this device, from its beginning to its end: what is known of it, and which news count.

Owns: `CallLife`, one call, and `PresentCall`, the call that a session is in and the facts that show it. No I/O.

1. A `CallLife` has no lock: its methods are called under the session's state lock, and each that may change the
   state returns the state to show now, or None when nothing changed.
2. `PresentCall` takes that lock, briefly, and calls nothing that blocks. Any thread. News of a life that is not
   the present one change nothing.
3. `hang_up` begins a new epoch: an operation that was called before it, and has no life of its own yet, gets none.
   The program's own thread comes here with it, and may be interrupted between any two lines, also by a handler
   that disposes: it takes no lock, and an errand ends the life that it found.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable

from utdstream._calls.states import CallMachine
from utdstream._session.connect import RoomLife
from utdstream._threads.facts import Fact, set_together
from utdstream._threads.lanes import Timer
from utdstream._wire.call_states import FINAL_STATES, allowed
from utdstream.errors import CallNotAnswered, SessionClosed, UTDStreamException
from utdstream.models import UTDCall, UTDCallStatus

S = UTDCallStatus


class CallLife:
    """`at` None: a caller's, which the engine does not know yet. `call_id`: an incoming call's.

    `epoch` is the one in which its operation was called.
    """

    def __init__(self, at: UTDCallStatus | None, call_id: str | None = None, *, epoch: int = 0) -> None:
        self.epoch = epoch
        self.machine = CallMachine(at)
        self.call_id = call_id
        self.call: UTDCall | None = None
        self.room: RoomLife | None = None
        """The connect of its media room, since that began; nothing of this call touches another one."""
        self.over = False
        self.owes_end = False
        """It was ended from here, and the engine has still to be told."""
        self.wake: Callable[[], None] = _nothing
        """Ends the waits of the operation that sets it up."""
        self.was_active = False
        self.peer_seen = False
        """The other side was in the room."""
        self.ours = call_id is None
        """To be ended by us: our own call, or one that this device accepted."""
        self.answering = False
        """This device's accept is under way: that the call is active is no news then."""
        self.end_reason: str | None = None
        """The engine's word for why the call ended."""
        self.last_word = time.monotonic()
        """When the engine was last heard about this call."""
        self.timer: Timer | None = None
        self.hinted = False
        self._rev: int | None = None

    @property
    def status(self) -> UTDCallStatus | None:
        """Where the call stands; None before the engine has it."""
        return self.machine.status

    def take(self, news: UTDCall) -> UTDCallStatus | None:
        """Takes the engine's word on where the call stands; stale news and another call's change nothing."""
        if self.over or news.call_id != self.call_id:
            return None
        self.last_word = time.monotonic()
        if news.rev is not None:
            if self._rev is not None and news.rev < self._rev:
                return None
            self._rev = news.rev
        if self.call is not None:
            self.call = _merge(self.call, news)
        self.end_reason = news.end_reason or self.end_reason
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
        """Ends the life in `status`; None: there never was a call, so there is nothing to show."""
        if not self.over and status is not None:
            if self.status is None:
                self.machine.move_to(S.INITIATING)
            if allowed(self.status, status):
                self.machine.move_to(status)
        self.over = True  # whoever is interrupted before it has changed nothing that counts
        if self.timer is not None:
            self.timer.cancel()  # nothing is asked about it any more: the work lane needs no thread for it
        return self.status if self.status in FINAL_STATES else None

    def error_when_over(self, doing: str) -> UTDStreamException:
        """Returns what `doing` raises when this life ended meanwhile: refused there, or ended here."""
        if self.status in (S.REJECTED, S.BUSY, S.MISSED):
            return CallNotAnswered(self.status)
        return SessionClosed(f"{doing}: the call was ended while it was being set up")


class PresentCall:
    """The call that a session is in (or was in last), written under the session's state lock."""

    def __init__(
        self,
        lock: threading.RLock,
        status: Fact[UTDCallStatus | None],
        call_id: Fact[str | None],
        media_ready: Fact[bool | None],
    ) -> None:
        self._lock = lock
        self._status = status
        self._call_id = call_id
        self._media_ready = media_ready
        self.life: CallLife | None = None
        self._hang_ups = itertools.count(1)
        self._epochs: dict[int, None] = {0: None}
        """The numbers of the newest hang-ups; written in single steps, without the lock."""

    @property
    def epoch(self) -> int:
        """Grows with every hang-up. Takes no lock."""
        return max(self._epochs.copy())

    def replace(self, life: CallLife) -> bool:
        """Puts the session into this call; False when it was hung up since the operation was called."""
        with self._lock:
            if life.over or life.epoch != self.epoch:
                return False
            self.life = life
            set_together((self._status, None), (self._call_id, life.call_id), (self._media_ready, None))
            return True

    def name(self, life: CallLife, call_id: str) -> bool:
        """Notes the id that the engine gave the call; False when this life is over or not the present one."""
        with self._lock:
            if life.over or self.life is not life:
                return False
            life.call_id = call_id
            self._call_id.set(call_id)
            return True

    def enter(self, life: CallLife, room: RoomLife) -> bool:
        """Notes the room of the call as it begins to be joined; False when the life is over: it joins none."""
        with self._lock:
            if not life.over:
                life.room = room
            return not life.over

    def take(self, life: CallLife, news: UTDCall) -> bool:
        """Takes the engine's word on where the call stands. True when that ended it."""
        with self._lock:
            shown = life.take(news) if self.life is life else None
            if self.life is life and not life.over and news.media_ready is not None:
                self._media_ready.set(news.media_ready)
            if shown is not None:
                is_first = self._status.value is None
                if is_first and life.ours and shown not in FINAL_STATES:
                    self._status.set(S.INITIATING)  # the callee rang before the engine's answer was read
                self._status.set(shown)
            return shown is not None and life.over

    def take_hint(self, life: CallLife) -> bool:
        """Takes a hint that the call changed. True when the engine is to be asked because of it."""
        with self._lock:
            if life.hinted or life.over:
                return False
            life.hinted = True
            return True

    def begin_answer(self, life: CallLife) -> None:
        """Notes that this device answers the call now."""
        with self._lock:
            life.answering = True

    def end_answer(self, life: CallLife, *, ours: bool) -> None:
        """Notes how the answer ended; in one step, for in between the call would be active and nobody's here."""
        with self._lock:
            life.answering = False
            life.ours = life.ours or ours

    def rings(self, life: CallLife, status: UTDCallStatus) -> bool:
        """Shows how far the calls of a group have come; False when the life is over."""
        with self._lock:
            if life.over:
                return False
            if life.status is not status and life.status is not S.RINGING:
                life.machine.move_to(status)
                self._status.set(status)
            return True

    def plan(self, life: CallLife, timer: Timer) -> None:
        """Notes what is done next about this life, instead of what was planned before; nothing when it is over."""
        with self._lock:
            outdated = timer if life.over else life.timer
            life.timer = timer
            if outdated is not None:
                outdated.cancel()

    def close(self, life: CallLife, status: UTDCallStatus | None) -> None:
        """Ends the life; with a status the fact says so, without one there never was a call."""
        with self._lock:
            shown = life.finish(status)
            if shown is not None and self.life is life:
                self._status.set(shown)

    def hang_up(self) -> CallLife | None:
        """Lets nothing that was begun before get a life; returns the present one, to be ended. Takes no lock."""
        number = next(self._hang_ups)
        self._epochs[number] = None
        for older in self._epochs.copy():
            if older < number:
                self._epochs.pop(older, None)
        return self.life

    def end(self, life: CallLife) -> None:
        """Ends this life from here and says so; does nothing when it is over."""
        with self._lock:
            life.owes_end = life.owes_end or not life.over
            self.close(life, S.ENDED if life.status is not None else None)
        life.wake()

    def take_debt(self, life: CallLife) -> bool:
        """Says whether the engine has still to be told that this life was ended from here: True once."""
        with self._lock:
            owed, life.owes_end = life.owes_end and life.call_id is not None, False
            return owed


def _merge(known: UTDCall, news: UTDCall) -> UTDCall:
    """Returns the newer state with the credentials and names we already have."""
    return UTDCall(
        **{
            name: value if (value := getattr(news, name)) is not None else getattr(known, name)
            for name in UTDCall.__dataclass_fields__
        }
    )


def _nothing() -> None: ...
