"""Credentials and rate limits: which identity asks, with which key, and how often.

Owns: `Gate`. Runs on the loop thread. What a key may do is in `rules/keys`. No credential is logged.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.requests import Request

from utdstream._wire import names, routes
from utdstream.engine.api.connections import network_of
from utdstream.engine.api.limits import Buckets
from utdstream.engine.api.operations.table import Access
from utdstream.engine.api.request import Ask, Asker
from utdstream.engine.config import LimitsSection
from utdstream.engine.media.tokens import Bearer, Tokens
from utdstream.engine.rules import keys
from utdstream.engine.rules.keys import AppKey
from utdstream.engine.rules.refusals import Refusal
from utdstream.engine.store.contract import KeyStore

QUERY_APP_ID, QUERY_TOKEN = "app_id", "access_token"
_CREDENTIALS = {
    header.lower().encode(): header
    for header in (routes.HEADER_APP_ID, routes.HEADER_APP_KEY, routes.HEADER_APP_SECRET, "Authorization")
}
TRUSTED_FACTOR = 50
"""A server with the secret speaks for many identities: so many times the limit of one."""


class Gate:
    """Credentials and rate limits. `check_ban` raises a Refusal (`banned`) for an identity that is banned from the
    whole project.
    """

    def __init__(
        self,
        tokens: Tokens,
        limits: LimitsSection,
        app_keys: KeyStore,
        *,
        is_key_open: bool,
        check_ban: Callable[[str], None] = lambda identity: None,
    ) -> None:
        self._tokens = tokens
        self._keys = app_keys
        self._is_key_open = is_key_open
        self._check_ban = check_ban
        self._enabled = limits.enabled
        self._requests = Buckets(limits.requests_per_minute)
        self._requests_each = Buckets(limits.requests_per_minute_each)
        self._mints = Buckets(limits.mints_per_minute)
        self._mints_each = Buckets(limits.mints_per_minute_each)
        self._calls_each = Buckets(limits.calls_per_hour_each, 3600.0)
        self._strangers = Buckets(limits.requests_per_minute)
        self._pairings = Buckets(limits.pairings_per_minute_each)

    def asker(self, request: Request, access: Access, *, in_query: bool = False) -> Asker:
        """The asker. Raises: Refusal; a client that guesses credentials is slowed down by its address.

        `in_query`: app id and user token may stand in the query (`EventSource` can set no header).
        """
        try:
            return self._identify(request, access, in_query=in_query)
        except Refusal:
            self._take(self._strangers, address_of(request))
            raise

    def check_key(self, ask: Ask, request: Request, *, mints: bool) -> None:
        """Raises: Refusal when the asker's key was revoked meanwhile, or is not for the identity of a mint, or for
        the room in the path.

        A client that tries one identity after the other is slowed down by its address.
        """
        key = ask.asker.key
        if key is None:
            return
        keys.check_in_force(self._keys.get(key.id))  # it may have been revoked while the body came
        try:
            identity = ask.fields.identity("identity") if mints else None
            if identity is not None:
                keys.check_identity(key, identity)
            room = self._tokens.plain_room(ask.path.get("room", ""))
            if room and not names.is_call_id(room):
                keys.check_room(key.rooms, room)
        except Refusal:
            self._take(self._strangers, address_of(request))
            raise

    def count_pairing(self, request: Request) -> None:
        """Counts one request with a pairing code, right or wrong. Raises: Refusal (`rate_limited`)."""
        self._take(self._pairings, address_of(request))

    def count(self, ask: Ask) -> None:
        """Counts one request with this user token, and with this key. Raises: Refusal (`rate_limited`)."""
        if ask.asker.trusted:
            self._take(self._requests, None, 1.0 / TRUSTED_FACTOR)
            return
        if ask.asker.identity is not None:
            self._take(self._requests, (ask.asker.identity, ask.asker.own_key_id, ask.asker.token))
        self._take(self._requests_each, ask.counted_as)

    def count_mint(self, ask: Ask) -> None:
        """Counts one mint of this identity on this device. Raises: Refusal (`rate_limited`).

        What a client says it is can be another thing each time: its key is counted too, and with the open key its
        address.
        """
        if not ask.asker.trusted:
            device = ask.fields.raw("device_id")
            identity = ask.fields.raw("identity")
            self._take(self._mints, (str(identity)[:256], str(device)[:256]))
            # A key of its own is not slowed down by what else comes from its address, which may be a proxy's.
            self._take(self._mints_each, ask.counted_as)

    def count_call(self, ask: Ask) -> None:
        """Counts one call that is made with this key. Raises: Refusal (`rate_limited`).

        Each leaves a row in the history, for ninety days: by its limit of requests alone a key can fill the disk.
        """
        if not ask.asker.trusted:
            self._take(self._calls_each, ask.counted_as)

    def _take(self, buckets: Buckets, key: object, cost: float = 1.0) -> None:
        if not self._enabled:
            return
        wait_s = buckets.take(key, time.monotonic(), cost)
        if wait_s > 0:
            raise Refusal("rate_limited", "Too many requests; slow down", retry_after_s=wait_s)

    def _identify(self, request: Request, access: Access, *, in_query: bool) -> Asker:
        headers = _credentials(request)
        query = request.query_params if in_query else {}
        app_id = headers.get(routes.HEADER_APP_ID, query.get(QUERY_APP_ID))
        secret = headers.get(routes.HEADER_APP_SECRET)
        key = headers.get(routes.HEADER_APP_KEY)
        bearer = (
            _bearer(headers.get("Authorization")) if "Authorization" in headers else query.get(QUERY_TOKEN)
        )
        if app_id is None:
            raise Refusal("missing_credentials", "Missing X-App-Id or X-App-Secret header")
        if not self._tokens.is_app_id(app_id):
            raise _wrong("this engine serves another project; use its own app id")
        if secret is not None:
            if not self._tokens.is_app_secret(secret):
                raise _wrong("this is not the project's app secret; use the one in force")
            return Asker(trusted=True)
        named = None if key is None else self._named_key(key)
        if access is Access.MINT:
            if key is None:
                raise Refusal("missing_credentials", "Missing X-App-Key or X-App-Secret header")
            return Asker(key=named)
        if bearer is not None:
            said = self._tokens.read(bearer)
            minted_with = self._key_of(said)
            if access is Access.SECRET:
                raise Refusal("forbidden", "This needs the X-App-Secret header")
            self._check_ban(said.identity)
            return Asker(
                said.identity, key=minted_with, is_vouched=said.key_id == keys.SERVER_ID, token=hash(bearer)
            )
        if access is Access.ANY and key is not None:
            return Asker(key=named)
        raise Refusal("missing_credentials", "Missing Authorization: Bearer or X-App-Secret header")

    def _named_key(self, key: str) -> AppKey | None:
        """The record of this key; None for the open key. Raises: Refusal."""
        if self._tokens.is_app_key(key):
            if not self._is_key_open:
                raise _wrong(
                    "the project's own app key is switched off here; use one made by `utdstream engine key add`"
                )
            return None
        named = self._keys.by_digest(self._tokens.digest_of_key(key))
        if named is None:
            raise _wrong("this app key is none of this project; use one made by `utdstream engine key add`")
        keys.check_in_force(named)
        return named

    def _key_of(self, said: Bearer) -> AppKey | None:
        """The key a user token was minted with; None for the open key or the secret. Raises: Refusal."""
        if said.key_id == keys.SERVER_ID or (said.key_id == keys.OPEN_ID and self._is_key_open):
            return None
        key = self._keys.get(said.key_id)
        if key is None:
            raise Refusal("invalid_token", "The app key of this user token is switched off; use a new key")
        keys.check_in_force(key)
        return key


def _wrong(what: str) -> Refusal:
    """A credential that is none (401); the words that clients know, then what to do."""
    return Refusal("invalid_credentials", f"Invalid credentials: {what}")


def address_of(request: Request) -> str:
    """Where a request comes from; of IPv6 the /64."""
    return network_of(request.client.host) if request.client else ""


def _credentials(request: Request) -> dict[str, str]:
    """The credentials among the headers, by the headers' names. Raises: Refusal for one that stands twice."""
    found: dict[str, str] = {}
    for name, value in request.scope["headers"]:
        header = _CREDENTIALS.get(name)
        if header is None:
            continue
        if header in found:
            raise _wrong(f"{header} stands twice in this request; send it once")
        found[header] = value.decode("latin-1")
    return found


def _bearer(header: str | None) -> str | None:
    if header is None:
        return None
    scheme, _, credential = header.partition(" ")
    return credential.strip() if scheme.lower() == "bearer" else None
