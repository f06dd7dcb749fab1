"""The pictures of presses in a folder, the newest so many.

Owns: their names and their number. Any one thread at a time.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from utdstream.whole_files import write_whole


def keep(picture: bytes, folder: Path, most: int) -> Path:
    """Writes one JPEG, whole or not at all, and forgets the oldest. Raises: OSError."""
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    moment = time.time_ns() // 1_000_000
    name = time.strftime("press-%Y%m%d-%H%M%S", time.localtime(moment / 1000))
    path = folder / f"{name}-{moment % 1000:03}.jpg"
    write_whole(path, picture, mode=0o640)
    pictures = {old: old.stat().st_mtime_ns for old in folder.glob("press-*.jpg") if old != path}
    # The order is that of the presses, whatever the clock says: it may be behind at a boot, and be set later.
    pictures[path] = max(time.time_ns(), max(pictures.values(), default=0) + 1)
    os.utime(path, ns=(pictures[path], pictures[path]))
    for old in sorted(pictures, key=lambda one: (pictures[one], one == path, one))[:-most]:
        old.unlink(missing_ok=True)
    return path
