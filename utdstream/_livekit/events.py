"""The events of a media room: what each is called, what it carries, what is done about it.

Owns: `EVENTS`, the one table of them; `RoomEvents`, which does what it says; `RoomListener`, where all ends.
Thread: the loop, inside the core's own listening task: nothing here may wait or raise.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from livekit import rtc

from utdstream._livekit.heartbeat import HEARTBEAT_TOPIC
from utdstream._livekit.publishing import Publisher
from utdstream._livekit.snapshots import local_snapshot, publication_snapshot, remote_snapshot
from utdstream._livekit.subscribing import Subscriber
from utdstream.models import (
    Connection,
    ConnectionState,
    DataMessage,
    LocalParticipant,
    RemoteParticipant,
    RoomEvent,
)
from utdstream.observe import CallbackError, Report

_log = logging.getLogger(__name__)


class RoomListener(Protocol):
    """Receives what happens in a room. Called on the loop: no method may block or raise."""

    def on_connection(self, connection: Connection) -> None: ...

    def on_permission(self, can_publish: bool) -> None: ...

    def on_people(self, local: LocalParticipant, remote: tuple[RemoteParticipant, ...]) -> None: ...

    def on_publishing(self, microphone_on: bool, camera_on: bool) -> None: ...

    def on_metadata(self, metadata: str) -> None:
        """Hears the room's metadata, which only the server writes: after each join, change and reconnect."""

    def on_data(self, message: DataMessage) -> None: ...

    def on_silence(self, silent: bool) -> None:
        """Hears that what others publish does not come any more, though the media server is heard; or comes."""

    def wants_events(self) -> bool:
        """Says whether anybody listens to `on_event`; without, no payload is made."""

    def on_event(self, event: RoomEvent) -> None: ...


@dataclass(frozen=True, slots=True)
class Event:
    """One event of `rtc.Room`."""

    arguments: tuple[str, ...] = ()
    """The names that its arguments get in a `RoomEvent`'s payload, in LiveKit's order, which differs from
    event to event. A `track` is a live object and left out."""
    changes_people: bool = False
    """The snapshots of the participants are made anew, after the reaction."""
    reaction: Callable[..., None] | None = None
    """A method of `RoomEvents`, called with the arguments."""


class RoomEvents:
    """The reactions to the events of one room: publisher and subscriber follow them, the listener is told."""

    def __init__(
        self,
        current_room: Callable[[], rtc.Room | None],
        publisher: Publisher,
        subscriber: Subscriber,
        listener: RoomListener,
        report: Report,
        *,
        disconnected: Callable[[str], None],
        core_reconnects: Callable[[bool], None] = lambda _: None,
        heartbeat: Callable[[rtc.RemoteParticipant], object] = lambda _: None,
    ) -> None:
        """`current_room`: None before it is joined and after its end. `disconnected` hears LiveKit's reason,
        `core_reconnects` that the core reconnects by itself (True), and has done it; `heartbeat` who has said that
        it is there.
        """
        self._heartbeat = heartbeat
        self._core_reconnects = core_reconnects
        self._current_room = current_room
        self._publisher = publisher
        self._subscriber = subscriber
        self._listener = listener
        self._report = report
        self._disconnected = disconnected

    def listen(self, room: rtc.Room) -> None:
        """Handles every event of `room`, from before it is connected."""
        for name, event in EVENTS.items():
            room.on(name, self._handler(name, event))  # type: ignore[arg-type]  # a Literal of all event names

    def _handler(self, name: str, event: Event) -> Callable[..., None]:
        def handle(*arguments: object) -> None:
            try:
                if event.reaction is not None:
                    event.reaction(self, *arguments)
                if event.changes_people:
                    self.tell_people()
                if self._listener.wants_events():
                    self._listener.on_event(RoomEvent(name, event_payload(name, arguments)))
            except Exception as error:  # noqa: BLE001 - a raising handler makes the core skip the others
                _log.exception("handling the room event %s failed", name)
                self._report(CallbackError(error, f"room event {name}"))

        return handle

    # -- what the listener is told ---------------------------------------------------------------

    def tell_joined(self) -> None:
        """Tells all that is known of a room that has just been joined."""
        self._listener.on_connection(Connection(ConnectionState.CONNECTED))
        self._tell_permission()
        self.tell_people()
        self._tell_metadata()

    def tell_people(self) -> None:
        """Tells participants and publications as they are now."""
        room = self._current_room()
        if room is not None:
            self._listener.on_people(
                local_snapshot(room.local_participant),
                tuple(remote_snapshot(other) for other in room.remote_participants.values()),
            )

    def tell_publishing(self) -> None:
        """Tells whether microphone and camera are on air now."""
        if self._current_room() is not None:
            self._listener.on_publishing(self._publisher.microphone.is_on, self._publisher.camera.is_on)

    def _tell_permission(self) -> None:
        room = self._current_room()
        if room is not None:
            self._listener.on_permission(room.local_participant.permissions.can_publish)

    def _tell_metadata(self) -> None:
        room = self._current_room()
        if room is not None and room.metadata:
            self._listener.on_metadata(room.metadata)

    def _is_own(self, participant: rtc.Participant) -> bool:
        room = self._current_room()
        return room is not None and participant.identity == room.local_participant.identity

    # -- reactions -------------------------------------------------------------------------------

    def reconnecting(self) -> None:
        self._core_reconnects(True)
        self.interrupted()

    def reconnected(self) -> None:
        self._core_reconnects(False)
        self.mended()

    def interrupted(self) -> None:
        """Media does not flow now, and will again."""
        self._publisher.reconnect_began()
        if self._current_room() is not None:
            self._listener.on_connection(Connection(ConnectionState.RECONNECTING))

    def mended(self) -> None:
        """Media flows again; what was asked for meanwhile may be lost."""
        self._tell_permission()
        self._publisher.reconnected()
        self._subscriber.reconnected()
        self._tell_metadata()
        if self._current_room() is not None:
            self._listener.on_connection(Connection(ConnectionState.CONNECTED))

    def disconnected(self, reason: rtc.DisconnectReason.ValueType) -> None:
        self._disconnected(rtc.DisconnectReason.Name(reason))

    def review_subscriptions(self, *_: object) -> None:
        self._subscriber.review()

    def track_unpublished(self, publication: rtc.RemoteTrackPublication, _: object) -> None:
        self._subscriber.track_unpublished(publication.sid)

    def track_unsubscribed(self, _: object, publication: rtc.RemoteTrackPublication, __: object) -> None:
        self._subscriber.track_unsubscribed(publication.sid)

    def track_muted(self, participant: rtc.Participant, publication: rtc.TrackPublication) -> None:
        self._heard_muted(participant, publication, muted=True)

    def track_unmuted(self, participant: rtc.Participant, publication: rtc.TrackPublication) -> None:
        self._heard_muted(participant, publication, muted=False)

    def _heard_muted(
        self, participant: rtc.Participant, publication: rtc.TrackPublication, *, muted: bool
    ) -> None:
        if self._is_own(participant):
            self._publisher.heard_muted(publication, muted=muted)
            self.tell_publishing()

    def permissions_changed(self, participant: rtc.Participant, _: object) -> None:
        if self._is_own(participant):
            self._tell_permission()
            self._publisher.permissions_changed()

    def metadata_changed(self, _: object, metadata: str) -> None:
        self._listener.on_metadata(metadata)

    def data_received(self, packet: rtc.DataPacket) -> None:
        if packet.topic == HEARTBEAT_TOPIC:
            if packet.participant is not None:
                self._heartbeat(packet.participant)
            return
        self._listener.on_data(
            DataMessage(
                data=packet.data,
                sender=packet.participant.identity if packet.participant is not None else None,
                topic=packet.topic or None,
                reliable=packet.kind == rtc.DataPacketKind.KIND_RELIABLE,
            )
        )


_PARTICIPANT = ("participant",)
_REMOTE = ("publication", "participant")
_REMOTE_TRACK = ("track", "publication", "participant")
_MUTED = ("participant", "publication")
_CHANGED_TEXT = ("participant", "old", "new")

EVENTS: Mapping[str, Event] = {
    "connection_state_changed": Event(("state",)),
    "reconnecting": Event(reaction=RoomEvents.reconnecting),
    "reconnected": Event(changes_people=True, reaction=RoomEvents.reconnected),
    "disconnected": Event(("reason",), reaction=RoomEvents.disconnected),
    "participant_connected": Event(
        _PARTICIPANT, changes_people=True, reaction=RoomEvents.review_subscriptions
    ),
    "participant_active": Event(_PARTICIPANT, changes_people=True),
    "participant_disconnected": Event(_PARTICIPANT, changes_people=True),
    "track_published": Event(_REMOTE, changes_people=True, reaction=RoomEvents.review_subscriptions),
    "track_unpublished": Event(_REMOTE, changes_people=True, reaction=RoomEvents.track_unpublished),
    "track_subscribed": Event(_REMOTE_TRACK, changes_people=True, reaction=RoomEvents.review_subscriptions),
    "track_unsubscribed": Event(_REMOTE_TRACK, changes_people=True, reaction=RoomEvents.track_unsubscribed),
    "track_subscription_failed": Event(("participant", "track_sid", "error")),
    "track_muted": Event(_MUTED, changes_people=True, reaction=RoomEvents.track_muted),
    "track_unmuted": Event(_MUTED, changes_people=True, reaction=RoomEvents.track_unmuted),
    "local_track_published": Event(("publication", "track"), changes_people=True),
    "local_track_unpublished": Event(("publication",), changes_people=True),
    "local_track_republished": Event(("publication", "previous_sid"), changes_people=True),
    "local_track_subscribed": Event(("track",)),
    "active_speakers_changed": Event(("speakers",)),
    "connection_quality_changed": Event(("participant", "quality")),
    "participant_permissions_changed": Event(
        ("participant", "permissions"), changes_people=True, reaction=RoomEvents.permissions_changed
    ),
    "participant_metadata_changed": Event(_CHANGED_TEXT, changes_people=True),
    "participant_name_changed": Event(_CHANGED_TEXT, changes_people=True),
    "participant_attributes_changed": Event(("changed", "participant"), changes_people=True),
    "participant_encryption_status_changed": Event(("participant", "is_encrypted")),
    "e2ee_state_changed": Event(("participant", "encryption_state")),
    "room_metadata_changed": Event(("old", "new"), reaction=RoomEvents.metadata_changed),
    "room_updated": Event(),
    "moved": Event(),
    "token_refreshed": Event(),
    "data_received": Event(("message",), reaction=RoomEvents.data_received),
    "sip_dtmf_received": Event(),
    "transcription_received": Event(),
    "data_track_published": Event(),
    "data_track_unpublished": Event(("sid",)),
}
"""Every event that livekit 1.2.1 emits, by name; a test fails when an upgrade names another. Each is handed on as
a `RoomEvent`, whatever else is done about it."""


def event_payload(name: str, arguments: tuple[object, ...]) -> Mapping[str, object]:
    """Names the arguments of one event: identities, snapshots and names of enums, no live objects."""
    labels = EVENTS[name].arguments
    return {
        label: _plain(label, value)
        for label, value in zip(labels, arguments, strict=False)
        if label != "track"
    }


def _plain(label: str, value: object) -> object:
    if label == "reason" and isinstance(value, int):
        return rtc.DisconnectReason.Name(value)  # type: ignore[arg-type]  # a plain int at run time
    if label == "state" and isinstance(value, int):
        return rtc.ConnectionState.Name(value)  # type: ignore[arg-type]  # a plain int at run time
    if isinstance(value, rtc.Participant):
        return value.identity
    if isinstance(value, rtc.TrackPublication):
        return publication_snapshot(value)
    if isinstance(value, rtc.DataPacket):
        return value.data
    if isinstance(value, list):
        return tuple(_plain("", item) for item in value)
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, (str, bytes, int, float, bool)) or value is None:
        return value
    return str(value)
