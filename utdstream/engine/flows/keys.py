"""App keys, from a request to everything that follows from it.

Owns: making and revoking keys. Runs on the loop thread. The rules are in `rules/keys`, the keys in the store.

1. The key itself is answered once, where it is made, and kept nowhere: the store has its digest.
2. A revocation is committed first: from then on the key and every user token that names it are refused.
"""

from __future__ import annotations

import logging
import secrets

from utdstream.engine import clock
from utdstream.engine.rules import keys
from utdstream.engine.rules.keys import AppKey
from utdstream.engine.rules.refusals import Refusal
from utdstream.engine.store.contract import Store

_log = logging.getLogger(__name__)


class KeyService:
    """All app keys of the project but the open one."""

    def __init__(self, app_id: str, store: Store) -> None:
        self._app_id = app_id
        self._store = store

    def issue(
        self, identity: str, *, name: str, may_host: bool, rooms: tuple[str, ...], display_name: str | None
    ) -> tuple[AppKey, str]:
        """A new key: its record, and the key itself. Raises: Refusal (`invalid_state`) when there are too many."""
        if len(self._store.keys.all()) >= keys.MAX_KEYS:
            raise Refusal(
                "invalid_state", f"There are {keys.MAX_KEYS} keys already, the revoked ones counted"
            )
        secret = f"utd_{secrets.token_hex(24)}"
        key = AppKey(
            id=f"key_{secrets.token_hex(8)}",
            name=name,
            digest=keys.digest_of(secret, self._app_id),
            identity=identity,
            may_host=may_host,
            rooms=rooms,
            created_at=clock.now(),
            display_name=display_name,
        )
        with self._store.transaction():
            self._store.keys.insert(key)
        _log.info("%s made for %s%s", key.id, identity, ", which may host" if may_host else "")
        return key, secret

    def revoke(self, key_id: str) -> AppKey:
        """The key, of no use from now on; one that was revoked before stays so. Raises: Refusal."""
        with self._store.transaction():
            key = self._store.keys.revoke(key_id, clock.now())
        if key is None:
            raise Refusal("key_not_found", "No app key has this id")
        _log.info("%s of %s revoked", key.id, key.identity)
        return key

    def page(self, *, page: int, per_page: int) -> tuple[list[AppKey], int]:
        """One page of the keys, newest first, and how many there are in all."""
        found = self._store.keys.all()
        return found[(page - 1) * per_page : page * per_page], len(found)
