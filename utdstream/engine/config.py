"""The engine's settings file: TOML in, frozen dataclasses out, and a clear word for every mistake.

Owns: `EngineConfig`, `load`. Any thread. Imports the standard library and vocabulary. Secrets are
masked in every `repr`.
"""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import TypeVar, get_type_hints

from utdstream.errors import InvalidConfig


@dataclass(frozen=True, slots=True)
class EngineSection:
    """Where the engine listens and keeps its state; `token_secret` signs user bearers."""

    database: str
    token_secret: str = field(repr=False)
    host: str = "127.0.0.1"
    port: int = 8080
    log_level: str = "info"


@dataclass(frozen=True, slots=True)
class ProjectSection:
    """The one project: its credentials, its limits, what is switched on."""

    app_id: str
    app_key: str = field(repr=False)
    app_secret: str = field(repr=False)
    name: str = "utdstream"
    call_ring_timeout_s: float = 30.0
    max_call_duration_s: float = 3600.0
    calls_enabled: bool = True
    video_enabled: bool = True
    max_concurrent_rooms: int = 100
    max_participants_per_room: int = 50


@dataclass(frozen=True, slots=True)
class LiveKitSection:
    """The media server: `url` for the engine, `public_url` for clients."""

    api_key: str
    api_secret: str = field(repr=False)
    url: str = "http://127.0.0.1:7880"
    public_url: str = "ws://127.0.0.1:7880"


@dataclass(frozen=True, slots=True)
class MqttSection:
    """The broker: `host` and `port` for the engine, the public ones for clients."""

    password: str = field(repr=False)
    username: str = "engine"
    host: str = "127.0.0.1"
    port: int = 1883
    public_host: str = "127.0.0.1"
    public_port: int = 1883


@dataclass(frozen=True, slots=True)
class LimitsSection:
    """Requests a minute for one identity, mints a minute for one identity and device, and for how long
    nobody takes over a room session that was begun on another device.
    """

    enabled: bool = True
    requests_per_minute: int = 120
    mints_per_minute: int = 30
    takeover_cooldown_s: float = 5.0


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Everything in the file; `mqtt` None: no login is given and nothing is published."""

    engine: EngineSection
    project: ProjectSection
    livekit: LiveKitSection
    mqtt: MqttSection | None = None
    limits: LimitsSection = field(default_factory=LimitsSection)


WEBHOOK_PATH = "/internal/livekit"
"""Where the media server tells its events; no operation of the REST interface: nobody else may come there."""
WEBHOOK_EVENTS = ("participant_joined", "participant_left", "track_published", "room_finished")
"""The events of the media server that the engine wants to hear of."""
LOG_LEVELS = ("debug", "info", "warning", "error")
_Section = TypeVar("_Section")


def load(path: str | Path) -> EngineConfig:
    """The settings in the file at `path`. Raises: InvalidConfig, which names file, section and key."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"{path}: the engine's settings cannot be read: {error}") from error
    return parse(text, str(path))


def parse(text: str, source: str = "engine.toml") -> EngineConfig:
    """The settings in a TOML text; `source` is the name used in errors. Raises: InvalidConfig."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidConfig(f"{source}: not a TOML file: {error}") from error
    known = [item.name for item in dataclasses.fields(EngineConfig)]
    for name, table in tables.items():
        if name not in known:
            raise InvalidConfig(f"{source}: unknown section [{name}]; known are {', '.join(known)}")
        if not isinstance(table, dict):
            raise InvalidConfig(f"{source}: {name} must be a section, written [{name}]")
    config = EngineConfig(
        engine=_section(EngineSection, "engine", tables.get("engine", {}), source),
        project=_section(ProjectSection, "project", tables.get("project", {}), source),
        livekit=_section(LiveKitSection, "livekit", tables.get("livekit", {}), source),
        mqtt=_section(MqttSection, "mqtt", tables["mqtt"], source) if "mqtt" in tables else None,
        limits=_section(LimitsSection, "limits", tables.get("limits", {}), source),
    )
    _check(config, source)
    return config


def _section(kind: type[_Section], name: str, table: dict[str, object], source: str) -> _Section:
    where = f"{source}: [{name}]"
    hints = get_type_hints(kind)
    for key in table:
        if key not in hints:
            raise InvalidConfig(f"{where} has an unknown key {key!r}; known are {', '.join(hints)}")
    for item in dataclasses.fields(kind):  # type: ignore[arg-type]  # every _Section is a dataclass
        if item.name not in table:
            if item.default is MISSING and item.default_factory is MISSING:
                raise InvalidConfig(f"{where} lacks {item.name}; add it")
            continue
        table[item.name] = _value(table[item.name], hints[item.name], f"{where} {item.name}")
    return kind(**table)


def _value(value: object, wanted: type, where: str) -> object:
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not wanted:
        raise InvalidConfig(f"{where} must be of type {wanted.__name__}, not {type(value).__name__}")
    if wanted is str and not value:
        raise InvalidConfig(f"{where} must not be empty")
    return value


def _check(config: EngineConfig, source: str) -> None:
    positive = {
        "[project] call_ring_timeout_s": config.project.call_ring_timeout_s,
        "[project] max_call_duration_s": config.project.max_call_duration_s,
        "[project] max_concurrent_rooms": config.project.max_concurrent_rooms,
        "[project] max_participants_per_room": config.project.max_participants_per_room,
        "[limits] takeover_cooldown_s": config.limits.takeover_cooldown_s,
        "[limits] requests_per_minute": config.limits.requests_per_minute,
        "[limits] mints_per_minute": config.limits.mints_per_minute,
    }
    for name, number in positive.items():
        if not 0 < number < 1e9:
            raise InvalidConfig(f"{source}: {name} must be a positive number, not {number!r}")
    ports = {"[engine] port": config.engine.port}
    if config.mqtt is not None:
        ports["[mqtt] port"] = config.mqtt.port
        ports["[mqtt] public_port"] = config.mqtt.public_port
    for name, port in ports.items():
        if not 1 <= port <= 65535:
            raise InvalidConfig(f"{source}: {name} must be between 1 and 65535, not {port}")
    if config.engine.log_level not in LOG_LEVELS:
        raise InvalidConfig(f"{source}: [engine] log_level must be one of {', '.join(LOG_LEVELS)}")
    for name, url, schemes in (
        ("[livekit] url", config.livekit.url, ("http://", "https://")),
        ("[livekit] public_url", config.livekit.public_url, ("ws://", "wss://")),
    ):
        if not url.startswith(schemes):
            raise InvalidConfig(f"{source}: {name} must begin with {' or '.join(schemes)}")
