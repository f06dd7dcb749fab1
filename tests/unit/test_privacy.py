"""What is private to an object stays within the file that wrote its class."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from imports import modules

OF_OTHERS = {
    "argparse._SubParsersAction",
    "os._exit",
    "publication._ffi_handle",
    "self._client._ffi_lib",  # this and the next: `_livekit/ffi.py`, the direct way of sound
    "FfiClient._ffi_disposed",
    "source._ffi_handle",
    "track._ffi_handle",
    "self._source._join_handle",  # a timer that keeps its source, in a circle
}
"""Names of the standard library, and of the media core, that have no public twin."""


def foreign(source: str) -> Iterator[str]:
    """The private members in a file's text that it did not make itself."""
    tree = ast.parse(source)
    members = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and is_private(node.attr)]
    own = {node.attr for node in members if ast.unparse(node.value) in ("self", "cls")}
    own |= {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    }
    for node in members:
        if node.attr not in own and ast.unparse(node) not in OF_OTHERS:
            yield f"line {node.lineno}: {ast.unparse(node)}"


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def test_private_members_when_a_file_uses_them_are_its_own() -> None:
    """What another file holds is reached by a name without an underscore, or given when it is made."""
    found = {
        name: uses
        for name, path in modules().items()
        if (uses := list(foreign(path.read_text(encoding="utf-8"))))
    }
    assert found == {}


def test_private_members_of_another_file_when_used_are_found() -> None:
    """The check above can fail."""
    assert list(foreign("def leave(room):\n    room._life = None\n")) == ["line 2: room._life"]
