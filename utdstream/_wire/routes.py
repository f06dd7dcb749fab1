"""Every path and header of the engine's REST interface.

Owns: where things are. The SDK and the engine both read this, so they cannot differ. A guess about
the vendor's engine is one line here (marked "guess"), and a correction is one line too.
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
