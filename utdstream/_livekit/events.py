"""The events of a media room: one table of them all, the listener they end at, and their values.

Owns: `EVENTS`, `RoomListener`, `event_payload`. Thread: the loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from livekit import rtc

from utdstream._livekit.snapshots import publication_snapshot
from utdstream.models import Connection, DataMessage, LocalParticipant, RemoteParticipant, RoomEvent


@dataclass(frozen=True, slots=True)
class Event:
    """One event of `rtc.Room`."""

    arguments: tuple[str, ...] = ()
    """The names that its arguments get in a `RoomEvent`'s payload, in LiveKit's order, which differs from
    event to event. A `track` is a live object and left out."""
    changes_people: bool = False
    """The snapshots of the participants are made anew."""


_PARTICIPANT = ("participant",)
_REMOTE = ("publication", "participant")
_REMOTE_TRACK = ("track", "publication", "participant")
_MUTED = ("participant", "publication")
_CHANGED_TEXT = ("participant", "old", "new")

EVENTS: Mapping[str, Event] = {
    "connection_state_changed": Event(("state",)),
    "reconnecting": Event(),
    "reconnected": Event(changes_people=True),
    "disconnected": Event(("reason",)),
    "participant_connected": Event(_PARTICIPANT, changes_people=True),
    "participant_active": Event(_PARTICIPANT, changes_people=True),
    "participant_disconnected": Event(_PARTICIPANT, changes_people=True),
    "track_published": Event(_REMOTE, changes_people=True),
    "track_unpublished": Event(_REMOTE, changes_people=True),
    "track_subscribed": Event(_REMOTE_TRACK, changes_people=True),
    "track_unsubscribed": Event(_REMOTE_TRACK, changes_people=True),
    "track_subscription_failed": Event(("participant", "track_sid", "error")),
    "track_muted": Event(_MUTED, changes_people=True),
    "track_unmuted": Event(_MUTED, changes_people=True),
    "local_track_published": Event(("publication", "track"), changes_people=True),
    "local_track_unpublished": Event(("publication",), changes_people=True),
    "local_track_republished": Event(("publication", "previous_sid"), changes_people=True),
    "local_track_subscribed": Event(("track",)),
    "active_speakers_changed": Event(("speakers",)),
    "connection_quality_changed": Event(("participant", "quality")),
    "participant_permissions_changed": Event(("participant", "permissions"), changes_people=True),
    "participant_metadata_changed": Event(_CHANGED_TEXT, changes_people=True),
    "participant_name_changed": Event(_CHANGED_TEXT, changes_people=True),
    "participant_attributes_changed": Event(("changed", "participant"), changes_people=True),
    "participant_encryption_status_changed": Event(("participant", "is_encrypted")),
    "e2ee_state_changed": Event(("participant", "encryption_state")),
    "room_metadata_changed": Event(("old", "new")),
    "room_updated": Event(),
    "moved": Event(),
    "token_refreshed": Event(),
    "data_received": Event(("message",)),
    "sip_dtmf_received": Event(),
    "transcription_received": Event(),
    "data_track_published": Event(),
    "data_track_unpublished": Event(("sid",)),
}
"""Every event that livekit 1.2.1 emits, by name; a test fails when an upgrade names another. Where the
connection itself has something to do, it has a method `_on_<name>`; all of them are handed on as `RoomEvent`s."""


class RoomListener(Protocol):
    """Receives what happens in a room. Called on the loop: no method may block or raise."""

    def on_connection(self, connection: Connection) -> None: ...

    def on_permission(self, can_publish: bool) -> None: ...

    def on_people(self, local: LocalParticipant, remote: tuple[RemoteParticipant, ...]) -> None: ...

    def on_publishing(self, microphone_on: bool, camera_on: bool) -> None: ...

    def on_metadata(self, metadata: str) -> None: ...

    def on_data(self, message: DataMessage) -> None: ...

    def wants_events(self) -> bool: ...

    def on_event(self, event: RoomEvent) -> None: ...


def event_payload(name: str, arguments: tuple[object, ...]) -> Mapping[str, object]:
    """The arguments of one LiveKit event by name: identities, snapshots and enum names, no live objects."""
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
