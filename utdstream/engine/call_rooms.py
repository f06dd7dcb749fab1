"""The media rooms of calls: made, told of every change, closed with notice.

Owns: what happens on the media server because of a call. Runs on the loop thread. Decides nothing
about calls: it reads the newest record from the store and makes the room follow.

1. Metadata first, then the data message with the same content.
2. A room is never ended under people who could leave by themselves: notice, up to two seconds, end.
   (LiveKit's client library loses threads for ever when the server ends a room under it.)
3. The making of a room stands in the same lane as everything said to it later and its end: a callee may
   answer or refuse before the room is there.
4. When the media server is away, what is missing stays written down (`room_open`, `is_told`) and is
   done by the next poll.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from utdstream._wire import messages
from utdstream.engine.background import Lanes
from utdstream.engine.calls import CallRecord
from utdstream.engine.sfu import Sfu, SfuNotFound, SfuUnavailable
from utdstream.engine.store import Store

LEAVE_GRACE_S = 2.0
EMPTY_ROOM_S = 600
"""The media server's own clean-up; the engine's deadlines are all shorter than this, or poll."""
PARTIES = 2
_LOOK_AGAIN_S = 0.25

_log = logging.getLogger(__name__)


class CallRooms:
    """Makes the rooms on the media server follow the calls in the store."""

    def __init__(self, store: Store, sfu: Sfu, lanes: Lanes) -> None:
        self._store = store
        self._sfu = sfu
        self._lanes = lanes
        self._told: dict[str, int] = {}
        self._closing: dict[str, asyncio.Event] = {}

    @property
    def is_media_up(self) -> bool:
        """True when the media server answered the newest request."""
        return self._sfu.is_up is True

    async def create(self, record: CallRecord) -> None:
        """Makes the room of this call, before whatever else is put in its lane. Raises: SfuUnavailable."""
        made: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        made.add_done_callback(lambda done: done.cancelled() or done.exception())  # also when nobody waits
        self._lanes.put(record.call_id, lambda: self._create(record, made))
        await made

    async def ensure(self, record: CallRecord) -> None:
        """Makes the room unless it is there (the media server forgets rooms in a restart)."""
        if record.call_id not in await self._sfu.rooms([record.call_id]):
            await self.create(record)

    def is_told(self, record: CallRecord) -> bool:
        """True when the room has heard of the newest state."""
        return self._told.get(record.call_id, 0) >= record.rev

    def is_closing(self, call_id: str) -> bool:
        """True while the end of this room is under way."""
        return call_id in self._closing

    def tell(self, call_id: str) -> None:
        """Tells the room the newest state of its call, in the background."""
        self._lanes.put(call_id, lambda: self._tell(call_id))

    def close(self, call_id: str) -> None:
        """Gives people the time to leave, then ends the room, in the background."""
        if call_id not in self._closing:
            self._closing[call_id] = asyncio.Event()
            self._lanes.put(call_id, lambda: self._close(call_id))

    def somebody_left(self, call_id: str) -> None:
        """Looks at once whether a closing room is empty."""
        left = self._closing.get(call_id)
        if left is not None:
            left.set()

    async def _create(self, record: CallRecord, made: asyncio.Future[None]) -> None:
        try:
            await self._sfu.create_room(
                record.call_id,
                empty_timeout_s=EMPTY_ROOM_S,
                max_participants=PARTIES,
                metadata=messages.room_metadata(record.call),
            )
        except asyncio.CancelledError:
            made.cancel()  # the engine stops
            raise
        except Exception as error:  # noqa: BLE001  # handed to who waits
            if not made.done():
                made.set_exception(error)
            return
        self._told[record.call_id] = record.rev
        if not made.done():
            made.set_result(None)

    async def _tell(self, call_id: str) -> None:
        record = self._store.call(call_id)
        if record is None or self.is_told(record):
            return
        try:
            await self._sfu.set_metadata(call_id, messages.room_metadata(record.call))
            if record.caller_seen or record.callee_seen:  # else nobody is there to hear it
                await self._sfu.send_data(call_id, messages.call_update(record.call))
        except SfuNotFound:
            _log.debug("call %s has no room to be told", call_id)
        except SfuUnavailable:
            return
        self._told[call_id] = max(self._told.get(call_id, 0), record.rev)

    async def _close(self, call_id: str) -> None:
        try:
            await self._wait_until_empty(call_id)
            await self._sfu.delete_room(call_id)
        except SfuUnavailable:
            _log.debug("the room of call %s cannot be closed now", call_id)
            return
        finally:
            self._closing.pop(call_id, None)
        with self._store.transaction():
            record = self._store.call(call_id)
            if record is not None:
                self._store.save_call(replace(record, room_open=False))
        self._told.pop(call_id, None)

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
            _log.debug("people are still in the room of call %s: it is ended now", call_id)
