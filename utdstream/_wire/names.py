"""Which names a path can carry: of rooms and of identities.

Owns: the rule that both ends hold. The SDK refuses before it asks; the engine refuses whoever asks. Pure: standard
library and `routes`.

A name that is a word of a path, such as `ban` in `/rooms/ban`, could be given and never reached; so could `.` and
`..`, which clients and proxies take out of a path before it is sent, also when they are percent-encoded.
"""

from __future__ import annotations

import re

from utdstream._wire import routes
from utdstream.limits import MAX_IDENTITY

ROOM_NAME_PATTERN = rf"[A-Za-z0-9_.-]{{1,{MAX_IDENTITY}}}"
_ROOM_NAME = re.compile(rf"{ROOM_NAME_PATTERN}\Z")
_CALL_ID = re.compile(r"call_[0-9a-f]{24}\Z")
_DOTS = (".", "..")
_WORDS_OF_ROOMS = tuple(path.removeprefix(f"{routes.ROOMS}/") for path in (routes.BAN, routes.BANS))
_WORD_OF_PEOPLE = routes.PEOPLE_BY_ROLE.rpartition("/")[2]


def room_name_fault(name: str) -> str | None:
    """Why a room cannot have this plain name, as a sentence; None: it can."""
    if not _ROOM_NAME.match(name):
        return (
            f"room_name must be alphanumeric (letters, digits, '_', '.', '-'), 1 to {MAX_IDENTITY} characters"
        )
    if name in _DOTS or name in _WORDS_OF_ROOMS:
        return f"room_name must not be {name!r}: no path could carry it; choose another name"
    if _CALL_ID.match(name):
        return "room_name must not look like the id of a call; choose another name"
    return None


def identity_fault(identity: str) -> str | None:
    """Why nobody can have this identity, as a sentence without its subject; None: it can be had.

    Characters and length are the caller's to check.
    """
    if identity in _DOTS or identity == _WORD_OF_PEOPLE:
        return f"must not be {identity!r}: no path could carry it; choose another one"
    return None
