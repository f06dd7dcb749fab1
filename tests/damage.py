"""What a power cut, a worn card or a hand does to a file, for tests: each kind by name, repeatable by a seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

Damage = Callable[[Path, random.Random], None]


def missing(file: Path, chance: random.Random) -> None:
    file.unlink()


def empty(file: Path, chance: random.Random) -> None:
    file.write_bytes(b"")


def truncated(file: Path, chance: random.Random) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: chance.randrange(1, len(content))])


def nul_filled(file: Path, chance: random.Random) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def half_written(file: Path, chance: random.Random) -> None:
    """The right size, but from some page on nothing came."""
    content = file.read_bytes()
    begins = chance.randrange(1, len(content))
    file.write_bytes(content[:begins] + bytes(len(content) - begins))


def garbage(file: Path, chance: random.Random) -> None:
    file.write_bytes(chance.randbytes(file.stat().st_size))


def of_wrong_mode(file: Path, chance: random.Random) -> None:
    file.chmod(0o000)


KINDS: dict[str, Damage] = {
    kind.__name__: kind
    for kind in (missing, empty, truncated, nul_filled, half_written, garbage, of_wrong_mode)
}
