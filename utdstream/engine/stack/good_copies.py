"""The good copy beside a file that holds keys, and what takes its place when the file is damaged.

Owns: `NAME.good`, when it is taken, when it is put back. Any thread; blocks for as long as the disk does.
Imports the standard library and its neighbours.

1. New keys are never made where old ones were: a damaged file without a good copy is refused in a sentence.
2. What was damaged is put aside under another name, and the log says which.
3. A copy is taken of what was just read or written in good order, never of what was not looked at.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from utdstream.engine.stack.private_files import writing
from utdstream.errors import InvalidConfig
from utdstream.whole_files import put_aside, write_whole

_log = logging.getLogger(__name__)

Damage = Callable[[bytes, bytes | None], str | None]
"""What is wrong with this content, beside that of the good copy, as the end of a sentence; None: nothing."""


def copy_of(file: Path) -> Path:
    """Where the good copy of this file is."""
    return file.with_name(f"{file.name}.good")


def keep(file: Path) -> None:
    """Takes the good copy of a file that is in order. On a full disk the older one stays, and the log says so."""
    try:
        write_whole(copy_of(file), file.read_bytes())
    except OSError as error:
        _log.warning("no good copy of %s is kept now (%s)", file, error.strerror)


def mend(file: Path, damage: Damage) -> None:
    """Puts a damaged file aside and its good copy in its place. Without either there is nothing to mend.

    Raises: InvalidConfig when it is damaged and there is no good copy, or no room for it.
    """
    content, kept = _read(file), _read(copy_of(file))
    if content is None and kept is None:
        return
    found = "is not there" if content is None else damage(content, kept)
    if found is None:
        return
    if kept is None or damage(kept, None) is not None:
        raise InvalidConfig(
            f"{file} {found}, and there is no good copy of it; put a copy of this file back, or move the whole "
            "data folder away to begin with new keys, which every device needs then"
        )
    put_back(file, found)


def put_back(file: Path, found: str) -> None:
    """Puts a file aside and its good copy in its place; `found` says what was wrong. Raises: InvalidConfig."""
    with writing(file):
        kept = copy_of(file).read_bytes()
        if _read(file) == kept:
            return
        aside = put_aside(file)
        write_whole(file, kept)
    _log.warning(
        "%s %s: its good copy is in its place again%s",
        file,
        found,
        "" if aside is None else f", the damaged file is {aside.name}",
    )


def _read(file: Path) -> bytes | None:
    """The content; None when there is no such file, and nothing of one that cannot be read."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError:
        return b""
