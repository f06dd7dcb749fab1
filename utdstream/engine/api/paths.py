"""Paths with parameters: `/calls/{call_id}/end` and what stands behind it.

Owns: finding the entry of a path. Pure: no I/O. A path is split as it was sent, before anything in it is
decoded: `%2F` in a parameter is no separator. Words go before parameters, so `/rooms/bans` is no room.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

_Entry = TypeVar("_Entry")
_Shape = tuple[int, ...]
"""The places of the parameters in a path of one length."""


class Paths(Generic[_Entry]):
    """Entries by their path. Finding one costs the same however many there are."""

    def __init__(self, entries: Mapping[str, _Entry]) -> None:
        self._by_length: dict[int, dict[_Shape, dict[tuple[str, ...], tuple[tuple[str, ...], _Entry]]]] = {}
        for path, entry in sorted(entries.items(), key=lambda item: item[0].count("{")):
            segments = path.split("/")
            shape = tuple(place for place, segment in enumerate(segments) if segment.startswith("{"))
            names = tuple(segments[place][1:-1] for place in shape)
            words = tuple(segment for segment in segments if not segment.startswith("{"))
            self._by_length.setdefault(len(segments), {}).setdefault(shape, {})[words] = (names, entry)

    def find(self, path: str) -> tuple[_Entry, dict[str, str]] | None:
        """The entry of this path and its parameters, as they were sent; None: there is nothing here."""
        segments = path.split("/")
        for shape, entries in self._by_length.get(len(segments), {}).items():
            words = list(segments)
            values = [words.pop(place) for place in reversed(shape)]
            found = entries.get(tuple(words))
            if found is not None and all(values):
                names, entry = found
                return entry, dict(zip(names, reversed(values), strict=True))
        return None
