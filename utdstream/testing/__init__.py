"""For tests against utdstream: the real servers, and faults of the links to them. Everything is reached late."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from utdstream.testing.faults import Faults
    from utdstream.testing.local_stack import LocalStack

__all__ = ["Faults", "LocalStack"]

_HOMES = {"Faults": "utdstream.testing.faults", "LocalStack": "utdstream.testing.local_stack"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
