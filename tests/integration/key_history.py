"""The history of app keys: who used which when, what was revoked when, and whether the one fits the other.

Owns: the keys that a run has, the clients' way to sign in with them, and the check. Knows no rule but this: what
was got with a key is worth nothing from the moment on in which its revocation was answered.
"""

from __future__ import annotations

import random
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from history import LOST, Wire, Wish

from utdstream._wire import codec, routes
from utdstream.models import MqttLogin

TURNED_AWAY = frozenset({"invalid_credentials", "invalid_token", "key_revoked"})
"""The codes that a credential itself is refused with."""
_OLD_ONES = 0.05


@dataclass(frozen=True)
class Key:
    """An app key, as the server that asked for it knows it."""

    id: str
    identity: str
    secret: str = field(repr=False)


@dataclass(frozen=True)
class Pass:
    """What a mint gave for a key: a user token and a broker login. Times as in `Operation`."""

    key: Key
    sent: float
    answered: float
    bearer: str = field(repr=False)
    login: MqttLogin | None = field(repr=False)
    answer: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Use:
    """One request with a key (`minted` None), or with the user token of a mint."""

    key_id: str
    minted: tuple[float, float] | None
    sent: float
    answered: float
    status: int | None
    code: str = ""

    @property
    def is_turned_away(self) -> bool:
        return self.code in TURNED_AWAY

    def __str__(self) -> str:
        how = "the key itself" if self.minted is None else f"a user token of {self.minted[0]:.6f}"
        return f"{self.key_id}, {how} -> {self.status} {self.code} [{self.sent:.6f}, {self.answered:.6f}]"


@dataclass(frozen=True)
class Change:
    """A key was revoked, or (`key_id` empty) all user tokens were, by a new secret."""

    key_id: str
    sent: float
    answered: float
    status: int | None


class Keyring:
    """All keys of a run, and what was done with them. Any thread."""

    def __init__(self) -> None:
        self.uses: list[Use] = []
        self.changes: list[Change] = []
        self.passes: list[Pass] = []
        self._lock = threading.Lock()
        self._keys: defaultdict[str, list[Key]] = defaultdict(list)
        self._dead: set[str] = set()

    def add(self, server: Wire, identity: str) -> Key | None:
        """A new key for this identity; None when the engine died on the way."""
        body = {"identity": identity, "may_host": True}
        _, _, status, answer = server.ask(("POST", routes.KEYS, body, {}))
        if status is LOST:
            return None
        assert status == 201, answer
        key = Key(answer["key_id"], identity, answer["app_key"])
        with self._lock:
            self._keys[identity].append(key)
        return key

    def revoke(self, server: Wire, key_id: str) -> None:
        """Revokes it, and writes down when."""
        sent, answered, status, answer = server.ask(("DELETE", routes.key(key_id), None, {}))
        assert status in (200, LOST), answer
        with self._lock:
            self.changes.append(Change(key_id, sent, answered, status))
            self._dead.add(key_id)

    def settle(self, server: Wire) -> None:
        """Revokes again what may not have been revoked, because the engine died."""
        for key_id in {change.key_id for change in self.changes if change.status is LOST}:
            self.revoke(server, key_id)

    def sign_in(
        self, wire: Wire, key: Key, path: str = routes.AUTH_SESSION, **fields: object
    ) -> tuple[Pass | None, Use]:
        """What a mint with this key gives, None when it is refused or not answered; and its answer."""
        headers = {routes.HEADER_APP_KEY: key.secret}
        body = {"identity": key.identity, **fields}
        sent, answered, status, answer = wire.ask(("POST", path, body, headers))
        use = self.used(key, None, sent, answered, status, answer)
        if status != 200:
            return None, use
        login = codec.parse_session(answer).mqtt if path == routes.AUTH_SESSION else None
        given = Pass(key, sent, answered, answer["user_token"], login, answer)
        with self._lock:
            self.passes.append(given)
        return given, use

    def used(
        self,
        key: Key,
        given: Pass | None,
        sent: float,
        answered: float,
        status: int | None,
        answer: dict[str, Any],
    ) -> Use:
        """Writes down a use of this key, or of what it gave."""
        code = "" if status in (200, 201, LOST) else str(answer.get("code"))
        minted = None if given is None else (given.sent, given.answered)
        use = Use(key.id, minted, sent, answered, status, code)
        with self._lock:
            self.uses.append(use)
            if use.is_turned_away and given is None:
                self._dead.add(key.id)
        return use

    def live(self, identity: str) -> list[Key]:
        """The keys of this identity that are not known to be revoked, the newest last."""
        with self._lock:
            return [key for key in self._keys[identity] if key.id not in self._dead]

    def is_live(self, key_id: str) -> bool:
        """Whether nobody asked for its revocation."""
        with self._lock:
            return key_id not in {change.key_id for change in self.changes}

    def old(self, identity: str) -> list[Key]:
        """The others."""
        with self._lock:
            return [key for key in self._keys[identity] if key.id in self._dead]


class KeyedWire:
    """A `Wire` of one identity that signs in with its newest key, and tries old ones now and then."""

    def __init__(self, wire: Wire, identity: str, ring: Keyring, seed: str) -> None:
        self._wire = wire
        self._identity = identity
        self._ring = ring
        self._dice = random.Random(f"{seed}-{identity}")
        self._pass: Pass | None = None
        self._old: list[Pass] = []

    def ask(self, wish: Wish) -> tuple[float, float, int | None, dict[str, Any]]:
        """As `Wire.ask`, with the user token of the newest key."""
        if self._dice.random() < _OLD_ONES:
            self._try_an_old_one()
        if self._pass is None:
            keys = self._ring.live(self._identity) or self._ring.old(self._identity)
            self._pass, use = self._ring.sign_in(self._wire, keys[-1])
            if self._pass is None:  # the wish itself was never sent
                return use.sent, use.answered, 401, {"code": "invalid_credentials"}
        return self._with(self._pass, wish)

    def close(self) -> None:
        self._wire.close()

    def _with(self, given: Pass, wish: Wish) -> tuple[float, float, int | None, dict[str, Any]]:
        method, path, body, more = wish
        asked = self._wire.ask((method, path, body, {**more, "Authorization": f"Bearer {given.bearer}"}))
        if self._ring.used(given.key, given, *asked).is_turned_away and given is self._pass:
            self._old.append(given)
            self._pass = None
        return asked

    def _try_an_old_one(self) -> None:
        """A thief would: with a key, or with the user token of a key, that was revoked long ago."""
        keys = self._ring.old(self._identity)
        if self._old and self._dice.random() < 0.5:
            self._with(self._dice.choice(self._old), ("GET", routes.CALLS, None, {}))
        elif keys:
            self._ring.sign_in(self._wire, self._dice.choice(keys))


def check_keys(uses: Sequence[Use], changes: Iterable[Change]) -> list[str]:
    """What is wrong: a success that began after the end of its key, or a refusal without one."""
    ends: defaultdict[str, list[Change]] = defaultdict(list)
    for change in changes:
        ends[change.key_id].append(change)
    seen = _seen_dead(uses)
    found = []
    for use in uses:
        if use.status is LOST:
            continue
        of_key = ends[use.key_id]
        of_secret = [
            change for change in ends[""] if use.minted is not None and use.minted[0] < change.answered
        ]
        if use.is_turned_away:
            if not any(change.sent < use.answered for change in of_key + of_secret):
                found.append(f"refused, and nobody had revoked it: {use}")
            continue
        over = [change.answered for change in of_key if change.status is not LOST]
        over += [
            change.answered for change in of_secret if use.minted is not None and use.minted[1] <= change.sent
        ]
        over += seen.get(use.key_id, [])
        if over and min(over) <= use.sent:
            found.append(f"succeeded, and was over since {min(over):.6f}: {use}")
    return found


def _seen_dead(uses: Iterable[Use]) -> dict[str, list[float]]:
    """By key: when somebody was told that the key itself is of no use. It stays so."""
    seen: dict[str, list[float]] = {}
    for use in uses:
        if use.is_turned_away and use.minted is None:
            seen[use.key_id] = [min([use.answered, *seen.get(use.key_id, [])])]
    return seen
