"""Refusals: one exception, one table of codes.

Owns: `Refusal` and the status of every code. Any thread. Imports the standard library only, so that
the pure rules may raise it.
"""

from __future__ import annotations

from collections.abc import Mapping

STATUS_OF_CODE: dict[str, int] = {
    "missing_credentials": 401,
    "invalid_credentials": 401,
    "key_revoked": 401,
    "invalid_token": 401,
    "token_expired": 401,
    "banned": 403,
    "forbidden": 403,
    "not_owner": 403,
    "seat_locked": 403,
    "seat_request_required": 403,
    "seat_reserved": 403,
    "identity_mismatch": 403,
    "feature_disabled": 403,
    "room_limit_reached": 403,
    "pairing_code_wrong": 403,
    "not_found": 404,
    "key_not_found": 404,
    "pairing_not_found": 404,
    "room_not_found": 404,
    "participant_not_found": 404,
    "call_not_found": 404,
    "invitation_not_found": 404,
    "request_not_found": 404,
    "seat_not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "callee_busy": 409,
    "already_in_role": 409,
    "already_seated": 409,
    "invalid_state": 409,
    "invitation_pending": 409,
    "not_on_stage": 409,
    "not_seated": 409,
    "request_pending": 409,
    "seat_occupied": 409,
    "tls_required": 409,
    "withdrawn": 409,
    "pairing_code_expired": 410,
    "pairing_code_locked": 410,
    "pairing_code_used": 410,
    "pairing_code_withdrawn": 410,
    "payload_too_large": 413,
    "validation_failed": 422,
    "limit_reached": 429,
    "rate_limited": 429,
    "session_takeover_cooldown": 429,
    "internal": 500,
    "unavailable": 503,
}


class Refusal(Exception):
    """What the engine refuses with: a code of the table, a sentence, perhaps a time to wait."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retry_after_s: float | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = STATUS_OF_CODE[code]
        self.message = message
        self.retry_after_s = retry_after_s
        self.details = details


def invalid(message: str) -> Refusal:
    """A field of the request is missing or wrong (422)."""
    return Refusal("validation_failed", message)


def no_room() -> Refusal:
    """There is no such room (404)."""
    return Refusal("room_not_found", "No room has this name")


def no_participant() -> Refusal:
    """The identity is no participant of the room (404)."""
    return Refusal("participant_not_found", "No participant of the room has this identity")


def not_admitted() -> Refusal:
    """The identity has no token of the room (403)."""
    return Refusal("forbidden", "You were not admitted to this room; mint a token for it first")


def not_moderator() -> Refusal:
    """The identity is neither a host nor an admin of the room (403)."""
    return Refusal("forbidden", "Only a host or an admin of the room can do this")


def unavailable() -> Refusal:
    """The media server is away; the same request may succeed in a second."""
    return Refusal("unavailable", "The media server cannot be reached; try again", retry_after_s=1.0)
