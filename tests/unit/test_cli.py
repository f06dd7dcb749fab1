"""The `utdstream` command: help, exit statuses, one sentence for an error."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import utdstream
from utdstream import cli


def test_the_version_is_printed_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` ends with 0."""
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.strip() == f"utdstream {utdstream.__version__}"


@pytest.mark.parametrize(
    "verb",
    [
        [], ["demo"], ["call"], ["answer"], ["doctor"],
        ["engine"], ["engine", "up"], ["engine", "serve"], ["engine", "install"],
        ["engine", "rotate"],
        ["pair"], ["engine", "pair"],
        ["engine", "key"], ["engine", "key", "add"], ["engine", "key", "list"], ["engine", "key", "revoke"],
    ],
)  # fmt: skip
def test_help_has_examples_when_asked(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A reader of help wants something to copy."""
    with pytest.raises(SystemExit) as ended:
        cli.main([*verb, "--help"])
    assert ended.value.code == 0
    assert "examples:" in capsys.readouterr().out


@pytest.mark.parametrize(
    "line",
    [
        [],
        ["engine"],
        ["nonsense"],
        ["engine", "serve"],
        ["engine", "key"],
        ["engine", "key", "add"],
        ["engine", "key", "revoke"],
        ["engine", "rotate"],
        ["engine", "rotate", "nonsense"],
        ["engine", "pair"],
        ["engine", "pair", "--identity", "kitchen", "--minutes", "0"],
        ["engine", "pair", "--identity", "kitchen", "--minutes", "61"],
        ["doctor", "--what"],
        ["demo", "--seconds", "1"],
        ["demo", "--seconds", "nan"],
        ["call", "--identity", "door"],
        ["call", "house"],
        ["call", "house", "--identity", "door", "--seconds", "0"],
        ["answer", "--identity", "house", "--auto", "--reject"],
    ],
)
def test_wrong_usage_ends_with_2_when_the_line_makes_no_sense(line: list[str]) -> None:
    """Scripts can tell a wrong line from a failure."""
    with pytest.raises(SystemExit) as ended:
        cli.main(line)
    assert ended.value.code == 2


def test_an_error_is_one_sentence_when_a_file_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """stderr, one line, exit status 1."""
    missing = tmp_path / "missing.toml"
    for action in ("up", "serve"):
        assert cli.main(["engine", action, "--config", str(missing)]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("utdstream: ")
        assert str(missing) in err
        assert len(err.splitlines()) == 1


def test_an_address_when_it_is_none_is_named_as_it_was_typed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error of the SDK names its argument; the command line has an option."""
    (key := tmp_path / "key").write_text("k")
    line = [
        "call",
        "house",
        "--identity",
        "me",
        "--app-id",
        "a",
        "--app-key-file",
        str(key),
        "--base-url",
        "door.local",
    ]
    assert cli.main(line) != 0
    said = capsys.readouterr().err
    assert "--base-url must look like" in said
    assert "base_url" not in said


def test_ctrl_c_ends_with_130_when_a_verb_is_running(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a shell expects."""

    def interrupted(**_: object) -> list[object]:
        raise KeyboardInterrupt

    monkeypatch.setattr("utdstream._command.doctor.examine", interrupted)
    assert cli.main(["doctor"]) == 130


def test_doctor_answers_json_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """The exit status and `ok` say the same."""
    status = cli.main(["doctor", "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is (status == 0)
    assert {"name", "state", "found", "remedy"} == set(answer["checks"][0])


def test_nothing_heavy_is_imported_when_the_command_starts() -> None:
    """`utdstream --help` is quick on a Pi."""
    script = (
        "import sys, utdstream.cli, utdstream.testing; "
        "heavy = {'livekit', 'requests', 'transitions', 'paho', 'starlette', 'asyncio'} & set(sys.modules); "
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
