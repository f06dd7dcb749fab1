"""Files that only their owner may read: the folders and files of a stack.

Owns: how such a file is written, and what a full disk is told as. Any thread; blocks for as long as the disk does.
Imports the standard library, tomli-w, errors and `whole_files`.

1. Every file is private (0600, in a folder of 0700) from the moment it exists, and written whole.
2. A disk that is full or may not be written is one sentence.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from utdstream.errors import InvalidConfig
from utdstream.whole_files import write_whole


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


def write_tables(path: Path, tables: Mapping[str, object], *, header: str = "", footer: str = "") -> None:
    """Puts `tables` at `path` as TOML, between `header` and `footer`. A value None, which TOML cannot say, is left
    out. Raises: InvalidConfig.
    """
    import tomli_w

    said = {
        name: {key: value for key, value in table.items() if value is not None}
        if isinstance(table, Mapping)
        else table
        for name, table in tables.items()
    }
    write_private(path, header + tomli_w.dumps(said) + footer)


def write_private(path: Path, text: str) -> None:
    """Puts `text` at `path`, whole, readable by its owner alone from the first moment. Raises: InvalidConfig."""
    with writing(path):
        write_whole(path, text)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """While inside, what the disk refuses is one sentence about `path`. Raises: InvalidConfig."""
    try:
        yield
    except OSError as error:
        raise InvalidConfig(
            f"{path} cannot be written ({error.strerror}); make room there, or let it be written, and try again"
        ) from error
