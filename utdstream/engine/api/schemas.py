"""The words of the schemas: what a text, a number, an identity, a page looks like in the OpenAPI document.

Owns: the pieces that the families' schemas are made of, and the schemas that several of them share. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from utdstream.engine.api.fields import LARGEST_NUMBER
from utdstream.engine.rules.refusals import STATUS_OF_CODE
from utdstream.limits import MAX_CALL_METADATA_BYTES, MAX_IDENTITY, MAX_IDENTITY_BYTES, RESERVED_IDENTITIES

Schema = dict[str, object]

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
TIME: Schema = {"type": "string", "format": "date-time"}
MAYBE_FLAG: Schema = {"type": ["boolean", "null"]}
MAYBE_TEXT: Schema = {"type": ["string", "null"]}
MAYBE_COUNT: Schema = {"type": ["integer", "null"]}
MAYBE_TIME: Schema = {"type": ["string", "null"], "format": "date-time"}
MAYBE_OBJECT: Schema = {"type": ["object", "null"]}
NAME: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_IDENTITY,
    "description": f"No control characters; at most {MAX_IDENTITY_BYTES} bytes in UTF-8.",
}
MAYBE_NAME: Schema = {**NAME, "type": ["string", "null"]}
IDENTITY: Schema = {
    **NAME,
    "not": {"enum": sorted(RESERVED_IDENTITIES)},
    "description": "Letters and digits of one script and the signs of ASCII, without blanks: PRECIS "
    f"UsernameCasePreserved (RFC 8265), no look-alike of ASCII; at most {MAX_IDENTITY_BYTES} bytes in UTF-8.",
}
MAYBE_IDENTITY: Schema = {**IDENTITY, "type": ["string", "null"]}
METADATA: Schema = {
    "type": ["object", "null"],
    "description": f"At most {MAX_CALL_METADATA_BYTES} bytes of JSON.",
}
NUMBER: Schema = {"type": "integer", "minimum": 0, "maximum": LARGEST_NUMBER}
ACTOR: Schema = {
    **MAYBE_IDENTITY,
    "description": "The identity that acts: needed with the app secret, fixed by a user token.",
}
OK: Schema = {"const": True}
REV: Schema = {**COUNT, "description": "The revision of the room's state after this; each change adds one."}
PAGE = ("page", "per_page")
"""The query of every operation that answers with a page."""


def object_of(properties: Mapping[str, object], required: tuple[str, ...] | None = None) -> Schema:
    """The schema of an object; `required` None: all of its properties are."""
    needed = tuple(properties) if required is None else required
    schema: Schema = {"type": "object", "properties": dict(properties)}
    if needed:
        schema["required"] = list(needed)
    return schema


def ref(name: str) -> Schema:
    """The schema of this name."""
    return {"$ref": f"#/components/schemas/{name}"}


def list_of(name: str) -> Schema:
    """A list of objects of this schema."""
    return {"type": "array", "items": ref(name)}


def page_of(row: str) -> Schema:
    """One page of rows of this schema."""
    pagination = object_of({"page": COUNT, "per_page": COUNT, "total": COUNT, "total_pages": COUNT})
    return object_of({"data": list_of(row), "pagination": pagination})


SHARED: dict[str, Schema] = {
    "Error": object_of(
        {
            "message": {**TEXT, "description": "One sentence for a person."},
            "code": {"type": "string", "enum": sorted(STATUS_OF_CODE)},
            "retry_after": {"type": "integer", "description": "Seconds to wait before the same request."},
            "details": {"type": "object"},
        },
        ("message", "code"),
    ),
    "Ok": object_of({"ok": OK}),
    "Actor": object_of({"identity": ACTOR, "os": MAYBE_TEXT}, ()),
    "RoomChanged": object_of({"ok": OK, "rev": REV}),
    "Target": object_of({"identity": ACTOR, "target_identity": IDENTITY}, ("target_identity",)),
}
