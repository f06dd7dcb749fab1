"""One life of one media room: join, what happens in it, leave. A new `rtc.Room` for every life.

Owns: the `rtc.Room`, its handlers, the order of joining and leaving. Thread: all of it on the loop.
Must not know sessions: it tells a `RoomListener`, whose methods never block and never raise.

1. `connect` is never cancelled: a join that no caller waits for any more finishes and is then disconnected,
   and the next join of the same identity in the same room waits for that.
2. A handler does three things: update the snapshot, wake the waits, hand the event on.
3. Leaving is bounded at each step and works when the room is already gone.
4. A room that ends for all is left when all have unpublished: the core keeps some 500 KiB for ever of a room that
   is left while others publish in it (rust-sdks #1378, livekit 1.2.1), and holds one for 10 or 20 s that is left
   while it negotiates, which nothing tells.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from livekit import rtc

from utdstream._livekit import joining
from utdstream._livekit.direct_audio import audio_path
from utdstream._livekit.errors import clear_frames, translate
from utdstream._livekit.events import RoomEvents, RoomListener
from utdstream._livekit.heartbeat import Heartbeat
from utdstream._livekit.link import Door, LinkWatch
from utdstream._livekit.listening import Listening
from utdstream._livekit.loop import LoopThread, bounded
from utdstream._livekit.publishing import Publisher
from utdstream._livekit.room_end import RoomEnd
from utdstream._livekit.snapshots import local_snapshot
from utdstream._livekit.stats import session_stats
from utdstream._livekit.subscribing import Consumer, Subscriber
from utdstream._threads.wishes import Wishes
from utdstream.errors import ConnectFailed, SessionClosed
from utdstream.media import Devices
from utdstream.models import Connection, ConnectionState, LocalParticipant, SessionStats
from utdstream.observe import Report

_log = logging.getLogger(__name__)

SIGNAL_TIMEOUT_S = 3.0
UNPUBLISH_ALL_S = 3.5
OTHERS_UNPUBLISH_S = 1.2
"""They hear of the end a moment later, and a track may have to settle. Less than the engine's 2 s with a room."""
NEGOTIATED_S = 0.2
"""After the last track went: the server asks 0.05 to 0.1 s later. One call in four was left in it."""
DISCONNECT_S = 5.0
SETTLE_S = 0.25
"""A room is not left earlier than this after joining it. The core closes its socket without reading what has come,
the system then resets the connection, and the leave is lost with it: the server shows a ghost for 21 s."""
FREE_S = 3.0
LINK_LOST = "CONNECTION_TIMEOUT"  # LiveKit's name of the reason


class RoomConnection:
    """One life of one room. Thread: loop, all of it, from its making on."""

    def __init__(
        self,
        loop: LoopThread,
        listener: RoomListener,
        devices: Devices,
        wishes: Wishes,
        report: Report,
        *,
        adaptive_stream: bool,
        dynacast: bool,
        auto_subscribe: bool,
        linger_s: float,
        direct_audio: bool = True,
        switch_interval_s: float | None = None,
        rejoins: bool = False,
        ends_for_all: Callable[[], bool] = lambda: False,
        beats: bool = False,
    ) -> None:
        """`rejoins`: the room is joined again when it ends, so that one that hears nothing may be given up.

        `ends_for_all`: asked when it is left: the others leave it too (rule 4). `beats`: this side says again and
        again that it is there, and hears the others say it (`heartbeat`).
        """
        self._loop = loop
        self._ends_for_all = ends_for_all
        self._listener = listener
        self._devices = devices
        self._report = report
        self._dynacast = dynacast
        self._switch_interval_s = switch_interval_s
        path = audio_path(loop, direct=direct_audio)
        self.room: rtc.Room | None = None
        """The core's room, None when not connected. Only the reference may be read on another thread."""
        self._end_of_room = RoomEnd(loop)
        self._publisher = Publisher(
            loop, devices, wishes, self._end_of_room, report, self._tell_publishing, path=path
        )
        self._subscriber = Subscriber(
            loop,
            adaptive=adaptive_stream,
            auto_subscribe=auto_subscribe,
            linger_s=linger_s,
            path=path,
        )
        self._events = RoomEvents(
            lambda: None if self._end_of_room.has_come else self.room,
            self._publisher,
            self._subscriber,
            listener,
            report,
            disconnected=self._disconnected,
            core_reconnects=self._core_reconnects,
            heartbeat=self._take_heartbeat,
        )
        self._link = LinkWatch(
            loop,
            tell=self._link_found,
            others=listener.on_silence,
            publishes=self._publishes,
            expects_others=self._expects_others,
            refresh=self._subscriber.refresh_pictures,
            give_up=self._drop if rejoins else None,
        )
        self._heartbeat = Heartbeat(loop, self._link.others_heard) if beats else None
        self._listening: Listening | None = None
        self._given_up: asyncio.Future[None] = loop.asyncio_loop.create_future()
        self._broke: asyncio.Future[None] = loop.asyncio_loop.create_future()
        """Done when a join that is under way cannot succeed any more."""
        self._joined_at = 0.0
        self._leaving: asyncio.Task[None] | None = None
        self._freeing: set[asyncio.Future[None]] = set()
        """What is still being freed after the end: leaving waits for it."""

    # -- joining ---------------------------------------------------------------------------------

    def open_early(self) -> None:
        """Opens the devices that are wished on while the room is joined: they will be allowed for certain."""
        self._publisher.open_early()

    async def join(self, url: str, token: str) -> None:
        """Connects; raises ConnectFailed, or SessionClosed at once when `leave` came first. Never cancelled."""
        task = self._loop.spawn(self._join(url, token))
        self._loop.joining.add(task)
        task.add_done_callback(self._loop.joining.discard)
        task.add_done_callback(clear_frames)
        race: list[asyncio.Future[Any]] = [task, self._given_up, self._broke]
        await asyncio.wait(race, return_when=asyncio.FIRST_COMPLETED)
        if self._abandoned and not task.done():
            raise SessionClosed("connect: left while the room was being joined")
        if not task.done():
            self.give_up()
            raise ConnectFailed(
                "joining the media room: its signal connection broke off meanwhile; join again (it waits, 15 s at"
                " most, until the media core has let go of this one)"
            )
        task.result()

    async def _join(self, url: str, token: str) -> None:
        try:
            await self._join_in_turn(url, token)
        except BaseException:
            self.room = None
            self._free(self._publisher.end("the room was not joined", unpublish=False))
            raise

    async def _join_in_turn(self, url: str, token: str) -> None:
        async with joining.in_turn(token):
            if self._abandoned:
                raise SessionClosed("connect: left before the room was joined")
            await self._connect(url, token)
            assert self.room is not None
            self._link.start(self.room, url)

    async def _connect(self, url: str, token: str) -> None:
        room = rtc.Room(loop=self._loop.asyncio_loop)
        self._events.listen(room)
        options = rtc.RoomOptions(
            auto_subscribe=self._subscriber.subscribes_natively,
            dynacast=self._dynacast,
            connect_timeout=SIGNAL_TIMEOUT_S,
        )
        watching = self._loop.spawn(self._watch_join(url))
        try:
            await room.connect(url, token, options)
        except Exception as error:
            raise translate(error, "joining the media room") from error
        finally:
            watching.cancel()
        self.room = room
        self._joined_at = self._loop.asyncio_loop.time()
        if self._abandoned:
            await self._disconnect(room)
            raise SessionClosed("connect: left while the room was being joined")
        if self._end_of_room.has_come:
            raise ConnectFailed("joining the media room: it ended at once; ask the engine for a new one")
        try:
            self._begin(room)
        except BaseException:
            await self._disconnect(room)  # joined, but for nobody: it must not stay as a ghost
            raise

    async def _watch_join(self, url: str) -> None:
        await self._link.join_broke(url)
        self._broke.set_result(None)

    def _begin(self, room: rtc.Room) -> None:
        self._loop.live.add(self)
        self._loop.switch_interval.lower(self, self._switch_interval_s)
        self._events.tell_joined()
        self._publisher.start(room)
        self._open_speaker()
        self._subscriber.start(room)
        if self._heartbeat is not None:
            self._heartbeat.start(room, lambda: not self._publisher.reconnecting)

    def _open_speaker(self) -> None:
        if self._devices.speaker is not None:
            self._listening = Listening(self._loop, self._devices.speaker, self._subscriber, self._report)
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
        """Undoes whatever comes of a join: its caller's deadline passed, or it was interrupted."""
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
        self._stop_watching()
        self._close_speaker()
        await bounded(self._publisher.close(unpublish=not self._publisher.reconnecting), UNPUBLISH_ALL_S)
        await self._subscriber.close()
        await self._others_unpublish(room)
        await self._disconnect(room)
        self._end("CLIENT_INITIATED")

    async def _others_unpublish(self, room: rtc.Room) -> None:
        """Waits for the last track of the others, if they are leaving too (rule 4)."""
        if self._ends_for_all() and not self._publisher.reconnecting and not self._loop.ending:
            last = self._end_of_room.ask(self._subscriber.last_track_gone(room), "leaving")
            if not await bounded(self._loop.spawn(last), OTHERS_UNPUBLISH_S):
                _log.debug("the room is left while others publish in it: the core keeps some memory of it")
            await self._end_of_room.comes_within(NEGOTIATED_S)

    async def _disconnect(self, room: rtc.Room) -> None:
        await asyncio.sleep(self._joined_at + SETTLE_S - self._loop.asyncio_loop.time())
        if not await bounded(self._loop.spawn(room.disconnect()), DISCONNECT_S):
            _log.warning("the media server did not confirm the disconnect within %g s", DISCONNECT_S)

    def _drop(self) -> None:
        """Gives this connection up: a new one is joined sooner than this one would hear anything again."""
        room = self.room
        if room is not None and self._leaving is None and not self._end_of_room.has_come:
            self._end(LINK_LOST)
            self._free(self._loop.spawn(self._disconnect(room)))

    def _disconnected(self, reason: str) -> None:
        if self._leaving is None:
            self._end(reason, under_us=True)

    def _end(self, reason: str, *, under_us: bool = False) -> None:
        """Ends it once, whether it was left from here or ended by the server (`under_us`)."""
        if self._end_of_room.has_come:
            return
        self._loop.live.discard(self)
        self._loop.switch_interval.restore(self)
        self._stop_watching()
        self._close_speaker()
        self._free(self._loop.spawn(self._subscriber.close()))
        freeing = self._publisher.end(reason, unpublish=under_us)
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

    def _tell_publishing(self) -> None:
        self._events.tell_publishing()

    # -- the link --------------------------------------------------------------------------------

    @property
    def door(self) -> Door | None:
        """The media server's port, once it was joined there."""
        return self._link.door

    def _core_reconnects(self, reconnects: bool) -> None:
        self._link.core_reconnects(reconnects)

    def _stop_watching(self) -> None:
        self._link.stop()
        if self._heartbeat is not None:
            self._heartbeat.stop()

    def _take_heartbeat(self, sender: rtc.RemoteParticipant) -> None:
        if self._heartbeat is not None:
            self._heartbeat.heard(sender)

    def _expects_others(self) -> bool:
        """Whether somebody is to be heard: by media, or because it says that it is there."""
        beats = self._heartbeat is not None and self._heartbeat.is_expected
        return beats or self._subscriber.expects_media

    def _link_found(self, heard: bool) -> None:
        if not heard:
            self._events.interrupted()
        else:
            self._events.mended()
            self._events.tell_people()

    def _publishes(self) -> bool:
        return self.room is not None and bool(self.room.local_participant.track_publications)

    # -- while it lives --------------------------------------------------------------------------

    def _require_room(self, doing: str) -> rtc.Room:
        if self.room is None or self._end_of_room.has_come:
            raise SessionClosed(f"{doing}: the room is not connected; connect first")
        return self.room

    def require_permission(self, kind: str) -> None:
        """Raises PublishRefused when the SFU does not allow the microphone or the camera now."""
        self._publisher.require_permission(kind)

    async def settle_publishing(self) -> None:
        """Returns when every wish is met or has failed. Failures are reported, not raised."""
        await self._publisher.settle()

    async def met(self, kinds: Iterable[str]) -> None:
        """Returns when the wishes of these kinds are met; else raises what the first that failed raised."""
        await self._publisher.met(kinds)

    def reconcile(self) -> None:
        """Looks at every wish again, because one was taken back."""
        self._publisher.reconcile()

    async def publish_data(self, data: bytes, *, reliable: bool, to: list[str], topic: str) -> None:
        """Sends to everyone, or to the identities in `to`. A send cancelled at a deadline may still arrive."""
        room = self._require_room("send_data")
        sending = room.local_participant.publish_data(
            data, reliable=reliable, destination_identities=to, topic=topic
        )
        await self._end_of_room.ask(sending, "send_data")

    async def stats(self, *, events_dropped: int) -> SessionStats:
        """Returns the figures of now. `events_dropped`: of the session's lane, which the loop does not know."""
        room = self._require_room("stats")
        figures = await self._end_of_room.ask(room.get_rtc_stats(), "stats")
        return session_stats(figures, self._publisher, self._subscriber, events_dropped=events_dropped)

    def add_consumer(self, consumer: Consumer) -> None:
        """Brings remote sound or pictures to `consumer`. Raises: SessionClosed when it is not connected."""
        self._require_room("receiving")
        self._subscriber.add(consumer)

    def remove_consumer(self, consumer: Consumer) -> None:
        """Brings nothing more to `consumer` and lets its tracks go. Does nothing when it is not there."""
        self._subscriber.remove(consumer)
