"""One request as a handler sees it, and what the handler answers.

Owns: `Asker`, `Ask`, `Answer`, `Handler`. Pure: HTTP is left behind, no rule of calls or rooms is known. Used on
the loop thread.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.responses import Response

from utdstream.engine.api.fields import Fields, Query
from utdstream.engine.rules import keys
from utdstream.engine.rules.keys import AppKey
from utdstream.engine.rules.refusals import Refusal


@dataclass(frozen=True, slots=True)
class Asker:
    """The client that asks. `identity` is fixed by a user token; `trusted`: it came with the app secret. `key` is
    the one that it came with, or that its user token was minted with; None: the open key, or the app secret
    (`is_vouched`: a server minted the user token). `token` tells one user token from another, without holding it.
    """

    identity: str | None = None
    trusted: bool = False
    key: AppKey | None = None
    is_vouched: bool = False
    token: int = 0

    @property
    def key_id(self) -> str:
        """What a user token that is minted for this asker names."""
        if self.key is not None:
            return self.key.id
        return keys.SERVER_ID if self.trusted else keys.OPEN_ID

    @property
    def own_key_id(self) -> str:
        """The id of the asker's own key; empty for the open key and for the secret."""
        return "" if self.key is None else self.key.id

    @property
    def holder(self) -> str:
        """Whose share of the connections this asker takes: its key's, or its identity's; empty: nobody's."""
        return self.own_key_id or self.identity or ""

    @property
    def display_name(self) -> str | None:
        """The name by which others know this asker, whatever it calls itself; None: it may choose."""
        return None if self.key is None else self.key.display_name


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, checked as far as HTTP goes."""

    asker: Asker
    path: Mapping[str, str]
    query: Query
    fields: Fields
    idempotency_key: str | None
    last_event_id: str | None = None
    address: str = ""
    body_hash: int = 0
    """Tells one body from another, without holding it."""
    undos: list[Callable[[], bool]] | None = None
    """What takes back what this request did, each: False when that stands. None: it is never taken back."""

    @property
    def counted_as(self) -> tuple[str, str] | None:
        """Whose limits count: the key's, with the open key the address's; None: a server with the app secret.

        A server that mints user tokens answers for each identity: they may all come from its address.
        """
        asker = self.asker
        if asker.trusted:
            return None
        if asker.key is not None:
            return "key", asker.key.id
        if asker.is_vouched and asker.identity is not None:
            return "identity", asker.identity
        return "address", self.address

    def actor(self, field: str = "identity") -> str:
        """The identity that acts: fixed by the user token, or named by a trusted server. Raises: Refusal."""
        named = self.fields.identity(field)
        if self.asker.identity is None:
            if named is None:
                raise Refusal("validation_failed", f"{field} is required")
            return named
        if named is not None and named != self.asker.identity:
            raise Refusal("identity_mismatch", f"{field} is not the identity of the user token")
        return self.asker.identity


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back."""

    body: Mapping[str, object]
    status: int = 200


Handler = Callable[[Ask], Awaitable[Answer | Response]]
"""A `Response` is for an answer that goes on: a stream."""
