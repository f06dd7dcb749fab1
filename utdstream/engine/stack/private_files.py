"""Files that only their owner may read: the folders and files of a stack.

Owns: how such a file is written. Any thread; blocks for as long as the disk does. Imports the standard library,
tomli-w and errors.

1. Every file is private (0600, in a folder of 0700) from the moment it exists, and put in place whole.
2. It is on the disk, and so is its name, when the writer returns: a power cut leaves the old file or the new one.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from utdstream.errors import InvalidConfig


def private_folder(path: Path) -> None:
    """Makes `path` a folder of which others see nothing; one that they may pass through stays so (see `users`).

    Raises: InvalidConfig.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.stat()
        if status.st_uid != os.geteuid() or status.st_mode & 0o066:
            path.chmod(0o700)
    except OSError as error:
        raise InvalidConfig(
            f"the folder {path} cannot be used ({error.strerror}); name another one with --data"
        ) from error


def write_tables(path: Path, tables: Mapping[str, object], *, header: str = "") -> None:
    """Puts `tables` at `path` as TOML, below `header`. A value None, which TOML cannot say, is left out."""
    import tomli_w

    said = {
        name: {key: value for key, value in table.items() if value is not None}
        if isinstance(table, Mapping)
        else table
        for name, table in tables.items()
    }
    write_private(path, header + tomli_w.dumps(said))


def write_private(path: Path, text: str) -> None:
    """Puts `text` at `path`, whole, readable by its owner alone from the first moment."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(handle)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)  # the name is the folder's
    finally:
        os.close(folder)
