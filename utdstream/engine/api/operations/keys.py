"""The operations on app keys."""

from __future__ import annotations

from utdstream._wire import routes
from utdstream.engine.api.operations.table import Access, Operation
from utdstream.engine.api.schemas import (
    FLAG,
    IDENTITY,
    MAYBE_FLAG,
    MAYBE_NAME,
    MAYBE_TEXT,
    MAYBE_TIME,
    PAGE,
    TEXT,
    TIME,
    Schema,
    object_of,
    page_of,
)
from utdstream.engine.rules import keys

OPERATIONS = (
    Operation(
        "add_key",
        "POST",
        routes.KEYS,
        "Make an app key for one identity, or for those that begin alike; the key itself is answered here alone",
        Access.SECRET,
        "NewKey",
        request="KeyRequest",
        status=201,
        codes=("invalid_state", "forbidden", "validation_failed"),
    ),
    Operation(
        "list_keys",
        "GET",
        routes.KEYS,
        "List the app keys, newest first, the revoked ones too",
        Access.SECRET,
        "KeyPage",
        codes=("forbidden", "validation_failed"),
        query=PAGE,
    ),
    Operation(
        "revoke_key",
        "DELETE",
        routes.KEY,
        "Revoke an app key, and with it every user token that was minted with it",
        Access.SECRET,
        "Key",
        codes=("key_not_found", "forbidden", "validation_failed"),
    ),
)

_KEY: Schema = {
    "key_id": TEXT,
    "name": {**TEXT, "description": "For people; the identity, when none was given."},
    "identity": {**TEXT, "description": "The identity it mints for; a * at the end stands for any ending."},
    "may_host": {**FLAG, "description": "Whether it makes rooms, and claims them for their host."},
    "rooms": {
        "type": "array",
        "items": TEXT,
        "description": "The rooms it enters; a * at the end stands for any ending.",
    },
    "display_name": {**MAYBE_TEXT, "description": "Shown in place of any name that its holder gives."},
    "allow_break_in": {
        "type": "array",
        "items": TEXT,
        "description": "Callers that ring at its identity while it talks, too; a * stands for any ending.",
    },
    "created_at": TIME,
    "revoked_at": {**MAYBE_TIME, "description": "null: in use."},
}

REQUESTED: Schema = {
    "identity": {**IDENTITY, "description": "An identity; with a * at the end, all that begin so."},
    "name": MAYBE_NAME,
    "may_host": {**MAYBE_FLAG, "default": False},
    "rooms": {
        "type": ["array", "null"],
        "items": {"type": "string", "minLength": 1},
        "minItems": 1,
        "maxItems": keys.MAX_ROOM_PATTERNS,
        "default": [keys.ANY],
    },
    "display_name": MAYBE_NAME,
    "allow_break_in": {
        "type": ["array", "null"],
        "items": IDENTITY,
        "maxItems": keys.MAX_BREAK_IN_PATTERNS,
        "default": [],
    },
}
"""What a key is wanted for."""

SCHEMAS: dict[str, Schema] = {
    "KeyRequest": object_of(REQUESTED, ("identity",)),
    "Key": object_of(_KEY),
    "NewKey": object_of({**_KEY, "app_key": {**TEXT, "description": "The key itself, never shown again."}}),
    "KeyPage": page_of("Key"),
}
