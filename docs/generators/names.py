"""Every public name of the SDK as its user imports it: `utdstream` first, then each public module.

Owns: where a name is shown (the shortest module that offers it, wherever its code lives). A class shows what it
inherits too: nobody looks for a session's methods in a base class.
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Generator, Iterator
from importlib import import_module
from types import ModuleType

import utdstream
from generators import members
from generators.markdown import paragraph

_SUBJECTS = {
    "Client and sessions": ("client", "_session", "_calls", "_rooms"),
    "Incoming calls": ("_rings",),
    "Values": ("models",),
    "Facts and occurrences": ("observe",),
    "Devices and frames": ("media",),
    "Errors": ("errors",),
    "Settings": ("config",),
}
"""The order of the front page's names: subject -> where their code lives."""


def public_names() -> str:
    """Every public name, with its members and what they promise."""
    shown = names_by_module()
    parts = [*_section(utdstream, shown["utdstream"], by_subject=True)]
    for module in public_modules():
        parts += _section(module, shown[module.__name__], by_subject=False)
    return "\n".join(parts)


def public_modules() -> list[ModuleType]:
    """Every module below `utdstream` that a user may import: no underscore, neither the engine nor the command."""
    found = pkgutil.walk_packages(utdstream.__path__, "utdstream.", onerror=lambda _: None)
    names = sorted(each.name for each in found if _is_public(each.name))
    return [import_module(name) for name in names]


def _is_public(name: str) -> bool:
    words = name.split(".")[1:]
    return words[0] not in ("engine", "cli") and not any(word.startswith("_") for word in words)


def offered(module: ModuleType) -> list[str]:
    """What a module offers: its `__all__`, or else the public classes, functions and constants it defines."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return list(listed)
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (
            getattr(value, "__module__", None) == module.__name__
            if inspect.isclass(value) or inspect.isfunction(value)
            else name.isupper() and len(name) > 1 and name in members.assigned(module.__name__)
        )
    ]


def names_by_module() -> dict[str, list[str]]:
    """Each public name once, at the shortest module that offers it."""
    found: dict[str, list[str]] = {}
    seen: set[str] = set()
    for module in [utdstream, *public_modules()]:
        found[module.__name__] = [name for name in offered(module) if name not in seen]
        seen.update(found[module.__name__])
    return found


def _section(module: ModuleType, names: list[str], *, by_subject: bool) -> Iterator[str]:
    yield f"## `{module.__name__}`\n"
    yield paragraph(module.__doc__) + "\n"
    elsewhere = [name for name in offered(module) if name not in names]
    if elsewhere:
        yield "Shown above: " + ", ".join(_link(name) for name in elsewhere) + ".\n"
    if by_subject:
        names = yield from _contents(module, names)
    for name in names:
        yield from members.entry(module, name)


def _contents(module: ModuleType, names: list[str]) -> Generator[str, None, list[str]]:
    """A list of the names by subject; returns them in that order."""
    ordered: list[str] = []
    for subject, homes in _SUBJECTS.items():
        here = [name for home in homes for name in names if _room(module, name) == home]
        ordered += here
        yield f"- {subject}: " + ", ".join(_link(name) for name in here)
    rest = [name for name in names if name not in ordered]
    if rest:
        yield "- Others: " + ", ".join(_link(name) for name in rest)
    yield ""
    return ordered + rest


def _room(module: ModuleType, name: str) -> str:
    """The first word below `utdstream` of the module that has the code of a name."""
    return members.home(module.__name__, name).split(".")[1]


def _link(name: str) -> str:
    return f"[{name}](#{name.lower()})"
