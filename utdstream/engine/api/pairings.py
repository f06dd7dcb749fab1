"""The handlers of pairing: of codes, for a server with the app secret; of devices, which have a code alone.

Owns: the fields of both, and the spelling of the answers. Runs on the loop thread. The rules are in
`rules/pairing`, the effects in `flows/pairing`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from utdstream._wire import codec
from utdstream._wire import pairing as wire
from utdstream.engine.api.fields import Fields
from utdstream.engine.api.keys import terms
from utdstream.engine.api.request import Answer, Ask, Handler
from utdstream.engine.flows.pairing import Claim, PairingService
from utdstream.engine.rules import keys
from utdstream.engine.rules import pairing as rules
from utdstream.engine.rules.refusals import invalid


class PairingHandlers:
    """Handlers of the operations on pairings."""

    def __init__(self, service: PairingService) -> None:
        self._service = service

    def handlers(self) -> Mapping[str, Handler]:
        """Operation id to handler."""
        return {
            "offer_pairing": self.offer,
            "get_pairing": self.get,
            "withdraw_pairing": self.withdraw,
            "meet_pairing": self.meet,
            "complete_pairing": self.complete,
        }

    async def offer(self, ask: Ask) -> Answer:
        """POST /pairings."""
        lasts_s = ask.fields.integer("expires_in", least=10, most=rules.LONGEST_S) or rules.LASTS_S
        wanted = terms(ask.fields)
        if wanted.identity.endswith(keys.ANY):
            raise invalid("identity must be one: a device that pairs is told who it is")
        made, code, url = self._service.offer(wanted, lasts_s)
        return Answer({**self._service.row(made.id), "code": code, "url": url}, 201)

    async def get(self, ask: Ask) -> Answer:
        """GET /pairings/{pairing_id}."""
        return Answer(self._service.row(ask.path["pairing_id"]))

    async def withdraw(self, ask: Ask) -> Answer:
        """DELETE /pairings/{pairing_id}."""
        return Answer(self._service.withdraw(ask.path["pairing_id"]))

    async def meet(self, ask: Ask) -> Answer:
        """POST /pairings/{pairing_id}/meet."""
        return Answer(
            self._service.meet(ask.path["pairing_id"], _hex(ask.fields, "nonce", wire.NONCE_PATTERN))
        )

    async def complete(self, ask: Ask) -> Answer:
        """POST /pairings/{pairing_id}/complete."""
        claim = Claim(
            nonce=_hex(ask.fields, "nonce", wire.NONCE_PATTERN),
            key_digest=_hex(ask.fields, "key_digest", wire.PROOF_PATTERN),
            proof=_hex(ask.fields, "proof", wire.PROOF_PATTERN),
            device_name=ask.fields.device_fact("device_name", longest=100),
            address=ask.address,
        )
        key = self._service.complete(ask.path["pairing_id"], claim)
        return Answer(
            {
                "key_id": key.id,
                "identity": key.identity,
                "name": key.name,
                "display_name": key.display_name,
                "created_at": codec.iso(key.created_at),
            }
        )


def _hex(fields: Fields, name: str, pattern: str) -> str:
    value = fields.raw(name)
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        raise invalid(f"{name} must match {pattern}")
    return value
