"""The pages: generated parts are fresh, links lead somewhere, nothing public is missing."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import re
import sys
from importlib import import_module
from pathlib import Path

import pytest

import utdstream
from device import errors as device_errors
from device.registry import ADAPTERS
from utdstream import errors
from utdstream._wire import call_states as states
from utdstream.engine.rules.refusals import STATUS_OF_CODE
from utdstream.models import UTDCallStatus

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))

import flutter_names  # noqa: E402
import generate  # noqa: E402
from generators import errors as error_pages  # noqa: E402

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def test_pages_when_generated_are_as_the_code_says() -> None:
    """`make docs` writes them."""
    stale = [str(path.relative_to(ROOT)) for path in generate.stale()]
    assert stale == [], "their generated parts are not what the code says: run `make docs` and commit them"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_when_followed_lead_to_a_file_and_a_heading(path: Path) -> None:
    """Every link leads to a file and a heading."""
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


def test_flutter_names_when_counted_are_fifty_seven_and_marked_truly() -> None:
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


def test_call_states_when_drawn_and_tabled_are_all_there() -> None:
    """A state and a trigger of the calls' table each."""
    text, drawing = page("reference/call-states.md"), page("images/call-states.svg")
    for status in UTDCallStatus:
        assert f">{status.wire}</text>" in drawing
    for row in states.TRANSITIONS:
        assert f">{row.trigger}</text>" in drawing
        assert f"| {row.trigger} |" in text


def test_architecture_when_read_names_every_module_and_every_import_contract() -> None:
    """Nobody can add a module or a rule that the page does not show."""
    text = page("explanation/architecture.md")
    for folder, base in (
        ("utdstream", "utdstream"),
        ("utdstream/engine", "utdstream/engine"),
        ("device", "device"),
    ):
        for path in (ROOT / folder).rglob("*.py"):
            inside = path.relative_to(ROOT / base)
            if path.name != "__init__.py" and (folder, inside.parts[0]) != ("utdstream", "engine"):
                assert f"| `{inside}` |" in text, f"{path} is not on the page: run `make docs`"
    names = re.findall(r"^name = (.+)$", (ROOT / "setup.cfg").read_text(encoding="utf-8"), re.MULTILINE)
    for name in names[1:]:  # the first is the package's
        assert f"**{name}.**" in text, f"the import rule {name!r} is not on the page: run `make docs`"


@pytest.mark.parametrize(("name", "place"), ADAPTERS["camera"].items())
def test_camera_when_it_can_be_configured_says_its_sources(name: str, place: str) -> None:
    """A person chooses from the page of cameras, which is made of them."""
    module = place.partition(":")[0]
    assert hasattr(import_module(module), "SOURCES"), f"{module}: say in SOURCES what `source` may be"
    assert f"\n| `{name}` |" in page("how-to/cameras.md"), "run `make docs`"


def test_contributing_when_it_names_a_file_or_a_name_of_the_code_is_right() -> None:
    """Whoever follows it opens that file and looks for that name."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.split("## Where a new thing goes")[1].split("\n## ")[0]
    files = [path for folder in ("utdstream", "device", "tests") for path in (ROOT / folder).rglob("*.py")]
    code = "\n".join(path.read_text(encoding="utf-8") for path in files)
    bases = (ROOT, ROOT / "utdstream", ROOT / "device")
    for named in re.findall(r"`([^`\s]+)`", table):
        name = re.match(r"(?:\w+\.)?(\w+)", named)
        is_file = any((base / named).exists() for base in bases)
        is_name = "/" not in named and name is not None and re.search(rf"\b{name[1]}\b", code)
        assert is_file or is_name, f"CONTRIBUTING.md names {named}, and there is no such file or name"


NO_THREADS = ("utd-device", "utd-doorbell", "utd-kiosk")
"""What begins like a thread's name: the command and its services."""


def thread_names() -> set[str]:
    """The names that the SDK and the machine give their threads; of a numbered one what stands before."""
    found = set()
    for path in [*(ROOT / "utdstream").rglob("*.py"), *(ROOT / "device").rglob("*.py")]:
        if path.relative_to(ROOT).parts[1] in ("engine", "testing", "_command"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            text = node.values[0] if isinstance(node, ast.JoinedStr) and node.values else node
            if isinstance(text, ast.Constant) and re.fullmatch(r"utd(stream)?-[a-z-]+", str(text.value)):
                found.add(str(text.value))
    return {name for name in found if not name.startswith(NO_THREADS)}


def test_threads_when_started_are_on_the_page_of_threads() -> None:
    """Each thread that the code names, and no other."""
    there = {
        re.split("[N…]", name)[0]
        for name in re.findall(r"`(utd(?:stream)?-[^`]+)`", page("explanation/threads-and-callbacks.md"))
    }
    there = {name for name in there if not name.startswith(NO_THREADS)}
    missing = {name for name in thread_names() if not name.startswith(tuple(there))}
    assert missing == set(), "add these threads to docs/explanation/threads-and-callbacks.md"
    assert there - thread_names() == set(), "no code starts these threads"


def public_modules() -> list[str]:
    """Every module of the SDK without an underscore in its name, but for the engine and the command."""
    found = (each.name for each in pkgutil.walk_packages(utdstream.__path__, "utdstream."))
    return [
        "utdstream",
        *(name for name in found if not re.search(r"\._|^utdstream\.(engine|cli)\b", name)),
    ]


@pytest.mark.parametrize("module", public_modules())
def test_reference_when_a_module_is_public_has_it_and_every_name_it_offers(module: str) -> None:
    """What is in `__all__`, or else every public class and function that the module defines."""
    text = page("reference/python.md")
    assert f"\n## `{module}`\n" in text, f"{module} is not in the reference: run `make docs`"
    there = import_module(module)
    own = [
        name
        for name, value in vars(there).items()
        if (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == module
    ]
    for name in getattr(there, "__all__", own):
        there_too = name.startswith("_") or f"\n### `{name}`\n" in text
        assert there_too, f"{module}.{name} is not in the reference: run `make docs`"


def test_reference_when_a_session_inherits_shows_what_it_inherits() -> None:
    """A reader looks for `set_camera` below the session that was joined, not below a base class."""
    text = page("reference/python.md")
    for name in ("UTDCallSession", "UTDAudioRoomSession", "UTDLiveStreamSession"):
        part = text.split(f"\n### `{name}`\n")[1].split("\n### ")[0]
        for member in ("set_camera", "leave", "dispose", "stats"):
            assert len(re.findall(rf"^- `{member}\(", part, re.MULTILINE)) == 1, (name, member)
        assert "parts" not in part, "what only the SDK can make is not shown as if a user could"


@pytest.mark.parametrize(
    "kind",
    [
        kind
        for module in (errors, device_errors)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Exception) and kind.__module__ == module.__name__
    ],
    ids=lambda kind: kind.__name__,
)
def test_error_class_when_looked_up_says_when_it_is_seen_and_what_to_do(kind: type[Exception]) -> None:
    """In its docstring, for an editor, and on the page, for a reader."""
    when, fault, do = error_pages.occasion(kind)
    row = next(
        line for line in page("reference/errors.md").splitlines() if line.startswith(f"| `{kind.__name__}` |")
    )
    assert row.endswith(f"| {when} | {fault} | {do} |")


def test_error_codes_when_the_engine_has_them_are_on_the_wires_page() -> None:
    """Each with its HTTP status."""
    codes = page("reference/wire.md")
    for code, status in STATUS_OF_CODE.items():
        assert f"| `{code}` | {status} |" in codes


def test_page_when_read_names_nothing_that_a_reader_does_not_have() -> None:
    """Paths of a developer's machine, in pages and examples."""
    for path in [*PAGES, *(DOCS / "examples").glob("*.py")]:
        assert not re.search(r"/(work|tmp/w|root|home)/", path.read_text(encoding="utf-8")), path


def test_tutorial_of_the_doorbell_when_copied_is_a_configuration() -> None:
    """A stranger copies it."""
    import tomllib

    from device.config import parse

    text = re.search(r"```toml\n(.*?)```", page("tutorials/doorbell.md"), re.DOTALL)
    assert text is not None
    assert parse(tomllib.loads(text[1]), Path("/etc/utdstream/doorbell.toml")).doorbell.callees == ("house",)
