"""Live LiveKit objects to the plain values the SDK hands out. Thread: the loop, which owns the originals."""

from __future__ import annotations

from livekit import rtc

from utdstream.models import LocalParticipant, RemoteParticipant, TrackPublication

_SOURCES = {
    int(rtc.TrackSource.SOURCE_CAMERA): "camera",
    int(rtc.TrackSource.SOURCE_MICROPHONE): "microphone",
    int(rtc.TrackSource.SOURCE_SCREENSHARE): "screen_share",
    int(rtc.TrackSource.SOURCE_SCREENSHARE_AUDIO): "screen_share_audio",
}


def publication_snapshot(publication: rtc.TrackPublication) -> TrackPublication:
    """Copies one publication."""
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
    """Copies another participant."""
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
    """Copies this participant."""
    return LocalParticipant(
        identity=participant.identity,
        name=participant.name,
        metadata=participant.metadata,
        attributes=tuple(sorted(participant.attributes.items())),
        publications=tuple(
            publication_snapshot(publication) for publication in participant.track_publications.values()
        ),
    )
