"""The page of what is trusted: it claims nothing that no test shows, and names nothing that is not there."""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import device.__main__ as device_command
from device.doorbell.door import WhyShut
from utdstream import cli
from utdstream.engine.rules.refusals import STATUS_OF_CODE

TESTS = Path(__file__).resolve().parents[1]
PAGE = (TESTS.parent / "docs" / "explanation" / "what-is-trusted.md").read_text(encoding="utf-8")
TABLES = PAGE.split("\n## ")[1:]


def rows(heading: str) -> Iterator[list[str]]:
    """The rows of the table below this heading, without its head."""
    (table,) = (part for part in TABLES if part.startswith(heading))
    lines = [line for line in table.splitlines() if line.startswith("|")]
    for line in lines[2:]:
        yield [cell.strip() for cell in line.strip("|").split(" | ")]


@cache
def names_in(path: str) -> frozenset[str]:
    """The tests in a file below `tests`."""
    tree = ast.parse((TESTS / path).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def words(text: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", text)


def test_test_when_the_page_names_it_exists() -> None:
    """A claim outlives the test that showed it, if nobody looks."""
    named = [word.split("::") for word in words(PAGE) if "::" in word]
    assert len(named) > 60
    assert [test for test in named if test[1] not in names_in(test[0])] == []


@pytest.mark.parametrize("heading", ["ETSI EN 303 645", "OWASP ASVS 5.0"])
def test_point_when_it_is_said_to_be_met_names_a_test(heading: str) -> None:
    """`none` is allowed, and stands there for everybody to see; a yes without it needs its reason."""
    points = list(rows(heading))
    for point, verdict, how, shown in points:
        assert how, point
        assert "::" in shown or shown == "none", point
        assert verdict in ("yes", "in part", "with TLS", "not by default", "not met", "not ours"), point
    shown_by_tests = sum("::" in shown for *_, shown in points)
    assert shown_by_tests / len(points) > 0.6


def test_provisions_when_counted_are_all_of_the_standard() -> None:
    """5.1 to 5.13, and 6."""
    numbers = [row[0].split()[0] for row in rows("ETSI EN 303 645")]
    assert numbers == [*(f"5.{number}" for number in range(1, 14)), "6"]


def test_codes_when_the_page_names_them_are_the_engines_or_the_doors() -> None:
    """An outcome that is a code is one that a client can meet."""
    outcomes = [word for row in rows("Attempts") for word in words(row[1])]
    known = {*STATUS_OF_CODE, *(why.code for why in WhyShut)}
    assert len(outcomes) > 5
    assert [word for word in outcomes if word not in known] == []


def test_commands_when_the_page_names_them_can_be_given() -> None:
    """Each verb and each option of what the owner is told to do."""
    parsers = {"utdstream": cli._parser(), "utd-device": device_command._parser()}
    named = [word.split() for word in words(PAGE) if word.split()[0] in parsers]
    assert len(named) > 4
    for name, *rest in named:
        parser = parsers[name]
        for word in rest:
            below = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
            if below:
                parser = below[0].choices[word]
            elif word.startswith("-"):
                assert word in parser._option_string_actions, f"{name} {' '.join(rest)}"
