"""The engine's settings: one section a dataclass, every key with its limits and its meaning.

Owns: `EngineConfig`, `load`. Any thread. Imports `utdstream.settings`, which reads the file. Secrets are masked in
every `repr` and never shown in an error.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from utdstream import settings
from utdstream.settings import Meta
from utdstream.trust import tls_context

LogLevel = Literal["debug", "info", "warning", "error"]
Port = Annotated[int, Meta(ge=1, le=65535)]
Count = Annotated[int, Meta(ge=1, lt=10**9, title="a positive whole number")]
Seconds = Annotated[float, Meta(gt=0, lt=1e9, title="a positive number")]
AppId = Annotated[str, Meta(pattern=r"^[0-9]{10}$", title="a text of 10 digits")]
MediaUrl = Annotated[str, Meta(pattern="^https?://", title="an address that begins with http:// or https://")]
PublicUrl = Annotated[
    str,
    Meta(
        pattern=r"^https?://[^\s/@]+/?$",
        title="an address without a path, like https://engine.example.com",
    ),
]
PublicMediaUrl = Annotated[str, Meta(pattern="^wss?://", title="an address that begins with ws:// or wss://")]

WEBHOOK_PATH = "/internal/livekit"
"""Where the media server tells its events; no operation of the REST interface: no one else may call it."""
WEBHOOK_EVENTS = ("participant_joined", "participant_left", "track_published", "room_finished")
"""The events of the media server that the engine wants to hear of."""


@dataclass(frozen=True, slots=True)
class EngineSection:
    """Where the engine listens and keeps its state."""

    database: Annotated[str, "the path of the SQLite file; made when it is not there"]
    token_secret: Annotated[str, "signs user tokens; a new one signs every device out"] = field(repr=False)
    host: Annotated[str, "address to listen on"] = "127.0.0.1"
    port: Annotated[Port, "port to listen on"] = 8080
    log_level: Annotated[LogLevel, "the least that is logged"] = "info"
    forwarded_for: Annotated[
        bool,
        "true: a proxy on this machine writes each client's address into X-Forwarded-For; limits by address count "
        "the last one there",
    ] = False
    public_url: Annotated[
        PublicUrl | None,
        "where devices reach the engine: told with a pairing code; not set: `host` and `port`",
    ] = None
    public_ca_file: Annotated[
        Path | None,
        "PEM file of the authority of the certificate there, handed to devices that pair; not set: a public one",
    ] = None

    @property
    def base_url(self) -> str:
        """Where devices reach the engine."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (self.public_url or f"http://{host}:{self.port}").rstrip("/")

    @property
    def is_loopback(self) -> bool:
        """Whether that is of this machine alone."""
        return is_loopback(urlsplit(self.base_url).hostname or "")

    def public_ca(self) -> str | None:
        """Returns what `public_ca_file` holds. Raises: InvalidConfig when it cannot be read or is no PEM."""
        return _read_ca(self.public_ca_file)


@dataclass(frozen=True, slots=True)
class ProjectSection:
    """The one project: its credentials, its limits, what is switched on."""

    app_id: Annotated[AppId, "the project's public number"]
    app_key: Annotated[str, "the open key: it mints tokens for any identity, where `open_key` lets it"] = (
        field(repr=False)
    )
    app_secret: Annotated[str, "the key of your servers: it may do everything, in any identity's name"] = (
        field(repr=False)
    )
    name: Annotated[str, "shown by `GET /project`"] = "utdstream"
    open_key: Annotated[
        bool | None,
        "true: whoever has `app_key` may be any identity; false: each device needs a key of its own; "
        "not set: true while all of the engine's addresses are loopback",
    ] = None
    call_ring_timeout_s: Annotated[Seconds, "a call that is not answered for this long is missed"] = 30.0
    call_away_s: Annotated[
        Seconds,
        "a party that vanished from an answered call is waited for this long; half of it when both did",
    ] = 120.0
    max_call_duration_s: Annotated[Seconds, "a call is ended after this long"] = 3600.0
    calls_enabled: Annotated[bool, "false: calls are refused (`feature_disabled`)"] = True
    video_enabled: Annotated[bool, "false: video calls are refused (`feature_disabled`)"] = True
    max_concurrent_rooms: Annotated[Count, "live streams and audio rooms at once (`room_limit_reached`)"] = (
        100
    )
    max_participants_per_room: Annotated[
        Count, "participants of one audio room; a live stream has no limit"
    ] = 50


@dataclass(frozen=True, slots=True)
class LiveKitSection:
    """The media server."""

    api_key: Annotated[str, "the name of livekit-server's key"]
    api_secret: Annotated[str, "livekit-server's key; signs media tokens and checks webhooks"] = field(
        repr=False
    )
    url: Annotated[MediaUrl, "where the engine reaches livekit-server"] = "http://127.0.0.1:7880"
    public_url: Annotated[PublicMediaUrl, "where devices reach livekit-server"] = "ws://127.0.0.1:7880"


@dataclass(frozen=True, slots=True)
class MqttSection:
    """The broker."""

    password: Annotated[
        str, "the password of the engine's own broker login, long and random: those of devices are made of it"
    ] = field(repr=False)
    username: Annotated[
        str, "the engine's own broker login, an administrator of the dynamic-security plugin"
    ] = "engine"
    host: Annotated[str, "where the engine reaches the broker"] = "127.0.0.1"
    port: Annotated[Port, "where the engine reaches the broker"] = 1883
    public_host: Annotated[str, "where devices reach the broker"] = "127.0.0.1"
    public_port: Annotated[Port, "where devices reach the broker"] = 1883
    public_tls: Annotated[bool, "true: devices speak TLS there; the login tells them so"] = False
    public_ca_file: Annotated[
        Path | None,
        "PEM file of the authorities of its certificate, told with the login; not set: those that a device checks "
        "the engine's against",
    ] = None

    def public_ca(self) -> str | None:
        """Returns what `public_ca_file` holds. Raises: InvalidConfig when it cannot be read or is no PEM."""
        return _read_ca(self.public_ca_file)


@dataclass(frozen=True, slots=True)
class LimitsSection:
    """How much one identity may ask, and one key hold; with the open key it is one address instead of the key."""

    enabled: Annotated[bool, "false: no rate limits"] = True
    requests_per_minute: Annotated[
        Count, "requests with one user token (a server with the secret: fifty times as many)"
    ] = 120
    requests_per_minute_each: Annotated[Count, "requests with one key, whatever identities it names"] = 2400
    mints_per_minute: Annotated[Count, "mints of one identity on one device"] = 30
    mints_per_minute_each: Annotated[
        Count,
        "mints with one key, or with the open key from one address, whatever identity and device they name",
    ] = 45
    calls_per_hour_each: Annotated[
        Count, "calls made with one key; each of a group counts, and each stays in the history for 90 days"
    ] = 600
    logins_each: Annotated[
        Count, "identities with a broker login by one key; one that is not minted for 90 days ends"
    ] = 200
    pairings_per_minute_each: Annotated[
        Count, "requests with a pairing code from one address, the right ones counted too"
    ] = 20
    open_calls_each: Annotated[Count, "calls of one key at a time, the ringing ones counted"] = 50
    rooms_each: Annotated[Count, "rooms that one key has made, at a time"] = 20
    event_streams_each: Annotated[Count, "streams of `GET /calls/events` with one key at a time"] = 50
    unanswered_calls: Annotated[
        Count,
        "calls in a row of one caller to one callee without an answer (a rejected one is five); then it waits",
    ] = 30
    takeover_cooldown_s: Annotated[
        Seconds, "so long no other device takes over an identity's session in a room"
    ] = 5.0


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Everything in the file; `mqtt` None: no login is given and nothing is published."""

    engine: EngineSection
    project: ProjectSection
    livekit: LiveKitSection
    mqtt: MqttSection | None = None
    limits: LimitsSection = field(default_factory=LimitsSection)

    @property
    def is_loopback(self) -> bool:
        """Whether every address that devices are given is of this machine alone."""
        hosts = [self.engine.host, urlsplit(self.livekit.public_url).hostname or ""]
        if self.mqtt is not None:
            hosts.append(self.mqtt.public_host)
        return all(map(is_loopback, hosts))

    @property
    def is_key_open(self) -> bool:
        """Whether `app_key` mints for any identity."""
        return self.is_loopback if self.project.open_key is None else self.project.open_key


def load(path: str | Path) -> EngineConfig:
    """The settings in the file at `path`. Raises: InvalidConfig, which names file, section and key."""
    return settings.read(Path(path), EngineConfig)


def is_loopback(host: str) -> bool:
    """Whether a name or an address is of this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read_ca(file: Path | None) -> str | None:
    if file is None:
        return None
    tls_context(file)
    return file.read_text(encoding="ascii")
