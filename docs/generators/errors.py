"""Every error class: by descent, and when a program sees it.

Owns: how an error's docstring is read: its first sentence, then `You see this when`, `At fault:`, `What to do:`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from types import ModuleType

from device import errors as device_errors
from generators.markdown import paragraph, table
from utdstream import errors

_LABELS = ("You see this when", "At fault:", "What to do:")


def error_tree() -> str:
    """Every class of `utdstream.errors`, indented by descent."""
    return "\n".join(_branch(errors.UTDStreamException, 0)) + "\n"


def _branch(kind: type, depth: int) -> Iterator[str]:
    also = [
        base.__name__
        for base in kind.__bases__
        if not issubclass(base, errors.UTDStreamException) and base is not Exception
    ]
    more = f" (also a `{'`, `'.join(also)}`)" if also else ""
    yield f"{'    ' * depth}- `{kind.__name__}`{more}: {paragraph(kind.__doc__)}"
    for child in _classes(errors):
        if kind in child.__bases__:
            yield from _branch(child, depth + 1)


def _classes(module: ModuleType) -> list[type]:
    return [
        kind
        for kind in vars(module).values()
        if inspect.isclass(kind)
        and issubclass(kind, errors.UTDStreamException)
        and kind.__module__ == module.__name__
    ]


def error_occasions() -> str:
    """When a program sees each class of the SDK, at whose fault, and what to do."""
    return table(("error", "you see this when", "at fault", "what to do"), [*_occasions(errors)])


def device_error_occasions() -> str:
    """The same of the machine's classes, with what each is."""
    rows = [
        (row[0], paragraph(kind.__doc__), *row[1:])
        for row, kind in zip(_occasions(device_errors), _classes(device_errors), strict=True)
    ]
    return table(("error", "what it is", "you see this when", "at fault", "what to do"), rows)


def _occasions(module: ModuleType) -> Iterator[tuple[str, ...]]:
    for kind in _classes(module):
        yield f"`{kind.__name__}`", *occasion(kind)


def occasion(kind: type) -> tuple[str, str, str]:
    """What a class's docstring says after each of the three labels; an error names the one that is missing."""
    text = " ".join((kind.__doc__ or "").split())
    found = re.search(rf"{_LABELS[0]} (.+?)\. {_LABELS[1]} (.+?)\. {_LABELS[2]} (.+)\.$", text)
    if found is None:
        raise ValueError(f"{kind.__name__}: its docstring needs, in this order: {', '.join(_LABELS)}")
    return found[1], found[2], found[3]
