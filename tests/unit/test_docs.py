"""The pages: generated parts are fresh, links lead somewhere, nothing public is missing."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import utdstream
from utdstream import errors
from utdstream._wire import call_states as states
from utdstream.engine.rules.refusals import STATUS_OF_CODE
from utdstream.models import UTDCallStatus

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))

import flutter_names  # noqa: E402
import generate  # noqa: E402

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def test_generated_parts_are_as_the_code_says() -> None:
    """`make docs` writes them."""
    assert [str(path.relative_to(ROOT)) for path in generate.stale()] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        there = path if not name else (path.parent / name)
        assert there.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in headings}


def test_the_flutter_names_are_fifty_seven_and_marked_truly() -> None:
    """Every name without a mark is there, every marked one is not."""
    names = [ours for rows in flutter_names.NAMES.values() for _, ours in rows]
    assert len(names) == 57
    text = page("reference/flutter-names.md")
    for name in names:
        row = next(line for line in text.splitlines() if f"| `{name}` |" in line)
        assert flutter_names.exists(name) is not row.endswith("| not there yet |")
    tests = flutter_names.tests()
    assert [name for name in names if name not in tests] == [], "each name has a test on the real servers"
    assert flutter_names.exists("UTDCallSession.call_id")  # made by the constructor
    assert not flutter_names.exists("UTDCallSession.no_such_name")
    assert not flutter_names.exists("NoSuchClass")


def test_every_state_and_transition_is_in_the_table_and_the_diagram() -> None:
    text = page("reference/call-states.md")
    for status in UTDCallStatus:
        assert f"    {status.wire} --> " in text
    for row in states.TRANSITIONS:
        assert f"--> {row.target.wire}: {row.trigger}" in text
        assert f"| {row.trigger} |" in text


def test_every_public_name_is_in_the_reference() -> None:
    text = page("reference/python.md")
    for name in utdstream.__all__:
        if isinstance(getattr(utdstream, name), type):
            assert re.search(rf"^### `{name}[`(]", text, re.MULTILINE), name


def test_every_error_and_code_is_in_the_reference() -> None:
    tree, codes = page("reference/errors.md"), page("reference/wire.md")
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, Exception):
            assert f"`{kind.__name__}`" in tree
    for code, status in STATUS_OF_CODE.items():
        assert f"| `{code}` | {status} |" in codes


def test_no_page_names_what_a_reader_does_not_have() -> None:
    """Paths of a developer's machine, in pages and examples."""
    for path in [*PAGES, *(DOCS / "examples").glob("*.py")]:
        assert not re.search(r"/(work|tmp/w|root|home)/", path.read_text(encoding="utf-8")), path


def test_the_configuration_of_the_doorbells_tutorial_is_one() -> None:
    """A stranger copies it."""
    import tomllib

    from device.config import parse

    text = re.search(r"```toml\n(.*?)```", page("tutorials/doorbell.md"), re.DOTALL)
    assert text is not None
    assert parse(tomllib.loads(text[1]), Path("/etc/utdstream/doorbell.toml")).doorbell.callees == ("house",)
