"""The settings of `utdstream engine up`: a data folder that remembers, a file that overrides.

Owns: `stack.toml` in the data folder (ids, keys and ports of the first run, kept for all later ones) and
the reading of `--config`. Imports the standard library and its neighbours. Any thread.

1. What `--config` says wins, and is not copied into the data folder (but for ports, on the first run).
2. Keys are made once. Whoever deletes `stack.toml` gets a new project, and every device needs its new key.
"""

from __future__ import annotations

import dataclasses
import fcntl
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path

from utdstream.engine.stack.ports import DEFAULT_PORTS, LOOPBACK, PORT_KINDS, is_free, lan_address
from utdstream.engine.stack.private_files import private_folder, toml, write_private
from utdstream.engine.stack.settings import Ports, StackSettings, changed
from utdstream.errors import InvalidConfig

NAME = "stack.toml"
_LOCK = ".lock"
_HEADER = (
    "# Made by `utdstream engine up` for you alone. app_key goes into devices, app_secret stays on servers.\n"
)
_Tables = Mapping[str, Mapping[str, object]]
_STACK_KEYS = {"data": str, "lan": bool, "address": str, "log_level": str}
_LOG_LEVELS = ("debug", "info", "warning", "error")


def default_data_folder() -> Path:
    """`$XDG_DATA_HOME/utdstream`, by default `~/.local/share/utdstream`."""
    root = os.environ.get("XDG_DATA_HOME", "")
    return (Path(root) if root.startswith("/") else Path.home() / ".local" / "share") / "utdstream"


def load(*, config: Path | None, data: Path | None, lan: bool) -> tuple[StackSettings, int]:
    """The settings of this run, and the lock of its data folder: a descriptor to close at the end.

    The data folder and its keys are made when they are not there. Raises: InvalidConfig.
    """
    given: _Tables = _read(config) if config is not None else {}
    stack = _stack_table(given.get("stack", {}))
    folder = (data or Path(str(stack.get("data") or default_data_folder()))).expanduser().absolute()
    private_folder(folder)
    handle = _lock(folder)
    try:
        return _settings(folder, given, stack, lan or bool(stack.get("lan"))), handle
    except BaseException:
        os.close(handle)
        raise


def remember_ports(settings: StackSettings) -> None:
    """Keep the ports of a stack that started, so that devices find it there again."""
    tables = {name: dict(table) for name, table in _read(settings.folder / NAME).items()}
    used = {name: port for name, port in dataclasses.asdict(settings.ports).items() if port is not None}
    known = tables.get("ports", {})
    merged = {**used, **known}
    if merged != known:
        tables["ports"] = merged
        write_private(settings.folder / NAME, _HEADER + toml(tables))


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


def _settings(folder: Path, given: _Tables, stack: Mapping[str, object], lan: bool) -> StackSettings:
    kept_file = folder / NAME
    kept: _Tables = _read(kept_file) if kept_file.exists() else {}
    settings = StackSettings(
        folder=folder,
        address=_address(lan, str(stack.get("address") or "")),
        lan=lan,
        log_level=str(stack.get("log_level") or "info"),
        ports=Ports() if "ports" in kept else _free_defaults("0.0.0.0" if lan else LOOPBACK),
    )
    settings = _overridden(settings, kept)
    if not kept:
        _remember(settings)
    return _overridden(settings, given)


def _overridden(settings: StackSettings, tables: _Tables) -> StackSettings:
    return dataclasses.replace(
        settings,
        ports=changed(settings.ports, "ports", tables.get("ports", {})),
        project=changed(settings.project, "project", tables.get("project", {})),
        secrets=changed(settings.secrets, "secrets", tables.get("secrets", {})),
        limits=changed(settings.limits, "limits", tables.get("limits", {})),
    )


def _remember(settings: StackSettings) -> None:
    tables = {
        "project": dataclasses.asdict(settings.project),
        "secrets": dataclasses.asdict(settings.secrets),
    }
    write_private(settings.folder / NAME, _HEADER + toml(tables))


def _free_defaults(host: str) -> Ports:
    """The customary ports, but for those another program has: any free one then, kept from then on."""
    free = {name: port for name, port in DEFAULT_PORTS.items() if is_free(PORT_KINDS[name][1], host, port)}
    return Ports(**free)


def _address(lan: bool, given: str) -> str:
    if not lan:
        return LOOPBACK
    address = given or lan_address()
    if not address:
        raise InvalidConfig(
            "this machine has no address on a network; connect it, or write `address` into [stack]"
        )
    return address


def _stack_table(table: Mapping[str, object]) -> Mapping[str, object]:
    for name, value in table.items():
        kind = _STACK_KEYS.get(name)
        if kind is None:
            raise InvalidConfig(f"[stack] has no setting {name!r}; it has {', '.join(sorted(_STACK_KEYS))}")
        if not isinstance(value, kind):
            raise InvalidConfig(f"[stack] {name} is of the wrong kind; it must be a {kind.__name__}")
    if table.get("log_level", "info") not in _LOG_LEVELS:
        raise InvalidConfig(f"[stack] log_level must be one of {', '.join(_LOG_LEVELS)}")
    return table


def _read(path: Path) -> _Tables:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfig(f"{path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise InvalidConfig(f"{path} is not a TOML file: {error}") from error
    known = ("stack", "ports", "project", "secrets", "limits")
    for name, table in tables.items():
        if name not in known or not isinstance(table, dict):
            raise InvalidConfig(f"{path} has no section [{name}]; its sections are {', '.join(known)}")
    return tables
