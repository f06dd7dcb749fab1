"""Every setting with its default: of the engine, of the stack, of the machine, of a client."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from device.config import SECTIONS
from device.registry import ADAPTERS
from generators.markdown import paragraph, table
from utdstream.config import ClientConfig
from utdstream.engine.config import EngineConfig
from utdstream.engine.stack.ports import DEFAULT_PORTS
from utdstream.engine.stack.settings import StackFile
from utdstream.settings import Key, keys, sections, toml


def engine_settings() -> str:
    """The file of `utdstream engine serve`."""
    return _sections(sections(EngineConfig))


def stack_settings() -> str:
    """The sections that `utdstream engine up` has beside the project and the limits."""
    own = sections(StackFile)
    return _sections({name: own[name] for name in ("stack", "tls", "ports", "logs")}, DEFAULT_PORTS)


def device_configuration() -> str:
    """Every section and key of the machine's configuration."""
    return _sections(SECTIONS)


def client_config() -> str:
    """Every field of `ClientConfig` with its default."""
    numbers = [item for item in dataclasses.fields(ClientConfig) if isinstance(item.default, float)]
    rows = [(f"`{item.name}`", f"{item.default:g}") for item in numbers]
    return table(("field", "default, seconds"), rows)


def _sections(known: Mapping[str, type[Any]], defaults: Mapping[str, object] = {}) -> str:
    parts = []
    for name, kind in known.items():
        rows = [
            (f"`{key.name}`", _type(key), _default(defaults.get(key.name, key.default)), key.meaning)
            for key in keys(kind).values()
        ]
        head = ("key", "what it holds", "default", "meaning")
        parts.append(f"### `[{name}]`\n\n{paragraph(kind.__doc__)}\n\n{table(head, rows)}")
    return "\n".join(parts)


def _type(key: Key) -> str:
    if key.options:
        return " or ".join(f"`{toml(option)}`" for option in key.options)
    words = key.expected.partition(", like")[0].replace("printable, non-empty ", "")
    return words.removeprefix("the ").removeprefix("an ").removeprefix("a ")


def _default(value: object) -> str:
    if value is dataclasses.MISSING:
        return "must be set"
    return "not set" if value is None else f"`{toml(value)}`"


def cameras() -> str:
    """The table of cameras: what the module of each says of its sources."""
    lines = ["| `[camera] adapter` | `source` | pictures |", "| --- | --- | --- |"]
    for name, place in ADAPTERS["camera"].items():
        module = import_module(place.partition(":")[0])
        for source, pictures in module.SOURCES.items():
            lines.append(f"| `{name}` | {source} | {pictures} |".replace("|  |", "| |"))
    return "\n".join([*lines, "| `none` | | sound only |"]) + "\n"
