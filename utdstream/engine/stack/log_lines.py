"""What becomes of the lines that a program writes: cut when too long, without tokens, counted when they repeat.

Owns: the rules. Pure: bytes in, bytes out, the time is given. Imports the standard library only.

1. A line is at most 4 KiB; what is left out of it is counted.
2. Lines are alike when they differ only in times, numbers and ids. Some of a kind are kept as they are; those that
   follow are counted, and said once a minute together with the last of them.
3. No token is written: livekit-server logs each that it refuses, and one that expired is one of a device.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

LONGEST_BYTES = 4096
SAID_EVERY_S = 60.0
_KINDS_AT_MOST = 256
_KIND_BYTES = 400
_DIFFERS = re.compile(rb"(?<![\w.:+-])(?:[A-Z]{2,3}_\w+|[A-Za-z_.:+-]*+\d[\w.:+-]*)")
"""A word with a digit in it (a time, a number, an id, an address), and livekit's ids, which may have none."""
_TOKEN = re.compile(rb"\beyJ[\w-]{8,}(?:\.[\w-]+){0,2}")
"""A JSON web token, or what a cut left of it: its first part is a JSON object in base64."""


def without_tokens(text: bytes) -> bytes:
    """The text, with a remark in place of each token."""
    return _TOKEN.sub(b"(a token)", text)


class Lines:
    """Makes lines, without their ends, of what comes in pieces. It holds one line at most."""

    def __init__(self) -> None:
        self._begun = b""
        self._left_out = 0

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The lines that this piece ends."""
        *whole, rest = (self._begun + piece).split(b"\n")
        for line in whole:
            yield self._clean(line)
            self._left_out = 0
        self._left_out += max(0, len(rest) - LONGEST_BYTES)
        self._begun = rest[:LONGEST_BYTES]

    def end(self) -> Iterator[bytes]:
        """The last line, when it has no end."""
        if self._begun:
            yield self._clean(self._begun)
        self._begun, self._left_out = b"", 0

    def _clean(self, line: bytes) -> bytes:
        left_out = self._left_out + max(0, len(line) - LONGEST_BYTES)
        kept = without_tokens(line[:LONGEST_BYTES])
        return b"%b ... cut: %d more bytes" % (kept, left_out) if left_out else kept


@dataclass(slots=True)
class _Kind:
    """Lines that are alike: since when, how many were kept, how many counted, and the last of these."""

    since: float
    kept: int = 0
    counted: int = 0
    last: bytes = b""


class Repeats:
    """Keeps `alike` lines of a kind in a minute and counts the others. It knows 256 kinds at most."""

    def __init__(self, alike: int) -> None:
        self._alike = alike
        self._kinds: dict[bytes, _Kind] = {}
        """The one that began first is first."""

    @property
    def due_at(self) -> float | None:
        """When `due` has something to do next."""
        first = next(iter(self._kinds.values()), None)
        return None if first is None else first.since + SAID_EVERY_S

    def take(self, line: bytes, now: float) -> list[bytes]:
        """The lines to write for this one."""
        name = _DIFFERS.sub(b"#", line[:_KIND_BYTES])
        kind = self._kinds.get(name)
        said: list[bytes] = []
        if kind is None:
            if len(self._kinds) >= _KINDS_AT_MOST:
                said = _said(self._kinds.pop(next(iter(self._kinds))), now)
            kind = self._kinds[name] = _Kind(now)
        if kind.kept < self._alike:
            kind.kept += 1
            return [*said, line]
        kind.counted += 1
        kind.last = line
        return said

    def due(self, now: float) -> list[bytes]:
        """What is to be said by now. A kind goes on being counted until a minute is without it."""
        said: list[bytes] = []
        while self._kinds:
            name, kind = next(iter(self._kinds.items()))
            if now < kind.since + SAID_EVERY_S:
                break
            del self._kinds[name]
            said += _said(kind, now)
            if kind.counted:
                self._kinds[name] = _Kind(now, kept=self._alike)
        return said

    def end(self, now: float) -> list[bytes]:
        """All that was counted and not said."""
        kinds, self._kinds = self._kinds, {}
        return [line for kind in kinds.values() for line in _said(kind, now)]


def _said(kind: _Kind, now: float) -> list[bytes]:
    if kind.counted < 2:
        return [kind.last] if kind.counted else []
    more = f" ... {kind.counted - 1:,} more like it in {now - kind.since:.0f} s"
    return [kind.last + more.encode()]
