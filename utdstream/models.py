"""Values the SDK hands out: frozen dataclasses and enums.

Owns: what a call, a participant, a seat *is*. Imports the standard library only. Values are
snapshots: they never change after they were made and may be kept and passed between threads.
Tokens are masked in every `repr`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import MappingProxyType


class UTDStreamType(Enum):
    """The four kinds of session; the value is the wire spelling."""

    AUDIO_CALL = "audio_call"
    VIDEO_CALL = "video_call"
    LIVE_STREAM = "live_stream"
    AUDIO_ROOM = "audio_room"

    @property
    def wire(self) -> str:
        return self.value

    @property
    def is_call(self) -> bool:
        return self in (UTDStreamType.AUDIO_CALL, UTDStreamType.VIDEO_CALL)

    @property
    def has_video(self) -> bool:
        return self in (UTDStreamType.VIDEO_CALL, UTDStreamType.LIVE_STREAM)


class UTDCallStatus(Enum):
    """The life of a 1:1 call; the transitions are in `utdstream._wire.call_states`."""

    INITIATING = "initiating"
    RINGING = "ringing"
    ACTIVE = "active"
    ENDED = "ended"
    REJECTED = "rejected"
    BUSY = "busy"
    MISSED = "missed"

    @property
    def wire(self) -> str:
        return self.value

    @property
    def is_terminal(self) -> bool:
        return self not in (
            UTDCallStatus.INITIATING,
            UTDCallStatus.RINGING,
            UTDCallStatus.ACTIVE,
        )


@dataclass(frozen=True, slots=True)
class UTDTokenResponse:
    """Answer of a room mint: where to connect, and the bearer for in-room calls."""

    token: str = field(repr=False)
    url: str
    room_name: str
    user_token: str = field(repr=False)
    ws_url: str | None = None


@dataclass(frozen=True, slots=True)
class MqttLogin:
    """The broker login that the engine gave this identity."""

    host: str
    port: int
    username: str
    topic: str
    password: str = field(repr=False)
    tls: bool = False
    """Whether the broker speaks TLS at this port."""
    ca: str | None = field(default=None, repr=False)
    """Authorities of the broker's certificate, as PEM; None: those that the engine's is checked against."""


@dataclass(frozen=True, slots=True)
class SessionMint:
    """Answer of the room-less mint (`authenticate`)."""

    user_token: str = field(repr=False)
    ws_url: str | None = None
    mqtt: MqttLogin | None = None


@dataclass(frozen=True, slots=True)
class UTDCall:
    """A 1:1 call as the engine sees it; `token` and `url` are there for a party that may join now.

    `rev` grows with every change of the call (None: the engine does not send it). `group` is shared by the calls
    that ring at once for one another (`UTDCallSession.start_any`). `media_ready` says whether sound and picture
    can flow yet: False while the media server is away, None when that is not known or the call is over.
    """

    call_id: str
    status: UTDCallStatus
    type: UTDStreamType
    room_name: str | None = None
    token: str | None = field(default=None, repr=False)
    url: str | None = None
    caller_identity: str | None = None
    callee_identity: str | None = None
    caller_name: str | None = None
    callee_name: str | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None
    answered_at: datetime | None = None
    ended_at: datetime | None = None
    duration_seconds: int | None = None
    end_reason: str | None = None
    metadata: Mapping[str, object] | MappingProxyType[str, object] | None = None
    rev: int | None = None
    group: str | None = None
    media_ready: bool | None = None


@dataclass(frozen=True, slots=True)
class UTDStageMember:
    """One member of a live stream's stage."""

    identity: str
    name: str | None = None
    role: str | None = None


@dataclass(frozen=True, slots=True)
class Seat:
    """One seat of an audio room; `identity` None means empty. Seat 0 is the host's."""

    index: int
    identity: str | None = None
    locked: bool = False
    reserved_for: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class SpeakRequest:
    """Somebody asks to speak (seat mode request)."""

    id: int
    identity: str
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SeatInvitation:
    """A host invites this participant to speak; `seat_index` None: the first free seat."""

    id: int
    inviter_identity: str
    target_identity: str
    seat_index: int | None = None


@dataclass(frozen=True, slots=True)
class SeatGrid:
    """All seats of an audio room. `mode` is free or request; `rev` grows with each change (None: not told).

    Two grids are equal when they show the same seats, whatever their `rev`.
    """

    count: int
    mode: str = "free"
    mode_id: str | None = None
    seats: tuple[Seat, ...] = ()
    requests: tuple[SpeakRequest, ...] = ()
    rev: int | None = field(default=None, compare=False)


class ConnectionState(Enum):
    """Where a media room stands."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    DISCONNECTED = "disconnected"


PEER_AWAY = "PEER_AWAY"
"""The reason of a call that is `RECONNECTING` though this side's own connection stands."""


@dataclass(frozen=True, slots=True)
class Connection:
    """State of a media room; `reason` says why it is disconnected (LiveKit's reason name).

    Of a call that is `RECONNECTING` it is `PEER_AWAY` when this side stands and the other one is away.
    `comes_back`: a room that is `DISCONNECTED` is joined again as soon as it can be.
    """

    state: ConnectionState
    reason: str | None = None
    comes_back: bool = False

    @property
    def is_away(self) -> bool:
        """Whether it is interrupted or lost, and comes back by itself."""
        return self.comes_back or self.state is ConnectionState.RECONNECTING

    @property
    def is_over(self) -> bool:
        """Whether nothing brings it back."""
        return self.state is ConnectionState.DISCONNECTED and not self.comes_back

    @property
    def is_peer_away(self) -> bool:
        """Whether it is the other side of the call that is away."""
        return self.reason == PEER_AWAY


@dataclass(frozen=True, slots=True)
class TrackPublication:
    """One published track, as a snapshot. `kind` is audio or video."""

    sid: str
    kind: str
    source: str
    muted: bool = False
    subscribed: bool = False
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True, slots=True)
class RemoteParticipant:
    """Somebody else in the room, as a snapshot."""

    identity: str
    name: str = ""
    metadata: str = ""
    attributes: tuple[tuple[str, str], ...] = ()
    publications: tuple[TrackPublication, ...] = ()


@dataclass(frozen=True, slots=True)
class LocalParticipant:
    """This participant, as a snapshot."""

    identity: str
    name: str = ""
    metadata: str = ""
    attributes: tuple[tuple[str, str], ...] = ()
    publications: tuple[TrackPublication, ...] = ()


@dataclass(frozen=True, slots=True)
class RoomEvent:
    """One LiveKit event by LiveKit's own name; the payload holds plain values, never live objects."""

    name: str
    payload: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DataMessage:
    """A data message from the room. `sender` None: sent by a server, or by a participant not known yet.

    `sender` None is no proof of a server: treat the content as a hint.
    """

    data: bytes
    sender: str | None
    topic: str | None = None
    reliable: bool = True


@dataclass(frozen=True, slots=True)
class SessionStats:
    """Counters of one session since it connected, and the newest network figures (None: unknown)."""

    audio_frames_sent: int = 0
    audio_frames_dropped: int = 0
    video_frames_sent: int = 0
    video_frames_dropped: int = 0
    video_frames_received: int = 0
    playout_underruns: int = 0
    round_trip_time_ms: float | None = None
    packets_lost: int | None = None
    jitter_ms: float | None = None
    bytes_sent: int | None = None
    bytes_received: int | None = None
    events_dropped: int = 0
    video_watched: bool | None = None
    """Whether anybody watches the own camera; None while that is not known (no camera that may rest)."""
