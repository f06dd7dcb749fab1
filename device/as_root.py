"""How a command that needs root is written: sudo looks into the system's folders alone, not into an environment.

Owns: `as_root`. Imports the standard library only.
"""

from __future__ import annotations

import shlex
import shutil
import sysconfig
from pathlib import Path

NAME = "utd-device"
SUDO_LOOKS_IN = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Debian's `secure_path`."""


def as_root(arguments: str) -> str:
    """Returns `sudo utd-device <arguments>`, with the program's whole path where sudo would not find it."""
    program = Path(sysconfig.get_path("scripts")) / NAME
    found = shutil.which(NAME, path=SUDO_LOOKS_IN)
    known = NAME if found is not None or not program.exists() else shlex.quote(str(program))
    return f"sudo {known} {arguments}"
