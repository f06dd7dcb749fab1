"""The good copy of the database file, and what is done about a file that is damaged.

Owns: `engine.db.good` beside `engine.db`: when it is due, how it is taken, when it takes the file's place. `mend`
runs before the file is opened; `take` on any thread, with a connection of its own. Must not import asyncio.

1. A damaged file is put aside and its good copy takes its place; without one the engine refuses to start: an empty
   database would silently void every key and lift every ban.
2. Keys and bans are in the copy some seconds after they changed; rooms, logins and calls within the hour, and only
   when they changed. Whatever happens, copies are `BYTES_A_S` at most: a card wears out.
3. The copy is whole and checked before it takes its name, and no larger than `MOST_BYTES`: calls that are over are
   left out of a larger one.
4. A new file is made beside and takes its name when it is whole: an empty one is never a new one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from utdstream.engine.store.contract import StoreFailed
from utdstream.engine.store.sqlite.connection import tells_damage
from utdstream.whole_files import put_aside, sync_names, write_whole

_log = logging.getLogger(__name__)

EVERY_S = 3600.0
MOST_BYTES = 32 * 1024 * 1024
BYTES_A_S = 100_000
"""So a small database is copied each second at most, and one of 32 MB each six minutes."""
_ENDS = ("-wal", "-shm")


def copy_of(path: Path) -> Path:
    """Where the good copy of this database is."""
    return path.with_name(f"{path.name}.good")


def mend(path: Path, make: Callable[[Path], None]) -> None:
    """Sees that there is a database at `path` that can be opened; `make` makes a new, empty one.

    Raises: StoreFailed, one sentence, when it is damaged and there is no good copy, or no room for it.
    """
    copy = copy_of(path)
    try:
        _let_us_write(path)
        found = damage(path) if path.exists() else "is not there"
        if found is None:
            return
        if copy.exists() and damage(copy) is None:
            aside = put_aside(path, with_ends=_ENDS)
            write_whole(path, copy.read_bytes())
        elif path.exists() or copy.exists():
            raise StoreFailed(
                f"{path} {found}, and there is no good copy of it; put a back-up there, or move it away to begin "
                "without keys, bans and calls"
            )
        else:
            _make(path, make)
            return
    except OSError as error:
        raise StoreFailed(
            f"{path} cannot be mended ({error.strerror}); make room there, or let it be written"
        ) from error
    _log.warning(
        "%s %s: its good copy of %s is in its place%s",
        path,
        found,
        time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(copy.stat().st_mtime)),
        "" if aside is None else f", the damaged file is {aside.name}",
    )


def damage(path: Path) -> str | None:
    """What is wrong with this file, as the end of a sentence; None: nothing, or nothing that can be told now."""
    try:
        if path.stat().st_size == 0:
            return "is empty"
        if not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
            return "may not be read and written by this user"
        with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=0.0)) as database:
            said = database.execute("PRAGMA quick_check(1)").fetchone()[0]
            version = database.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.Error as error:
        return f"is damaged ({error})" if tells_damage(error) else None
    except OSError:
        return None
    if said != "ok":
        return "is damaged (quick_check)"
    return "holds nothing of an engine" if version == 0 else None


class GoodCopy:
    """The good copy of an open database. `counts` tells how many changes there were: all, and those that last."""

    def __init__(self, path: Path, counts: Callable[[], tuple[int, int]]) -> None:
        self._path = path
        self._counts = counts
        self._seen = counts()
        self._failed_at = self._not_before = -EVERY_S

    def is_due(self) -> bool:
        """Whether it is time to take it. Does not block."""
        now = time.monotonic()
        if now < self._not_before or now - self._failed_at < EVERY_S / 60:
            return False
        (changes, lasting), (seen, lasting_seen) = self._counts(), self._seen
        if lasting != lasting_seen:
            return True
        try:
            age_s = abs(time.time() - copy_of(self._path).stat().st_mtime)
        except OSError:
            return True
        return age_s > EVERY_S and changes != seen

    def take(self) -> None:
        """Takes it. Blocks: as long as the disk does. Raises: StoreFailed, and the older one stays."""
        counts, copy = self._counts(), copy_of(self._path)
        draft = copy.with_name(f"{copy.name}.draft")
        try:
            _remove(draft)
            os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            _copy(self._path, draft)
            found = damage(draft)
            if found is not None:
                raise StoreFailed(
                    f"the copy {found}; the database may be: it is looked at when the engine starts"
                )
            size = draft.stat().st_size
            _put(draft, copy)
        except (OSError, sqlite3.Error, StoreFailed) as error:
            self._failed_at = time.monotonic()
            with contextlib.suppress(OSError):
                _remove(draft)
            raise StoreFailed(f"no good copy is taken now: {error}") from error
        self._seen = counts
        self._not_before = time.monotonic() + size / BYTES_A_S


def _copy(path: Path, draft: Path) -> None:
    with (
        contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as source,
        contextlib.closing(sqlite3.connect(draft, isolation_level=None)) as target,
    ):
        source.backup(target)
        target.execute("PRAGMA synchronous = OFF")  # it is synced as a whole, before it takes its name
        target.execute("PRAGMA journal_mode = DELETE")
        if draft.stat().st_size > MOST_BYTES:
            target.execute("DELETE FROM calls WHERE room_open = 0")
            target.execute("VACUUM")


def _make(path: Path, make: Callable[[Path], None]) -> None:
    draft = path.with_name(f".{path.name}.draft")
    _remove(draft)
    make(draft)
    for end in _ENDS:  # a log of a file that is gone would be taken for this one's
        Path(f"{path}{end}").unlink(missing_ok=True)
    _put(draft, path)


def _put(draft: Path, path: Path) -> None:
    handle = os.open(draft, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    draft.replace(path)
    sync_names(path.parent)


def _remove(draft: Path) -> None:
    for end in ("", "-journal", *_ENDS):
        Path(f"{draft}{end}").unlink(missing_ok=True)


def _let_us_write(path: Path) -> None:
    """Gives the owner its rights back, where a copy by hand has taken them."""
    for file in (path, *(Path(f"{path}{end}") for end in _ENDS)):
        with contextlib.suppress(FileNotFoundError):
            status = file.stat()
            if status.st_uid == os.geteuid() and status.st_mode & 0o600 != 0o600:
                file.chmod(0o600)
