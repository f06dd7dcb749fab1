"""App keys, from a request to everything that follows from it.

Owns: making and revoking keys. Runs on the loop thread. The rules are in `rules/keys`, the keys in the store.

1. The key itself is answered once, where it is made, and kept nowhere: the store has its digest. That of a device
   that is paired is made there (`flows/pairing`).
2. A revocation is committed first: from then on the key and every user token that names it are refused.
3. What was got with a key ends with it, at once: event streams, calls, places in media rooms. Whoever comes back
   with a media token from before is removed by `keep_out`; a poll makes up for lost webhooks, for as long as such
   a token may be good.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from datetime import timedelta

from utdstream._wire import app_keys
from utdstream.engine import clock
from utdstream.engine.background import Lanes, Timers
from utdstream.engine.flows.calls import CallService
from utdstream.engine.media.sfu import Participant, Sfu, SfuUnavailable
from utdstream.engine.media.tokens import KEY_ATTRIBUTE, REFRESHED_FOR_S
from utdstream.engine.rules import calls, keys
from utdstream.engine.rules.identities import identity_fault
from utdstream.engine.rules.keys import AppKey, KeyTerms
from utdstream.engine.rules.refusals import Refusal
from utdstream.engine.store.contract import Store

POLL_S = 5.0
ROOMS_AT_ONCE = 20
WATCHED_FOR = timedelta(seconds=REFRESHED_FOR_S, minutes=5)
"""How long after a revocation a media token from before may still open a room."""

_log = logging.getLogger(__name__)


class KeyService:
    """All app keys of the project but the open one. `on_revoked` is told each key that was revoked."""

    def __init__(
        self,
        app_id: str,
        store: Store,
        sfu: Sfu,
        calls: CallService,
        lanes: Lanes,
        timers: Timers,
        *,
        is_key_open: bool,
        on_revoked: Callable[[AppKey], None],
    ) -> None:
        self._app_id = app_id
        self._store = store
        self._sfu = sfu
        self._calls = calls
        self._lanes = lanes
        self._timers = timers
        self._is_key_open = is_key_open
        self._on_revoked = on_revoked
        self._looked = False
        self._ending: set[str] = set()
        """The revoked keys whose places are to be looked for: all of them in one round."""

    def start(self) -> None:
        """Begins to look for participants whose key was revoked; tells of keys that are of no use."""
        for key in self._store.keys.all():
            fault = identity_fault(key.identity.removesuffix(keys.ANY))
            if fault is not None and key.revoked_at is None:
                _log.warning("%s is for an identity that %s; revoke it and make another", key.id, fault)
        self._timers.after(0.0, "keys", self._look_and_again)

    def issue(self, terms: KeyTerms) -> tuple[AppKey, str]:
        """A new key: its record, and the key itself. Raises: Refusal (`invalid_state`) when there are too many."""
        secret = app_keys.key_of(secrets.token_bytes(app_keys.KEY_BYTES))
        key = self.new(terms, app_keys.digest_of(secret, self._app_id))
        with self._store.transaction(lasts=True):
            self._store.keys.insert(key)
        _log.info("%s made for %s%s", key.id, key.identity, ", which may host" if key.may_host else "")
        return key, secret

    def new(self, terms: KeyTerms, digest: str) -> AppKey:
        """The record of a key that is not kept yet. Raises: Refusal (`invalid_state`)."""
        if len(self._store.keys.all()) >= keys.MAX_KEYS:
            raise Refusal(
                "invalid_state", f"There are {keys.MAX_KEYS} keys already, the revoked ones counted"
            )
        if self._store.keys.by_digest(digest) is not None:
            raise Refusal("invalid_state", "This app key is known already; make another")
        return terms.key(f"key_{secrets.token_hex(8)}", digest, clock.now())

    def revoke(self, key_id: str) -> AppKey:
        """The key, of no use from now on; one that was revoked before stays so. Raises: Refusal."""
        with self._store.transaction(lasts=True):
            key = self._store.keys.revoke(key_id, clock.now())
        if key is None:
            raise Refusal(
                "key_not_found", "No app key has this id; `utdstream engine key list` shows the ids"
            )
        _log.info("%s of %s revoked", key.id, key.identity)
        self._on_revoked(key)
        self._end_calls(key)
        self._ending.add(key.id)
        self._lanes.put("revoked keys", self._end_places)
        return key

    def page(self, *, page: int, per_page: int) -> tuple[list[AppKey], int]:
        """One page of the keys, newest first, and how many there are in all."""
        found = self._store.keys.all()
        return found[(page - 1) * per_page : page * per_page], len(found)

    def is_revoked(self, person: Participant) -> bool:
        """Whether a participant's media token was got with a key that was revoked."""
        key = self._store.keys.get(person.attributes.get(KEY_ATTRIBUTE, ""))
        return key is not None and key.revoked_at is not None

    async def _look_and_again(self) -> None:
        try:
            since = clock.now() - WATCHED_FOR
            revoked = {
                key.id
                for key in self._store.keys.all()
                if key.revoked_at is not None and (not self._looked or key.revoked_at > since)
            }
            self._looked = await self._put_out(revoked) or self._looked
        finally:
            self._timers.after(POLL_S, "keys", self._look_and_again)

    def _end_calls(self, key: AppKey) -> None:
        """Ends the calls that were made or answered with this key, and those that ring where no one is left."""
        for record in self._store.calls.open():
            party = calls.party_by_key(record, key.id)
            rings_there = record.is_unanswered and keys.matches(key.identity, record.callee)
            if party is None and rings_there and not self._can_sign_in(record.callee):
                party = record.callee
            if party is not None:
                self._calls.end(record.call_id, party)

    def _can_sign_in(self, identity: str) -> bool:
        """Whether a device of this identity may be there still: by another key, the open one, a server's mint."""
        return (
            self._is_key_open
            or keys.speak_for(self._store.keys.all(), identity)
            or bool(self._store.logins.of(identity=identity, key_id=""))
        )

    async def _end_places(self) -> None:
        key_ids, self._ending = self._ending, set()
        await self._put_out(key_ids)  # what it cannot do now the poll does

    async def _put_out(self, key_ids: set[str]) -> bool:
        """Removes every participant who has a place by one of these keys; False when the server is away."""
        if not key_ids:
            return True
        try:
            rooms = list(await self._sfu.rooms())
            for first in range(0, len(rooms), ROOMS_AT_ONCE):
                some = rooms[first : first + ROOMS_AT_ONCE]
                await asyncio.gather(*(self._put_out_of(room, key_ids) for room in some))
        except SfuUnavailable:
            return False
        return True

    async def _put_out_of(self, room: str, key_ids: set[str]) -> None:
        for person in await self._sfu.participants(room):
            if person.attributes.get(KEY_ATTRIBUTE) in key_ids:
                _log.info("%s is removed from %s: its key is revoked", person.identity, room)
                self._hang_up(room, person.identity)
                await self._sfu.remove(room, person.identity)

    def _hang_up(self, room: str, identity: str) -> None:
        """Ends the call whose room this is, if it is one: the other party would wait for a participant in vain."""
        record = self._store.calls.get(room)
        if record is not None and record.is_open:
            self._calls.end(room, identity)
