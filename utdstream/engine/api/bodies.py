"""The JSON of requests and answers.

Owns: bytes to an object and back. Pure. With msgspec, which takes an eighth of the time of the standard library's
`json` (0.4 us against 4 us for the body of a new call, 1.1 us against 9 us for its answer).

Its typed shapes were tried for the fields too (8.7 us for a new call, against 11.4 us for `Fields` over its JSON):
they know no bytes of UTF-8, control characters or names that no path can carry, so each field was checked twice,
and a refusal named a JSON path instead of saying what to send. `Fields` stays.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from utdstream.engine.rules.refusals import invalid

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def read(raw: bytes) -> dict[str, object]:
    """The JSON object in a request body; an empty body is an empty object. Raises: Refusal."""
    if not raw.strip():
        return {}
    try:
        value = _decode(raw)
    except (ValueError, RecursionError):
        raise invalid("The body must be a JSON object in UTF-8") from None
    if not isinstance(value, dict):
        raise invalid("The body must be a JSON object")
    return value


def written(body: Mapping[str, object]) -> bytes:
    """The bytes of an answer."""
    return _encode(body)
