"""The data messages about the door, in the room of a call: a request, and its answer.

Owns: their spelling (documented in `docs/how-to/open-the-door.md`). Standard library only; any thread.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

MOST_BYTES = 512
TYPE, ANSWER_TYPE = "open_door", "open_door_answer"
_FIELDS = {"type", "call_id", "nonce", "pin"}
_CALL_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NONCE = re.compile(r"[A-Za-z0-9_-]{16,64}")
MOST_PIN = 64


@dataclass(frozen=True, slots=True)
class DoorMessage:
    """A message that asks for the door; all is empty when it is not spelled as it must be."""

    call_id: str = ""
    nonce: str = ""
    pin: str | None = field(default=None, repr=False)


def request_of(message: bytes) -> DoorMessage | None:
    """Reads a message of the call; None when it is about something else."""
    if len(message) > MOST_BYTES:
        return None
    try:
        said = json.loads(message)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or said.get("type") != TYPE:
        return None
    call_id, nonce, pin = (said.get(name) for name in ("call_id", "nonce", "pin"))
    well_formed = (
        said.keys() <= _FIELDS
        and isinstance(call_id, str)
        and _CALL_ID.fullmatch(call_id) is not None
        and isinstance(nonce, str)
        and _NONCE.fullmatch(nonce) is not None
        and (pin is None or (isinstance(pin, str) and 0 < len(pin) <= MOST_PIN and pin.isprintable()))
    )
    return DoorMessage(str(call_id), str(nonce), pin) if well_formed else DoorMessage()


def answer(nonce: str, code: str, sentence: str) -> bytes:
    """Writes the answer to a request: `code` is `opened`, or why not. An empty nonce: it had none."""
    said = {"type": ANSWER_TYPE, "opened": code == "opened", "code": code, "message": sentence}
    return json.dumps(said | ({"nonce": nonce} if nonce else {})).encode()
