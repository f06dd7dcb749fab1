"""Reading the fields of a request: right type, right size, or a clear refusal.

Owns: what a name, a metadata object may look like; what an identity may, with `rules/identities`. Pure. Whatever a
client sends ends here as a value or as a 422, never as another exception.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from datetime import datetime

from utdstream._wire import codec, names
from utdstream.engine.rules.identities import identity_fault
from utdstream.engine.rules.refusals import invalid
from utdstream.limits import (
    MAX_CALL_METADATA_BYTES,
    MAX_IDENTITY,
    MAX_IDENTITY_BYTES,
    MAX_PAGE,
    MAX_PER_PAGE,
    MAX_RECIPIENTS,
)
from utdstream.models import UTDStreamType

LARGEST_NUMBER = 999_999_999
"""The largest number that a path or a seat may name."""


def checked_text(value: object, name: str, *, longest: int = MAX_IDENTITY) -> str:
    """A non-empty text without control characters. Raises: Refusal."""
    if not isinstance(value, str) or not value.strip():
        raise invalid(f"{name} must be a non-empty string")
    if len(value) > longest:
        raise invalid(f"{name} must have at most {longest} characters")
    # Category C: control characters, lone surrogates, unassigned; format characters (Cf) join emoji.
    if not value.isprintable() and any(
        unicodedata.category(character) in ("Cc", "Cs") for character in value
    ):
        raise invalid(f"{name} must not hold control characters")
    return value


def checked_name(value: object, name: str) -> str:
    """A display name: text that the media server takes too. Raises: Refusal."""
    text = checked_text(value, name)
    if len(text.encode()) > MAX_IDENTITY_BYTES:
        raise invalid(f"{name} must have at most {MAX_IDENTITY_BYTES} bytes in UTF-8")
    return text


def checked_identity(value: object, name: str = "identity") -> str:
    """An identity: a name that a path can carry and that cannot be taken for another. Raises: Refusal."""
    text = checked_name(value, name)
    fault = names.identity_fault(text) or identity_fault(text)
    if fault is not None:
        raise invalid(f"{name} {fault}")
    return text


class Fields:
    """The fields of one request body; a field that is null counts as absent."""

    def __init__(self, body: Mapping[str, object]) -> None:
        self._body = body

    def has(self, name: str) -> bool:
        """True when the field is there and not null."""
        return self._body.get(name) is not None

    def identity(self, name: str) -> str | None:
        """An identity, or None."""
        return checked_identity(self._body[name], name) if self.has(name) else None

    def name(self, name: str) -> str | None:
        """A display name, or None."""
        return checked_name(self._body[name], name) if self.has(name) else None

    def text(self, name: str, *, longest: int = MAX_IDENTITY) -> str | None:
        """A text, or None."""
        return checked_text(self._body[name], name, longest=longest) if self.has(name) else None

    def device_fact(self, name: str, *, longest: int) -> str | None:
        """A fact about the device, cut to size; anything odd is None, it must never block a join."""
        value = self._body.get(name)
        if not isinstance(value, str):
            return None
        return "".join(c for c in value if unicodedata.category(c) not in ("Cc", "Cs"))[:longest] or None

    def integer(self, name: str, *, least: int, most: int) -> int | None:
        """A whole number, or None."""
        if not self.has(name):
            return None
        value = codec.integer(self._body[name])
        if value is None or not least <= value <= most:
            raise invalid(f"{name} must be a whole number from {least} to {most}")
        return value

    def one_of(self, name: str, words: tuple[str, ...]) -> str | None:
        """One of these words, or None."""
        if not self.has(name):
            return None
        value = self._body[name]
        if not isinstance(value, str) or value not in words:
            raise invalid(f"{name} must be one of {', '.join(words)}")
        return value

    def stream_type(self, name: str = "type") -> UTDStreamType | None:
        """A session type in any known spelling, or None."""
        if not self.has(name):
            return None
        value = codec.stream_type(self._body[name])
        if value is None:
            raise invalid(f"{name} must be one of {', '.join(kind.wire for kind in UTDStreamType)}")
        return value

    def flag(self, name: str) -> bool | None:
        """True or false, or None."""
        if not self.has(name):
            return None
        value = self._body[name]
        if not isinstance(value, bool):
            raise invalid(f"{name} must be true or false")
        return value

    def metadata(
        self, name: str = "metadata", *, most_bytes: int = MAX_CALL_METADATA_BYTES
    ) -> Mapping[str, object] | None:
        """A JSON object of at most 4 KiB unless more is given, or None."""
        if not self.has(name):
            return None
        value = self._body[name]
        if not isinstance(value, dict):
            raise invalid(f"{name} must be an object")
        try:
            size = len(json.dumps(value, allow_nan=False))
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except (ValueError, RecursionError):
            raise invalid(f"{name} must hold JSON in UTF-8, not nested too deeply") from None
        if size > most_bytes:
            raise invalid(f"{name} must have at most {most_bytes} bytes")
        return value

    def identities(self, name: str) -> tuple[str, ...]:
        """A list of identities; absent is empty."""
        if not self.has(name):
            return ()
        value = self._body[name]
        if not isinstance(value, list) or len(value) > MAX_RECIPIENTS:
            raise invalid(f"{name} must be a list of at most {MAX_RECIPIENTS} identities")
        return tuple(checked_identity(item, name) for item in value)

    def raw(self, name: str) -> object:
        """The value as it came."""
        return self._body.get(name)


class Query:
    """The parameters behind the question mark; an empty one counts as absent."""

    def __init__(self, parameters: Mapping[str, str]) -> None:
        self._parameters = parameters

    def text(self, name: str) -> str | None:
        """The text, or None."""
        value = self._parameters.get(name)
        return checked_text(value, name, longest=512) if value else None

    def page(self) -> tuple[int, int]:
        """`(page, per_page)`, by default 1 and 20."""
        return self._number("page", 1, MAX_PAGE), self._number("per_page", 20, MAX_PER_PAGE)

    def moment(self, name: str, *, end_of_day: bool = False) -> datetime | None:
        """An ISO-8601 time or date, or None; a date alone is its beginning (or its end)."""
        value = self.text(name)
        if value is None:
            return None
        moment = codec.time(value.replace(" ", "+"))
        if moment is None or not 1970 <= moment.year <= 9000:
            raise invalid(f"{name} must be an ISO-8601 time")
        if end_of_day and len(value) == len("2026-01-31"):
            return moment.replace(hour=23, minute=59, second=59, microsecond=999_999)
        return moment

    def _number(self, name: str, default: int, most: int) -> int:
        value = self._parameters.get(name)
        if not value:
            return default
        if not (value.isascii() and value.isdigit() and len(value) <= 9 and 1 <= int(value) <= most):
            raise invalid(f"{name} must be a whole number from 1 to {most}")
        return int(value)
