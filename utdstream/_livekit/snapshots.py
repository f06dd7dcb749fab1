"""Live LiveKit objects to the plain values the SDK hands out. Thread: the loop, which owns the originals."""

from __future__ import annotations

from collections.abc import Mapping

from livekit import rtc

from utdstream.models import LocalParticipant, RemoteParticipant, TrackPublication

_SOURCES = {
    int(rtc.TrackSource.SOURCE_CAMERA): "camera",
    int(rtc.TrackSource.SOURCE_MICROPHONE): "microphone",
    int(rtc.TrackSource.SOURCE_SCREENSHARE): "screen_share",
    int(rtc.TrackSource.SOURCE_SCREENSHARE_AUDIO): "screen_share_audio",
}

_NAMES: dict[str, tuple[str, ...]] = {
    "connection_state_changed": ("state",),
    "disconnected": ("reason",),
    "participant_connected": ("participant",),
    "participant_active": ("participant",),
    "participant_disconnected": ("participant",),
    "track_published": ("publication", "participant"),
    "track_unpublished": ("publication", "participant"),
    "track_subscribed": ("track", "publication", "participant"),
    "track_unsubscribed": ("track", "publication", "participant"),
    "track_subscription_failed": ("participant", "track_sid", "error"),
    "track_muted": ("participant", "publication"),
    "track_unmuted": ("participant", "publication"),
    "local_track_published": ("publication", "track"),
    "local_track_unpublished": ("publication",),
    "local_track_republished": ("publication", "previous_sid"),
    "local_track_subscribed": ("track",),
    "active_speakers_changed": ("speakers",),
    "connection_quality_changed": ("participant", "quality"),
    "participant_permissions_changed": ("participant", "permissions"),
    "participant_metadata_changed": ("participant", "old", "new"),
    "participant_name_changed": ("participant", "old", "new"),
    "participant_attributes_changed": ("changed", "participant"),
    "participant_encryption_status_changed": ("participant", "is_encrypted"),
    "e2ee_state_changed": ("participant", "encryption_state"),
    "room_metadata_changed": ("old", "new"),
    "data_received": ("message",),
    "data_track_unpublished": ("sid",),
}


def publication_snapshot(publication: rtc.TrackPublication) -> TrackPublication:
    """One publication as a value."""
    is_video = publication.kind == rtc.TrackKind.KIND_VIDEO
    return TrackPublication(
        sid=publication.sid,
        kind="video" if is_video else "audio",
        source=_SOURCES.get(int(publication.source), "unknown"),
        muted=publication.muted,
        subscribed=isinstance(publication, rtc.RemoteTrackPublication) and publication.subscribed,
        width=publication.width if is_video else None,
        height=publication.height if is_video else None,
    )


def remote_snapshot(participant: rtc.RemoteParticipant) -> RemoteParticipant:
    """Somebody else as a value."""
    return RemoteParticipant(
        identity=participant.identity,
        name=participant.name,
        metadata=participant.metadata,
        attributes=tuple(sorted(participant.attributes.items())),
        publications=tuple(
            publication_snapshot(publication) for publication in participant.track_publications.values()
        ),
    )


def local_snapshot(participant: rtc.LocalParticipant) -> LocalParticipant:
    """This participant as a value."""
    return LocalParticipant(
        identity=participant.identity,
        name=participant.name,
        metadata=participant.metadata,
        attributes=tuple(sorted(participant.attributes.items())),
        publications=tuple(
            publication_snapshot(publication) for publication in participant.track_publications.values()
        ),
    )


def event_payload(name: str, arguments: tuple[object, ...]) -> Mapping[str, object]:
    """The arguments of one LiveKit event by name: identities, snapshots and enum names, no live objects."""
    names = _NAMES.get(name, ())
    return {
        label: _plain(label, value)
        for label, value in zip(names, arguments, strict=False)
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
