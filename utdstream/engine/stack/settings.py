"""The generated configuration of one stack: engine, livekit-server, mosquitto.

Owns: what a stack is made of (addresses, ports, project, secrets), and the files its programs read.
Imports the standard library and errors. Any thread. Starts nothing: that is `supervisor`.

1. Every file is private (0600, in a folder of 0700) from the moment it exists, and put in place whole.
2. No address outside this machine or its LAN is named in any of them, so none is ever contacted.
3. Nothing listens beyond loopback unless the LAN was asked for.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from utdstream.engine.config import WEBHOOK_EVENTS, WEBHOOK_PATH
from utdstream.errors import InvalidConfig

Part = Literal["livekit", "engine", "mqtt"]
PARTS: tuple[Part, ...] = ("livekit", "mqtt", "engine")

LOOPBACK = "127.0.0.1"
ENGINE_LOGIN = "engine"
_HASH_ROUNDS = 10_000


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

DEFAULT_PORTS = Ports(engine=8080, livekit=7880, livekit_udp=7882, livekit_tcp=7881, stun=3478, mqtt=1883)
PORT_KINDS: dict[str, tuple[Part, str]] = {
    "engine": ("engine", "tcp"),
    "livekit": ("livekit", "tcp"),
    "livekit_udp": ("livekit", "udp"),
    "livekit_tcp": ("livekit", "tcp"),
    "stun": ("livekit", "udp"),
    "mqtt": ("mqtt", "tcp"),
}
"""Which part uses a port, and whether it is tcp or udp."""


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


def livekit_config(settings: StackSettings) -> dict[str, object]:
    """livekit-server's configuration (livekit 1.13.5). Its parser is strict and reads JSON as YAML."""
    ports, keys = settings.ports, settings.secrets
    rtc: dict[str, object] = {
        "udp_port": ports.livekit_udp,
        "tcp_port": ports.livekit_tcp if settings.lan else 0,
        "node_ip": settings.address,
        "use_external_ip": False,
        # Without it nobody on this machine connects: "wait_pc_connection timed out" after four times 15 s.
        "enable_loopback_candidate": not settings.lan,
        # Without a STUN server of its own, livekit hands every client the names of public ones.
        "stun_servers": [f"{settings.address}:{ports.stun}"],
    }
    if settings.lan:
        rtc["ips"] = {"includes": [f"{settings.address}/32"]}
    else:
        rtc["interfaces"] = {"includes": ["lo"]}
    return {
        "port": ports.livekit,
        "bind_addresses": [settings.bind_host],
        "rtc": rtc,
        "turn": {"enabled": True, "udp_port": ports.stun, "bind_addresses": [settings.bind_host]},
        "room": {"auto_create": False},
        # How long a layer that nobody watches goes on: cameras rest soon after the last viewer went.
        "video": {"dynacast_pause_delay": "2s"},
        "keys": {keys.livekit_api_key: keys.livekit_api_secret},
        "webhook": {
            "api_key": keys.livekit_api_key,
            "urls": [f"http://{LOOPBACK}:{ports.engine}{WEBHOOK_PATH}"],
            "filter_params": {"include_events": list(WEBHOOK_EVENTS)},
        },
        "logging": {"level": "warn", "json": False},
    }


def mosquitto_config(settings: StackSettings, plugin: Path) -> str:
    """mosquitto's configuration (2.0): private, persistent at once, one login a device."""
    folder = settings.file("mqtt")
    lines = [
        "set_tcp_nodelay true",  # 0.6 ms instead of 20 ms for the slowest in a hundred
        "persistence true",
        f"persistence_location {folder}/",
        "autosave_interval 1",
        "autosave_on_changes true",
        "persistent_client_expiration 1d",
        "max_queued_messages 5000",
        "allow_anonymous false",
        f"plugin {plugin}",
        f"plugin_opt_config_file {folder / 'dynsec.json'}",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        "log_type notice",
        "connection_messages false",
        f"listener {settings.ports.mqtt} {settings.bind_host}",
    ]
    if os.geteuid() == 0:
        # Started by root it would become the user "mosquitto", who may not read this folder.
        lines.insert(0, "user root")
    return "\n".join(lines) + "\n"


def dynsec_config(password: str) -> dict[str, object]:
    """The first file of mosquitto's dynamic-security plugin: one login, the engine's; all others denied."""
    salt = secrets.token_bytes(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _HASH_ROUNDS)
    topics = ("$CONTROL/dynamic-security/#", "utdstream/#")
    kinds = ("publishClientSend", "publishClientReceive", "subscribePattern")
    acls = [{"acltype": kind, "topic": topic, "allow": True} for topic in topics for kind in kinds]
    acls.append({"acltype": "unsubscribePattern", "topic": "#", "allow": True})
    return {
        "clients": [
            {
                "username": ENGINE_LOGIN,
                "textName": "the engine",
                "password": base64.b64encode(digest).decode(),
                "salt": base64.b64encode(salt).decode(),
                "iterations": _HASH_ROUNDS,
                "roles": [{"rolename": ENGINE_LOGIN}],
            }
        ],
        "roles": [{"rolename": ENGINE_LOGIN, "acls": acls}],
        "defaultACLAccess": {
            "publishClientSend": False,
            "publishClientReceive": False,
            "subscribe": False,
            "unsubscribe": True,
        },
    }


def engine_config(settings: StackSettings) -> dict[str, Mapping[str, object]]:
    """The engine's own configuration, as tables (`utdstream.engine.config` reads it)."""
    ports, keys = settings.ports, settings.secrets
    return {
        "engine": {
            "host": settings.bind_host,
            "port": ports.engine,
            "database": str(settings.file("engine.db")),
            "token_secret": keys.token_secret,
            "log_level": settings.log_level,
        },
        "project": dataclasses.asdict(settings.project),
        "livekit": {
            "url": f"http://{LOOPBACK}:{ports.livekit}",
            "public_url": settings.livekit_url,
            "api_key": keys.livekit_api_key,
            "api_secret": keys.livekit_api_secret,
        },
        "mqtt": {
            "host": LOOPBACK,
            "port": ports.mqtt,
            "public_host": settings.address,
            "public_port": ports.mqtt,
            "username": ENGINE_LOGIN,
            "password": keys.mqtt_password,
        },
        "limits": dataclasses.asdict(settings.limits),
    }


def write_configuration(settings: StackSettings, plugin: Path) -> None:
    """Write all files of the stack. The broker's logins of an earlier run are kept."""
    for folder in (settings.folder, settings.file("mqtt"), settings.file("logs")):
        private_folder(folder)
    write_private(settings.file("livekit.yaml"), json.dumps(livekit_config(settings), indent=1) + "\n")
    write_private(settings.file("mosquitto.conf"), mosquitto_config(settings, plugin))
    write_private(settings.file("engine.toml"), toml(engine_config(settings)))
    logins = settings.file("mqtt") / "dynsec.json"
    if not logins.exists():
        write_private(logins, json.dumps(dynsec_config(settings.secrets.mqtt_password), indent=1))


def toml(tables: Mapping[str, Mapping[str, object]]) -> str:
    """Flat tables of strings, numbers and booleans as TOML."""
    lines: list[str] = []
    for name, table in tables.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {_toml_value(value)}" for key, value in table.items()]
        lines.append("")
    return "\n".join(lines)


def private_folder(path: Path) -> None:
    """Make `path` a folder that only its owner may enter. Raises: InvalidConfig."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
    except OSError as error:
        raise InvalidConfig(
            f"the folder {path} cannot be used ({error.strerror}); name another one with --data"
        ) from error


def write_private(path: Path, text: str) -> None:
    """Put `text` at `path`, whole, readable by its owner alone from the first moment."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


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


def _toml_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        # A JSON string is a TOML string, but for DEL and for escaped surrogates (so: no escapes).
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    raise InvalidConfig(f"a setting of type {type(value).__name__} cannot be written as TOML")
