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
from utdstream.engine.stack.ports import LOOPBACK, PARTS, PORT_KINDS, Part
from utdstream.engine.stack.users import User
from utdstream.settings import Meta
from utdstream.whole_files import aside_in

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
        "this machine's address on the network, or a name of it, like `--address` (an IPv6 one needs TLS); not "
        "set: found",
    ] = None
    behind_proxy: Annotated[
        bool,
        "true: engine, signalling and broker listen on loopback alone, for a proxy on this machine; media "
        "stays on the network",
    ] = False
    forwarded_for: Annotated[
        bool,
        "true: that proxy writes each client's address into X-Forwarded-For; limits by address count the last one "
        "there",
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
class TlsSection:
    """Encryption of all but media, which always is: one port for REST, event streams and signalling, one for the
    broker. The programs themselves then listen on loopback alone.
    """

    enabled: Annotated[bool, "true: like `--tls`; a certificate that is named below says it too"] = False
    certificate: Annotated[
        Path | None,
        "PEM file of a certificate of your own with its chain, like `--tls-cert`; not set: one is made here, by "
        "an authority that is made here",
    ] = None
    key: Annotated[Path | None, "PEM file of its key, like `--tls-key`"] = None
    authority: Annotated[
        Path | None,
        "folder of the authority that is made here, for one that several stacks share; not set: `tls` in the data "
        "folder",
    ] = None
    names: Annotated[
        tuple[str, ...], "more names and addresses of this machine, for the certificate that is made here"
    ] = ()

    @property
    def is_on(self) -> bool:
        """Whether the stack encrypts by itself."""
        return self.enabled or self.certificate is not None


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of a stack. One that another program has at the first run is replaced by a free one."""

    engine: Annotated[Port | None, "the engine, TCP"] = None
    livekit: Annotated[Port | None, "livekit-server's signalling, TCP"] = None
    livekit_udp: Annotated[Port | None, "media, UDP"] = None
    livekit_tcp: Annotated[Port | None, "media where UDP is blocked, TCP, with `--lan` only"] = None
    stun: Annotated[Port | None, "STUN, UDP: so that no address outside is ever asked"] = None
    mqtt: Annotated[Port | None, "the broker, TCP"] = None
    mqtt_engine: Annotated[Port | None, "the broker for the engine alone, on loopback, TCP"] = None
    https: Annotated[Port | None, "with TLS: REST, event streams and signalling, TCP"] = None
    mqtts: Annotated[Port | None, "with TLS: the broker, TCP"] = None


@dataclass(frozen=True, slots=True)
class LogsSection:
    """The logs of the programs, in `logs` of the data folder. The oldest is deleted."""

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
    """What the programs of one stack know of each other. Random, but a file that is read has all of them."""

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
    tls: TlsSection = field(default_factory=TlsSection)
    ports: Ports = field(default_factory=Ports)
    project: ProjectSection = field(default_factory=new_project)
    secrets: Secrets = field(default_factory=Secrets)
    limits: LimitsSection = field(default_factory=LimitsSection)
    logs: LogsSection = field(default_factory=LogsSection)


@dataclass(frozen=True, slots=True)
class StackSettings:
    """All that one stack needs to know; `address` is where others reach it, `lan` whether others may.

    `node_ip` is the address by its number, for media: empty when `address` is that already. `public` is what
    devices are told instead when a proxy is in front; `tls` brings one of the stack's own. `logs` None: each
    is one file with every line.
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
    tls: TlsSection = field(default_factory=TlsSection)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The programs of this stack, in the order of their start."""
        return (*PARTS, "proxy") if self.tls.is_on else PARTS

    @property
    def media_ip(self) -> str:
        """The address where others reach media, by its number."""
        return self.node_ip or self.address

    @property
    def bind_host(self) -> str:
        """Where media listens, and what encrypts."""
        if not self.lan:
            return LOOPBACK
        return "::" if ":" in self.media_ip else "0.0.0.0"

    @property
    def clear_host(self) -> str:
        """Where engine, signalling and broker listen, which do not encrypt."""
        return LOOPBACK if self.public.behind_proxy or self.tls.is_on else self.bind_host

    @property
    def base_url(self) -> str:
        """Where devices reach the engine."""
        if self.public.public_url is not None:
            return self.public.public_url.rstrip("/")
        if self.tls.is_on:
            return f"https://{_in_url(self.address)}:{self.ports.https}"
        return f"http://{self.address}:{self.ports.engine}"

    @property
    def livekit_url(self) -> str:
        """Where devices reach signalling."""
        if self.public.livekit_public_url is not None:
            return self.public.livekit_public_url.rstrip("/")
        if self.public.public_url is not None or self.tls.is_on:
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
        return self.public.mqtt_public_port or (self.ports.mqtts if self.tls.is_on else self.ports.mqtt)

    @property
    def mqtt_tls(self) -> bool:
        """Whether devices speak TLS to the broker."""
        return self.public.mqtt_public_tls or self.tls.is_on

    @property
    def server_file(self) -> Path:
        """With TLS: certificate, chain and key in one file, of which the proxy gets a copy."""
        return self.folder / "tls" / "server.pem"

    @property
    def ca_file(self) -> Path | None:
        """The authority that is made here; None without one."""
        if not self.tls.is_on or self.tls.certificate is not None:
            return None
        return (self.tls.authority or self.folder / "tls").absolute() / "ca.pem"

    @property
    def public_hosts(self) -> tuple[str, ...]:
        """The names and addresses that devices are told: a certificate must hold them all."""
        urls = (self.base_url, self.livekit_url)
        return tuple(dict.fromkeys([*(urlsplit(url).hostname or "" for url in urls), self.mqtt_host.lower()]))

    def host_of(self, port_name: str) -> str:
        """Returns where one of `ports` is bound."""
        if port_name == "mqtt_engine":
            return LOOPBACK
        return self.clear_host if port_name in ("engine", "livekit", "mqtt") else self.bind_host

    def file(self, name: str) -> Path:
        return self.folder / name

    @property
    def database(self) -> Path:
        """The engine's database: in a folder of its user's, when it has one."""
        return self.folder / "engine" / "engine.db" if "engine" in self.users else self.folder / "engine.db"

    def put_aside(self) -> list[Path]:
        """The damaged files that were put aside, and not deleted since."""
        return put_aside_in(self.folder)

    def log(self, part: Part) -> Path:
        return self.folder / "logs" / f"{part}.log"


def put_aside_in(folder: Path) -> list[Path]:
    """The damaged files of a data folder that were put aside, and not deleted since."""
    return aside_in(folder, *(folder / part for part in ("engine", "mqtt", "tls")))


def port_names(settings: StackSettings) -> tuple[str, ...]:
    """The ports this stack uses. Over loopback UDP always works, so livekit gets no TCP media port there:
    it would listen on every interface (livekit 1.13.5 binds `rtc.tcp_port` without an address).
    """
    return tuple(
        name
        for name, (part, _) in PORT_KINDS.items()
        if part in settings.parts and (settings.lan or name != "livekit_tcp")
    )


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
