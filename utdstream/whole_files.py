"""Files that outlast a power cut: written whole, and put aside when they are found damaged.

Owns: `write_whole`, the one way in which a file that must last is written; `put_aside`, and what was put aside.
Any thread; blocks for as long as the disk does. Imports the standard library only.

1. It is on the disk, and so is its name, when the writer returns: a power cut leaves the old file or the new one.
2. A failure (no room, read-only) leaves the old file, and no draft beside it.
3. What holds already what it should is not written again: a full disk harms no start, and a card lasts longer.
4. A damaged file is never deleted: it is put aside under a name that says when, and the newest few are kept.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import time
from collections.abc import Iterable
from pathlib import Path

_ASIDE = ".bad-"
_KEPT_ASIDE = 3
"""Damaged files of one name that are kept; the oldest go first, for a card is small."""


def write_whole(path: Path, content: str | bytes, *, mode: int = 0o600) -> bool:
    """Puts `content` at `path`, whole, with `mode` from the first moment; returns False when that was so already.

    Raises: OSError, and the old file is as it was.
    """
    wanted = content.encode() if isinstance(content, str) else content
    if _holds(path, wanted, mode):
        return False
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(wanted)
            file.flush()
            os.fchmod(handle, mode)  # whatever the umask
            os.fsync(handle)
        draft.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
    sync_names(path.parent)
    return True


def _holds(path: Path, content: bytes, mode: int) -> bool:
    """Whether this very content is there already. Nothing is followed: a link is replaced by a file."""
    try:
        status = path.lstat()
        return (
            stat.S_ISREG(status.st_mode)
            and stat.S_IMODE(status.st_mode) == mode
            and status.st_uid == os.geteuid()
            and status.st_size == len(content)
            and path.read_bytes() == content
        )
    except OSError:
        return False


def sync_names(folder: Path) -> None:
    """Has what was renamed in this folder on the disk. Raises: OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def put_aside(path: Path, *, with_ends: Iterable[str] = ()) -> Path | None:
    """Renames a damaged file out of the way; returns its new name, None when there is none.

    `with_ends` go along, files of the same name and these ends. Raises: OSError.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    aside = path.with_name(f"{path.name}{_ASIDE}{stamp}-{secrets.token_hex(2)}")
    for end in ("", *with_ends):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{end}").rename(f"{aside}{end}")
    older = sorted(one for one in _of(path.parent) if one.name.startswith(f"{path.name}{_ASIDE}"))
    for forgotten in older[: -_KEPT_ASIDE * (1 + len(tuple(with_ends)))]:
        with contextlib.suppress(OSError):
            forgotten.unlink()
    sync_names(path.parent)
    return aside if aside.exists() else None


def aside_in(*folders: Path) -> list[Path]:
    """The damaged files that were put aside in these folders, and not looked at and deleted since."""
    return sorted(one for folder in folders for one in _of(folder) if not one.name.endswith(("-wal", "-shm")))


def _of(folder: Path) -> list[Path]:
    try:
        return [one for one in folder.iterdir() if _ASIDE in one.name]
    except OSError:
        return []
