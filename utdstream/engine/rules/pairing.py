"""The rules of pairing: when a code is good, what a proof does, what becomes of a code.

Owns: `Pairing` and every decision about it. Pure: no I/O, the clock and chance are given.

1. A code is used once: by the first device that proves that it was told it. From then on only that device, which
   shows the same key again, gets the same answer: its first one may have been lost.
2. `MAX_WRONG` wrong proofs end a code, whoever sends them: its owner makes another.
3. A code is withdrawn when the secret it was asked for with is rotated, or the project is another: a thief may
   have made it.
4. A code that is over says why, for a day: used, expired, withdrawn, or locked by wrong proofs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from utdstream._wire import codec
from utdstream._wire.pairing import CodeSecrets, Meeting, is_same
from utdstream.engine.rules.keys import KeyTerms
from utdstream.engine.rules.refusals import Refusal

MAX_WRONG = 5
MAX_OPEN = 20
LASTS_S, LONGEST_S = 600, 3600
KEPT_FOR = timedelta(days=1)
"""So long after its end a code is told apart from one that never was."""

State = Literal["open", "used", "expired", "withdrawn", "locked"]
Ended = Literal["", "used", "withdrawn", "locked"]
_OVER: dict[str, str] = {
    "used": "This pairing code was used already; have another made by `utdstream engine pair`",
    "expired": "This pairing code has run out; have another made by `utdstream engine pair`",
    "withdrawn": "This pairing code was withdrawn; have another made by `utdstream engine pair`",
    "locked": f"This pairing code was ended by {MAX_WRONG} wrong attempts; have another made by "
    "`utdstream engine pair`",
}


@dataclass(frozen=True, slots=True)
class Pairing:
    """One code, without the code: what it is known by, what its device gets, what became of it."""

    secrets: CodeSecrets
    nonce: str
    terms: KeyTerms
    made_under: str
    created_at: datetime
    expires_at: datetime
    ended: Ended = ""
    wrong: int = 0
    key_id: str | None = None
    digest: str | None = None
    paired_at: datetime | None = None
    device_name: str | None = None
    address: str | None = None

    @property
    def id(self) -> str:
        """What names it in a path."""
        return self.secrets.id

    def state(self, now: datetime) -> State:
        """What becomes of it."""
        return self.ended or ("expired" if now >= self.expires_at else "open")

    def under(self, mark: str) -> Pairing:
        """The pairing as it is where the project's secrets have this mark."""
        return self if self.ended or self.made_under == mark else replace(self, ended="withdrawn")

    def is_forgotten(self, now: datetime) -> bool:
        """Whether it is over for so long that nobody asks for it any more."""
        return now >= self.expires_at + KEPT_FOR


def unknown() -> Refusal:
    """No code is known by this id (403, as a proof that is wrong)."""
    return Refusal(
        "pairing_code_wrong", "No pairing code is known by this; check the code, and that this is its engine"
    )


def check_meeting(pairing: Pairing | None, now: datetime) -> Pairing:
    """The pairing, for a device that may prove itself. Raises: Refusal.

    A used one too: its own device asks again when the answer was lost.
    """
    if pairing is None:
        raise unknown()
    state = pairing.state(now)
    if state not in ("open", "used"):
        raise Refusal(f"pairing_code_{state}", _OVER[state])
    return pairing


def is_proven(pairing: Pairing, meeting: Meeting, digest: str, proof: str) -> bool:
    """Whether whoever sent this proof was told the code, and wants the key of this digest."""
    return is_same(proof, meeting.device_proof(pairing.secrets, digest))


def failed(pairing: Pairing) -> Pairing:
    """The pairing after one more wrong proof; a used one cannot be locked."""
    wrong = pairing.wrong + 1
    if pairing.ended or wrong < MAX_WRONG:
        return replace(pairing, wrong=wrong)
    return replace(pairing, wrong=wrong, ended="locked")


def wrong_proof(pairing: Pairing) -> Refusal:
    """The refusal of a wrong proof, after it was counted."""
    if pairing.ended == "locked":
        return Refusal("pairing_code_locked", _OVER["locked"])
    return Refusal("pairing_code_wrong", "The proof is not of this pairing code; check the code")


def is_again(pairing: Pairing, digest: str) -> bool:
    """Whether this is the device that has used the code, once more. Raises: Refusal for another one."""
    if pairing.ended == "used" and pairing.digest != digest:
        raise Refusal("pairing_code_used", _OVER["used"])
    return pairing.ended == "used"


def row(pairing: Pairing, now: datetime) -> dict[str, object]:
    """The engine's spelling of a pairing, without what could be used of it."""
    paired = pairing.ended == "used"
    return {
        "pairing_id": pairing.id,
        "state": pairing.state(now),
        "identity": pairing.terms.identity,
        "name": pairing.terms.name,
        "expires_at": codec.iso(pairing.expires_at),
        "attempts_left": max(0, MAX_WRONG - pairing.wrong),
        "key_id": pairing.key_id,
        "device_name": pairing.device_name,
        "address": pairing.address,
        "paired_at": codec.iso(pairing.paired_at) if paired and pairing.paired_at is not None else None,
    }
