"""Every path and header of the engine's REST interface.

Owns: where things are. The SDK reads this, the engine builds its table on it, and a test holds the two
equal. A guess about the vendor's engine is one line here (marked "guess"), and a correction is one line too.
"""

from __future__ import annotations

from urllib.parse import quote

PREFIX = "/api/v1"
HEALTH = "/health"

HEADER_APP_ID = "X-App-Id"
HEADER_APP_KEY = "X-App-Key"  # guess: the vendor's literal is on no public page
HEADER_APP_SECRET = "X-App-Secret"
HEADER_IDEMPOTENCY_KEY = "Idempotency-Key"

TOKEN = f"{PREFIX}/token"
AUTH_SESSION = f"{PREFIX}/auth/session"
PROJECT = f"{PREFIX}/project"
CALLS = f"{PREFIX}/calls"
ROOMS = f"{PREFIX}/rooms"


def segment(text: str) -> str:
    """One path segment or topic level: everything but letters, digits and `-._~` percent-encoded."""
    return quote(text, safe="")


def call(call_id: str) -> str:
    return f"{CALLS}/{segment(call_id)}"


def call_action(call_id: str, action: str) -> str:
    """`action` is ringing, accept, reject, busy or end."""
    return f"{call(call_id)}/{action}"


def room(name: str) -> str:
    return f"{ROOMS}/{segment(name)}"


def send_data(name: str) -> str:
    return f"{room(name)}/send-data"


def participant(room_name: str, identity: str) -> str:
    return f"{room(room_name)}/participants/{segment(identity)}"


# -- audio rooms: seats and speakers ---------------------------------------------------------------


def seats(room_name: str) -> str:
    return f"{room(room_name)}/seats"


def seats_action(room_name: str, action: str) -> str:
    """`action` is setup, leave, move or swap (swap: ours)."""
    return f"{seats(room_name)}/{action}"


def seat_action(room_name: str, index: int, action: str) -> str:
    """`action` is take, kick, lock, unlock, mute or unmute."""
    return f"{seats(room_name)}/{index}/{action}"


def speakers(room_name: str, action: str) -> str:
    """`action` is request (POST, DELETE), requests (GET) or invite (POST)."""
    return f"{room(room_name)}/speakers/{action}"


def speaker_request(room_name: str, request_id: int, action: str) -> str:
    """`action` is approve or reject."""
    return f"{room(room_name)}/speakers/requests/{request_id}/{action}"


def speaker_invitation(room_name: str, invitation_id: int, action: str) -> str:
    """`action` is accept or decline."""
    return f"{room(room_name)}/speakers/invitations/{invitation_id}/{action}"


# -- live streams: the stage -----------------------------------------------------------------------


def stage(room_name: str) -> str:
    return f"{room(room_name)}/stage"  # guess


def stage_action(room_name: str, action: str) -> str:
    """`action` is invite, remove, request or leave (guess, but for request)."""
    return f"{stage(room_name)}/{action}"


# -- people ----------------------------------------------------------------------------------------


def participant_action(room_name: str, identity: str, action: str) -> str:
    """`action` is permissions, mute, metadata, forbid-stream, resume-stream or role."""
    return f"{participant(room_name, identity)}/{action}"


def participants_by_role(room_name: str) -> str:
    return f"{room(room_name)}/participants/by-role"


def room_metadata(room_name: str) -> str:
    return f"{room(room_name)}/metadata"


def comments_lock(room_name: str) -> str:
    return f"{room(room_name)}/comments/lock"  # guess


BAN = f"{ROOMS}/ban"
BANS = f"{ROOMS}/bans"
CALL_EVENTS = f"{CALLS}/events"
