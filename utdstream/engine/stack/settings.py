"""What one stack is made of: addresses, ports, project, secrets, limits.

Owns: `StackSettings` and its parts. Any thread. Imports the standard library and errors.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from utdstream.engine.stack.ports import LOOPBACK, PORT_KINDS, Part
from utdstream.errors import InvalidConfig

ENGINE_LOGIN = "engine"


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of a stack; None means any free one. `livekit_tcp` is used on a LAN only."""

    engine: int | None = None
    livekit: int | None = None
    livekit_udp: int | None = None
    livekit_tcp: int | None = None
    stun: int | None = None
    mqtt: int | None = None


_Table = TypeVar("_Table", "Ports", "Project", "Secrets", "Limits")


def _digits() -> str:
    return str(10**9 + secrets.randbelow(9 * 10**9))


def _hex(size: int) -> str:
    return secrets.token_hex(size)


@dataclass(frozen=True, slots=True)
class Project:
    """The one project this engine serves. Ids and keys are random unless given."""

    app_id: str = field(default_factory=_digits)
    app_key: str = field(default_factory=lambda: _hex(16), repr=False)
    app_secret: str = field(default_factory=lambda: _hex(32), repr=False)
    name: str = "utdstream"
    call_ring_timeout_s: float = 30.0
    max_call_duration_s: float = 3600.0
    calls_enabled: bool = True
    video_enabled: bool = True
    max_concurrent_rooms: int = 100
    max_participants_per_room: int = 50


@dataclass(frozen=True, slots=True)
class Secrets:
    """What the three programs of one stack know of each other. Random unless kept from an earlier run."""

    token_secret: str = field(default_factory=lambda: _hex(32), repr=False)
    livekit_api_key: str = field(default_factory=lambda: "API" + _hex(8), repr=False)
    livekit_api_secret: str = field(default_factory=lambda: _hex(32), repr=False)
    mqtt_password: str = field(default_factory=lambda: _hex(32), repr=False)


@dataclass(frozen=True, slots=True)
class Limits:
    """The engine's rate limits."""

    enabled: bool = True
    requests_per_minute: int = 120
    mints_per_minute: int = 30
    takeover_cooldown_s: float = 5.0


@dataclass(frozen=True, slots=True)
class StackSettings:
    """All that one stack needs to know; `address` is where others reach it, `lan` whether others may."""

    folder: Path
    address: str = LOOPBACK
    lan: bool = False
    log_level: str = "info"
    ports: Ports = field(default_factory=Ports)
    project: Project = field(default_factory=Project)
    secrets: Secrets = field(default_factory=Secrets)
    limits: Limits = field(default_factory=Limits)

    @property
    def bind_host(self) -> str:
        return "0.0.0.0" if self.lan else LOOPBACK

    @property
    def base_url(self) -> str:
        return f"http://{self.address}:{self.ports.engine}"

    @property
    def livekit_url(self) -> str:
        return f"ws://{self.address}:{self.ports.livekit}"

    def file(self, name: str) -> Path:
        return self.folder / name

    def log(self, part: Part) -> Path:
        return self.folder / "logs" / f"{part}.log"


def changed(value: _Table, table: str, changes: Mapping[str, object]) -> _Table:
    """`value` with the settings in `changes`, each checked. Raises: InvalidConfig."""
    kept: dict[str, Any] = {}
    known = {one.name: one.type for one in dataclasses.fields(value)}
    for name, setting in changes.items():
        if name not in known:
            raise InvalidConfig(f"[{table}] has no setting {name!r}; it has {', '.join(sorted(known))}")
        kept[name] = _checked(table, name, setting, str(known[name]))
    return dataclasses.replace(value, **kept)


def port_names(settings: StackSettings) -> tuple[str, ...]:
    """The ports this stack uses. Over loopback UDP always works, so livekit gets no TCP media port there:
    it would listen on every interface (livekit 1.13.5 binds `rtc.tcp_port` without an address).
    """
    return tuple(name for name in PORT_KINDS if settings.lan or name != "livekit_tcp")


def _checked(table: str, name: str, setting: object, kind: str) -> object:
    number = isinstance(setting, int | float) and not isinstance(setting, bool)
    if kind == "float" and number and float(str(setting)) > 0:
        return float(str(setting))
    if kind.startswith("int") and number and isinstance(setting, int):
        if table == "ports" and not 0 < setting < 65536:
            raise InvalidConfig(f"[{table}] {name} is {setting}; a port is 1 to 65535")
        if setting > 0:
            return setting
    if kind == "bool" and isinstance(setting, bool):
        return setting
    if kind == "str" and isinstance(setting, str) and setting:
        if name == "app_id" and not (len(setting) == 10 and setting.isascii() and setting.isdigit()):
            raise InvalidConfig(f"[{table}] app_id is {setting!r}; an app id is 10 digits")
        return setting
    wanted = {"float": "a positive number", "bool": "true or false", "str": "a text"}
    must_be = wanted.get(kind, "a positive whole number")
    raise InvalidConfig(f"[{table}] {name} is of the wrong kind or range; it must be {must_be}")
