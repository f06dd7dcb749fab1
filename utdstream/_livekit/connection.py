"""One life of one media room: join, what happens in it, leave. A new `rtc.Room` for every life.

Owns: the `rtc.Room`, its handlers, the order of joining and leaving. Thread: all of it on the loop.
Must not know sessions: it tells a `RoomListener`, whose methods never block and never raise.

1. `connect` is never cancelled: a join nobody waits for any more finishes and is then disconnected,
   and the next join of the same identity in the same room waits for that.
2. A handler does three things: update the snapshot, wake the waits, hand the event on.
3. Leaving is bounded at each step and works when the room is already gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from livekit import rtc

from utdstream._livekit import joining
from utdstream._livekit.errors import translate
from utdstream._livekit.events import EVENTS, RoomListener, event_payload
from utdstream._livekit.listening import Listening
from utdstream._livekit.loop import LoopThread, bounded
from utdstream._livekit.publishing import Publisher, Wish
from utdstream._livekit.room_end import RoomEnd
from utdstream._livekit.snapshots import local_snapshot, remote_snapshot
from utdstream._livekit.subscribing import Consumer, Subscriber
from utdstream.errors import ConnectFailed, SessionClosed
from utdstream.media import Devices
from utdstream.models import (
    Connection,
    ConnectionState,
    DataMessage,
    LocalParticipant,
    RoomEvent,
)
from utdstream.observe import CallbackError, Report

_log = logging.getLogger(__name__)

SIGNAL_TIMEOUT_S = 3.0
UNPUBLISH_ALL_S = 3.0
DISCONNECT_S = 5.0
SETTLE_S = 0.25
"""A room is not left earlier than this after joining it. The core closes its socket without reading what has come,
the system then resets the connection, and the leave is lost with it: the server shows a ghost for 21 s."""
FREE_S = 3.0


class RoomConnection:
    """One life of one room. Made, used and forgotten on the loop thread."""

    def __init__(
        self,
        loop: LoopThread,
        listener: RoomListener,
        devices: Devices,
        report: Report,
        *,
        adaptive_stream: bool,
        dynacast: bool,
        auto_subscribe: bool,
        linger_s: float,
    ) -> None:
        self._loop = loop
        self._listener = listener
        self._devices = devices
        self._report = report
        self._dynacast = dynacast
        self.room: rtc.Room | None = None
        self._end_of_room = RoomEnd(loop)
        self.publisher = Publisher(loop, devices, self._end_of_room, report, self._publishing_changed)
        self.subscriber = Subscriber(
            loop, adaptive=adaptive_stream, auto_subscribe=auto_subscribe, linger_s=linger_s
        )
        self._listening: Listening | None = None
        self._given_up: asyncio.Future[None] = loop.asyncio_loop.create_future()
        self._joined_at = 0.0
        self._leaving: asyncio.Task[None] | None = None
        self._freeing: set[asyncio.Future[None]] = set()
        """What is still being freed after the end: leaving waits for it."""

    # -- joining ---------------------------------------------------------------------------------

    async def join(self, url: str, token: str) -> None:
        """Connects; raises ConnectFailed, or SessionClosed at once when `leave` came first.

        Never cancelled; whatever comes of a join that was left is undone by itself.
        """
        task = self._loop.spawn(self._join(url, token))
        self._loop.joining.add(task)
        task.add_done_callback(self._loop.joining.discard)
        race: list[asyncio.Future[Any]] = [task, self._given_up]
        await asyncio.wait(race, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise SessionClosed("connect: left while the room was being joined")
        task.result()

    async def _join(self, url: str, token: str) -> None:
        try:
            await self._join_in_turn(url, token)
        except BaseException:
            self._free(self.publisher.end("the room was not joined"))
            raise

    async def _join_in_turn(self, url: str, token: str) -> None:
        async with joining.in_turn(token):
            if self._abandoned:
                raise SessionClosed("connect: left before the room was joined")
            await self._connect(url, token)

    async def _connect(self, url: str, token: str) -> None:
        room = rtc.Room(loop=self._loop.asyncio_loop)
        for name in EVENTS:
            room.on(name, self._handler(name))  # type: ignore[arg-type]  # a Literal of all event names
        options = rtc.RoomOptions(
            auto_subscribe=self.subscriber.subscribes_natively,
            dynacast=self._dynacast,
            connect_timeout=SIGNAL_TIMEOUT_S,
        )
        try:
            await room.connect(url, token, options)
        except Exception as error:
            raise translate(error, "joining the media room") from error
        self.room = room
        self._joined_at = self._loop.asyncio_loop.time()
        if self._abandoned:
            await self._disconnect(room)
            raise SessionClosed("connect: left while the room was being joined")
        if self._end_of_room.has_come:
            raise ConnectFailed("joining the media room: it ended at once; ask the engine for a new one")
        self._loop.live.add(self)
        self._listener.on_connection(Connection(ConnectionState.CONNECTED))
        self._permission_changed()
        self._people_changed()
        if room.metadata:
            self._listener.on_metadata(room.metadata)
        self.publisher.start(room)
        self._open_speaker()
        self.subscriber.start(room)

    def _open_speaker(self) -> None:
        if self._devices.speaker is not None:
            self._listening = Listening(self._loop, self._devices.speaker, self.subscriber, self._report)
            self._listening.open()

    def _close_speaker(self) -> None:
        listening, self._listening = self._listening, None
        if listening is not None:
            self._free(listening.close())

    def _free(self, work: asyncio.Future[None]) -> None:
        self._freeing.add(work)
        work.add_done_callback(self._freed)

    def _freed(self, work: asyncio.Future[None]) -> None:
        self._freeing.discard(work)
        if not work.cancelled() and work.exception() is not None:
            _log.warning("freeing the media room: %s", work.exception())

    @property
    def _abandoned(self) -> bool:
        return self._given_up.done()

    def give_up(self) -> None:
        """The caller's deadline passed while joining, or it was interrupted: undo whatever comes of it."""
        if not self._given_up.done():
            self._given_up.set_result(None)
        if self.room is not None:
            self._loop.spawn(self.leave())

    # -- leaving ---------------------------------------------------------------------------------

    async def leave(self) -> None:
        """Unpublishes, disconnects, frees. Idempotent; all callers wait for the same end. Bounded."""
        if self._leaving is None:
            self._leaving = self._loop.spawn(self._leave())
        await asyncio.wait({self._leaving})

    async def _leave(self) -> None:
        if not self._given_up.done():
            self._given_up.set_result(None)
        room = self.room
        if room is not None and not self._end_of_room.has_come:
            await self._take_leave(room)
        if self._freeing:
            await asyncio.wait(set(self._freeing), timeout=FREE_S)

    async def _take_leave(self, room: rtc.Room) -> None:
        self._close_speaker()
        await bounded(self.publisher.close(unpublish=not self.publisher.reconnecting), UNPUBLISH_ALL_S)
        await self.subscriber.close()
        await self._disconnect(room)
        self._end("CLIENT_INITIATED")

    async def _disconnect(self, room: rtc.Room) -> None:
        await asyncio.sleep(self._joined_at + SETTLE_S - self._loop.asyncio_loop.time())
        if not await bounded(self._loop.spawn(room.disconnect()), DISCONNECT_S):
            _log.warning("the media server did not confirm the disconnect within %g s", DISCONNECT_S)

    def _end(self, reason: str) -> None:
        """The room is over, by whoever: once."""
        if self._end_of_room.has_come:
            return
        self._loop.live.discard(self)
        self._close_speaker()
        self._free(self._loop.spawn(self.subscriber.close()))
        freeing = self.publisher.end(reason)
        self._free(freeing)
        self._listener.on_people(
            local_snapshot(self.room.local_participant) if self.room else LocalParticipant(""), ()
        )
        self._listener.on_publishing(False, False)
        self._listener.on_permission(False)
        self._listener.on_connection(Connection(ConnectionState.DISCONNECTED, reason))
        freeing.add_done_callback(self._forget_room)

    def _forget_room(self, _: object) -> None:
        self.room = None

    # -- while it lives --------------------------------------------------------------------------

    def require_room(self, doing: str) -> rtc.Room:
        if self.room is None or self._end_of_room.has_come:
            raise SessionClosed(f"{doing}: the room is not connected; connect first")
        return self.room

    def refuse_publishing(self, microphone: bool) -> None:
        """Raises PublishRefused when the SFU does not allow it now."""
        self.publisher.require_permission("microphone" if microphone else "camera")

    async def set_wish(self, kind: str, wish: Wish) -> None:
        """Returns when it is so. Cancelled at a deadline: the earlier wish is restored."""
        await self.set_wishes({kind: wish})

    async def set_wishes(self, wishes: Mapping[str, Wish]) -> None:
        """Several at once; raises what the first that failed raised, when all are settled."""
        slots = {self.publisher.slot(kind): wish for kind, wish in wishes.items()}
        before = {slot: slot.wish for slot in slots}
        settled = [slot.set_wish(wish) for slot, wish in slots.items()]
        try:
            if settled:
                await asyncio.wait(settled)
        except asyncio.CancelledError:
            for slot, wish in before.items():
                slot.wish = wish
                slot.reconcile()
            raise
        for waiter in settled:
            waiter.result()

    async def publish_data(self, data: bytes, *, reliable: bool, to: list[str], topic: str) -> None:
        """Sends to everyone, or to the identities in `to`. A send cancelled at a deadline may still arrive."""
        room = self.require_room("send_data")
        sending = room.local_participant.publish_data(
            data, reliable=reliable, destination_identities=to, topic=topic
        )
        await self._end_of_room.ask(sending, "send_data")

    async def get_stats(self) -> rtc.RtcStats:
        room = self.require_room("stats")
        return await self._end_of_room.ask(room.get_rtc_stats(), "stats")

    def add_consumer(self, consumer: Consumer) -> None:
        self.require_room("receiving")
        self.subscriber.add(consumer)

    # -- handlers --------------------------------------------------------------------------------

    def _handler(self, name: str) -> Callable[..., None]:
        own = getattr(self, f"_on_{name}", None)

        def handle(*arguments: object) -> None:
            try:
                if own is not None:
                    own(*arguments)
                if EVENTS[name].changes_people:
                    self._people_changed()
                if self._listener.wants_events():
                    self._listener.on_event(RoomEvent(name, event_payload(name, arguments)))
            except Exception as error:  # noqa: BLE001 - a raising handler makes the core skip the others
                _log.exception("handling the room event %s failed", name)
                self._report(CallbackError(error, f"room event {name}"))

        return handle

    def _people_changed(self) -> None:
        room = self.room
        if room is not None and not self._end_of_room.has_come:
            self._listener.on_people(
                local_snapshot(room.local_participant),
                tuple(remote_snapshot(other) for other in room.remote_participants.values()),
            )

    def _permission_changed(self) -> None:
        room = self.room
        if room is not None:
            self._listener.on_permission(room.local_participant.permissions.can_publish)

    def _publishing_changed(self) -> None:
        if not self._end_of_room.has_come:
            self._listener.on_publishing(self.publisher.microphone.is_on, self.publisher.camera.is_on)

    def _on_participant_permissions_changed(self, participant: rtc.Participant, _: object) -> None:
        room = self.room
        if room is not None and participant.identity == room.local_participant.identity:
            self._permission_changed()
            self.publisher.permissions_changed()

    def _on_reconnecting(self) -> None:
        self.publisher.reconnect_began()
        self._listener.on_connection(Connection(ConnectionState.RECONNECTING))

    def _on_reconnected(self) -> None:
        self._permission_changed()
        self.publisher.reconnected()
        self.subscriber.reconnected()
        if self.room is not None and self.room.metadata:
            self._listener.on_metadata(self.room.metadata)
        self._listener.on_connection(Connection(ConnectionState.CONNECTED))

    def _on_disconnected(self, reason: rtc.DisconnectReason.ValueType) -> None:
        if self._leaving is None:
            self._end(rtc.DisconnectReason.Name(reason))

    def _on_track_published(self, *_: object) -> None:
        self.subscriber.review()

    def _on_track_subscribed(self, *_: object) -> None:
        self.subscriber.review()

    def _on_track_unsubscribed(self, _: object, publication: rtc.RemoteTrackPublication, __: object) -> None:
        self.subscriber.track_unsubscribed(publication.sid)

    def _on_track_unpublished(self, publication: rtc.RemoteTrackPublication, _: object) -> None:
        self.subscriber.track_unpublished(publication.sid)

    def _on_participant_connected(self, _: object) -> None:
        self.subscriber.review()

    def _on_track_muted(self, participant: rtc.Participant, publication: rtc.TrackPublication) -> None:
        room = self.room
        if room is not None and participant.identity == room.local_participant.identity:
            self.publisher.track_muted(publication)
            self._publishing_changed()

    def _on_room_metadata_changed(self, _: object, metadata: str) -> None:
        self._listener.on_metadata(metadata)

    def _on_data_received(self, packet: rtc.DataPacket) -> None:
        self._listener.on_data(
            DataMessage(
                data=packet.data,
                sender=packet.participant.identity if packet.participant is not None else None,
                topic=packet.topic or None,
                reliable=packet.kind == rtc.DataPacketKind.KIND_RELIABLE,
            )
        )
