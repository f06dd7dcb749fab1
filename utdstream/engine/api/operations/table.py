"""What an operation of the REST interface is, and what it can refuse.

Owns: `Access`, `Operation`, and the refusals that operations of one kind have in common. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Access(Enum):
    """Which credential an operation wants (the app id comes with each that is sent)."""

    PUBLIC = "nothing"
    CODE = "a pairing code, which is not sent"
    MINT = "app key or app secret"
    ANY = "app key, app secret or user token"
    USER = "user token or app secret"
    SECRET = "app secret"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. `request` and `answer` name schemas of the document; `codes` are the refusals
    beyond those that every operation of its kind can give.
    """

    id: str
    method: str
    path: str
    summary: str
    access: Access
    answer: str
    request: str | None = None
    status: int = 200
    replay_status: int | None = None
    codes: tuple[str, ...] = ()
    query: tuple[str, ...] = ()
    keeps_key: bool = False
    """Keeps its Idempotency-Key in the database, and answers a repeat itself."""
    is_stream: bool = False
    """Answers with server-sent events, and takes app id and user token from the query too."""
    is_kept: bool = False
    """Leaves something in the database for months: it is counted by the hour too."""
    is_undone: bool = False
    """Whether a withdrawal of its Idempotency-Key takes back what it did."""

    @property
    def changes(self) -> bool:
        """Whether it changes something that a repeat would change again. A mint does not, but for a room that it
        may make; what a device does with a pairing code is known again by the code.
        """
        return self.method != "GET" and self.access not in (Access.MINT, Access.CODE)


ON_CALL = ("forbidden", "identity_mismatch", "call_not_found", "validation_failed")
ON_DECISION = ("forbidden", "identity_mismatch", "room_not_found", "validation_failed")
ON_PERSON = (*ON_DECISION, "participant_not_found", "unavailable")
ON_BAN = ("forbidden", "room_not_found", "validation_failed")
ON_ROOM = ("forbidden", "room_not_found", "validation_failed", "unavailable")
ON_STATE = ("forbidden", "room_not_found", "validation_failed", "invalid_state")
BY_SOMEBODY = (*ON_STATE, "identity_mismatch")

ALWAYS = ("internal",)
BY_ACCESS: dict[Access, tuple[str, ...]] = {
    Access.PUBLIC: (),
    Access.CODE: ("rate_limited",),
    Access.MINT: ("missing_credentials", "invalid_credentials", "key_revoked", "rate_limited"),
    Access.ANY: (
        "banned",
        "missing_credentials",
        "invalid_credentials",
        "key_revoked",
        "invalid_token",
        "token_expired",
        "rate_limited",
    ),
    Access.USER: (
        "banned",
        "missing_credentials",
        "invalid_credentials",
        "key_revoked",
        "invalid_token",
        "token_expired",
        "rate_limited",
    ),
    Access.SECRET: (
        "missing_credentials",
        "invalid_credentials",
        "key_revoked",
        "invalid_token",
        "token_expired",
        "rate_limited",
    ),
}
WITH_BODY = ("payload_too_large", "request_timeout", "validation_failed")


def codes_of(operation: Operation) -> tuple[str, ...]:
    """Every code this operation can refuse with."""
    codes = [*operation.codes, *BY_ACCESS[operation.access], *ALWAYS]
    if operation.access is not Access.PUBLIC:
        codes += [*WITH_BODY, "unavailable"]
    if operation.changes:
        codes.append("withdrawn")
    return tuple(dict.fromkeys(codes))
