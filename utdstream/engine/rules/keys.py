"""The rules of app keys: which identity a key speaks for, which rooms it enters, which it may host.

Owns: `AppKey` and every decision about it. Pure: no I/O, the clock is given.

1. A key names an identity, or a pattern: a `*` at the end stands for any ending. The rooms it enters are patterns
   of the same kind.
2. The open key is the project's own `app_key`: any identity, any room, host too. It has no record.
3. A key that may not host enters rooms that are open. It neither makes a room nor names its owner. Where its
   identity is host, by another key, it does nothing: to host belongs to the key, not to the name.
4. The display name of a key takes the place of any name that its holder gives. Without one the holder is shown to
   those whom it calls by its identity; in a room it may choose.
5. A key is never changed, only revoked. A revoked key is kept: what was minted with it is still told apart.
6. Whose calls ring at an identity that is talking is said by its own keys: by each that is for it and in use.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from utdstream._wire import codec, names
from utdstream.engine.rules.refusals import Refusal, invalid

ANY = "*"
MAX_KEYS = 10_000
MAX_ROOM_PATTERNS = MAX_BREAK_IN_PATTERNS = 50
OPEN_ID, SERVER_ID = "open", "server"
"""What a user token names in place of a key's id when it was minted with the open key, or with the app secret."""


@dataclass(frozen=True, slots=True)
class AppKey:
    """One key of the project; `digest` is made of the key itself, which is kept nowhere."""

    id: str
    name: str
    digest: str
    identity: str
    may_host: bool
    rooms: tuple[str, ...]
    created_at: datetime
    display_name: str | None = None
    revoked_at: datetime | None = None
    allow_break_in: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KeyTerms:
    """What a key that is to be made is for."""

    identity: str
    name: str
    may_host: bool
    rooms: tuple[str, ...]
    display_name: str | None
    allow_break_in: tuple[str, ...]

    def key(self, key_id: str, digest: str, now: datetime) -> AppKey:
        """The key, made now."""
        return AppKey(
            id=key_id,
            name=self.name,
            digest=digest,
            identity=self.identity,
            may_host=self.may_host,
            rooms=self.rooms,
            created_at=now,
            display_name=self.display_name,
            allow_break_in=self.allow_break_in,
        )


class Login(NamedTuple):
    """One login at the broker: of an identity, by the key that it was minted with (empty: no key of its own)."""

    identity: str
    key_id: str = ""


def checked_room_pattern(pattern: str) -> str:
    """A room's plain name, or its beginning and a `*`. Raises: Refusal."""
    fault = names.room_name_fault(pattern.removesuffix(ANY) or "any")
    if fault is not None:
        raise invalid(f"rooms: {fault}; a * stands at the end alone")
    return pattern


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern is this text, or ends with `*` and is how the text begins."""
    return text == pattern or (pattern.endswith(ANY) and text.startswith(pattern[:-1]))


def check_identity(key: AppKey, identity: str) -> None:
    """Raises: Refusal (`identity_mismatch`) when the key does not speak for this identity."""
    if not matches(key.identity, identity):
        raise Refusal(
            "identity_mismatch", "This app key is not for this identity; use the key that was made for it"
        )


def check_in_force(key: AppKey | None) -> None:
    """Raises: Refusal (`key_revoked`) when the key was revoked. None: the open key, or the secret."""
    if key is not None and key.revoked_at is not None:
        raise Refusal("key_revoked", "This app key was revoked; give the device a new one")


def check_room(rooms: Sequence[str], room: str) -> None:
    """Raises: Refusal (`forbidden`) when none of a key's patterns is for this room."""
    if not any(matches(pattern, room) for pattern in rooms):
        raise Refusal("forbidden", "This app key is not for this room; use a key that was made for it")


def speak_for(app_keys: Iterable[AppKey], identity: str) -> bool:
    """Whether one of these keys is in use, and for this identity."""
    return any(key.revoked_at is None and matches(key.identity, identity) for key in app_keys)


def may_break_in(app_keys: Iterable[AppKey], callee: str, caller: str) -> bool:
    """Whether one of these keys lets this caller ring at this callee while it talks."""
    return any(
        key.revoked_at is None
        and matches(key.identity, callee)
        and any(matches(pattern, caller) for pattern in key.allow_break_in)
        for key in app_keys
    )


def check_guest(*, exists: bool, is_host: bool) -> None:
    """Raises: Refusal when a key that may not host is to make a room, or to act as its host."""
    if not exists:
        raise Refusal("room_not_found", "The room is not open, and this app key may not host it")
    if is_host:
        raise _no_host()


def may_host(key: AppKey | None) -> bool:
    """Whether what is done with this key may be done as a host. None: the open key, or the secret."""
    return key is None or key.may_host


def check_host(key: AppKey | None, *, is_host: bool) -> None:
    """Raises: Refusal (`forbidden`) when the identity hosts the room and its key may not."""
    if is_host and not may_host(key):
        raise _no_host()


def _no_host() -> Refusal:
    return Refusal(
        "forbidden", "This identity hosts the room, and this app key may not host; use one that may"
    )


def row(key: AppKey) -> dict[str, object]:
    """The engine's spelling of a key, without the key itself."""
    return {
        "key_id": key.id,
        "name": key.name,
        "identity": key.identity,
        "may_host": key.may_host,
        "rooms": list(key.rooms),
        "display_name": key.display_name,
        "allow_break_in": list(key.allow_break_in),
        "created_at": codec.iso(key.created_at),
        "revoked_at": None if key.revoked_at is None else codec.iso(key.revoked_at),
    }
