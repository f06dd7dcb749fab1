"""UTDSession: what all four session types share.

Owns: the session's room, its lanes, its end. Threads: any may call; user callbacks run on the session's
own events thread, what the session does by itself on its work thread. Must not import the media core.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from utdstream._rest.api import EngineApi
from utdstream._session.facts import RoomFacts
from utdstream._session.media_room import MediaRoom
from utdstream._session.room import UTDRoom
from utdstream._threads.deadline import Deadline
from utdstream._threads.errands import free_once
from utdstream._threads.lanes import EventsLane, WorkLane
from utdstream.config import ClientConfig
from utdstream.media import Devices, PcmFrame, RawFrame
from utdstream.models import (
    Connection,
    DataMessage,
    LocalParticipant,
    RemoteParticipant,
    RoomEvent,
    SessionStats,
    UTDStreamType,
)
from utdstream.observe import Change, Report, Signal, Watched

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class SessionParts:
    """What the client gives every session it makes."""

    api: EngineApi
    config: ClientConfig
    devices: Devices
    report: Report
    answering: Callable[[str], AbstractContextManager[object]]
    """Entered while a call is answered here, so that the inboxes know it for this device's own doing."""
    forget: Callable[[UTDSession], None]


class UTDSession:
    """Base of every session: one room, its facts, the devices, data, and an orderly end.

    Made by the client. Any thread may call; `with` disposes. Facts (`Watched`) and occurrences (`Signal`)
    call back on the session's events thread, in order, one at a time; a callback may call anything here.
    """

    def __init__(self, kind: UTDStreamType, parts: SessionParts) -> None:
        number = next(_numbers)
        name = f"{kind.value}-{number}"
        self._kind = kind
        self._parts = parts
        self._api = parts.api
        self._config = parts.config
        self._lane = EventsLane(f"utdstream-events-{name}", parts.report)
        self._work = WorkLane(f"utdstream-work-{name}", parts.report)
        self._returning = WorkLane(f"utdstream-rejoin-{name}", parts.report)
        """For the room that was lost (`Rejoin`), which must not wait behind a poll that no answer comes to."""
        facts = RoomFacts(
            devices=parts.devices,
            config=parts.config,
            lane=self._lane,
            report=parts.report,
            is_call=kind.is_call,
            on_metadata=self._on_metadata,
            on_message=self._on_message,
        )
        facts.connection.watch(self._on_connection)
        facts.remote_participants.watch(self._on_people)
        self._media = MediaRoom(facts)
        self._room = UTDRoom(_media=self._media)
        self._lock = threading.RLock()  # the session's state; held for reads and writes only
        self._disposed = False

    @property
    def type(self) -> UTDStreamType:
        """The kind of session."""
        return self._kind

    @property
    def room(self) -> UTDRoom:
        """The media room under this session."""
        return self._room

    @property
    def connected(self) -> Watched[bool]:
        """Whether media can flow now."""
        return self._room.connected

    @property
    def connection(self) -> Watched[Connection]:
        """State of the media room and why it is so."""
        return self._room.connection

    @property
    def can_publish(self) -> Watched[bool]:
        """Whether the media server lets this participant publish now."""
        return self._room.can_publish

    @property
    def microphone_on(self) -> Watched[bool]:
        """Whether the microphone is really published and not muted."""
        return self._room.microphone_on

    @property
    def camera_on(self) -> Watched[bool]:
        """Whether the camera is really published and not muted."""
        return self._room.camera_on

    @property
    def remote_participants(self) -> Watched[tuple[RemoteParticipant, ...]]:
        """Everybody else in the room, as snapshots."""
        return self._room.remote_participants

    @property
    def local_participant(self) -> LocalParticipant | None:
        """This participant as a snapshot; None before the first connect."""
        return self._room.local_participant

    @property
    def events(self) -> Signal[RoomEvent]:
        """Everything LiveKit says, by LiveKit's own event names."""
        return self._room.events

    @property
    def messages(self) -> Signal[DataMessage]:
        """Data messages of the application (the engine's own are handled by the session)."""
        return self._room.messages

    def set_microphone(self, enabled: bool, *, timeout: float | None = None) -> None:
        """Publishes or unmutes the microphone, or mutes it; see `UTDRoom.set_microphone`.

        While the room is away it returns at once: the wish stands, and is met when the room is back.
        Blocks: to the deadline (default 12 s).
        Raises: PublishRefused, DeviceError, DeadlineExceeded, SessionClosed.
        """
        self._room.set_microphone(enabled, timeout=timeout)

    def set_camera(self, enabled: bool, *, timeout: float | None = None) -> None:
        """Publishes or unmutes the camera, or mutes it; see `UTDRoom.set_camera`.

        While the room is away it returns at once: the wish stands, and is met when the room is back.
        Blocks: to the deadline (default 12 s).
        Raises: PublishRefused, DeviceError, DeadlineExceeded, SessionClosed.
        """
        self._room.set_camera(enabled, timeout=timeout)

    def send_data(
        self,
        data: bytes,
        *,
        reliable: bool = True,
        to: list[str] | tuple[str, ...] | None = None,
        timeout: float | None = None,
    ) -> None:
        """Sends bytes to everyone, or to some identities; see `UTDRoom.send_data`.

        Blocks: to the deadline (default 5 s). Raises: InvalidConfig, SessionClosed, DeadlineExceeded, MediaError.
        """
        self._room.send_data(data, reliable=reliable, destination_identities=to, timeout=timeout)

    def audio_frames(self, identity: str | None = None) -> Iterator[PcmFrame]:
        """Iterates over remote sound, 48 kHz mono, 10 ms each on a steady clock; see `UTDRoom.audio_frames`.

        Blocks: each step until its 10 ms are over. Raises: SessionClosed when not connected.
        """
        return self._room.audio_frames(identity)

    def video_frames(
        self, identity: str | None = None, *, timeout: float | None = None
    ) -> Iterator[RawFrame]:
        """Iterates over remote pictures, always the newest; see `UTDRoom.video_frames`.

        Blocks: each step at most `timeout` (default 30 s). Raises: DeadlineExceeded, SessionClosed.
        """
        return self._room.video_frames(identity, timeout=timeout)

    def snapshot(
        self,
        path: str | Path | None = None,
        identity: str | None = None,
        *,
        timeout: float | None = None,
    ) -> bytes:
        """Returns the newest picture of the other side as PNG; see `UTDRoom.snapshot`.

        Blocks: to the deadline (default 12 s). Raises: DeadlineExceeded, SessionClosed, OSError for the file.
        """
        return self._room.snapshot(path, identity, timeout=timeout)

    def stats(self, *, timeout: float | None = None) -> SessionStats:
        """Returns counters and network figures; see `UTDRoom.stats`.

        Blocks: to the deadline (default 12 s). Raises: SessionClosed, RoomLost, DeadlineExceeded.
        """
        return self._room.stats(timeout=timeout)

    def leave(self, *, timeout: float | None = None) -> None:
        """Leaves the media room and keeps the object: the next start or accept begins a new life.

        Nothing to do when it is not connected.
        Blocks: to the deadline (default 5 s). Raises: InvalidConfig for a wrong `timeout`; what fails is reported.
        """
        self._room.disconnect(timeout=timeout)

    def dispose(self, *, timeout: float | None = None) -> None:
        """Leaves and frees everything. Idempotent, any thread, any order, also from a callback.

        Blocks: to the deadline (default 8 s). Raises: InvalidConfig for a wrong `timeout`; what fails is reported.
        """
        deadline = Deadline(timeout, self._config.dispose_timeout_s, "dispose")
        free_once(self._close_door, self._free, deadline, self._config.dispose_timeout_s)

    def _close_door(self) -> bool:
        """Lets nothing begin any more; False when that was so."""
        with self._lock:
            was_open, self._disposed = not self._disposed, True
            return was_open

    def _free(self, deadline: Deadline) -> None:
        """Ends and frees everything; each step may be done twice."""
        self._disposed = True
        self._end_for_ever(deadline)
        self._room.dispose(timeout=deadline.remaining())
        self._close_facts()
        self._work.close(min(1.0, deadline.remaining()))
        self._returning.close(min(1.0, deadline.remaining()))
        self._lane.close(min(1.0, deadline.remaining()))
        self._parts.forget(self)

    close = dispose

    # -- what a session type hears of its room, and what it adds to the end ------------------------

    def _on_metadata(self, metadata: str) -> None:
        """Loop thread, must not block: the room's metadata, which only the server writes."""

    def _on_message(self, message: DataMessage) -> bool:
        """Loop thread, must not block. True when the message is not the program's."""
        return False

    def _on_connection(self, change: Change[Connection]) -> None:
        """Any thread, must not block."""

    def _on_people(self, change: Change[tuple[RemoteParticipant, ...]]) -> None:
        """Loop thread, must not block: a participant came, went or changed."""

    def _end_for_ever(self, deadline: Deadline) -> None:
        """Does what a session type still owes the engine when it is disposed. Never raises."""

    def _close_facts(self) -> None:
        """Ends the waits on a session type's own facts."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.dispose()
