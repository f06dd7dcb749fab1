"""The settings of `utdstream engine up`: a data folder that remembers, a file that overrides.

Owns: `stack.toml` in the data folder (ids, keys and ports of the first run, kept for all later ones) and
the reading of `--config`. Imports the standard library and its neighbours. Any thread.

1. What `--config` says wins, and is not copied into the data folder (but for ports, on the first run).
2. Keys are made once. Without `stack.toml` there is a new project, whose new key every device needs. A
   `stack.toml` that lost them (to a power failure) is refused: new keys would silently turn every device away.
"""

from __future__ import annotations

import dataclasses
import fcntl
import os
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utdstream import settings
from utdstream.engine.stack.ports import DEFAULT_PORTS, LOOPBACK, PORT_KINDS, is_free, lan_address
from utdstream.engine.stack.private_files import private_folder, write_tables
from utdstream.engine.stack.settings import Ports, StackFile, StackSection, StackSettings, TlsSection
from utdstream.errors import InvalidConfig

NAME = "stack.toml"
_LOCK = ".lock"
ROTATED: Mapping[str, tuple[str, int]] = {
    "token_secret": ("secrets", 32),
    "app_key": ("project", 16),
    "app_secret": ("project", 32),
    "mqtt_password": ("secrets", 32),
    "livekit_api_secret": ("secrets", 32),
}
"""The secrets that can be made anew one by one: in which section each stands, and its bytes."""
_HEADER = (
    "# Made by `utdstream engine up` for you alone. app_key goes into devices, app_secret stays on servers.\n"
)


def default_data_folder() -> Path:
    """`$XDG_DATA_HOME/utdstream`, by default `~/.local/share/utdstream`."""
    root = os.environ.get("XDG_DATA_HOME", "")
    return (Path(root) if root.startswith("/") else Path.home() / ".local" / "share") / "utdstream"


def load(
    *,
    config: Path | None,
    data: Path | None,
    lan: bool,
    address: str | None = None,
    tls: TlsSection | None = None,
) -> tuple[StackSettings, int]:
    """The settings of this run, and the lock of its data folder: a descriptor to close at the end.

    What `tls` says wins over the file's, too. The data folder and its keys are made when they are not there.
    Raises: InvalidConfig.
    """
    source = config or Path()
    given = settings.tables(source) if config is not None else {}
    read = settings.parse(given, StackFile, source, base=StackFile())
    stack = read.stack
    encryption = read.tls
    if tls is not None:
        encryption = dataclasses.replace(encryption, enabled=True)
        if tls.certificate is not None or tls.key is not None:
            encryption = dataclasses.replace(encryption, certificate=tls.certificate, key=tls.key)
    _check_tls(stack, encryption)
    folder = (data or stack.data or default_data_folder()).expanduser().absolute()
    private_folder(folder)
    handle = _lock(folder)
    try:
        is_lan = lan or stack.lan
        used, node_ip = _address(is_lan, address or stack.address, tls=encryption.is_on)
        kept = _kept(folder, "0.0.0.0" if is_lan else LOOPBACK)
        said = settings.parse(given, StackFile, source, base=kept)
        return StackSettings(
            folder=folder,
            address=used,
            lan=is_lan,
            log_level=stack.log_level,
            ports=said.ports,
            project=said.project,
            secrets=said.secrets,
            limits=said.limits,
            logs=said.logs,
            node_ip=node_ip,
            public=stack,
            tls=encryption,
        ), handle
    except BaseException:
        os.close(handle)
        raise


def remember_ports(used: StackSettings) -> None:
    """Keeps the ports of a stack that started, so that devices find it there again."""
    tables: dict[str, Any] = dict(settings.tables(used.folder / NAME))
    known = tables.get("ports", {})
    taken = {name: port for name, port in dataclasses.asdict(used.ports).items() if port is not None}
    if taken | known != known:
        write_tables(used.folder / NAME, tables | {"ports": taken | known}, header=_HEADER)


def rotate(folder: Path, name: str) -> None:
    """Puts a new secret of this name (one of `ROTATED`) into the data folder; a running stack takes it at once.

    Raises: InvalidConfig.
    """
    file = folder / NAME
    if not file.is_file():
        raise InvalidConfig(f"there is no {file}; name the data folder of `utdstream engine up` with --data")
    settings.read(file, StackFile)  # a file that is not in order is not written again
    section, length = ROTATED[name]
    tables: dict[str, Any] = dict(settings.tables(file))
    tables[section] = {**tables.get(section, {}), name: secrets.token_hex(length)}
    write_tables(file, tables, header=_HEADER)


def stamp(folder: Path) -> tuple[int, int]:
    """Changes when `stack.toml` is another: its file and moment; zeros while there is none."""
    try:
        status = (folder / NAME).stat()
    except OSError:
        return 0, 0
    return status.st_ino, status.st_mtime_ns


def reread(running: StackSettings, config: Path | None) -> StackSettings:
    """The running stack's settings, with project and secrets as its files hold them now. Raises: InvalidConfig."""
    source = config or Path()
    given = settings.tables(source) if config is not None else {}
    said = settings.parse(given, StackFile, source, base=settings.read(running.folder / NAME, StackFile))
    return dataclasses.replace(running, project=said.project, secrets=said.secrets)


def _lock(folder: Path) -> int:
    handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise InvalidConfig(
            f"a stack is already running on {folder}; stop it, or name another folder with --data"
        ) from None
    return handle


def _kept(folder: Path, host: str) -> StackFile:
    """What the data folder remembers. A new one is given keys, one without ports the customary ones."""
    file = folder / NAME
    if not file.exists():
        made = StackFile(ports=_free_defaults(host, Ports()))
        tables = {"project": dataclasses.asdict(made.project), "secrets": dataclasses.asdict(made.secrets)}
        write_tables(file, tables, header=_HEADER)
        return made
    try:
        kept = settings.read(file, StackFile)
    except InvalidConfig as error:
        raise InvalidConfig(
            f"{error.message}; put a copy of this file back, or delete it for a new project, "
            "whose new app key every device needs then"
        ) from error
    return dataclasses.replace(kept, ports=_free_defaults(host, kept.ports))


def _free_defaults(host: str, kept: Ports) -> Ports:
    """The customary ports, for those not kept; in place of one that another program has, any free one."""
    free = {
        name: port
        for name, port in DEFAULT_PORTS.items()
        if getattr(kept, name) is None and is_free(PORT_KINDS[name][1], host, port)
    }
    return dataclasses.replace(kept, **free)


def _check_tls(stack: StackSection, tls: TlsSection) -> None:
    if (tls.certificate is None) != (tls.key is None):
        raise InvalidConfig(
            "a certificate and its key belong together: give both --tls-cert and --tls-key, or `certificate` and "
            "`key` in [tls]"
        )
    if tls.is_on and stack.behind_proxy:
        raise InvalidConfig(
            "[stack] behind_proxy is for a proxy of your own, and TLS brings the stack's: leave one of them out"
        )
    if tls.is_on and (stack.public_url or "").startswith("http:"):
        raise InvalidConfig("[stack] public_url: with TLS it begins with https://")


def _address(lan: bool, given: str | None, *, tls: bool) -> tuple[str, str]:
    """Returns what devices are told, a number or a name, and the number of it, for media."""
    if not lan:
        return LOOPBACK, LOOPBACK
    address = given or lan_address()
    if not address:
        raise InvalidConfig(
            "this machine has no address on a network; connect it, or write `address` into [stack]"
        )
    address = address.removeprefix("[").removesuffix("]")
    if "%" in address or address.lower().startswith("fe80:"):
        raise InvalidConfig(
            f"[stack] address: {address} is of one link alone; give an address of the network"
        )
    if ":" in address and not tls:
        raise InvalidConfig(
            f"[stack] address: {address}: without TLS the stack serves IPv4 only; add --tls, or give an IPv4 "
            "address or a name that has one"
        )
    try:
        found = socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise InvalidConfig(
            f"[stack] address: {address!r} is no address, and no name that this machine knows ({error})"
        ) from error
    numbers = sorted((str(each[4][0]) for each in found), key=lambda number: ":" in number)
    if ":" in numbers[0] and not tls:
        raise InvalidConfig(
            f"[stack] address: {address} has no IPv4 address, and the stack serves IPv6 with TLS only; add --tls"
        )
    return (numbers[0] if ":" in address else address), numbers[0]
