"""UTDRoom: one media room, blocking.

Owns: the facts of a room and the operations on it. Used by sessions, and by those who bring their own
url and token. Threads: any may call; the loop writes the facts through `RoomLife`, which throws away what a
life that is over still has to say. Must not import REST; the media core is reached late.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

from utdstream._session import receiving
from utdstream._session.connect import RoomLife, RoomReceiver
from utdstream._threads.deadline import Deadline
from utdstream._threads.lanes import EventsLane
from utdstream.config import ClientConfig
from utdstream.errors import DeviceError, InvalidConfig, SessionClosed, UsageError, UTDStreamException
from utdstream.media import Devices, PcmFrame, RawFrame
from utdstream.models import (
    Connection,
    ConnectionState,
    DataMessage,
    LocalParticipant,
    RemoteParticipant,
    RoomEvent,
    SessionStats,
)
from utdstream.observe import CallbackError, Report, Signal, Watched

if TYPE_CHECKING:
    from livekit import rtc

    from utdstream._livekit.connection import RoomConnection

MAX_RELIABLE_BYTES = 15_000
MAX_LOSSY_BYTES = 1_300
_numbers = itertools.count(1)


class UTDRoom:
    """One media room: connect with a url and a token, publish the devices, receive, disconnect, again.

    `adaptive_stream`: nothing is downloaded that nobody consumes (sound while a speaker or
    `audio_frames()` listens, video while `video_frames()` or `snapshot()` looks). `dynacast`: layers that
    nobody watches are not sent. It publishes nothing by itself. Thread: any. Closes with `dispose()`.
    """

    def __init__(
        self,
        *,
        adaptive_stream: bool = True,
        dynacast: bool = True,
        devices: Devices | None = None,
        _config: ClientConfig | None = None,
        _lane: EventsLane | None = None,
        _report: Report | None = None,
    ) -> None:
        number = next(_numbers)
        self._devices = devices or Devices()
        self._config = _config or ClientConfig()
        self._adaptive = adaptive_stream
        self._dynacast = dynacast
        self._errors_lane = EventsLane(f"utdstream-events-errors-room-{number}")
        self._owns_lane = _lane is None
        self._lane = _lane or EventsLane(f"utdstream-events-room-{number}", self._report_error)
        self._report = _report or self._report_error

        self.errors: Signal[CallbackError] = Signal(self._errors_lane)
        """What went wrong in the background: a raising callback, a failing device."""
        self.events: Signal[RoomEvent] = Signal(self._lane)
        """Everything LiveKit says, by LiveKit's own event names."""
        self.connected: Watched[bool] = Watched(False, self._lane)
        """True while media can flow; false while reconnecting."""
        self.connection: Watched[Connection] = Watched(Connection(ConnectionState.DISCONNECTED), self._lane)
        self.can_publish: Watched[bool] = Watched(False, self._lane)
        """Whether the media server lets this participant publish now."""
        self.microphone_on: Watched[bool] = Watched(False, self._lane)
        self.camera_on: Watched[bool] = Watched(False, self._lane)
        self.remote_participants: Watched[tuple[RemoteParticipant, ...]] = Watched((), self._lane)
        self.messages: Signal[DataMessage] = Signal(self._lane)

        # Held for reads and writes of the fields below only. Re-entrant, as all locks on the way of
        # `dispose`: a signal handler may dispose in the middle of any line of the main thread.
        self._lock = threading.RLock()
        self._life: RoomLife | None = None
        self._freeing: RoomLife | None = None
        """The last life, over but perhaps still closing its devices: leaving waits for it."""
        self._disposed = False
        self._local: LocalParticipant | None = None
        self._metadata_hook: Callable[[str], None] | None = None
        self._data_hook: Callable[[DataMessage], bool] | None = None

    # -- connecting ------------------------------------------------------------------------------

    @property
    def room(self) -> rtc.Room | None:
        """The raw LiveKit room, None when not connected. To be touched on the loop thread only."""
        connection = self._connection_now()
        return connection.room if connection is not None else None

    @property
    def local_participant(self) -> LocalParticipant | None:
        """This participant as a snapshot; None before the first connect."""
        return self._local

    def connect(
        self, url: str, token: str, *, auto_subscribe: bool = True, timeout: float | None = None
    ) -> None:
        """Joins the room that `token` names.

        `auto_subscribe` False: nothing is received but what an iterator or a snapshot asks for.
        Blocks: to the deadline (default 20 s). Raises: ConnectFailed, DeadlineExceeded, UsageError when
        already connected, SessionClosed when disposed or left meanwhile.
        """
        self._join(url, token, auto_subscribe=auto_subscribe, publish={}, timeout=timeout)

    def _join(
        self,
        url: str,
        token: str,
        *,
        auto_subscribe: bool,
        publish: Mapping[str, bool],
        timeout: float | None,
        open_early: bool = False,
    ) -> None:
        """`publish`: microphone and camera that go on air (True) or muted (False) as soon as it is allowed.

        `open_early`: it will be allowed for certain, so the devices open while the room is joined.
        """
        deadline = Deadline(timeout, self._config.join_timeout_s, "connect")
        if not isinstance(url, str) or not url.startswith(("ws://", "wss://", "http://", "https://")):
            raise InvalidConfig(f"connect: url must begin with ws:// or wss://, not {str(url)[:40]!r}")
        if not isinstance(token, str) or not token:
            raise InvalidConfig("connect: token must be the text that the engine gave")
        from utdstream._livekit.loop import loop_thread

        loop = loop_thread()
        with self._lock:
            if self._disposed:
                raise SessionClosed("connect: the room was disposed; make a new one")
            if self._life is not None:
                raise UsageError("connect: already connected or connecting; disconnect() first")
            life = self._life = RoomLife(
                self, loop, auto_subscribe=auto_subscribe, publish=publish, open_early=open_early
            )
        try:
            self.connection._set(Connection(ConnectionState.CONNECTING))
            loop.finish(lambda: life.join(url, token), deadline=deadline, undo=life.give_up)
        except BaseException as error:
            loop.post(life.give_up)  # KeyboardInterrupt may come anywhere, also before `finish` waits
            reason = error.message if isinstance(error, UTDStreamException) else type(error).__name__
            self._over(life, reason)
            raise

    def disconnect(self, *, timeout: float | None = None) -> None:
        """Leaves the room; the object can connect again. Nothing to do when it is not connected.

        Blocks: to the deadline (default 5 s); what a slow server has not confirmed by then goes on in the
        background. Never waits for a `connect` under way: that one gets SessionClosed.
        """
        deadline = Deadline(timeout, self._config.leave_timeout_s, "disconnect")
        with self._lock:
            life = self._life or self._freeing
        if life is not None:
            self._leave(life, deadline)

    def _leave(self, life: RoomLife, deadline: Deadline, reason: str = "CLIENT_INITIATED") -> None:
        """Leaves this life; a newer one is not touched."""
        life.reason = reason
        try:
            life.loop.finish(life.leave, deadline=deadline, undo=lambda task: None)
        except UTDStreamException as error:
            self._report(CallbackError(error, "disconnect"))
        finally:
            self._over(life, reason)
            with self._lock:
                if self._freeing is life:
                    self._freeing = None

    def _begin_disconnect(self) -> None:
        """Devices stop and the room is left in the background; a later `disconnect` waits for it."""
        with self._lock:
            life = self._life
        if life is not None:
            life.loop.post(life.begin_leaving)

    def _over(self, life: RoomLife, reason: str) -> None:
        """This life has ended: the facts say so, unless a newer life has begun."""
        with self._lock:
            if self._life is not life:
                return
            self._life, self._freeing = None, life
        self.remote_participants._set(())
        self.microphone_on._set(False)
        self.camera_on._set(False)
        self.can_publish._set(False)
        self.connected._set(False)
        self.connection._set(Connection(ConnectionState.DISCONNECTED, reason))

    def dispose(self, *, timeout: float | None = None) -> None:
        """Leaves and frees everything; the object is done for. Idempotent, any thread, also a callback.

        Blocks: to the deadline (default 8 s).
        """
        deadline = Deadline(timeout, self._config.dispose_timeout_s, "dispose")
        with self._lock:
            if self._disposed:
                return
            self._disposed = True
        self.disconnect(timeout=deadline.remaining())
        for fact in (
            self.connected,
            self.connection,
            self.can_publish,
            self.microphone_on,
            self.camera_on,
            self.remote_participants,
        ):
            fact._close()
        self.events._close()
        self.messages._close()
        if self._owns_lane:
            self._lane.close(min(1.0, deadline.remaining()))
        self._errors_lane.close(min(1.0, deadline.remaining()))

    close = dispose

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.dispose()

    # -- publishing ------------------------------------------------------------------------------

    def set_microphone(self, enabled: bool, *, timeout: float | None = None) -> None:
        """Publishes or unmutes the microphone, or mutes it (its device stops too).

        Returns when it is so. Blocks: to the deadline (default 12 s); then the earlier wish is restored.
        Raises: PublishRefused, DeviceError when there is none or it fails, SessionClosed.
        """
        self._set_device("microphone", enabled, timeout)

    def set_camera(self, enabled: bool, *, timeout: float | None = None) -> None:
        """Publishes or unmutes the camera, or mutes it (its device stops too). As `set_microphone`.

        One that gives no frame within 3 s raises DeviceError; it stays wished, and its first frame publishes
        it, unless `set_camera(False)` comes first.
        """
        self._set_device("camera", enabled, timeout)

    def _set_device(self, kind: str, enabled: bool, timeout: float | None) -> None:
        deadline = Deadline(timeout, self._config.set_timeout_s, f"set_{kind}")
        if not isinstance(enabled, bool):
            raise InvalidConfig(f"set_{kind}: enabled must be True or False, not {enabled!r}")
        from utdstream._livekit.publishing import Wish

        life, connection = self._require_connection(f"set_{kind}")
        device = getattr(self._devices, kind)
        if device is None:
            if not enabled:
                return
            raise DeviceError(f"set_{kind}: there is no {kind}; give one with Devices({kind}=...)")
        if enabled:
            life.loop.call(connection.refuse_publishing, kind == "microphone", deadline=deadline)
        wish = Wish.ON if enabled else Wish.MUTED
        life.loop.run(lambda: connection.set_wish(kind, wish), deadline=deadline)

    def _publish(self, wanted: Mapping[str, Callable[[], bool]], deadline: Deadline, doing: str) -> None:
        """Publishes several devices at once, on or muted, and waits until each is so; missing ones are left out.

        Each is asked on the loop, in the same turn in which its wish counts: who mutes meanwhile is never heard.
        Raises: what the first that failed raised.
        """
        from utdstream._livekit.publishing import Wish

        life, connection = self._require_connection(doing)
        present = {kind: is_on for kind, is_on in wanted.items() if getattr(self._devices, kind) is not None}
        for kind in present:
            life.loop.call(connection.refuse_publishing, kind == "microphone", deadline=deadline)
        life.loop.run(
            lambda: connection.set_wishes(
                {kind: Wish.ON if is_on() else Wish.MUTED for kind, is_on in present.items()}
            ),
            deadline=deadline,
        )

    def _withdraw(self, deadline: Deadline | None = None) -> None:
        """Microphone and camera stop and are unpublished; with a deadline it waits until they are.

        Any thread when there is no deadline.
        """
        from utdstream._livekit.publishing import Wish

        with self._lock:
            life = self._life
        connection = life.connection if life is not None else None
        if life is None or connection is None:
            return
        wishes = {"microphone": Wish.OFF, "camera": Wish.OFF}
        if deadline is None:
            life.loop.post(lambda: life.loop.spawn(connection.set_wishes(wishes)))
        else:
            life.loop.run(lambda: connection.set_wishes(wishes), deadline=deadline)

    def _wishes(self) -> Mapping[str, bool]:
        """What the present or last life wished to publish, for a life that follows it."""
        with self._lock:
            life = self._life or self._freeing
        return life.wishes() if life is not None else {}

    def _settle_publishing(self, deadline: Deadline) -> None:
        """Until what is wished for is published, or has failed and was reported."""
        life, connection = self._require_connection("publishing")
        life.loop.run(connection.publisher.settle, deadline=deadline)

    # -- data ------------------------------------------------------------------------------------

    def send_data(
        self,
        data: bytes,
        *,
        reliable: bool = True,
        destination_identities: list[str] | tuple[str, ...] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Sends up to 15,000 bytes (reliable) or 1,300 bytes (lossy) to everyone, or to some identities.

        Blocks: to the deadline (default 5 s); a send that ran out of time may still be delivered.
        Raises: InvalidConfig, SessionClosed, DeadlineExceeded, MediaError.
        """
        deadline = Deadline(timeout, self._config.send_data_timeout_s, "send_data")
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise InvalidConfig(f"send_data: data must be bytes, not {type(data).__name__}")
        payload = bytes(data)
        limit = MAX_RELIABLE_BYTES if reliable else MAX_LOSSY_BYTES
        if len(payload) > limit:
            raise InvalidConfig(f"send_data: {len(payload)} bytes are too many, at most {limit} fit")
        if isinstance(destination_identities, str):
            raise InvalidConfig("send_data: give a list of identities, not one text")
        life, connection = self._require_connection("send_data")
        to = list(destination_identities or ())
        life.loop.run(
            lambda: connection.publish_data(payload, reliable=reliable, to=to, topic=""),
            deadline=deadline,
        )

    # -- receiving -------------------------------------------------------------------------------

    def audio_frames(self, identity: str | None = None) -> Iterator[PcmFrame]:
        """Remote sound as 48 kHz mono int16, 10 ms each on a steady clock; silence when nobody speaks.

        `identity` None: everyone, mixed. Ends when the room does. A reader that falls behind by more than
        0.2 s loses what it missed. Raises: SessionClosed when not connected.
        """
        return receiving.audio_frames(RoomReceiver(self), identity)

    def video_frames(
        self, identity: str | None = None, *, timeout: float | None = None
    ) -> Iterator[RawFrame]:
        """Remote pictures as I420, always the newest; one that nobody took in time is replaced.

        `identity` None: whoever is seen first. Ends when the room does. Blocks: each step at most
        `timeout` (default 30 s). Raises: DeadlineExceeded, SessionClosed when not connected.
        """
        limit = Deadline(timeout, self._config.wait_timeout_s, "video_frames", may_be_infinite=True)
        return receiving.video_frames(RoomReceiver(self), identity, limit.timeout)

    def snapshot(
        self,
        path: str | Path | None = None,
        identity: str | None = None,
        *,
        timeout: float | None = None,
    ) -> bytes:
        """The newest picture of somebody as PNG, also written to `path` when one is given.

        Blocks: to the deadline (default 12 s) for a first picture. Raises: DeadlineExceeded, SessionClosed.
        """
        deadline = Deadline(timeout, self._config.set_timeout_s, "snapshot")
        png = receiving.take_snapshot(RoomReceiver(self), identity, deadline)
        if path is not None:
            Path(path).write_bytes(png)
        return png

    def stats(self, *, timeout: float | None = None) -> SessionStats:
        """Counters since the connect and the newest network figures. Ask at most every 2 s.

        Blocks: to the deadline (default 12 s). Raises: SessionClosed.
        """
        deadline = Deadline(timeout, self._config.set_timeout_s, "stats")
        life, connection = self._require_connection("stats")
        from utdstream._livekit.stats import session_stats

        return life.loop.run(
            lambda: session_stats(connection, events_dropped=self._lane.dropped), deadline=deadline
        )

    # -- inside ----------------------------------------------------------------------------------

    def _connection_now(self) -> RoomConnection | None:
        with self._lock:
            life = self._life
        return life.connection if life is not None else None

    def _require_connection(self, doing: str) -> tuple[RoomLife, RoomConnection]:
        with self._lock:
            life = self._life
        if life is None or life.connection is None or not life.joined:
            raise SessionClosed(f"{doing}: the room is not connected; connect first")
        return life, life.connection

    def _report_error(self, error: CallbackError) -> None:
        self.errors._emit(error)

    def __repr__(self) -> str:
        return f"UTDRoom({self.connection.value.state.value})"
