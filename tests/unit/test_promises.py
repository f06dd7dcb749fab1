"""What a public method that can wait promises in its docstring: how long it blocks, and what it raises."""

from __future__ import annotations

import inspect
import sys
from importlib import import_module
from pathlib import Path
from types import FunctionType

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "docs"))

from generators import names


def waiting() -> dict[str, list[str]]:
    """Each public function that takes `timeout` or iterates, with what it and those it overrides say."""
    found: dict[str, list[str]] = {}
    for module, offered in names.names_by_module().items():
        for name in offered:
            value = getattr(import_module(module), name)
            functions = vars_of(value) if inspect.isclass(value) else [value]
            for function in functions:
                if inspect.isfunction(function) and can_wait(function):
                    mro = value.__mro__ if inspect.isclass(value) else ()
                    bodies = [
                        vars(kind)[function.__name__] for kind in mro if function.__name__ in vars(kind)
                    ]
                    found[function.__qualname__] = [body.__doc__ or "" for body in bodies or [function]]
    return found


def vars_of(kind: type) -> list[object]:
    return [getattr(kind, member) for member in dir(kind) if not member.startswith("_")]


def can_wait(function: FunctionType) -> bool:
    signature = inspect.signature(function)
    return "timeout" in signature.parameters or str(signature.return_annotation).startswith("Iterator")


@pytest.mark.parametrize(
    ("name", "said"), list(waiting().items()), ids=lambda value: value if value == str(value) else ""
)
def test_docstring_when_a_public_method_can_wait_says_how_long_and_what_it_raises(
    name: str, said: list[str]
) -> None:
    """Its own, or that of the method it overrides."""
    promised = any("Blocks:" in text and "Raises:" in text for text in said)
    assert promised, name
