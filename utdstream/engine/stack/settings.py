"""What one stack is made of: addresses, ports, project, secrets, limits.

Owns: `StackFile`, what a file may say of it, and `StackSettings`, what one run knows. Any thread. Imports the
engine's settings: those of its project and its limits are the same.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from utdstream.engine.config import LimitsSection, LogLevel, Port, ProjectSection, PublicMediaUrl
from utdstream.engine.stack.ports import LOOPBACK, PORT_KINDS, Part
from utdstream.engine.stack.users import User
from utdstream.settings import Meta

ENGINE_LOGIN = "engine"
PublicUrl = Annotated[
    str,
    Meta(
        pattern=r"^https?://[^\s/@:\[\]]+(:[0-9]{1,5})?/?$",
        title="an address without a path, like https://engine.example.com",
    ),
]


@dataclass(frozen=True, slots=True)
class StackSection:
    """Where the stack keeps its files, and which machines it serves."""

    data: Annotated[Path | None, "the data folder, like `--data`"] = None
    lan: Annotated[bool, "true: serve the network, like `--lan`"] = False
    address: Annotated[
        str | None,
        "this machine's IPv4 address on the network, or a name of it, like `--address`; not set: found",
    ] = None
    behind_proxy: Annotated[
        bool,
        "true: engine, signalling and broker listen on loopback alone, for a proxy on this machine; media "
        "stays on the network",
    ] = False
    public_url: Annotated[
        PublicUrl | None,
        "where devices reach the engine when a proxy is in front; not set: `address` and port",
    ] = None
    livekit_public_url: Annotated[
        PublicMediaUrl | None, "where they reach signalling then; not set: `public_url`, as ws:// or wss://"
    ] = None
    mqtt_public_host: Annotated[
        str | None, "where they reach the broker then; not set: the host of `public_url`"
    ] = None
    mqtt_public_port: Annotated[Port | None, "its port there; not set: the broker's own"] = None
    mqtt_public_tls: Annotated[bool, "true: TLS is spoken there"] = False
    mqtt_public_ca_file: Annotated[
        Path | None,
        "PEM file of the authorities of its certificate, told with the login; not set: those of the engine's",
    ] = None
    log_level: Annotated[LogLevel, "the least that the engine logs"] = "info"


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of a stack. One that another program has at the first run is replaced by a free one."""

    engine: Annotated[Port | None, "the engine, TCP"] = None
    livekit: Annotated[Port | None, "livekit-server's signalling, TCP"] = None
    livekit_udp: Annotated[Port | None, "media, UDP"] = None
    livekit_tcp: Annotated[Port | None, "media where UDP is blocked, TCP, with `--lan` only"] = None
    stun: Annotated[Port | None, "STUN, UDP: so that no address outside is ever asked"] = None
    mqtt: Annotated[Port | None, "the broker, TCP"] = None


@dataclass(frozen=True, slots=True)
class LogsSection:
    """The logs of the three programs, in `logs` of the data folder. The oldest is deleted."""

    files: Annotated[int, Meta(ge=1, le=100), "how many files are kept of each program"] = 5
    file_kb: Annotated[int, Meta(ge=100, le=1_000_000), "how large one may become, in 1,000 bytes"] = 2000
    alike_a_minute: Annotated[
        int,
        Meta(ge=1, le=1_000_000),
        "lines that differ only in times, numbers and ids: as many as this are written in a minute, the others "
        "counted",
    ] = 10


@dataclass(frozen=True, slots=True)
class Secrets:
    """What the three programs of one stack know of each other. Random, but a file that is read has all of them."""

    token_secret: Annotated[str, "what signs user tokens"] = field(
        default_factory=lambda: secrets.token_hex(32), repr=False
    )
    livekit_api_key: Annotated[str, "the name of livekit-server's key"] = field(
        default_factory=lambda: "API" + secrets.token_hex(8), repr=False
    )
    livekit_api_secret: Annotated[str, "livekit-server's key"] = field(
        default_factory=lambda: secrets.token_hex(32), repr=False
    )
    mqtt_password: Annotated[str, "the password of the engine's broker login"] = field(
        default_factory=lambda: secrets.token_hex(32), repr=False
    )


def new_project() -> ProjectSection:
    """A project with an id and keys of its own."""
    return ProjectSection(
        app_id=str(10**9 + secrets.randbelow(9 * 10**9)),
        app_key=secrets.token_hex(16),
        app_secret=secrets.token_hex(32),
    )


@dataclass(frozen=True, slots=True)
class StackFile:
    """What `stack.toml`, and a file given with `--config`, may say."""

    stack: StackSection = field(default_factory=StackSection)
    ports: Ports = field(default_factory=Ports)
    project: ProjectSection = field(default_factory=new_project)
    secrets: Secrets = field(default_factory=Secrets)
    limits: LimitsSection = field(default_factory=LimitsSection)
    logs: LogsSection = field(default_factory=LogsSection)


@dataclass(frozen=True, slots=True)
class StackSettings:
    """All that one stack needs to know; `address` is where others reach it, `lan` whether others may.

    `node_ip` is the address by its number, for media: empty when `address` is that already. `public` is what
    devices are told instead when a proxy is in front. `logs` None: each is one file with every line.
    """

    folder: Path
    address: str = LOOPBACK
    lan: bool = False
    log_level: str = "info"
    ports: Ports = field(default_factory=Ports)
    project: ProjectSection = field(default_factory=new_project)
    secrets: Secrets = field(default_factory=Secrets)
    limits: LimitsSection = field(default_factory=LimitsSection)
    logs: LogsSection | None = field(default_factory=LogsSection)
    users: Mapping[Part, User] = field(default_factory=dict)
    """The programs that run as users of their own."""
    node_ip: str = ""
    public: StackSection = field(default_factory=StackSection)

    @property
    def bind_host(self) -> str:
        """Where media listens."""
        return "0.0.0.0" if self.lan else LOOPBACK

    @property
    def clear_host(self) -> str:
        """Where engine, signalling and broker listen, which do not encrypt."""
        return LOOPBACK if self.public.behind_proxy else self.bind_host

    @property
    def base_url(self) -> str:
        """Where devices reach the engine."""
        public = self.public.public_url
        return f"http://{self.address}:{self.ports.engine}" if public is None else public.rstrip("/")

    @property
    def livekit_url(self) -> str:
        """Where devices reach signalling."""
        if self.public.livekit_public_url is not None:
            return self.public.livekit_public_url.rstrip("/")
        if self.public.public_url is not None:
            return "ws" + self.base_url.removeprefix("http")
        return f"ws://{self.address}:{self.ports.livekit}"

    @property
    def mqtt_host(self) -> str:
        """Where devices reach the broker."""
        behind = urlsplit(self.public.public_url or "").hostname
        return self.public.mqtt_public_host or behind or self.address

    @property
    def mqtt_port(self) -> int | None:
        """The broker's port there; None before it was chosen."""
        return self.public.mqtt_public_port or self.ports.mqtt

    def host_of(self, port_name: str) -> str:
        """Returns where one of `ports` is bound."""
        return self.clear_host if port_name in ("engine", "livekit", "mqtt") else self.bind_host

    def file(self, name: str) -> Path:
        return self.folder / name

    @property
    def database(self) -> Path:
        """The engine's database: in a folder of its user's, when it has one."""
        return self.folder / "engine" / "engine.db" if "engine" in self.users else self.folder / "engine.db"

    def log(self, part: Part) -> Path:
        return self.folder / "logs" / f"{part}.log"


def port_names(settings: StackSettings) -> tuple[str, ...]:
    """The ports this stack uses. Over loopback UDP always works, so livekit gets no TCP media port there:
    it would listen on every interface (livekit 1.13.5 binds `rtc.tcp_port` without an address).
    """
    return tuple(name for name in PORT_KINDS if settings.lan or name != "livekit_tcp")
