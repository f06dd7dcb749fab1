"""UTDRoom: one media room, blocking.

Owns: the operations of a program on a room. Used by sessions, and by programs that bring their own url and token.
Threads: any may call. Must not import REST; the media core is reached late.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Self

from utdstream._session import receiving
from utdstream._session.connect import RoomLife, RoomReceiver
from utdstream._session.facts import RoomFacts
from utdstream._session.media_room import MediaRoom
from utdstream._threads.deadline import Deadline, forbid_blocking_on_loop
from utdstream._threads.errands import finish_errand, free_once, run_errand
from utdstream._threads.facts import Occurrences
from utdstream._threads.lanes import EventsLane
from utdstream.config import ClientConfig
from utdstream.errors import DeadlineExceeded, DeviceError, InvalidConfig
from utdstream.limits import MAX_LOSSY_BYTES, MAX_RELIABLE_BYTES
from utdstream.media import Devices, PcmFrame, RawFrame
from utdstream.models import (
    Connection,
    DataMessage,
    LocalParticipant,
    RemoteParticipant,
    RoomEvent,
    SessionStats,
)
from utdstream.observe import CallbackError, Signal, Watched

if TYPE_CHECKING:
    from livekit import rtc

_numbers = itertools.count(1)


class UTDRoom:
    """One media room: connect with a url and a token, publish the devices, receive, disconnect, again.

    `adaptive_stream`: only what is consumed is downloaded (sound while a speaker or `audio_frames()` listens,
    video while `video_frames()` or `snapshot()` looks). `dynacast`: layers without a viewer are not sent. It
    publishes nothing by itself. Thread: any. Closes with `dispose()`.
    """

    def __init__(
        self,
        *,
        adaptive_stream: bool = True,
        dynacast: bool = True,
        devices: Devices | None = None,
        _config: ClientConfig | None = None,
        _media: MediaRoom | None = None,
    ) -> None:
        number = next(_numbers)
        self._errors_lane = EventsLane(f"utdstream-events-errors-room-{number}")
        self._errors: Occurrences[CallbackError] = Occurrences(self._errors_lane)
        self._own_lane: EventsLane | None = None
        self._turn = threading.Lock()  # of connects, which are errands
        if _media is None:
            self._own_lane = EventsLane(f"utdstream-events-room-{number}", self._errors.emit)
            facts = RoomFacts(
                devices=devices or Devices(),
                config=_config or ClientConfig(),
                lane=self._own_lane,
                report=self._errors.emit,
                adaptive_stream=adaptive_stream,
                dynacast=dynacast,
            )
            _media = MediaRoom(facts)
        self._media = _media
        self._facts = facts = _media.facts
        self._config = facts.config

        self.errors: Signal[CallbackError] = self._errors
        """What went wrong in the background: a raising callback, a failing device."""
        self.events: Signal[RoomEvent] = facts.events
        """Everything LiveKit says, by LiveKit's own event names."""
        self.connected: Watched[bool] = facts.connected
        """True while media can flow; false while reconnecting."""
        self.connection: Watched[Connection] = facts.connection
        """State of the room and why it is so."""
        self.can_publish: Watched[bool] = facts.can_publish
        """Whether the media server lets this participant publish now."""
        self.microphone_on: Watched[bool] = facts.microphone_on
        """Whether the microphone is really published and not muted."""
        self.camera_on: Watched[bool] = facts.camera_on
        """Whether the camera is really published and not muted."""
        self.remote_participants: Watched[tuple[RemoteParticipant, ...]] = facts.remote_participants
        """All other participants, as snapshots."""
        self.messages: Signal[DataMessage] = facts.messages
        """Data messages of other participants and of servers."""

    # -- connecting ------------------------------------------------------------------------------

    @property
    def room(self) -> rtc.Room | None:
        """The raw LiveKit room, None when not connected. To be touched on the loop thread only."""
        life = self._media.life
        return life.connection.room if life is not None and life.connection is not None else None

    @property
    def local_participant(self) -> LocalParticipant | None:
        """This participant as a snapshot; None before the first connect."""
        return self._facts.local

    def connect(
        self, url: str, token: str, *, auto_subscribe: bool = True, timeout: float | None = None
    ) -> None:
        """Joins the room that `token` names.

        `auto_subscribe` False: nothing is received but what an iterator or a snapshot asks for.
        Blocks: to the deadline (default 20 s). Raises: ConnectFailed, DeadlineExceeded, UsageError when
        already connected, SessionClosed when disposed or left meanwhile, InvalidConfig.
        """
        deadline = Deadline(timeout, self._config.join_timeout_s, "connect")
        joined: list[RoomLife] = []

        def wanted(life: RoomLife) -> bool:
            joined.append(life)
            return True

        def connect() -> None:
            self._media.join(url, token, deadline, auto_subscribe=auto_subscribe, publish={}, wanted=wanted)

        def leave(_: None) -> None:
            self._media.leave(joined[0], Deadline.after(self._config.leave_timeout_s, "disconnect"))

        run_errand(connect, deadline, "connect", turn=self._turn, undo=leave)

    def disconnect(self, *, timeout: float | None = None) -> None:
        """Leaves the room; the object can connect again. Nothing to do when it is not connected.

        Blocks: to the deadline (default 5 s); what a slow server has not confirmed by then goes on in the
        background. Never waits for a `connect` under way: that one gets SessionClosed.
        Raises: InvalidConfig for a wrong `timeout`; what fails is reported on `errors`.
        """
        deadline = Deadline(timeout, self._config.leave_timeout_s, "disconnect")
        try:
            finish_errand(lambda: self._media.disconnect(deadline), deadline, "disconnect")
        except DeadlineExceeded as error:
            self._facts.report(CallbackError(error, "disconnect"))

    def dispose(self, *, timeout: float | None = None) -> None:
        """Leaves and frees everything; the object is done for. Idempotent, any thread, also a callback.

        Blocks: to the deadline (default 8 s). Raises: InvalidConfig for a wrong `timeout`; what fails is reported.
        """
        deadline = Deadline(timeout, self._config.dispose_timeout_s, "dispose")
        free_once(lambda: True, self._free, deadline, self._config.dispose_timeout_s)

    def _free(self, deadline: Deadline) -> None:
        """Leaves and frees everything; each step may be done twice."""
        self._media.dispose(deadline)
        if self._own_lane is not None:
            self._own_lane.close(min(1.0, deadline.remaining()))
        self._errors_lane.close(min(1.0, deadline.remaining()))

    close = dispose

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.dispose()

    # -- publishing ------------------------------------------------------------------------------

    def set_microphone(self, enabled: bool, *, timeout: float | None = None) -> None:
        """Publishes or unmutes the microphone, or mutes it (its device stops too).

        Returns when it is so; while the room is away (reconnecting, lost and joined again by itself, being joined)
        at once: the wish stands, and is met when the room is back. The newest wish wins.
        Blocks: to the deadline (default 12 s); then this wish is taken back, never a newer one.
        Raises: PublishRefused, DeviceError when there is none or it fails, SessionClosed.
        """
        self._set_device("microphone", enabled, timeout)

    def set_camera(self, enabled: bool, *, timeout: float | None = None) -> None:
        """Publishes or unmutes the camera, or mutes it (its device stops too).

        A camera that gives no frame within 3 s raises DeviceError; it stays wished, and its first frame publishes
        it, unless `set_camera(False)` comes first.
        Blocks: to the deadline (default 12 s). Raises: as `set_microphone`.
        """
        self._set_device("camera", enabled, timeout)

    def _set_device(self, kind: str, enabled: bool, timeout: float | None) -> None:
        deadline = Deadline(timeout, self._config.set_timeout_s, f"set_{kind}")
        if not isinstance(enabled, bool):
            raise InvalidConfig(f"set_{kind}: enabled must be True or False, not {enabled!r}")
        if enabled and getattr(self._facts.devices, kind) is None:
            raise DeviceError(f"set_{kind}: there is no {kind}; give one with Devices({kind}=...)")
        self._media.set_device(kind, deadline, enabled=enabled)

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
        life, connection = self._media.require("send_data")
        to = list(destination_identities or ())
        life.loop.run(
            lambda: connection.publish_data(payload, reliable=reliable, to=to, topic=""),
            deadline=deadline,
        )

    # -- receiving -------------------------------------------------------------------------------

    def audio_frames(self, identity: str | None = None) -> Iterator[PcmFrame]:
        """Iterates over remote sound: 48 kHz mono int16, 10 ms each on a steady clock; silence in pauses.

        `identity` None: everyone, mixed. Ends when the room does. A reader that falls behind by more than
        0.2 s loses what it missed.
        Downloads from its first step on.
        Blocks: each step until its 10 ms are over. Raises: SessionClosed when not connected.
        """
        forbid_blocking_on_loop("audio_frames")
        return receiving.audio_frames(self._receiver(), identity)

    def video_frames(
        self, identity: str | None = None, *, timeout: float | None = None
    ) -> Iterator[RawFrame]:
        """Iterates over remote pictures as I420, always the newest; a picture not taken in time is replaced.

        `identity` None: the first participant that is seen. Ends when the room does.
        Downloads from its first step on.
        Blocks: each step at most `timeout` (default 30 s). Raises: DeadlineExceeded, SessionClosed when not
        connected.
        """
        limit = Deadline(timeout, self._config.wait_timeout_s, "video_frames", may_be_infinite=True)
        return receiving.video_frames(self._receiver(), identity, limit.timeout)

    def snapshot(
        self,
        path: str | Path | None = None,
        identity: str | None = None,
        *,
        timeout: float | None = None,
    ) -> bytes:
        """Returns the newest picture of a participant as PNG, and writes it to `path` when one is given.

        `identity` None: the first participant that is seen.
        Blocks: to the deadline (default 12 s) for a first picture.
        Raises: DeadlineExceeded, SessionClosed, OSError when the file cannot be written.
        """
        deadline = Deadline(timeout, self._config.set_timeout_s, "snapshot")
        png = receiving.take_snapshot(self._receiver(), identity, deadline)
        if path is not None:
            Path(path).write_bytes(png)
        return png

    def stats(self, *, timeout: float | None = None) -> SessionStats:
        """Returns the counters since the connect and the newest network figures. Ask at most every 2 s.

        Blocks: to the deadline (default 12 s). Raises: SessionClosed, RoomLost, DeadlineExceeded.
        """
        deadline = Deadline(timeout, self._config.set_timeout_s, "stats")
        life, connection = self._media.require("stats")
        return life.loop.run(
            lambda: connection.stats(events_dropped=self._facts.lane.dropped), deadline=deadline
        )

    def _receiver(self) -> RoomReceiver:
        return RoomReceiver(*self._media.require("receiving"), self._config.set_timeout_s)

    def __repr__(self) -> str:
        return f"UTDRoom({self.connection.value.state.value})"
