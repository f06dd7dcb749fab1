"""Files that only their owner may read: the folders and files of a stack.

Owns: how such a file is written. Any thread. Imports the standard library and errors.

1. Every file is private (0600, in a folder of 0700) from the moment it exists, and put in place whole.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from utdstream.errors import InvalidConfig


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


def _toml_value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        # A JSON string is a TOML string, but for DEL and for escaped surrogates (so: no escapes).
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    raise InvalidConfig(f"a setting of type {type(value).__name__} cannot be written as TOML")
