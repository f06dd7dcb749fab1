"""One connect of a UTDRoom: what the loop has to say about it, and what its readers may do with it.

Owns: `RoomLife`, the room's `RoomListener`, which throws away what a life that is over still says, and
`RoomReceiver`, the iterators' way in. Threads: the loop calls the listener; any may read. The media core
is reached late.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from utdstream._session import receiving
from utdstream._threads.deadline import Deadline
from utdstream.models import (
    Connection,
    ConnectionState,
    DataMessage,
    LocalParticipant,
    RemoteParticipant,
    RoomEvent,
)

if TYPE_CHECKING:
    import asyncio

    from utdstream._livekit.connection import RoomConnection
    from utdstream._livekit.loop import LoopThread
    from utdstream._livekit.subscribing import AudioConsumer, VideoConsumer
    from utdstream._session.room import UTDRoom


class RoomLife:
    """One connect of a room, and what the loop has to say about it (a `RoomListener`)."""

    def __init__(
        self,
        room: UTDRoom,
        loop: LoopThread,
        *,
        auto_subscribe: bool,
        publish: Mapping[str, bool],
        open_early: bool,
    ) -> None:
        self._room = room
        self.loop = loop
        self._auto_subscribe = auto_subscribe
        self._publish = publish
        self._open_early = open_early
        self.reason: str | None = None
        """Why we left, when we did."""
        self.connection: RoomConnection | None = None
        self.joined = False
        self._given_up = False  # also when that came before the join had begun; loop thread

    async def join(self, url: str, token: str) -> None:
        from utdstream._livekit.connection import RoomConnection
        from utdstream._livekit.publishing import Wish

        room = self._room
        connection = self.connection = RoomConnection(
            self.loop,
            self,
            room._devices,
            room._report,
            adaptive_stream=room._adaptive,
            dynacast=room._dynacast,
            auto_subscribe=self._auto_subscribe,
            linger_s=room._config.video_linger_s,
        )
        if self._given_up:
            connection.give_up()
        for kind, on in self._publish.items():
            slot = connection.publisher.slot(kind)
            if slot.has_device:
                slot.wish = Wish.ON if on else Wish.MUTED
        if self._open_early:
            connection.publisher.open_early()
        await connection.join(url, token)

    def give_up(self, _: asyncio.Task[None] | None = None) -> None:
        self._given_up = True
        if self.connection is not None:
            self.connection.give_up()

    async def leave(self) -> None:
        self._given_up = True
        if self.connection is not None:
            await self.connection.leave()

    def wishes(self) -> Mapping[str, bool]:
        return self.connection.publisher.wishes() if self.connection is not None else self._publish

    def begin_leaving(self) -> None:
        self.loop.spawn(self.leave())

    @property
    def _current(self) -> bool:
        return self._room._life is self

    # -- RoomListener, loop thread ---------------------------------------------------------------

    def on_connection(self, connection: Connection) -> None:
        if connection.state is ConnectionState.DISCONNECTED:
            self._room._over(self, self.reason or connection.reason or "")
        elif self._current:
            self.joined = True
            self._room.connection._set(connection)
            self._room.connected._set(connection.state is ConnectionState.CONNECTED)

    def on_permission(self, can_publish: bool) -> None:
        if self._current:
            self._room.can_publish._set(can_publish)

    def on_people(self, local: LocalParticipant, remote: tuple[RemoteParticipant, ...]) -> None:
        if self._current:
            self._room._local = local
            self._room.remote_participants._set(remote)

    def on_publishing(self, microphone_on: bool, camera_on: bool) -> None:
        if self._current:
            self._room.microphone_on._set(microphone_on)
            self._room.camera_on._set(camera_on)

    def on_metadata(self, metadata: str) -> None:
        hook = self._room._metadata_hook
        if self._current and hook is not None:
            hook(metadata)

    def on_data(self, message: DataMessage) -> None:
        if not self._current:
            return
        hook = self._room._data_hook
        if hook is None or not hook(message):
            self._room.messages._emit(message)

    def wants_events(self) -> bool:
        return self._current and self._room.events._has_listeners

    def on_event(self, event: RoomEvent) -> None:
        if self._current:
            self._room.events._emit(event)


class RoomReceiver:
    """What the iterators of `_receiving` may do with one life of a room."""

    def __init__(self, room: UTDRoom) -> None:
        self._life, self._connection = room._require_connection("receiving")
        self._room = room

    def attach_audio(self, identity: str | None) -> AudioConsumer:
        from utdstream._livekit.subscribing import AudioConsumer

        consumer = AudioConsumer(receiving.READ_FORMAT, identity)
        self._attach(consumer)
        return consumer

    def attach_video(self, identity: str | None) -> VideoConsumer:
        from utdstream._livekit.subscribing import VideoConsumer

        consumer = VideoConsumer(identity)
        self._attach(consumer)
        return consumer

    def _attach(self, consumer: AudioConsumer | VideoConsumer) -> None:
        deadline = Deadline(None, self._room._config.set_timeout_s, "receiving")
        self._life.loop.call(self._connection.add_consumer, consumer, deadline=deadline)

    def detach(self, consumer: AudioConsumer | VideoConsumer) -> None:
        self._life.loop.post(self._connection.subscriber.remove, consumer)

    def is_over(self) -> bool:
        return self._room._life is not self._life
