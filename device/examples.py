"""The commented example of a configuration, written from `config.py`: it cannot be out of date.

Owns: which sections and values an example shows. Standard library and vocabulary only.
"""

from __future__ import annotations

import dataclasses
import json
import textwrap
import typing
from pathlib import Path
from typing import Any, Literal

from device.config import SECTIONS

_SHOWN: dict[str, dict[str, dict[str, object]]] = {
    "doorbell": {
        "engine": {"app_id": "1234567890", "base_url": "http://192.168.1.10:7880"},
        "device": {"identity": "door", "name": "Front door"},
        "audio": {},
        "camera": {},
        "button": {},
        "door": {},
        "doorbell": {"callees": ["house"]},
        "home_assistant": {},
    },
    "kiosk": {
        "engine": {"app_id": "1234567890", "base_url": "http://192.168.1.10:7880"},
        "device": {"identity": "kiosk", "name": "Kiosk in the lobby"},
        "audio": {},
        "button": {"adapter": "none"},
        "kiosk": {"seat": 1},
    },
}


def example(app: str) -> str:
    """The commented TOML of `doorbell` or `kiosk`: what must be set is set, the rest shows its default."""
    lines = [
        f"# Configuration of `utd-device {app}`. Lines that begin with # show the default.",
        "# The app key is not in here: it is the credential app_key, or the file that app_key_file names.",
    ]
    for section, given in _SHOWN[app].items():
        kind = SECTIONS[section]
        lines += ["", f"# {(kind.__doc__ or '').strip()}", f"[{section}]"]
        for item in dataclasses.fields(kind):
            lines += textwrap.wrap(
                explanation(kind, item),
                110,
                initial_indent="# ",
                subsequent_indent="# ",
                break_long_words=False,
            )
            if item.name in given:
                lines.append(f"{item.name} = {toml(given[item.name])}")
            else:
                lines.append(
                    f"#{item.name} = {toml(item.default) if item.default is not None else ''}".rstrip()
                )
    return "\n".join(lines) + "\n"


def explanation(kind: type[Any], item: dataclasses.Field[Any]) -> str:
    """What a key means, with its limits."""
    text = str(item.metadata["help"])
    least, most = item.metadata.get("least"), item.metadata.get("most")
    return f"{text} ({least} to {most})" if least is not None else text


def type_words(hint: Any) -> str:
    """A key's type, for people."""
    options = [option for option in typing.get_args(hint) if option is not type(None)]
    if typing.get_origin(hint) is Literal:
        return " or ".join(f"`{toml(option)}`" for option in options)
    if hint == tuple[str, ...]:
        return "list of texts"
    plain = options[0] if options else hint
    return {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}[plain]


def toml(value: object) -> str:
    """A value in TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    # JSON's escapes of a printable text are TOML's.
    return json.dumps(str(value), ensure_ascii=False) if isinstance(value, (str, Path)) else str(value)
