"""One table of paths: the engine serves what stands there, and the SDK asks for nothing that is not served."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from utdstream._wire import routes
from utdstream.engine.api.operations import OPERATIONS
from utdstream.engine.api.operations.table import Operation

REST = Path(__file__).resolve().parents[3] / "utdstream" / "_rest"
METHODS = {"GET", "POST", "PUT", "DELETE"}
HOSTILE = "Frau Müller/🚪"
SERVED = {(row.method, row.path) for row in OPERATIONS}


def templates() -> dict[str, list[str]]:
    """The paths of each name of the table: one, or one for each action."""
    found = {}
    for name, value in vars(routes).items():
        if not name.isupper():
            continue
        if isinstance(value, str) and value.startswith("/"):
            found[name] = [value]
        elif isinstance(value, Mapping):
            found[name] = list(value.values())
    return found


def tables_filled_in() -> dict[str, str]:
    """The name of the table that each function of `routes` fills in."""
    functions = ast.parse(inspect.getsource(routes)).body
    return {
        function.name: name.id
        for function in functions
        if isinstance(function, ast.FunctionDef)
        for name in ast.walk(function)
        if isinstance(name, ast.Name) and name.id in templates()
    }


def asked_by_the_sdk() -> Iterator[tuple[str, str]]:
    """Method and path of each request in `_rest/`; an action that is a variable is each action there is."""
    for path in sorted(REST.glob("*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call):
                continue
            words = [each.value for each in call.args if isinstance(each, ast.Constant)]
            method = next((word for word in words if word in METHODS), None)
            if method is None and ast.unparse(call.func) == "self._post":
                method = "POST"
            for argument in call.args if method else ():
                for name in ast.walk(argument):
                    if isinstance(name, ast.Attribute) and ast.unparse(name.value) == "routes":
                        yield from ((str(method), path) for path in paths_of(name.attr, argument))


def paths_of(name: str, argument: ast.expr) -> list[str]:
    """The paths that `routes.<name>` in this argument may be."""
    if name not in tables_filled_in():
        return templates().get(name, [])
    there = templates()[tables_filled_in()[name]]
    words = [each.value for each in ast.walk(argument) if isinstance(each, ast.Constant)]
    return [path for path in there if path.rpartition("/")[2] in words] or there


@pytest.mark.parametrize(("method", "path"), sorted(set(asked_by_the_sdk())))
def test_path_when_the_sdk_asks_for_it_is_served(method: str, path: str) -> None:
    """By an operation of this method; both ends stand on the same line of `_wire/routes.py`."""
    assert (method, path) in SERVED, f"the SDK asks {method} {path}: add its row to engine/api/operations/"


def test_requests_when_looked_for_in_the_sdk_are_found() -> None:
    """The look into `_rest/` sees each kind of request, so the test above is not empty."""
    asked = set(asked_by_the_sdk())
    for each in (
        ("POST", routes.TOKEN),
        ("GET", routes.CALLS),
        ("POST", routes.CALL_ACTIONS["busy"]),
        ("POST", routes.SEATS_ACTIONS["move"]),
        ("DELETE", routes.SPEAKERS_ACTIONS["request"]),
    ):
        assert each in asked, f"the SDK asks {each} somewhere in _rest/, and this test does not see it"
    assert ("POST", routes.SEATS_ACTIONS["swap"]) not in asked, "a constant action is that action alone"


@pytest.mark.parametrize("row", OPERATIONS, ids=lambda row: row.id)
def test_operation_when_the_engine_serves_it_has_its_path_in_the_wire(row: Operation) -> None:
    """No path is written down in the engine alone."""
    there = [path for paths in templates().values() for path in paths]
    assert row.path in there, f"{row.id}: take its path from utdstream/_wire/routes.py, not {row.path!r}"


@pytest.mark.parametrize(
    ("name", "path"), [(name, path) for name, paths in templates().items() for path in paths]
)
def test_path_when_it_stands_in_the_wire_is_served(name: str, path: str) -> None:
    """No line of the table is left over; one may be the beginning of others."""
    assert any(served.startswith(path) for _, served in SERVED), (
        f"no operation has routes.{name} {path}: add a row, or take the path out"
    )


@pytest.mark.parametrize("name", sorted(tables_filled_in()))
def test_path_when_filled_in_with_any_name_keeps_its_segments(name: str) -> None:
    """A slash in an identity is no slash of the path."""
    function: Callable[..., str] = getattr(routes, name)
    values: dict[str, str | int] = {
        each: 3 if parameter.annotation == "int" else HOSTILE
        for each, parameter in inspect.signature(function).parameters.items()
    }
    for template in templates()[tables_filled_in()[name]]:
        if "action" in values:
            values["action"] = template.rpartition("/")[2]
        filled = function(**values)
        assert filled.count("/") == template.count("/"), f"routes.{name} gives {filled} for {template}"
        assert filled.isascii(), f"routes.{name} does not quote its values"
