"""Lines put into a settings file that somebody else has written: the rest of it stays as it is, comments too.

Owns: how a key of a TOML section is set in a text. Pure. Standard library only: a device may have no more.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping

from utdstream.errors import InvalidConfig

Tables = Mapping[str, Mapping[str, str | None]]
"""Values by section and key; None: the key is taken out."""


def with_lines(text: str, wanted: Tables) -> str:
    """Returns the TOML `text` with these values. Raises: InvalidConfig when it cannot be changed by lines."""
    before = parsed(text)
    lines = text.removesuffix("\n").split("\n") if text else []  # a line of TOML ends there, and nowhere else
    for section, values in wanted.items():
        for key, value in values.items():
            _set(lines, section, key, value)
    edited = "\n".join([*lines, ""])
    try:
        done = tomllib.loads(edited) == _expected(before, wanted)
    except tomllib.TOMLDecodeError:
        done = False
    if not done:
        said = "\n".join(f"  [{name}] {line}" for name, values in wanted.items() for line in _lines(values))
        raise InvalidConfig(
            f"the file is written in a way that is not changed here; put this into it:\n{said}"
        )
    return edited


def parsed(text: str) -> dict[str, object]:
    """Returns what the text says. Raises: InvalidConfig."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidConfig(f"it is not TOML: {error}") from error


def _set(lines: list[str], section: str, key: str, value: str | None) -> None:
    start = next((at for at, line in enumerate(lines) if _header(line) == section), None)
    if start is None:
        if value is None:
            return
        lines += ["", f"[{section}]"] if lines else [f"[{section}]"]
        start = len(lines) - 1
    end = next((at for at in range(start + 1, len(lines)) if _header(lines[at]) is not None), len(lines))
    own = range(start + 1, end)
    found = next((at for at in own if re.match(rf"\s*{key}\s*=", lines[at])), None)
    if value is None:
        if found is not None:
            lines[found] = f"#{lines[found]}"
        return
    line = f"{key} = {json.dumps(value, ensure_ascii=False)}"
    commented = next((at for at in own if re.match(rf"#\s*{key}\s*=", lines[at])), None)
    place = commented if found is None else found
    if place is None:
        last = max((at for at in own if lines[at].strip()), default=start)
        lines.insert(last + 1, line)
    else:
        lines[place] = line


def _header(line: str) -> str | None:
    found = re.match(r"\s*\[\[?\s*([^\[\]]+?)\s*\]", line)
    return None if found is None else found[1]


def _expected(before: Mapping[str, object], wanted: Tables) -> dict[str, object]:
    after = dict(before)
    for section, values in wanted.items():
        there = before.get(section, {})
        table = {**there, **values} if isinstance(there, Mapping) else {**values}
        kept = {key: value for key, value in table.items() if value is not None}
        if kept or section in before:
            after[section] = kept
    return after


def _lines(values: Mapping[str, str | None]) -> list[str]:
    return [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items() if value]
