"""Settings files: what the reader does for every file alike. Each file's own sections have their own tests."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest

from utdstream.errors import InvalidConfig
from utdstream.settings import Meta, changed, keys, parse, read, toml

HERE = Path("/here/settings.toml")


@dataclass(frozen=True, slots=True)
class Lamp:
    """A lamp."""

    key: Annotated[str, "what opens it"] = field(repr=False)
    colour: Annotated[Literal["red", "green"], "its colour"] = "red"
    watts: Annotated[Annotated[int, Meta(ge=1, le=60)] | None, "not set: as much as there is"] = None
    names: Annotated[tuple[str, ...], "how it is called"] = ()
    folder: Annotated[Path | None, "where its pictures are"] = None


@dataclass(frozen=True, slots=True)
class House:
    """A house."""

    path: Path
    lamp: Lamp
    garden: Lamp | None = None


@pytest.mark.parametrize(
    ("lamp", "words"),
    [
        (
            {"key": 71077345},
            "key: must be a printable, non-empty text; found a value of type int, not shown",
        ),
        (
            {"key": "71077345\n"},
            "key: must be a printable, non-empty text; found a value of type str, not shown",
        ),
        (
            {"key": ["71077345"]},
            "key: must be a printable, non-empty text; found a value of type list, not shown",
        ),
        ({"kye": "71077345"}, "kye: there is no such key; did you mean key?"),
        ({}, "key: is missing; it is what opens it"),
    ],
)
def test_secret_when_wrong_is_named_and_never_shown(lamp: dict[str, object], words: str) -> None:
    """What `repr` leaves out stays out of errors."""
    with pytest.raises(InvalidConfig) as caught:
        parse({"lamp": lamp}, House, HERE)
    assert caught.value.message.startswith(f"{HERE}: [lamp] {words}")
    assert "71077345" not in caught.value.message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"watts": 10**30},
            "watts: must be a whole number from 1 to 60, not 1000000000000000000000000000000",
        ),
        ({"watts": {"a": 1}}, "watts: must be a whole number from 1 to 60, not a table"),
        ({"colour": "gren"}, 'colour: must be one of "red", "green", not "gren"; did you mean "green"?'),
        ({"names": ["a", ""]}, 'names: must be a list of texts, like ["anna", "ben"], not ["a", ""]'),
        (
            {"folder": "~no-such-user/x"},
            'folder: must be the path of a file or folder, not "~no-such-user/x"',
        ),
        ({"colour": "rtsp://me:71077345@lamp"}, 'not "rtsp://***@lamp"'),
    ],
)
def test_change_when_wrong_says_what_was_found_and_what_is_expected(
    changes: dict[str, object], words: str
) -> None:
    """Every kind of value; a password in an address is masked."""
    lamp = Lamp(key="k")
    with pytest.raises(InvalidConfig) as caught:
        changed(lamp, changes, "lamp:")
    assert words in caught.value.message


def test_file_when_read_has_its_path_and_relative_paths_beside_it(tmp_path: Path) -> None:
    """A section that may be left out is None; a path is relative to the file."""
    path = tmp_path / "house.toml"
    path.write_text('[lamp]\nkey = "k"\nfolder = "pictures"\n')
    house = read(path, House)
    assert house == House(path, Lamp("k", folder=tmp_path / "pictures"), None)


def test_file_when_there_is_a_base_changes_only_what_it_says() -> None:
    """A file over a file: what it leaves out stays."""
    base = House(HERE, Lamp("k", watts=5), Lamp("g"))
    assert parse({"lamp": {"colour": "green"}}, House, HERE, base=base) == House(
        HERE, Lamp("k", "green", 5), Lamp("g")
    )


def test_key_when_described_has_the_words_of_its_annotation() -> None:
    """References and examples are written from these."""
    watts = keys(Lamp)["watts"]
    assert (watts.meaning, watts.limits) == ("not set: as much as there is", "1 to 60")
    assert watts.expected == "a whole number from 1 to 60"
    assert toml(("a", 'b"')) == '["a", "b\\""]'


@pytest.mark.parametrize(
    ("statement", "status"),
    [("import device.__main__", 2), ("from utdstream.cli import main; sys.exit(main(['engine', 'up']))", 1)],
)
def test_command_when_msgspec_is_missing_is_one_sentence(statement: str, status: int) -> None:
    """The base package alone: what to install, and no traceback."""
    script = f"import sys; sys.modules['msgspec'] = None; {statement}"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert run.returncode == status
    assert run.stderr.count("\n") == 1
    assert "pip install 'msgspec" in run.stderr
