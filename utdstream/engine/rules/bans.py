"""The rules of bans: which identity one keeps out, for how long, and which roles may pronounce it.

Owns: `Ban` and every decision about it. Pure: no I/O, the clock is given.

1. A ban is of one room, by its plain name, or of the whole project (`room` None). It outlives the room.
2. One ban for each identity and room: a new one takes the place of the old one.
3. An expired ban has no effect.
4. A moderator bans neither their own identity nor the owner of the room; an admin bans no host. The app secret
   bans any identity, and it alone bans from the project.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from utdstream._wire import codec
from utdstream.engine.rules.refusals import Refusal

MAX_REASON = 500
MAX_DURATION_S = 10 * 365 * 24 * 3600
MESSAGE = "User is banned"
"""The message by which every generation of clients recognises a ban."""


@dataclass(frozen=True, slots=True)
class Ban:
    """One ban. `name` is the display name of an identity that was in the room."""

    id: int
    identity: str
    room: str | None
    banned_at: datetime
    expires_at: datetime | None = None
    reason: str | None = None
    name: str | None = None

    def is_active(self, now: datetime) -> bool:
        """True until it expires; without an end: for ever."""
        return self.expires_at is None or now < self.expires_at


def end_of(now: datetime, duration_s: int | None) -> datetime | None:
    """When a ban of this length ends; None for ever."""
    return None if duration_s is None else now + timedelta(seconds=duration_s)


def heaviest(bans: Iterable[Ban], now: datetime) -> Ban | None:
    """The ban to name when several hold: of the project before of a room, then the one that ends last."""
    active = [ban for ban in bans if ban.is_active(now)]
    return max(active, key=_weight, default=None)


def refusal(ban: Ban) -> Refusal:
    """What a banned identity is answered."""
    return Refusal("banned", MESSAGE, details=notice(ban))


def notice(ban: Ban) -> Mapping[str, object]:
    """The fields of a refusal's details and, with the identity, of the message `_banned`."""
    return {
        "room_name": ban.room,
        "reason": ban.reason,
        "expires_at": None if ban.expires_at is None else codec.iso(ban.expires_at),
    }


def row(ban: Ban) -> dict[str, object]:
    """The engine's spelling of a ban. `attributes` is for the vendor's kits; this engine keeps none."""
    return {
        "id": ban.id,
        "identity": ban.identity,
        "name": ban.name,
        "attributes": None,
        **notice(ban),
        "banned_at": codec.iso(ban.banned_at),
    }


def check_may_ban(actor: str, target: str, *, owner: str | None, actor_role: str, target_role: str) -> None:
    """Raises: Refusal when this moderator may not ban this identity from the room."""
    if actor_role not in ("host", "admin") and actor != owner:
        raise Refusal("forbidden", "Only the owner, a host or an admin of the room can ban")
    if target == actor:
        raise Refusal("invalid_state", "A moderator cannot ban their own identity")
    if target == owner or (target_role == "host" and actor != owner):
        raise Refusal("forbidden", "The host of the room cannot be banned")


def _weight(ban: Ban) -> tuple[bool, bool, float]:
    endless = ban.expires_at is None
    return (ban.room is None, endless, 0.0 if ban.expires_at is None else ban.expires_at.timestamp())
