"""The pictures of presses in a folder, the newest so many.

Owns: their names and their number. Any one thread at a time.
"""

from __future__ import annotations

import os
import time
from pathlib import Path


def keep(picture: bytes, folder: Path, most: int) -> Path:
    """Writes one JPEG, whole or not at all, and forgets the oldest. Raises: OSError."""
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    moment = time.time_ns() // 1_000_000
    name = time.strftime("press-%Y%m%d-%H%M%S", time.localtime(moment / 1000))
    path = folder / f"{name}-{moment % 1000:03}.jpg"
    draft = path.with_suffix(".part")
    draft.write_bytes(picture)
    os.replace(draft, path)
    for old in sorted(folder.glob("press-*.jpg"))[:-most]:
        old.unlink(missing_ok=True)
    return path
