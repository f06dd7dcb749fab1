"""The command `utd-device`, from outside."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from device.__main__ import _JournalFormatter, find_config, main


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "device", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_help_when_asked_has_examples_and_imports_no_driver() -> None:
    """It is there at once, on a machine without a single driver."""
    shown = run("--help")
    assert shown.returncode == 0
    assert "examples:" in shown.stdout
    code = (
        "import sys, device.__main__, device.registry; "
        "heavy = {'livekit', 'pyaudio', 'av', 'picamera2', 'gpiozero', 'paho', 'numpy'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "verb", ["doorbell", "kiosk", "doctor", "pair", "press", "config", "install-service"]
)
def test_help_of_a_verb_when_asked_has_examples(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A reader of help wants something to copy."""
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    assert "examples:\n  " in capsys.readouterr().out


def test_command_when_the_configuration_is_wrong_is_one_sentence(tmp_path: Path) -> None:
    """Exit status 2, nothing on stdout, no traceback."""
    path = tmp_path / "bad.toml"
    path.write_text("[enigne]\n")
    shown = run("doorbell", "--config", str(path))
    assert shown.returncode == 2
    assert shown.stderr.count("\n") == 1
    assert "did you mean [engine]?" in shown.stderr


def test_press_when_nothing_runs_says_how_to_start_it(tmp_path: Path) -> None:
    """Exit status 1."""
    path = tmp_path / "doorbell.toml"
    path.write_text('[engine]\napp_id = "1"\n[device]\nidentity = "nobody"\n')
    shown = run("press", "--config", str(path), XDG_RUNTIME_DIR=str(tmp_path / "run"))
    assert shown.returncode == 1
    assert "nothing is running for nobody" in shown.stderr


def test_configuration_when_shown_has_no_secret(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only where secrets are read from; a camera's password is masked."""
    (tmp_path / "key").write_text("canary-secret")
    path = tmp_path / "doorbell.toml"
    path.write_text(
        '[engine]\napp_id = "1"\napp_key_file = "key"\n[device]\nidentity = "door"\n'
        'name = "the \\"old\\" door \\\\"\n'
        '[camera]\nadapter = "pyav"\nsource = "rtsp://admin:canary-camera@10.0.0.2/main"\n'
    )
    assert main(["config", "--config", str(path), "--json"]) == 0
    as_json = capsys.readouterr().out
    shown = json.loads(as_json)
    assert shown["device"]["identity"] == "door"
    assert shown["camera"]["source"] == "rtsp://***@10.0.0.2/***"
    assert main(["config", "check", "--config", str(path)]) == 0
    out = capsys.readouterr().out
    assert "canary" not in as_json + out
    assert 'identity = "door"' in out
    assert tomllib.loads(out)["device"]["name"] == 'the "old" door \\', "what is shown is TOML again"


def test_configuration_when_not_named_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The option, the variable, the service's folder, /etc/utdstream."""
    monkeypatch.delenv("UTDSTREAM_CONFIG", raising=False)
    monkeypatch.delenv("CONFIGURATION_DIRECTORY", raising=False)
    assert find_config(None, "kiosk") == Path("/etc/utdstream/kiosk.toml")
    (tmp_path / "kiosk.toml").write_text("")
    monkeypatch.setenv("CONFIGURATION_DIRECTORY", str(tmp_path))
    assert find_config(None, "kiosk") == tmp_path / "kiosk.toml"
    monkeypatch.setenv("UTDSTREAM_CONFIG", "/mine.toml")
    assert find_config(None, "kiosk") == Path("/mine.toml")
    assert find_config(Path("/this.toml"), "kiosk") == Path("/this.toml")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "required: VERB"),
        (("dorbell",), "invalid choice: 'dorbell'"),
        (("doctor", "--what"), "unrecognized arguments: --what"),
        (("config", "chekc"), "invalid choice: 'chekc'"),
        (("press", "--config", "/nowhere/door.toml"), "/nowhere/door.toml: there is no such file"),
        (("kiosk", "--config", "/"), "/: cannot be read"),
    ],
)
def test_command_when_it_is_wrong_ends_with_two_and_no_traceback(
    arguments: tuple[str, ...], words: str
) -> None:
    """The usage or the configuration: what is wrong is in the last line of stderr."""
    shown = run(*arguments)
    assert shown.returncode == 2
    assert shown.stdout == ""
    assert words in shown.stderr.splitlines()[-1]
    assert "Traceback" not in shown.stderr


def test_configuration_when_checked_and_wrong_ends_with_two(tmp_path: Path) -> None:
    """For a deployment's script: `utd-device config check --config FILE && systemctl restart utd-doorbell`."""
    path = tmp_path / "doorbell.toml"
    path.write_text('[engine]\napp_id = "1"\n[device]\nidentity = "door"\n[camera]\nwidth = 641\n')
    shown = run("config", "check", "--config", str(path))
    assert (shown.returncode, shown.stdout) == (2, "")
    assert (
        shown.stderr
        == f"utd-device: {path}: [camera] width: must be an even whole number from 64 to 1920, not 641\n"
    )


def test_journal_when_a_name_holds_a_break_gets_one_entry_and_no_password() -> None:
    """Each line is an entry with a priority of its own: a name begins none, an address keeps its secret."""
    formatter = _JournalFormatter("%(name)s: %(message)s")
    words = "x\n<0>systemd: all is well \x1b[2J rtsp://admin:canary@10.0.0.2/main?pwd=canary"
    written = formatter.format(
        logging.LogRecord("device", logging.WARNING, "x.py", 1, "%s calls", (words,), None)
    )
    assert written.splitlines() == [
        "<4>device: x <0>systemd: all is well \\x1b[2J rtsp://***@10.0.0.2/*** calls"
    ]
