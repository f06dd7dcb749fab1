"""The parties really in the room of a call: webhooks, and the poll that repairs a lost one.

Owns: turning facts of the media server into "a leg is lost". Runs on the loop thread.

1. A webhook is never believed alone: after a short grace the room is looked at (a reconnect of the same identity
   also reports a leave).
2. A party that said good-bye is gone. One that vanished is away: it is waited for (`rules.calls.patience_s`),
   for its device joins again by itself. A room that the media server has finished, or lost, is made again.
3. The poll asks only for rooms of calls that are open or closing; without a call the media server is not asked
   anything.
"""

from __future__ import annotations

import logging
import time

from utdstream.backoff import Backoff
from utdstream.engine import clock
from utdstream.engine.background import Occasion, Repeated, Timers
from utdstream.engine.flows.calls import CallService
from utdstream.engine.media.call_rooms import CallRooms
from utdstream.engine.media.sfu import Sfu, SfuRoom, SfuUnavailable, Webhook
from utdstream.engine.rules import calls
from utdstream.engine.rules.calls import CallRecord
from utdstream.engine.store.contract import Store

POLL_S = 5.0
WHILE_DOWN = Backoff(first_s=0.5, most_s=1.0)
"""Between polls of a media server that does not answer."""

_CLOCK_S = 0.05
"""A timer may be early by this."""

_log = logging.getLogger(__name__)


class CallWatch:
    """Ends calls whose parties are gone."""

    def __init__(
        self,
        service: CallService,
        store: Store,
        sfu: Sfu,
        rooms: CallRooms,
        timers: Timers,
        answered: Occasion[[str]],
        *,
        away_s: float,
    ) -> None:
        """`away_s`: how long a party that vanished is waited for."""
        self._away_s = away_s
        self._service = service
        self._store = store
        self._sfu = sfu
        self._rooms = rooms
        self._timers = timers
        self._checks: set[tuple[str, float]] = set()
        self._away: dict[str, float] = {}
        """Since when a party is missed, by call."""
        self._left: dict[str, set[str]] = {}
        """The parties that said good-bye, by call."""
        self._polling = Repeated(timers, "poll", self._poll, every_s=POLL_S, after_failure=WHILE_DOWN)
        answered.listen(self.answered)

    def start(self) -> None:
        """Begins to poll, and to wait for the parties of calls that are active."""
        for record in self._store.calls.open():
            if record.call.answered_at is not None:
                self.answered(record.call_id)
        self._polling.start()

    def answered(self, call_id: str) -> None:
        """Both parties must be there in fifteen seconds."""
        self._check_in(calls.JOIN_WITHIN_S + 0.1, call_id)

    def webhook(self, hook: Webhook) -> None:
        """Takes one event of the media server about the room of a call."""
        if hook.event == "participant_joined":
            self._left.get(hook.room, set()).discard(hook.identity)
            self._away.pop(hook.room, None)  # of another one that is away it is counted anew
            self._arrived(hook.room, frozenset({hook.identity}))
        elif hook.event == "participant_left":
            self._service.seen(hook.room, frozenset({hook.identity}))
            self._rooms.somebody_left(hook.room)
            self._away.setdefault(hook.room, time.monotonic())
            if hook.left_on_purpose:
                self._left.setdefault(hook.room, set()).add(hook.identity)
            grace_s = calls.LEFT_GRACE_S if hook.left_on_purpose else calls.LEG_GRACE_S
            self._check_in(grace_s, hook.room)
        elif hook.event == "room_finished" and self._store.calls.is_open(hook.room):
            self._timers.after(0.0, hook.room, lambda: self._finished(hook.room))

    def _arrived(self, call_id: str, present: frozenset[str]) -> CallRecord | None:
        record = self._service.seen(call_id, present)
        if record is not None:
            self._rooms.tell(record)
        return record

    def _check_in(self, delay_s: float, call_id: str) -> None:
        check = (call_id, delay_s)
        if check not in self._checks:
            self._checks.add(check)
            self._timers.after(delay_s, call_id, lambda: self._check(check))

    async def _check(self, check: tuple[str, float]) -> None:
        self._checks.discard(check)
        call_id = check[0]
        record = self._store.calls.get(call_id)
        if record is None or not record.is_open:
            return
        try:
            if call_id not in await self._sfu.rooms([call_id]):
                return  # the poll makes it again
            present = await self._sfu.identities(call_id)
        except SfuUnavailable:
            return  # the poll looks again
        self._judge(call_id, present)

    def _judge(self, call_id: str, present: frozenset[str]) -> None:
        """Ends the call when a party is missed for too long."""
        record = self._service.seen(call_id, present)
        if record is None:
            return
        is_join_over = self._is_join_over(record)
        lost = calls.absent_leg(record, present, must_have_joined=is_join_over)
        if lost is None:
            self._away.pop(call_id, None)
            return
        now = time.monotonic()
        away_s = now - self._away.setdefault(call_id, now)
        left = self._left.get(call_id, set())
        patience_s = calls.patience_s(record, present, left, self._away_s, must_have_joined=is_join_over)
        if away_s + _CLOCK_S < patience_s:
            _log.debug("call %s: %s is away for %.1f s", call_id, lost, away_s)
            return
        _log.info("call %s: %s has left the room", call_id, lost)
        self._service.leg_lost(call_id)

    async def _finished(self, call_id: str) -> None:
        try:
            if call_id not in await self._sfu.rooms([call_id]):
                await self._make_again(call_id)
        except SfuUnavailable:
            return  # it is shutting down: the poll makes the room again when it is back

    async def _poll(self) -> bool:
        """Looks at the rooms of calls once; False when the media server did not answer."""
        records = self._store.calls.with_room()
        for known in (self._away, self._left):
            for call_id in known.keys() - {record.call_id for record in records if record.is_open}:
                del known[call_id]
        if not records:
            return True
        try:
            states = await self._sfu.rooms([record.call_id for record in records if record.is_open])
            for record in records:
                await self._follow(record, states.get(record.call_id))
        except SfuUnavailable:
            return False
        return True

    async def _follow(self, record: CallRecord, state: SfuRoom | None) -> None:
        call_id = record.call_id
        if not record.is_open:
            self._rooms.tell(record)
            self._rooms.close(record)
            return
        if state is None:
            await self._make_again(call_id)
            return
        self._rooms.tell(record)
        seen = record.caller_seen + record.callee_seen
        if state.participant_count == seen and (seen == _parties(record) or not self._is_join_over(record)):
            self._away.pop(call_id, None)
            return
        present = await self._sfu.identities(call_id)
        self._arrived(call_id, present)
        self._judge(call_id, present)

    async def _make_again(self, call_id: str) -> None:
        record = self._store.calls.get(call_id)
        if record is None or not record.is_open:
            return
        _log.warning("call %s: the media server lost its room; it is made again", call_id)
        await self._rooms.make(call_id)
        self._judge(call_id, frozenset())

    def _is_join_over(self, record: CallRecord) -> bool:
        """Whether the time is up in which both must come: since the answer, and since there is a room."""
        answered_at = record.call.answered_at
        if answered_at is None:
            return False
        since_s = min((clock.now() - answered_at).total_seconds(), self._rooms.age_s(record.call_id))
        return since_s >= calls.JOIN_WITHIN_S


def _parties(record: CallRecord) -> int:
    """How many parties belong in the room now: two once it is answered, before that the caller."""
    return 1 if record.is_unanswered else 2
