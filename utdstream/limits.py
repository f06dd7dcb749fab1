"""The numbers that both ends hold: what a name, a message, a room may measure at most.

Owns: every limit of the contract, once. The SDK refuses what is beyond before it asks; the engine refuses it
whoever asks; the device's configuration and the OpenAPI document say the same. Imports nothing.
"""

from __future__ import annotations

MAX_IDENTITY = 128
"""Characters of an identity, a room's name, a display name; at most twice as many bytes in UTF-8."""
MAX_IDENTITY_BYTES = 256
"""LiveKit counts bytes and refuses longer identities and names at the join."""

RESERVED_ROOM_NAMES = frozenset({".", "..", "ban", "bans"})
"""Names that a path gives another meaning: a room so called could be made and never be reached."""
RESERVED_IDENTITIES = frozenset({".", "..", "by-role"})
"""Likewise of identities: a participant so called could be seen in a room and never be removed."""

MAX_SEATS = 100
"""Seats of an audio room: 1 to 100, with the indexes 0 to 99."""

MAX_MODE_ID = 16
"""Characters of the id of a seat layout."""

MAX_CALLEES = 16
"""Callees that `start_any` rings at once, and calls in one group of the engine."""

MAX_RINGS = 4
"""Calls that ring at one callee at once, each from another caller."""

MAX_CALL_METADATA_BYTES = 4096
"""The metadata of a call, as JSON in UTF-8."""

MAX_ROOM_METADATA_BYTES = 16_384
"""The application's keys of a room's metadata, and a participant's metadata, as JSON in UTF-8."""

MAX_PAGE, MAX_PER_PAGE = 1_000_000, 100
"""Lists are read in pages, of 20 entries unless more are asked for."""

MAX_IDEMPOTENCY_KEY = 255
"""Characters of an Idempotency-Key."""

MAX_RECIPIENTS = 1000
"""Identities that one data message of the engine is addressed to."""

MAX_RELIABLE_BYTES = 15_000
"""A data message that is repeated until it arrives (LiveKit's own limit for one packet)."""
MAX_LOSSY_BYTES = 1_300
"""A data message that may be lost: one UDP packet."""

MAX_EVENT_BYTES = 16_384
"""A call event over MQTT."""
