"""The command `utd-device`, from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bell import config_of

from device import doctor
from device.__main__ import find_config, main
from utdstream.testing import LocalStack


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
    """Only where secrets are read from."""
    (tmp_path / "key").write_text("canary-secret")
    path = tmp_path / "doorbell.toml"
    path.write_text('[engine]\napp_id = "1"\napp_key_file = "key"\n[device]\nidentity = "door"\n')
    assert main(["config", "--config", str(path), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["device"]["identity"] == "door"
    assert main(["config", "--config", str(path)]) == 0
    out = capsys.readouterr().out
    assert "canary-secret" not in out
    assert 'identity = "door"' in out


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


@pytest.mark.integration
def test_doctor_when_all_is_there_says_so(stack: LocalStack, tmp_path: Path) -> None:
    """The real engine and broker answer; synthetic devices need nothing; the key is not shown."""
    findings = doctor.examine(config_of(stack, tmp_path, "patient-1"))
    states = {item.what: item.state for item in findings}
    assert (states["engine"], states["broker"], states["clock"]) == ("ok", "ok", "ok")
    assert doctor.is_fit(findings)
    assert stack.app_key not in doctor.table(findings) + json.dumps(doctor.as_json(findings))


@pytest.mark.integration
def test_doctor_when_things_are_missing_names_the_command_that_mends_each(
    stack: LocalStack, tmp_path: Path
) -> None:
    """A machine without a sound card, a Pi camera, GPIO: four arrows."""
    config = config_of(
        stack,
        tmp_path,
        "patient-2",
        audio={"adapter": "alsa", "microphone": "No such card"},
        camera={"adapter": "picamera2"},
        button={"adapter": "gpio"},
        home_assistant={"enabled": True, "port": 1},
    )
    found = {item.what: item for item in doctor.examine(config)}
    assert found["microphone"].state == "missing"
    assert "apt install python3-picamera2" in found["package picamera2"].remedy
    assert found["GPIO"].state == "missing"
    assert found["Home Assistant"].state == "warn"
    assert not doctor.is_fit(list(found.values()))
    assert all(item.remedy for item in found.values() if item.state != "ok")


@pytest.mark.integration
def test_doctor_when_the_engine_is_away_or_refuses_says_which(stack: LocalStack, tmp_path: Path) -> None:
    """Two different sentences with two different remedies."""
    config = config_of(stack, tmp_path, "patient-3", engine={"base_url": "http://127.0.0.1:9"})
    found = {item.what: item for item in doctor.examine(config)}
    assert "engine up" in found["engine"].remedy
    config = config_of(stack, tmp_path, "patient-4")
    (tmp_path / "app_key").write_text("wrong")
    found = {item.what: item for item in doctor.examine(config)}
    assert "app key" in found["engine"].remedy
