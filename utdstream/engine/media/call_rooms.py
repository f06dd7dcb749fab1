"""The media rooms of calls: made, told of every change, closed with notice.

Owns: what happens on the media server because of a call. Runs on the loop thread. Decides nothing
about calls: it reads the newest record from the store and makes the room follow.

1. Metadata first, then the data message with the same content. A room in which no party was seen is told
   nothing: the first party's arrival (a webhook, or the poll) brings it up to date.
2. A room is never ended under parties that could leave by themselves: notice, up to two seconds, end.
   (LiveKit's client library loses threads for ever when the server ends a room under it.) Where none was
   seen, the two seconds are for a party on the way.
3. The making of a room stands in the same lane as everything said to it later and its end: a callee may
   answer or refuse before the room is there.
4. When the media server is away, what is missing stays written down (`room_open`, the rev told) and is
   done by the next poll. A room that could not be made is tried again until the call is over.
5. Nobody waits for the media server longer than a moment: a call rings, and is answered, without its room.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time

from utdstream._wire import messages
from utdstream.engine.background import Lanes, Timers, Work
from utdstream.engine.media.sfu import Sfu, SfuNotFound, SfuUnavailable
from utdstream.engine.rules.calls import CallRecord
from utdstream.engine.store.contract import Store

LEAVE_GRACE_S = 2.0
EMPTY_ROOM_S = 600
"""The media server's own clean-up; the engine's deadlines are all shorter than this, or poll."""
PARTIES = 2
_LOOK_AGAIN_S = 0.25
WAITED_FOR_S = 1.0
"""A request waits so long for the room of its call; one that is not there by then follows."""
_AGAIN_S = 0.5
_CERTAIN_S = 0.5
"""No livekit-server that made a room so short ago can have been replaced by another one."""

_log = logging.getLogger(__name__)


class CallRooms:
    """Makes the rooms on the media server follow the calls in the store."""

    def __init__(self, store: Store, sfu: Sfu, lanes: Lanes, timers: Timers) -> None:
        self._store = store
        self._sfu = sfu
        self._lanes = lanes
        self._timers = timers
        self._told: dict[str, int] = {}
        self._made_at: dict[str, float] = {}
        self._being_made: set[str] = set()
        self._missing: set[str] = set()
        self._tried_again: set[str] = set()
        self._closing: dict[str, asyncio.Event] = {}

    def is_ready(self, call_id: str) -> bool | None:
        """Whether sound and picture can flow in the room of an open call; None: that is not known yet."""
        if call_id in self._being_made and call_id not in self._missing:
            return None
        if call_id in self._missing or self._sfu.is_up is False:
            return False
        return True if call_id in self._made_at else None

    def age_s(self, call_id: str) -> float:
        """How long ago this engine made the room; infinite for a room of an engine before it."""
        made_at = self._made_at.get(call_id)
        return math.inf if made_at is None else time.monotonic() - made_at

    async def make(self, call_id: str) -> None:
        """Has the room made, before whatever else is put in its lane, and waits a moment for it."""
        await self._a_moment(call_id, lambda: self._create(call_id))

    async def ensure(self, call_id: str) -> None:
        """Makes the room unless it is there (the media server forgets rooms in a restart); waits as `make`."""
        if self.age_s(call_id) > _CERTAIN_S:
            await self._a_moment(call_id, lambda: self._ensure(call_id))

    def tell(self, record: CallRecord) -> None:
        """Tells the room the newest state of its call, in the background, when a party was seen in it and it
        has not been told yet.
        """
        if record.was_joined and self._told.get(record.call_id, 0) < record.rev:
            self._lanes.put(record.call_id, lambda: self._tell(record.call_id))

    def close(self, record: CallRecord) -> None:
        """Gives the parties time to leave, then ends the room, in the background."""
        call_id = record.call_id
        if call_id in self._closing:
            return
        self._closing[call_id] = asyncio.Event()
        grace_s = 0.0 if record.was_joined else LEAVE_GRACE_S
        self._timers.after(grace_s, call_id, lambda: self._close_in_turn(call_id))

    def somebody_left(self, call_id: str) -> None:
        """Looks at once whether a closing room is empty."""
        left = self._closing.get(call_id)
        if left is not None:
            left.set()

    async def _a_moment(self, call_id: str, work: Work) -> None:
        """Puts `work` into the call's lane and waits for it, not longer than a moment."""
        done = asyncio.Event()

        async def in_turn() -> None:
            try:
                await work()
            finally:
                done.set()

        self._being_made.add(call_id)
        self._lanes.put(call_id, in_turn)
        try:
            async with asyncio.timeout(WAITED_FOR_S):
                await done.wait()
        except TimeoutError:
            self._missing.add(call_id)
        finally:
            self._being_made.discard(call_id)

    async def _ensure(self, call_id: str) -> None:
        try:
            is_there = call_id in await self._sfu.rooms([call_id])
        except SfuUnavailable:
            self._try_again(call_id)
            return
        if is_there:
            self._missing.discard(call_id)
        else:
            await self._create(call_id)

    async def _create(self, call_id: str) -> None:
        record = self._store.calls.get(call_id)
        if record is None or not record.is_open:
            return
        try:
            await self._sfu.create_room(
                call_id,
                empty_timeout_s=EMPTY_ROOM_S,
                max_participants=PARTIES,
                metadata=messages.room_metadata(record.call),
            )
        except SfuUnavailable:
            self._try_again(call_id)
            return
        self._told[call_id] = record.rev
        self._made_at[call_id] = time.monotonic()
        self._missing.discard(call_id)

    def _try_again(self, call_id: str) -> None:
        if call_id not in self._missing:
            _log.warning("call %s has no media room yet: it is made when the media server answers", call_id)
        self._missing.add(call_id)
        if call_id not in self._tried_again:
            self._tried_again.add(call_id)
            self._timers.after(_AGAIN_S, call_id, lambda: self._again(call_id))

    async def _again(self, call_id: str) -> None:
        self._tried_again.discard(call_id)
        if call_id in self._missing:
            self._lanes.put(call_id, lambda: self._ensure(call_id))

    async def _tell(self, call_id: str) -> None:
        record = self._store.calls.get(call_id)
        if record is None or self._told.get(call_id, 0) >= record.rev:
            return
        try:
            await self._sfu.set_metadata(call_id, messages.room_metadata(record.call))
            await self._sfu.send_data(call_id, messages.call_update(record.call))
        except SfuNotFound:
            _log.debug("call %s has no room to be told", call_id)
        except SfuUnavailable:
            return
        self._told[call_id] = max(self._told.get(call_id, 0), record.rev)

    async def _close_in_turn(self, call_id: str) -> None:
        self._lanes.put(call_id, lambda: self._close(call_id))

    async def _close(self, call_id: str) -> None:
        record = self._store.calls.get(call_id)
        try:
            if record is not None and record.was_joined:
                await self._wait_until_empty(call_id)
            await self._sfu.delete_room(call_id)
        except SfuUnavailable:
            _log.debug("the room of call %s cannot be closed now", call_id)
            return
        finally:
            self._closing.pop(call_id, None)
        self._store.calls.room_closed(call_id)
        self._told.pop(call_id, None)
        self._made_at.pop(call_id, None)
        self._missing.discard(call_id)

    async def _wait_until_empty(self, call_id: str) -> None:
        left = self._closing[call_id]
        try:
            async with asyncio.timeout(LEAVE_GRACE_S):
                while await self._sfu.identities(call_id):
                    left.clear()
                    try:
                        async with asyncio.timeout(_LOOK_AGAIN_S):
                            await left.wait()
                    except TimeoutError:
                        continue
        except TimeoutError:
            _log.debug("parties are still in the room of call %s: it is ended now", call_id)
