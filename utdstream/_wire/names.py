"""Which names a path can carry: of rooms and of identities.

Owns: the rule that both ends hold. The SDK refuses before it asks; the engine refuses whoever asks. Pure.

A name that is a word of a path, such as `ban` in `/rooms/ban`, could be given and never reached; so could `.` and
`..`, which clients and proxies take out of a path before it is sent, also when they are percent-encoded.
"""

from __future__ import annotations

import re

from utdstream.limits import MAX_IDENTITY, RESERVED_IDENTITIES, RESERVED_ROOM_NAMES

ROOM_NAME_PATTERN = rf"[A-Za-z0-9_.-]{{1,{MAX_IDENTITY}}}"
_ROOM_NAME = re.compile(rf"{ROOM_NAME_PATTERN}\Z")
_CALL_ID = re.compile(r"call_[0-9a-f]{24}\Z")


def room_name_fault(name: str) -> str | None:
    """Returns why a room cannot have this plain name, as a sentence; None: it can."""
    if not _ROOM_NAME.match(name):
        return (
            f"room_name must be alphanumeric (letters, digits, '_', '.', '-'), 1 to {MAX_IDENTITY} characters"
        )
    if name in RESERVED_ROOM_NAMES:
        return f"room_name must not be {name!r}: no path could carry it; choose another name"
    if is_call_id(name):
        return "room_name must not look like the id of a call; choose another name"
    return None


def is_call_id(name: str) -> bool:
    """Whether this is the id of a call, and so the name of its room."""
    return _CALL_ID.match(name) is not None


def identity_fault(identity: str) -> str | None:
    """Returns why nobody can have this identity, as a sentence without its subject; None: it can be had.

    Characters and length are the caller's to check.
    """
    if identity in RESERVED_IDENTITIES:
        return f"must not be {identity!r}: no path could carry it; choose another one"
    return None
