"""Operating-system users of the programs of a stack that root starts: one for each.

Owns: which user a program has, and which files are that user's. Any thread; blocks for as long as the disk does.
Imports the standard library and its neighbours.

1. The users are the administrator's to make: `utd-engine`, `utd-livekit`, `utd-mqtt`, `utd-proxy`. A program whose
   user is not there, or cannot read the program, runs as root, and the log says so with the command that mends it.
2. What holds the secrets of all (`stack.toml`) and the logs stay root's. A program's user owns its own files, and
   can pass through the data folder without seeing what else is in it.
3. Nothing in a folder of such a user is followed: it could be a link to anything.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pwd
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from utdstream.engine.stack.ports import Part

_log = logging.getLogger(__name__)

_PROBE_WITHIN_S = 30.0


class User(NamedTuple):
    """A user by numbers; its only group."""

    uid: int
    gid: int


def find(parts: Iterable[Part]) -> dict[Part, User]:
    """The users of these parts, as far as they are there; none unless root asks. Blocks: some seconds."""
    if os.geteuid() != 0:
        return {}
    found: dict[Part, User] = {}
    missing = []
    for part in parts:
        try:
            entry = pwd.getpwnam(f"utd-{part}")
        except KeyError:
            missing.append(part)
            continue
        user = User(entry.pw_uid, entry.pw_gid)
        if part == "engine" and not can_run_python(user):
            _log.warning(
                "utd-engine cannot read %s and utdstream in it: the engine runs as root; install it where "
                "everybody can, as in /opt",
                sys.prefix,
            )
            continue
        found[part] = user
    if missing:
        _log.warning(
            "%s run as root; 'By hand as root' in docs/how-to/self-hosting.md gives each a user of its own",
            " and ".join(filter(None, (", ".join(missing[:-1]), missing[-1]))),
        )
    return found


def hand_over(folder: Path, users: Mapping[Part, User], files: Mapping[Part, Iterable[Path]]) -> None:
    """Gives each user its files and what is in its folders, and lets it through the data folder. Blocks."""
    if not users:
        return
    folder.chmod(0o711)
    for part, user in users.items():
        for path in files[part]:
            inside = path.iterdir() if path.is_dir() and not path.is_symlink() else ()
            for one in (path, *inside):
                with contextlib.suppress(FileNotFoundError):
                    os.chown(one, user.uid, user.gid, follow_symlinks=False)


def can_run_python(user: User) -> bool:
    """Whether this user can read this Python and the engine in it."""
    paths = [str(Path(__file__).parents[3]), *filter(None, [os.environ.get("PYTHONPATH")])]
    try:
        ended = subprocess.run(
            [sys.executable, "-c", "import utdstream.engine.app"],
            user=user.uid,
            group=user.gid,
            extra_groups=(),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_PROBE_WITHIN_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return ended.returncode == 0
