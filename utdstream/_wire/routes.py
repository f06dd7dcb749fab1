"""Every path and header of the engine's REST interface: the one table of paths.

Owns: where things are. The engine's operations stand on these templates, and the SDK fills them. A guess about the
vendor's engine is one line here (marked "guess"), and a correction is one line too. Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

PREFIX = "/api/v1"
HEALTH = "/health"
OPENAPI = "/openapi.json"

HEADER_APP_ID = "X-App-Id"
HEADER_APP_KEY = "X-App-Key"  # guess: the vendor's literal is on no public page
HEADER_APP_SECRET = "X-App-Secret"
HEADER_IDEMPOTENCY_KEY = "Idempotency-Key"
HEADER_TIME = "X-UTD-Time"
"""In every answer of our engine: its time, in milliseconds since 1970. `Date` may be by a proxy's clock."""


def _actions(base: str, *words: str) -> Mapping[str, str]:
    """Returns the path of each action that is a word behind `base`."""
    return {word: f"{base}/{word}" for word in words}


TOKEN = f"{PREFIX}/token"
AUTH_SESSION = f"{PREFIX}/auth/session"
PROJECT = f"{PREFIX}/project"
WITHDRAWAL = f"{PREFIX}/requests/withdraw"  # ours

KEYS = f"{PREFIX}/keys"
KEY = f"{KEYS}/{{key_id}}"

PAIRINGS = f"{PREFIX}/pairings"
PAIRING = f"{PAIRINGS}/{{pairing_id}}"
PAIRING_ACTIONS = _actions(PAIRING, "meet", "complete")

CALLS = f"{PREFIX}/calls"
CALL_EVENTS = f"{CALLS}/events"
CALL = f"{CALLS}/{{call_id}}"
CALL_ACTIONS = _actions(CALL, "ringing", "accept", "reject", "busy", "end")

ROOMS = f"{PREFIX}/rooms"
BAN = f"{ROOMS}/ban"
BANS = f"{ROOMS}/bans"
ROOM = f"{ROOMS}/{{room}}"
SEND_DATA = f"{ROOM}/send-data"
ROOM_METADATA = f"{ROOM}/metadata"
COMMENTS_LOCK = f"{ROOM}/comments/lock"  # guess

PEOPLE_BY_ROLE = f"{ROOM}/participants/by-role"
PERSON = f"{ROOM}/participants/{{identity}}"
PERSON_ACTIONS = _actions(PERSON, "permissions", "mute", "metadata", "forbid-stream", "resume-stream", "role")

SEATS = f"{ROOM}/seats"
SEATS_ACTIONS = _actions(SEATS, "setup", "leave", "move", "swap")  # swap: ours
SEAT = f"{SEATS}/{{index}}"
SEAT_ACTIONS = _actions(SEAT, "take", "kick", "lock", "unlock", "mute", "unmute")
SPEAKERS = f"{ROOM}/speakers"
SPEAKERS_ACTIONS = _actions(SPEAKERS, "request", "requests", "invite")
SPEAK_REQUEST_ACTIONS = _actions(f"{SPEAKERS}/requests/{{request_id}}", "approve", "reject")
INVITATION_ACTIONS = _actions(f"{SPEAKERS}/invitations/{{invitation_id}}", "accept", "decline")

STAGE = f"{ROOM}/stage"  # guess
STAGE_ACTIONS = _actions(STAGE, "invite", "remove", "request", "leave")  # guess, but for request


def segment(text: str) -> str:
    """Returns one path segment or topic level: everything but letters, digits and `-._~` percent-encoded."""
    return quote(text, safe="")


def at(template: str, **values: str | int) -> str:
    """Returns the path of a template of this table, each value one segment of it."""
    return template.format(**{name: segment(str(value)) for name, value in values.items()})


# -- the table filled in, as the SDK asks ----------------------------------------------------------


def key(key_id: str) -> str:
    return at(KEY, key_id=key_id)


def pairing(pairing_id: str) -> str:
    return at(PAIRING, pairing_id=pairing_id)


def pairing_action(pairing_id: str, action: str) -> str:
    """`action` is a key of `PAIRING_ACTIONS`; likewise in the functions below."""
    return at(PAIRING_ACTIONS[action], pairing_id=pairing_id)


def call(call_id: str) -> str:
    return at(CALL, call_id=call_id)


def call_action(call_id: str, action: str) -> str:
    return at(CALL_ACTIONS[action], call_id=call_id)


def room(name: str) -> str:
    return at(ROOM, room=name)


def send_data(name: str) -> str:
    return at(SEND_DATA, room=name)


def room_metadata(name: str) -> str:
    return at(ROOM_METADATA, room=name)


def comments_lock(name: str) -> str:
    return at(COMMENTS_LOCK, room=name)


def participant(room_name: str, identity: str) -> str:
    return at(PERSON, room=room_name, identity=identity)


def participant_action(room_name: str, identity: str, action: str) -> str:
    return at(PERSON_ACTIONS[action], room=room_name, identity=identity)


def participants_by_role(room_name: str) -> str:
    return at(PEOPLE_BY_ROLE, room=room_name)


def seats(room_name: str) -> str:
    return at(SEATS, room=room_name)


def seats_action(room_name: str, action: str) -> str:
    return at(SEATS_ACTIONS[action], room=room_name)


def seat_action(room_name: str, index: int, action: str) -> str:
    return at(SEAT_ACTIONS[action], room=room_name, index=index)


def speakers(room_name: str, action: str) -> str:
    """`action` is request (POST, DELETE), requests (GET) or invite (POST)."""
    return at(SPEAKERS_ACTIONS[action], room=room_name)


def speaker_request(room_name: str, request_id: int, action: str) -> str:
    return at(SPEAK_REQUEST_ACTIONS[action], room=room_name, request_id=request_id)


def speaker_invitation(room_name: str, invitation_id: int, action: str) -> str:
    return at(INVITATION_ACTIONS[action], room=room_name, invitation_id=invitation_id)


def stage(room_name: str) -> str:
    return at(STAGE, room=room_name)


def stage_action(room_name: str, action: str) -> str:
    return at(STAGE_ACTIONS[action], room=room_name)
