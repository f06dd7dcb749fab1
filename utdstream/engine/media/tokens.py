"""Credentials the engine hands out: user bearers, media tokens, broker passwords.

Owns: how each is made and checked. Runs on the loop thread; nothing here waits. Imports livekit-api
(late, it is heavy), PyJWT and the configuration. Nothing here is ever logged.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import jwt
from livekit import api
from livekit.api.access_token import Claims

from utdstream._wire import app_keys
from utdstream.engine.config import EngineConfig
from utdstream.engine.rules import keys
from utdstream.engine.rules.keys import Login
from utdstream.engine.rules.refusals import Refusal
from utdstream.engine.rules.rooms import livekit_name

BEARER_TTL_S = 24 * 3600
MAX_KNOWN_BEARERS = 10_000
MEDIA_TTL_S = 120
"""A media token counts at the join only; inside a session the media server refreshes it."""
REFRESHED_FOR_S = 600
"""So long a token is good that the media server refreshed (livekit 1.13.5: at the join, then every 5 minutes)."""
KEY_ATTRIBUTE = "utd.key"
"""The participant's attribute that names the app key: no client can change it, and a refreshed token keeps it."""
_AUDIENCE = "utdstream-user"


class Bearer(NamedTuple):
    """What a user token says: the identity it speaks for, and the id of the key that it was minted with."""

    identity: str
    key_id: str


class Tokens:
    """Makes and checks every credential of one project."""

    def __init__(self, config: EngineConfig) -> None:
        self._app_id = config.project.app_id
        self._key = config.project.app_key.encode()
        self._secret = config.project.app_secret.encode()
        self._livekit = config.livekit
        token_secret = config.engine.token_secret.encode()
        # Derived: HS256 wants 32 bytes, whatever length the operator chose.
        self._bearer_key = hmac.digest(token_secret, b"bearer", hashlib.sha256)
        # Each secret is rotated for itself: what signs user tokens has no part in what the broker knows.
        self._broker_secret = token_secret if config.mqtt is None else config.mqtt.password.encode()
        self._open_mark = hmac.digest(self._key, b"open", hashlib.sha256).hex()[:16]
        self.secrets_mark = hmac.digest(
            token_secret, b"pairing|" + self._app_id.encode() + b"|" + self._secret, hashlib.sha256
        ).hex()[:16]
        """Another one when the project, its secret or what signs user tokens is another."""
        self._known: OrderedDict[str, tuple[Bearer, float]] = OrderedDict()

    def is_app_id(self, value: str) -> bool:
        """True for this project's id (constant time)."""
        return hmac.compare_digest(value.encode(), self._app_id.encode())

    def plain_room(self, spelling: str) -> str:
        """The room's plain name, in whichever of its two spellings it came."""
        return spelling.removeprefix(livekit_name("", self._app_id))

    def digest_of_key(self, key: str) -> str:
        """What the store has of an app key of this project."""
        return app_keys.digest_of(key, self._app_id)

    def is_app_key(self, value: str) -> bool:
        """True for this project's own app key, the open one (constant time)."""
        return hmac.compare_digest(value.encode(), self._key)

    def is_app_secret(self, value: str) -> bool:
        """True for this project's secret (constant time)."""
        return hmac.compare_digest(value.encode(), self._secret)

    def bearer(self, identity: str, key_id: str) -> str:
        """A user bearer for this identity, good for 24 hours, or until the key it names is revoked."""
        now = int(time.time())
        claims = {
            "sub": identity,
            "key": key_id,
            "aud": _AUDIENCE,
            "iss": self._app_id,
            "iat": now,
            "exp": now + BEARER_TTL_S,
            "jti": secrets.token_hex(8),  # no two are alike: each has a limit of its own
        }
        if key_id == keys.OPEN_ID:
            claims["open"] = self._open_mark
        return jwt.encode(claims, self._bearer_key, algorithm="HS256")

    def read(self, bearer: str) -> Bearer:
        """What this bearer says. Raises: Refusal (`invalid_token`, `token_expired`)."""
        known = self._known.get(bearer)
        if known is not None and time.time() < known[1]:
            return known[0]
        try:
            # `iat` is not checked: a bearer outlives a step of the engine's clock.
            claims = jwt.decode(
                bearer,
                self._bearer_key,
                algorithms=["HS256"],
                audience=_AUDIENCE,
                issuer=self._app_id,
                options={"require": ["sub", "key", "exp"], "verify_iat": False},
            )
        except jwt.ExpiredSignatureError:
            raise Refusal("token_expired", "The user token has expired; authenticate again") from None
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise Refusal("invalid_token", "The user token is not valid") from None
        if claims["key"] == keys.OPEN_ID and claims.get("open") != self._open_mark:
            raise Refusal("invalid_token", "The open key of this user token was rotated; use the new one")
        # A signature that was right stays right: checking it is a third of the cost of a request.
        said = Bearer(str(claims["sub"]), str(claims["key"]))
        self._known[bearer] = (said, float(claims["exp"]))
        while len(self._known) > MAX_KNOWN_BEARERS:
            self._known.popitem(last=False)
        return said

    def media(
        self,
        *,
        room: str,
        identity: str,
        name: str | None,
        sources: Sequence[str],
        metadata: str = "",
        can_subscribe: bool = True,
        can_publish_data: bool = True,
        key_id: str = "",
    ) -> str:
        """A media token: join `room`, subscribe, send data, publish `sources` (empty: nothing); minted
        with the app key of this id (empty: the open key, or the secret).
        """
        now = int(time.time())
        claims = {
            "sub": identity,
            "iss": self._livekit.api_key,
            "nbf": now,
            "exp": now + MEDIA_TTL_S,
            "name": name or identity,
            "video": {**_grants(tuple(sources), can_subscribe, can_publish_data), "room": room},
        }
        if key_id:
            claims["attributes"] = {KEY_ATTRIBUTE: key_id}
        if metadata:
            claims["metadata"] = metadata
        return jwt.encode(claims, self._livekit.api_secret, algorithm="HS256")

    def mqtt_password(self, login: Login) -> str:
        """The password of one broker login, made of the engine's own; with no key of its own, of the open key too.

        Deterministic, because telling the broker a new one throws the device out (dynamic security
        ends the sessions of a client whose password is set).
        """
        seed = f"mqtt|{self._app_id}|{login.identity}".encode()
        # Another shape than any identity can give the line above: these are bytes of no UTF-8.
        seed += b"\xff" + (login.key_id or self._open_mark).encode()
        return hmac.new(self._broker_secret, seed, hashlib.sha256).hexdigest()


@lru_cache(maxsize=64)
def _grants(sources: tuple[str, ...], can_subscribe: bool, can_publish_data: bool) -> dict[str, object]:
    """LiveKit's spelling of these rights, from LiveKit's own library; made once, as that takes 80 us."""
    grants = api.VideoGrants(
        room_join=True,
        can_publish=bool(sources),
        can_publish_sources=list(sources) or None,
        can_subscribe=can_subscribe,
        can_publish_data=can_publish_data,
        can_update_own_metadata=False,
    )
    spelled: dict[str, object] = Claims(video=grants).asdict()["video"]
    return spelled
