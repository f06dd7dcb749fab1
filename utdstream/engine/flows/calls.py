"""Calls, from a request to everything that follows from it.

Owns: the order of effects: commit, then room and messages. Runs on the loop thread. The rules are in
`rules/calls`, the media room in `media/call_rooms`, the parties' presence in `call_watch`.

1. Every change is one transaction: read, decide, write. Nothing is awaited in between.
2. A state is told only after it is committed.
3. A deadline is a timer that looks at the call again when it fires; after a restart the timers are
   made anew from the database.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import datetime

from utdstream._wire import messages
from utdstream.engine import clock
from utdstream.engine.background import Occasion, Timers
from utdstream.engine.config import ProjectSection
from utdstream.engine.flows.steady_clock import SteadyClock
from utdstream.engine.media.call_rooms import CallRooms
from utdstream.engine.push.call_events import CallEvents
from utdstream.engine.rules import calls, keys, ringing
from utdstream.engine.rules.calls import CallRecord
from utdstream.engine.rules.refusals import Refusal, invalid
from utdstream.engine.rules.ringing import Patience
from utdstream.engine.store.contract import CallFilter, Store, StoreFailed
from utdstream.models import UTDCallStatus, UTDStreamType

_log = logging.getLogger(__name__)
_FORGET_EVERY_S = 24 * 3600.0
_DATABASE_AGAIN_S = 1.0
_Work = Coroutine[object, object, None]


@dataclass(frozen=True, slots=True)
class NewCall:
    """What a caller asks for."""

    type: UTDStreamType
    caller: str
    callee: str
    caller_name: str | None = None
    callee_name: str | None = None
    metadata: Mapping[str, object] | None = None
    idempotency_key: str | None = None
    group: str | None = None
    key_id: str = ""


class CallService:
    """All calls of the project. `answered` is told the id of each call that becomes active; when `broker_up`
    happens, what rings is told again. `patience` None: a caller may ring again at once, always.
    """

    def __init__(
        self,
        project: ProjectSection,
        store: Store,
        rooms: CallRooms,
        timers: Timers,
        events: CallEvents,
        *,
        answered: Occasion[[str]],
        broker_up: Occasion[[]],
        steady: SteadyClock,
        patience: Patience | None = None,
    ) -> None:
        self._project = project
        self._store = store
        self._rooms = rooms
        self._timers = timers
        self._events = events
        self._answered = answered
        self._steady = steady
        self._patience = patience
        broker_up.listen(self.ring_all_again)

    def start(self) -> None:
        """Takes up the calls of the database."""
        self._forget_old_calls()
        for record in self._store.calls.with_room():
            if record.is_open:
                self._set_deadlines(record)
            else:
                self._rooms.close(record)

    def ring_all_again(self) -> None:
        """Sends the ring of every call that no device reacted to (the broker is back)."""
        for record in self._store.calls.open():
            if record.status is UTDCallStatus.INITIATING:
                self._publish_ring(record, is_repetition=True)

    async def create(self, wanted: NewCall) -> tuple[CallRecord, bool]:
        """The new call, the callee rung and its room made; True when an Idempotency-Key made it the
        old one. Raises: Refusal.

        The callee is rung while the room is made: no device joins faster than that. A media server that does not
        answer keeps no bell silent: the room follows when it does (`has_media`).
        """
        self._check_enabled(wanted.type)
        record, is_new = self._insert(wanted)
        if is_new:
            self._set_deadlines(record)
            self._publish_ring(record)
            await self._rooms.make(record.call_id)
        elif record.is_open:
            await self._rooms.ensure(record.call_id)
        return self.get(record.call_id), not is_new

    async def with_room(self, record: CallRecord) -> CallRecord:
        """The call as it is now. The parties of one that was answered may join its room again: it is there then,
        also when the media server has lost it in a restart that nobody noticed. Waits a moment for it at most.
        """
        if record.is_open and record.call.answered_at is not None:
            await self._rooms.ensure(record.call_id)
        return self.get(record.call_id)

    def has_media(self, record: CallRecord) -> bool | None:
        """Whether sound and picture can flow in an open call; None: that is not known, or it is over."""
        return self._rooms.is_ready(record.call_id) if record.is_open else None

    def ringing(self, call_id: str, actor: str) -> CallRecord:
        """A device of the callee rings."""
        return self._step(call_id, lambda record: calls.ring(record, actor, clock.now()))

    async def accept(self, call_id: str, actor: str, key: str | None, *, key_id: str = "") -> CallRecord:
        """The callee answers, with the app key of this id; the room exists when this returns, or follows when the
        media server answers. The others of the call's group end.
        """
        record = self.get(call_id)
        calls.accept(record, actor, clock.now(), key)
        if record.is_open:
            await self._rooms.ensure(call_id)
        keys.check_in_force(self._store.keys.get(key_id))  # it may have been revoked meanwhile
        now = clock.now()
        ended: list[tuple[UTDCallStatus, CallRecord]] = []

        def answer(record: CallRecord) -> CallRecord:
            after = calls.accept(record, actor, now, key, app_key=key_id)
            if record.call.group is not None:
                for other in self._store.calls.open_of(record.caller):
                    over = calls.answered_elsewhere(other, after, now)
                    if over is not other:
                        self._store.calls.save(over)
                        ended.append((other.status, over))
            return after

        answered = self._step(call_id, answer)
        for before, over in ended:
            self._committed(before, over)
        return answered

    def reject(self, call_id: str, actor: str) -> CallRecord:
        """The callee refuses."""
        return self._step(call_id, lambda record: calls.reject(record, actor, clock.now()))

    def busy(self, call_id: str, actor: str) -> CallRecord:
        """The callee is on another call."""
        return self._step(call_id, lambda record: calls.busy(record, actor, clock.now()))

    def end(self, call_id: str, actor: str) -> CallRecord:
        """Either side hangs up."""
        return self._step(call_id, lambda record: calls.end(record, actor, clock.now()))

    def leg_lost(self, call_id: str) -> CallRecord:
        """A party vanished from the room for good."""
        return self._step(call_id, lambda record: calls.leg_lost(record, clock.now()))

    def seen(self, call_id: str, present: frozenset[str]) -> CallRecord | None:
        """Writes down the parties that have been in the room; the call, or None when no call has this id."""
        with self._store.transaction():
            record = self._store.calls.get(call_id)
            if record is None:
                return None
            after = calls.see(record, present)
            if after is not record:
                self._store.calls.save(after)
        return after

    def get(self, call_id: str) -> CallRecord:
        """The call of this id. Raises: Refusal (`call_not_found`)."""
        record = self._store.calls.get(call_id)
        if record is None:
            raise Refusal("call_not_found", "No call has this id")
        return record

    def page(self, wanted: CallFilter, *, page: int, per_page: int) -> tuple[list[CallRecord], int]:
        """One page of calls, newest first, and their number."""
        return self._store.calls.page(wanted, page=page, per_page=per_page)

    def _check_enabled(self, type: UTDStreamType) -> None:
        if not self._project.calls_enabled:
            raise Refusal("feature_disabled", "Calls are not enabled for this project")
        if type.has_video and not self._project.video_enabled:
            raise Refusal("feature_disabled", "Video is not enabled for this project")

    def _insert(self, wanted: NewCall) -> tuple[CallRecord, bool]:
        now = clock.now()
        record = calls.new_call(
            call_id=f"call_{secrets.token_hex(12)}",
            type=wanted.type,
            caller=wanted.caller,
            callee=wanted.callee,
            now=now,
            ring_timeout_s=self._project.call_ring_timeout_s,
            max_duration_s=self._project.max_call_duration_s,
            caller_name=wanted.caller_name,
            callee_name=wanted.callee_name,
            metadata=wanted.metadata,
            group=wanted.group,
            caller_key=wanted.key_id,
        )
        ended: list[tuple[UTDCallStatus, CallRecord]] = []
        with self._store.transaction():
            same = self._same_call(wanted, now)
            if same is not None:
                return same, False
            if self._patience is not None:
                self._patience.check(wanted.caller, wanted.callee, time.monotonic())
            own = self._store.calls.open_of(wanted.caller)
            calls.check_group(own, wanted.caller, wanted.group)
            for other in own:
                if calls.superseded_by_new_call(other, wanted.caller, wanted.callee, wanted.group):
                    after = calls.end(other, wanted.caller, now)
                    self._store.calls.save(after)
                    ended.append((other.status, after))
            there = self._store.calls.open_of(wanted.callee)
            displaced = ringing.gives_way(
                there,
                wanted.caller,
                wanted.callee,
                have_talked=self._store.calls.have_talked,
                may_break_in=self._may_break_in,
            )
            if displaced is not None:
                after = calls.give_way(displaced, now)
                self._store.calls.save(after)
                ended.append((displaced.status, after))
            self._store.calls.insert(record, wanted.idempotency_key)
        if self._patience is not None:
            self._patience.called(wanted.caller, wanted.callee, time.monotonic())
        for before, after in ended:
            self._committed(before, after)
        _log.info(
            "call %s initiating: %s calls %s (%s)",
            record.call_id,
            record.caller,
            record.callee,
            record.call.type.wire,
        )
        return record, True

    def _may_break_in(self, callee: str, caller: str) -> bool:
        return keys.may_break_in(self._store.keys.all(), callee, caller)

    def _same_call(self, wanted: NewCall, now: datetime) -> CallRecord | None:
        if wanted.idempotency_key is None:
            return None
        same = self._store.calls.by_key(wanted.caller, wanted.idempotency_key)
        if same is None or same.call.expires_at is None or now >= same.call.expires_at:
            return None
        if (same.callee, same.call.type) != (wanted.callee, wanted.type):
            raise invalid("Idempotency-Key was used for another call")
        return same

    def _step(self, call_id: str, decide: Callable[[CallRecord], CallRecord]) -> CallRecord:
        with self._store.transaction():
            record = self.get(call_id)
            after = decide(record)
            if after is not record:
                self._store.calls.save(after)
        if after.rev != record.rev:
            self._committed(record.status, after)
        return after

    def _committed(self, before: UTDCallStatus, record: CallRecord) -> None:
        _log.info(
            "call %s %s -> %s: caller %s, callee %s%s",
            record.call_id,
            before.wire,
            record.status.wire,
            record.caller,
            record.callee,
            f", {record.call.end_reason}" if record.call.end_reason else "",
        )
        self._rooms.tell(record)
        was_answered = (
            record.status is UTDCallStatus.ACTIVE or record.call.end_reason == calls.ANSWERED_ELSEWHERE
        )
        if self._patience is not None and was_answered:
            self._patience.answered(record.caller, record.callee)
        elif self._patience is not None and record.status is UTDCallStatus.REJECTED:
            self._patience.rejected(record.caller, record.callee, time.monotonic())
        for event, identity in calls.events_after(before, record):
            self._events.publish(event, identity, record.call, clock.now())
        if not record.is_open:
            self._rooms.close(record)
        elif record.status is UTDCallStatus.ACTIVE:
            self._set_deadlines(record)
            self._answered(record.call_id)

    def _publish_ring(self, record: CallRecord, *, is_repetition: bool = False) -> None:
        self._events.publish(
            messages.CALL_INITIATED, record.callee, record.call, clock.now(), is_repetition=is_repetition
        )

    # Deadlines.

    def _set_deadlines(self, record: CallRecord) -> None:
        call_id = record.call_id
        if record.is_unanswered:
            self._timers.after(_left_s(record.call.expires_at), call_id, lambda: self._miss(call_id))
            self._timers.after(calls.RING_AGAIN_S, call_id, lambda: self._ring_again(call_id))
        elif record.call.answered_at is not None:
            left_s = _left_s(record.call.answered_at) + record.max_duration_s
            self._timers.after(left_s, call_id, lambda: self._time_up(call_id))

    async def _miss(self, call_id: str) -> None:
        self._end_by_time(call_id, calls.miss, self._miss)

    async def _time_up(self, call_id: str) -> None:
        self._end_by_time(call_id, calls.time_up, self._time_up)

    def _end_by_time(
        self,
        call_id: str,
        decide: Callable[[CallRecord, datetime], CallRecord],
        again: Callable[[str], _Work],
    ) -> None:
        """Carries out a deadline; later, when the database does not do its part now."""
        try:
            if self._store.calls.get(call_id) is not None:
                self._step(call_id, lambda record: decide(record, clock.now()))
        except StoreFailed as error:
            _log.warning("call %s: its time is up, and it is not written down: %s", call_id, error)
            self._timers.after(_DATABASE_AGAIN_S, call_id, lambda: again(call_id))

    async def _ring_again(self, call_id: str) -> None:
        record = self._store.calls.get(call_id)
        if record is not None and record.status is UTDCallStatus.INITIATING:
            self._publish_ring(record, is_repetition=True)
            self._timers.after(calls.RING_AGAIN_S, call_id, lambda: self._ring_again(call_id))

    def _forget_old_calls(self) -> None:
        try:
            self._store.calls.forget_old(self._steady.now())
        except StoreFailed as error:
            _log.warning("old calls are not forgotten now: %s", error)
        self._timers.after(_FORGET_EVERY_S, "forget old calls", self._forget_again)

    async def _forget_again(self) -> None:
        self._forget_old_calls()


def _left_s(moment: datetime | None) -> float:
    return 0.0 if moment is None else (moment - clock.now()).total_seconds()
