"""A pairing code, and what both ends make of it: an id, and a proof of each side.

Owns: how a code is written and read, the proofs. Pure: chance is an argument. Standard library only.

1. A code is 95 random bits and a sign that tells a slip of the fingers. It is never sent: it is the secret of
   HMAC-SHA256 alone, and too long to be found from a proof by trying.
2. Its id names it in a path. The engine keeps the id and the two secrets of the proofs, never the code.
3. The engine proves itself first, the device after: over both nonces, the project and the engine's own authority.
   So whoever stands in between can show no other authority, and knows no code. The device's proof is over its new
   key too, as a digest: the key itself is made on the device, and stays there.
4. What is proved is a JSON list of texts without blanks, so that no two statements are written alike.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass, field

SIGNS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base32: no letter that is taken for another, or for a digit."""
_READ_AS = str.maketrans({"I": "1", "L": "1", "O": "0"})
_BETWEEN = "-"
_RANDOM_SIGNS, _GROUP = 19, 4
CODE_BITS = 5 * _RANDOM_SIGNS
FRAGMENT_PATH = "/pair"
"""In the address that a code comes with, the code stands behind `#`, which no client sends."""
NONCE_PATTERN = "[0-9a-f]{32}"
PROOF_PATTERN = "[0-9a-f]{64}"


@dataclass(frozen=True, slots=True)
class CodeSecrets:
    """What is made of a code: its id, which may be seen, and the secrets of the two proofs."""

    id: str
    engine: str = field(repr=False)
    device: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Meeting:
    """What both proofs are over. `ca` is the text of the engine's authority; None: a public one, or no TLS."""

    device_nonce: str
    engine_nonce: str
    app_id: str
    ca: str | None

    def engine_proof(self, code: CodeSecrets) -> str:
        """The proof that whoever answers made the code, and that this is its authority."""
        return self._proof(code.engine, "engine")

    def device_proof(self, code: CodeSecrets, key_digest: str) -> str:
        """The proof that whoever asks was told the code, and wants the key of this digest to be let in."""
        return self._proof(code.device, "device", key_digest)

    def _proof(self, secret: str, *said: str) -> str:
        authority = "" if self.ca is None else hashlib.sha256(self.ca.encode()).hexdigest()
        statement = [*said, self.device_nonce, self.engine_nonce, self.app_id, authority]
        return _hmac(secret.encode(), json.dumps(statement, separators=(",", ":")))


def code_of(number: int) -> str:
    """Returns the code of a random number of `CODE_BITS`, as it is written: five groups of four signs."""
    signs = "".join(SIGNS[number >> 5 * place & 31] for place in range(_RANDOM_SIGNS))
    signs += _check_sign(signs)
    return _BETWEEN.join(signs[at : at + _GROUP] for at in range(0, len(signs), _GROUP))


def read_code(text: str) -> str | None:
    """Returns the signs of a code as somebody typed it, in any case, hyphens or not; None: it is no code."""
    signs = "".join(text.split()).replace(_BETWEEN, "").upper().translate(_READ_AS)
    if len(signs) != _RANDOM_SIGNS + 1 or not set(signs) <= set(SIGNS):
        return None
    return signs if _check_sign(signs[:-1]) == signs[-1] else None


def secrets_of(signs: str) -> CodeSecrets:
    """Returns what is made of the signs of a code (`read_code`)."""
    made = (_hmac(signs.encode(), f"utdstream pairing {word}") for word in ("id", "engine", "device"))
    code_id, engine, device = made
    return CodeSecrets(code_id[:16], engine, device)


def is_same(proof: str, other: str) -> bool:
    """Compares two proofs in a time that tells nothing."""
    return hmac.compare_digest(proof.encode(), other.encode())


def _check_sign(signs: str) -> str:
    return SIGNS[hashlib.sha256(signs.encode()).digest()[0] % len(SIGNS)]


def _hmac(secret: bytes, message: str) -> str:
    return hmac.new(secret, message.encode(), hashlib.sha256).hexdigest()
