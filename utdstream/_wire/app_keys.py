"""App keys as both ends know them: how one is written, and what is kept of it.

Owns: both. Pure: chance is an argument. Standard library only.
"""

from __future__ import annotations

import hashlib

KEY_BYTES = 24


def key_of(random: bytes) -> str:
    """Returns the key that these `KEY_BYTES` random bytes make."""
    return f"utd_{random.hex()}"


def digest_of(key: str, app_id: str) -> str:
    """Returns what is kept of a key of this project. It is random: it needs no salt and no slow hash."""
    return hashlib.sha256(f"{app_id}|{key}".encode("utf-8", "surrogatepass")).hexdigest()
