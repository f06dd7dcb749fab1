"""One connect of a media room: what the loop has to say about it, and what its readers may do with it.

Owns: `RoomLife`, the room's `RoomListener`, which throws away what a life that is over still says, and
`RoomReceiver`, the iterators' way in. Threads: the loop calls the listener and runs the coroutines; any may read.
The media core is reached late.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from utdstream._session import receiving
from utdstream._session.facts import RoomFacts
from utdstream._threads.deadline import Deadline
from utdstream._threads.wishes import Wishes
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

REMOVED_BY_SERVER = "PARTICIPANT_REMOVED"
"""LiveKit's reason of an end that no participant can bring about."""


class RoomLife:
    """One connect of a room, and what the loop has to say about it (a `RoomListener`)."""

    def __init__(
        self,
        facts: RoomFacts,
        loop: LoopThread,
        *,
        auto_subscribe: bool,
        wishes: Wishes,
        open_early: bool,
        on_end: Callable[[RoomLife, str], None],
        rejoins: bool = False,
    ) -> None:
        """`open_early`: see `MediaRoom.join`. `on_end` is told the end, by whatever it came. `rejoins`: another
        life follows it then.
        """
        self._rejoins = rejoins
        self._facts = facts
        self.loop = loop
        self._auto_subscribe = auto_subscribe
        self._wishes = wishes
        self._open_early = open_early
        self._on_end = on_end
        self.reason: str | None = None
        """Why it was left, when it was left from here."""
        self.notice: str | None = None
        """Why a message said that this participant has to go; true once the media server removes it."""
        self.ends_for_all = facts.is_call
        """The others leave when this one does, so that each may wait for the last track."""
        self.connection: RoomConnection | None = None
        self.joined = False
        self.over = False
        """Set under the facts' lock: from then on it changes no fact."""
        self.is_failed_join = False
        """Its join has raised, or will: whatever comes of it is undone, and its end is no loss of a room."""
        self._given_up = False  # also when that came before the join had begun; loop thread

    # -- loop thread -------------------------------------------------------------------------------

    async def join(self, url: str, token: str) -> None:
        """Joins the room; see `RoomConnection.join`."""
        from utdstream._livekit.connection import RoomConnection

        facts = self._facts
        connection = self.connection = RoomConnection(
            self.loop,
            self,
            facts.devices,
            self._wishes,
            facts.report,
            adaptive_stream=facts.adaptive_stream,
            dynacast=facts.dynacast,
            auto_subscribe=self._auto_subscribe,
            linger_s=facts.config.video_linger_s,
            direct_audio=facts.config.direct_audio,
            switch_interval_s=facts.config.switch_interval_s,
            rejoins=self._rejoins,
            ends_for_all=lambda: self.ends_for_all,
            beats=facts.is_call,
        )
        if self._given_up:
            connection.give_up()
        if self._open_early:
            connection.open_early()
        await connection.join(url, token)

    def give_up(self, _: asyncio.Task[None] | None = None) -> None:
        """Undoes whatever comes of a join that is not waited for any more."""
        self.is_failed_join = self._given_up = True
        if self.connection is not None:
            self.connection.give_up()

    async def leave(self) -> None:
        """Leaves the room; a join that has not begun joins nothing."""
        self._given_up = True
        if self.connection is not None:
            await self.connection.leave()

    def begin_leaving(self) -> None:
        """Leaves in the background."""
        self.loop.spawn(self.leave())

    # -- RoomListener, loop thread -----------------------------------------------------------------

    def on_connection(self, connection: Connection) -> None:
        if connection.state is ConnectionState.DISCONNECTED:
            told = self.notice if connection.reason == REMOVED_BY_SERVER else None
            self._on_end(self, self.reason or told or connection.reason or "")
            return
        with self._facts.lock:
            if not self.over:
                self.joined = True
                self._facts.show(connection)

    def on_permission(self, can_publish: bool) -> None:
        with self._facts.lock:
            if not self.over:
                self._facts.can_publish.set(can_publish)

    def on_people(self, local: LocalParticipant, remote: tuple[RemoteParticipant, ...]) -> None:
        with self._facts.lock:
            if not self.over:
                self._facts.local = local
                self._facts.remote_participants.set(remote)

    def on_publishing(self, microphone_on: bool, camera_on: bool) -> None:
        with self._facts.lock:
            if not self.over:
                self._facts.microphone_on.set(microphone_on)
                self._facts.camera_on.set(camera_on)

    def on_metadata(self, metadata: str) -> None:
        if not self.over and self._facts.on_metadata is not None:
            self._facts.on_metadata(metadata)

    def on_data(self, message: DataMessage) -> None:
        if self.over:
            return
        if self._facts.on_message is None or not self._facts.on_message(message):
            self._facts.messages.emit(message)

    def on_silence(self, silent: bool) -> None:
        if not self.over:
            self._facts.on_silence(silent)

    def wants_events(self) -> bool:
        return not self.over and self._facts.events.has_listeners

    def on_event(self, event: RoomEvent) -> None:
        if not self.over:
            self._facts.events.emit(event)


class RoomReceiver:
    """What the iterators of `receiving` may do with one life of a room. Any thread."""

    def __init__(self, life: RoomLife, connection: RoomConnection, timeout_s: float) -> None:
        """`timeout_s` is how long attaching a consumer may take."""
        self._life = life
        self._connection = connection
        self._timeout_s = timeout_s

    def attach_audio(self, identity: str | None) -> AudioConsumer:
        """Returns a consumer of remote sound. Blocks: until the loop has attached it."""
        from utdstream._livekit.subscribing import AudioConsumer

        consumer = AudioConsumer(receiving.READ_FORMAT, identity)
        self._attach(consumer)
        return consumer

    def attach_video(self, identity: str | None) -> VideoConsumer:
        """Returns a consumer of remote pictures. Blocks: until the loop has attached it."""
        from utdstream._livekit.subscribing import VideoConsumer

        consumer = VideoConsumer(identity)
        self._attach(consumer)
        return consumer

    def _attach(self, consumer: AudioConsumer | VideoConsumer) -> None:
        deadline = Deadline.after(self._timeout_s, "receiving")
        self._life.loop.call(self._connection.add_consumer, consumer, deadline=deadline)

    def detach(self, consumer: AudioConsumer | VideoConsumer) -> None:
        """Ends a consumer, soon."""
        self._life.loop.post(self._connection.remove_consumer, consumer)

    def is_over(self) -> bool:
        """Returns whether the room was left or lost since."""
        return self._life.over
