"""Pairing: a code for one device, and the key that it gets for it.

Owns: making, withdrawing and using codes. Runs on the loop thread. The rules are in `rules/pairing`, the proofs in
`_wire/pairing`.

1. A code is answered once, where it is made. Kept is what it is known by, for a day after it is over.
2. Key and use of the code are one transaction: after a `kill -9` there are both or neither, and the device, which
   made the key and has it on its disk, asks again.
3. No code goes to a device that would talk to the engine in clear on a network: all that pass could read its key
   at the first sign-in.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from utdstream._wire import pairing as wire
from utdstream.engine.background import Timers
from utdstream.engine.config import EngineConfig
from utdstream.engine.flows.keys import KeyService
from utdstream.engine.flows.steady_clock import SteadyClock
from utdstream.engine.rules import pairing as rules
from utdstream.engine.rules.keys import AppKey, KeyTerms
from utdstream.engine.rules.pairing import Pairing
from utdstream.engine.rules.refusals import Refusal
from utdstream.engine.store.contract import Store

FORGET_EVERY_S = 3600.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Claim:
    """What a device shows to be let in. `key_digest` is of the key that it made."""

    nonce: str
    key_digest: str
    proof: str
    device_name: str | None
    address: str


class PairingService:
    """All pairing codes of the project."""

    def __init__(
        self,
        config: EngineConfig,
        mark: str,
        store: Store,
        keys: KeyService,
        timers: Timers,
        steady: SteadyClock,
    ) -> None:
        self._app_id = config.project.app_id
        self._base_url = config.engine.base_url
        self._may_be_in_clear = config.engine.is_loopback
        self._ca = config.engine.public_ca()
        self._mark = mark
        self._store = store
        self._keys = keys
        self._timers = timers
        self._now = steady.now

    def start(self) -> None:
        """Begins to forget codes that are over."""
        self._timers.after(0.0, "pairings", self._forget_and_again)

    def offer(self, terms: KeyTerms, lasts_s: float) -> tuple[Pairing, str, str]:
        """A new code for a device with a key of these terms: its record, the code, the address to open with it.

        Raises: Refusal (`tls_required`, `invalid_state`).
        """
        if not self._base_url.startswith("https://") and not self._may_be_in_clear:
            raise Refusal(
                "tls_required",
                f"Devices reach this engine at {self._base_url}, in clear: whoever listens on the network would "
                "have the key at the device's first sign-in; start it with --tls",
            )
        now = self._now()
        known = (one.under(self._mark) for one in self._store.pairings.all())
        if sum(one.state(now) == "open" for one in known) >= rules.MAX_OPEN:
            raise Refusal("invalid_state", f"There are {rules.MAX_OPEN} open pairing codes; withdraw one")
        code = wire.code_of(secrets.randbits(wire.CODE_BITS))
        made = Pairing(
            secrets=wire.secrets_of(wire.read_code(code) or ""),
            nonce=secrets.token_hex(16),
            terms=terms,
            made_under=self._mark,
            created_at=now,
            expires_at=now + timedelta(seconds=lasts_s),
        )
        with self._store.transaction():
            self._store.pairings.put(made)
        _log.info("a pairing code for %s was made, good until %s", terms.identity, _clock(made.expires_at))
        return made, code, f"{self._base_url}{wire.FRAGMENT_PATH}#{code}"

    def row(self, pairing_id: str) -> dict[str, object]:
        """What became of a code. Raises: Refusal (`pairing_not_found`)."""
        return rules.row(self._get(pairing_id), self._now())

    def withdraw(self, pairing_id: str) -> dict[str, object]:
        """Makes a code of no use, unless it is over; what became of it. Raises: Refusal."""
        found = self._get(pairing_id)
        if found.state(self._now()) == "open":
            self._put(replace(found, ended="withdrawn"))
            _log.info("a pairing code for %s was withdrawn", found.terms.identity)
        return self.row(pairing_id)

    def meet(self, pairing_id: str, device_nonce: str) -> dict[str, object]:
        """The engine's proof, and what it is over. Raises: Refusal."""
        found = rules.check_meeting(self._find(pairing_id), self._now())
        meeting = self._meeting(found, device_nonce)
        return {
            "nonce": found.nonce,
            "app_id": self._app_id,
            "ca": self._ca,
            "proof": meeting.engine_proof(found.secrets),
        }

    def complete(self, pairing_id: str, claim: Claim) -> AppKey:
        """The key of the device whose proof is right; the same, when it asks again. Raises: Refusal."""
        now = self._now()
        found = rules.check_meeting(self._find(pairing_id), now)
        meeting = self._meeting(found, claim.nonce)
        if not rules.is_proven(found, meeting, claim.key_digest, claim.proof):
            self._count_wrong(found, claim.address)
        if rules.is_again(found, claim.key_digest):
            known = self._store.keys.get(found.key_id or "")
            assert known is not None  # no key is ever deleted
            return known
        key = self._keys.new(found.terms, claim.key_digest)
        with self._store.transaction(lasts=True):
            self._store.keys.insert(key)
            self._store.pairings.put(
                replace(
                    found,
                    ended="used",
                    key_id=key.id,
                    digest=claim.key_digest,
                    paired_at=now,
                    device_name=claim.device_name,
                    address=claim.address,
                )
            )
        _log.info("%s made for %s: it was paired from %s", key.id, key.identity, claim.address)
        return key

    def _count_wrong(self, found: Pairing, address: str) -> None:
        """Raises: Refusal, always."""
        found = rules.failed(found)
        self._put(found)
        if found.ended == "locked":
            _log.warning(
                "a pairing code for %s was ended by %d wrong attempts, the last from %s",
                found.terms.identity,
                found.wrong,
                address,
            )
        raise rules.wrong_proof(found)

    def _meeting(self, found: Pairing, device_nonce: str) -> wire.Meeting:
        return wire.Meeting(device_nonce, found.nonce, self._app_id, self._ca)

    def _get(self, pairing_id: str) -> Pairing:
        found = self._find(pairing_id)
        if found is None:
            raise Refusal("pairing_not_found", "No pairing has this id")
        return found

    def _find(self, pairing_id: str) -> Pairing | None:
        found = self._store.pairings.get(pairing_id)
        return None if found is None else found.under(self._mark)

    async def _forget_and_again(self) -> None:
        try:
            with self._store.transaction():
                self._store.pairings.forget_old(self._now())
        finally:
            self._timers.after(FORGET_EVERY_S, "pairings", self._forget_and_again)

    def _put(self, pairing: Pairing) -> None:
        with self._store.transaction():
            self._store.pairings.put(pairing)


def _clock(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
