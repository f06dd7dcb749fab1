"""The operations on pairing codes: three for a server with the app secret, two for a device with a code."""

from __future__ import annotations

from utdstream._wire import pairing, routes
from utdstream.engine.api.operations.keys import REQUESTED
from utdstream.engine.api.operations.table import Access, Operation
from utdstream.engine.api.schemas import (
    COUNT,
    MAYBE_TEXT,
    MAYBE_TIME,
    TEXT,
    TIME,
    Schema,
    object_of,
)
from utdstream.engine.rules.pairing import LASTS_S, LONGEST_S

_CODE_IS_OVER = (
    "pairing_code_wrong",
    "pairing_code_expired",
    "pairing_code_locked",
    "pairing_code_withdrawn",
    "validation_failed",
)

OPERATIONS = (
    Operation(
        "offer_pairing",
        "POST",
        routes.PAIRINGS,
        "Make a pairing code, with which one device gets an app key of these terms; answered here alone",
        Access.SECRET,
        "NewPairing",
        request="PairingRequest",
        status=201,
        codes=("invalid_state", "tls_required", "forbidden", "validation_failed"),
    ),
    Operation(
        "get_pairing",
        "GET",
        routes.PAIRING,
        "What became of a pairing code",
        Access.SECRET,
        "Pairing",
        codes=("pairing_not_found", "forbidden", "validation_failed"),
    ),
    Operation(
        "withdraw_pairing",
        "DELETE",
        routes.PAIRING,
        "Withdraw a pairing code; one that is over stays as it is",
        Access.SECRET,
        "Pairing",
        codes=("pairing_not_found", "forbidden", "validation_failed"),
    ),
    Operation(
        "meet_pairing",
        "POST",
        routes.PAIRING_ACTIONS["meet"],
        "Have the engine prove that it made the code, and that this is its authority (a device)",
        Access.CODE,
        "Meeting",
        request="MeetingRequest",
        codes=_CODE_IS_OVER,
    ),
    Operation(
        "complete_pairing",
        "POST",
        routes.PAIRING_ACTIONS["complete"],
        "Prove the code, and have the key let in that the device made; the same device may ask again (a device)",
        Access.CODE,
        "Paired",
        request="PairingClaim",
        codes=(*_CODE_IS_OVER, "pairing_code_used", "invalid_state"),
    ),
)

_NONCE: Schema = {"type": "string", "pattern": f"^{pairing.NONCE_PATTERN}$"}
_DIGEST: Schema = {"type": "string", "pattern": f"^{pairing.PROOF_PATTERN}$"}
_PAIRING: Schema = {
    "pairing_id": {**TEXT, "description": "Made of the code; it may be seen."},
    "state": {"enum": ["open", "used", "expired", "withdrawn", "locked"]},
    "identity": TEXT,
    "name": TEXT,
    "expires_at": TIME,
    "attempts_left": {**COUNT, "description": "Wrong proofs until it is locked."},
    "key_id": {**MAYBE_TEXT, "description": "The key of the device that used it."},
    "device_name": {**MAYBE_TEXT, "description": "What that device says that it is called."},
    "address": {**MAYBE_TEXT, "description": "Where it asked from; of IPv6 the /64."},
    "paired_at": MAYBE_TIME,
}

SCHEMAS: dict[str, Schema] = {
    "PairingRequest": object_of(
        {
            **REQUESTED,
            "expires_in": {
                "type": ["integer", "null"],
                "minimum": 10,
                "maximum": LONGEST_S,
                "default": LASTS_S,
                "description": "Seconds.",
            },
        },
        ("identity",),
    ),
    "Pairing": object_of(_PAIRING),
    "NewPairing": object_of(
        {
            **_PAIRING,
            "code": {**TEXT, "description": "The code, never shown again."},
            "url": {**TEXT, "description": "The engine's address with the code behind #, for a QR code."},
        }
    ),
    "MeetingRequest": object_of({"nonce": _NONCE}),
    "Meeting": object_of(
        {
            "nonce": _NONCE,
            "app_id": TEXT,
            "ca": {**MAYBE_TEXT, "description": "The engine's own authority, PEM; null: a public one."},
            "proof": {**_DIGEST, "description": "Over both nonces, app id and authority."},
        }
    ),
    "PairingClaim": object_of(
        {
            "nonce": _NONCE,
            "key_digest": {**_DIGEST, "description": "SHA-256 of `<app id>|<app key>`."},
            "proof": {**_DIGEST, "description": "Over the digest, both nonces, app id and authority."},
            "device_name": MAYBE_TEXT,
        },
        ("nonce", "key_digest", "proof"),
    ),
    "Paired": object_of(
        {"key_id": TEXT, "identity": TEXT, "name": TEXT, "display_name": MAYBE_TEXT, "created_at": TIME}
    ),
}
