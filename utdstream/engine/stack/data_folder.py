"""The settings of `utdstream engine up`: a data folder that remembers, a file that overrides.

Owns: `stack.toml` in the data folder (ids, keys and ports of the first run, kept for all later ones) and
the reading of `--config`. Imports the standard library and its neighbours. Any thread.

1. What `--config` says wins, and is not copied into the data folder (but for ports, on the first run).
2. Keys are made once, in a folder that has none. A `stack.toml` that lost them (to a power cut, by hand) is
   replaced by its good copy, and refused without one: new keys would silently turn every device away.
"""

from __future__ import annotations

import dataclasses
import fcntl
import logging
import os
import re
import secrets
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from utdstream import settings
from utdstream.engine.stack import good_copies
from utdstream.engine.stack.ports import DEFAULT_PORTS, LOOPBACK, PORT_KINDS, is_free, lan_address
from utdstream.engine.stack.private_files import private_folder, write_private, write_tables, writing
from utdstream.engine.stack.settings import Ports, StackFile, StackSection, StackSettings, TlsSection
from utdstream.errors import InvalidConfig

_log = logging.getLogger(__name__)

NAME = "stack.toml"
_LOCK = ".lock"
_LEAST_FREE_KB = 1000
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
_FOOTER = "# The end: without this line the file counts as cut off, and its good copy takes its place.\n"
_NO_TEXT = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")


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
        _must_have_room(folder)
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
        _write(used.folder / NAME, tables | {"ports": taken | known})


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
    _write(file, tables)


def stamp(folder: Path) -> tuple[int, int]:
    """Changes when `stack.toml` is another: its file and moment; zeros while there is none."""
    try:
        status = (folder / NAME).stat()
    except OSError:
        return 0, 0
    return status.st_ino, status.st_mtime_ns


def reread(running: StackSettings, config: Path | None) -> StackSettings:
    """The running stack's settings, with project and secrets as its files hold them now. Raises: InvalidConfig."""
    source, kept = config or Path(), running.folder / NAME
    given = settings.tables(source) if config is not None else {}
    said = settings.parse(given, StackFile, source, base=settings.read(kept, StackFile))
    good_copies.keep(kept)
    return dataclasses.replace(running, project=said.project, secrets=said.secrets)


def _lock(folder: Path) -> int:
    with writing(folder / _LOCK):
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
    good_copies.mend(file, _damage)
    if not file.exists():
        _must_be_new(folder)
        made = StackFile(ports=_free_defaults(host, Ports()))
        _write(
            file, {"project": dataclasses.asdict(made.project), "secrets": dataclasses.asdict(made.secrets)}
        )
        return made
    try:
        kept = settings.read(file, StackFile)
    except InvalidConfig as error:
        raise InvalidConfig(
            f"{error.message}; put a copy of this file back, or move the whole data folder away to begin with new "
            "keys, which every device needs then"
        ) from error
    _complete(file)
    return dataclasses.replace(kept, ports=_free_defaults(host, kept.ports))


def _write(file: Path, tables: Mapping[str, Any]) -> None:
    write_tables(file, tables, header=_HEADER, footer=_FOOTER)
    good_copies.keep(file)


def _complete(file: Path) -> None:
    """Keeps a copy of a file that is in order; one from before it had an end gets it."""
    text = file.read_text(encoding="utf-8")
    if _FOOTER not in text:
        try:
            write_private(file, text.rstrip("\n") + "\n" + _FOOTER)
        except InvalidConfig as error:
            _log.warning("%s", error)  # it is good without, too
    good_copies.keep(file)


def _damage(content: bytes, kept: bytes | None) -> str | None:
    """What power cuts and cards do to a file. A person's mistake is none: that is refused by its line."""
    if not content.strip():
        return "is empty, or cannot be read"
    try:
        content.decode()
    except UnicodeDecodeError:
        return "is no text any more"
    if _NO_TEXT.search(content):
        return "holds bytes that no text has"
    if kept is not None and _FOOTER.encode() in kept and _FOOTER.encode() not in content:
        return "has lost its end"
    return None


def _must_have_room(folder: Path) -> None:
    """Raises: InvalidConfig where the database could not even be opened: its log needs some room."""
    free_kb = shutil.disk_usage(folder).free // 1000
    if free_kb < _LEAST_FREE_KB:
        raise InvalidConfig(
            f"the disk of {folder} is full, {free_kb} kB are free; make room there, and start again"
        )


def _must_be_new(folder: Path) -> None:
    """Raises: InvalidConfig for a folder whose keys are lost while what was made with them is there."""
    for made in ("engine.db", "engine/engine.db", "mqtt/dynsec.json"):
        if (folder / made).exists():
            raise InvalidConfig(
                f"{folder / NAME} is not there, and {folder / made}, which belongs to it, is; put a copy of it "
                "back, or move the whole data folder away to begin with new keys, which every device needs then"
            )


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
