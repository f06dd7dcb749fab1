"""The tests themselves: one style of name, one sentence each."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
NAME = re.compile(r"test_[a-z0-9_]+_when_[a-z0-9_]+")


@pytest.mark.parametrize(
    "path", sorted(TESTS.rglob("*.py")), ids=lambda path: str(path.relative_to(TESTS).with_suffix(""))
)
def test_test_when_read_is_named_after_what_when_then_and_says_one_sentence(path: Path) -> None:
    """`test_<what>_when_<when>_<then>`, and a docstring that says the behaviour to a person."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            assert NAME.fullmatch(node.name), f"{node.name}: name it test_<what>_when_<when>_<then>"
            said = ast.get_docstring(node) or ""
            assert re.search(r"[.?!)]\s*\Z", said.split("\n\n")[0]), f"{node.name}: say it in a sentence"
