"""The units: valid, hardened, installed whole."""

from __future__ import annotations

import io
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from device import install
from device.__main__ import main
from device.config import load
from device.install import Installation

UNITS = Path(__file__).parents[2] / "systemd"
LIMITS = {"utd-doorbell": 1.8, "utd-kiosk": 1.8, "utd-engine": 1.2}


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[None]:
    """The command sets up the log of its process, which here is the tests'."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = before, level


@pytest.fixture
def analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        sentence = "systemd-analyze is missing: `sudo apt install systemd`"
        if os.environ.get("CI"):
            pytest.fail(sentence, pytrace=False)
        pytest.skip(sentence)
    return found


@pytest.mark.parametrize("name", LIMITS)
def test_unit_when_analyzed_is_valid_and_hardened(analyze: str, tmp_path: Path, name: str) -> None:
    """No word of systemd about it, and an exposure below its limit."""
    unit = tmp_path / f"{name}.service"
    text = (UNITS / unit.name).read_text()
    unit.write_text(re.sub(r"/opt/utdstream/bin/[a-z-]+", "/bin/true", text))
    verified = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    scored = subprocess.run(
        [analyze, "security", "--offline=true", str(unit)], capture_output=True, text=True, check=False
    )
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", scored.stdout)
    assert found is not None, scored.stdout + scored.stderr
    print(f"{name}: {found[1]}")
    assert float(found[1]) <= LIMITS[name]


@pytest.mark.parametrize("name", LIMITS)
def test_unit_when_read_restarts_always_and_for_ever(name: str) -> None:
    """LiveKit's panic is a SIGTERM to itself, a clean exit for systemd."""
    text = (UNITS / f"{name}.service").read_text()
    assert "\nRestart=always\n" in text
    assert "\nStartLimitIntervalSec=0\n" in text


def test_doorbell_when_it_ends_in_whatever_way_has_its_relay_let_go(tmp_path: Path) -> None:
    """The unit calls `relay-off` behind it, with the installed program; a failure of that fails nothing."""
    root = tmp_path / "image"
    key = tmp_path / "key"
    key.write_text("pk_live_123\n")
    assert main(["install-service", "--root", str(root), "--app-key-file", str(key)]) == 0
    unit = (root / "etc/systemd/system/utd-doorbell.service").read_text()
    program = Path(sys.executable).parent / "utd-device"
    assert f"\nExecStopPost=-{program} relay-off --config /etc/utdstream/doorbell.toml\n" in unit


def test_installation_when_made_into_an_image_is_whole_and_repeatable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unit, configuration, key; a second run keeps what somebody changed."""
    key = tmp_path / "key"
    key.write_text("pk_live_123\n")
    root = tmp_path / "image"
    (root / "etc").mkdir(parents=True)
    (root / "etc/group").write_text("audio:x:29:\nvideo:x:44:\n")
    arguments = ["install-service", "--app", "doorbell", "--root", str(root), "--app-key-file", str(key)]
    assert main(arguments) == 0
    unit = (root / "etc/systemd/system/utd-doorbell.service").read_text()
    assert "/opt/utdstream" not in unit
    local = (root / "etc/systemd/system/utd-doorbell.service.d/local.conf").read_text()
    assert "SupplementaryGroups=audio video\n" in local
    secret = root / "etc/utdstream/app_key"
    assert (secret.read_text(), secret.stat().st_mode & 0o777) == ("pk_live_123\n", 0o600)
    config = root / "etc/utdstream/doorbell.toml"
    assert load(config).doorbell.callees == ("house",)
    assert config.stat().st_mode & 0o777 == 0o600
    assert "\nLoadCredential=doorbell.toml:/etc/utdstream/doorbell.toml\n" in unit
    config.write_text(config.read_text() + "# mine\n")
    capsys.readouterr()
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "write" not in out
    assert "pk_live" not in out
    assert config.read_text().endswith("# mine\n")
    assert main(["install-service", "--app", "doorbell", "--root", str(root), "--remove"]) == 0
    assert not (root / "etc/systemd/system/utd-doorbell.service").exists()
    assert config.exists()


def test_installation_when_there_is_a_pin_gives_it_to_the_doorbell(tmp_path: Path) -> None:
    """And names none where there is none: the unit would not start."""
    key = tmp_path / "key"
    key.write_text("pk_live_123\n")
    root = tmp_path / "image"
    local = root / "etc/systemd/system/utd-doorbell.service.d/local.conf"
    arguments = ["install-service", "--app", "doorbell", "--root", str(root), "--app-key-file", str(key)]
    assert main(arguments) == 0
    assert "door_pin" not in local.read_text()
    (root / "etc/utdstream/door_pin").write_text("271828\n")
    assert main(arguments) == 0
    assert "LoadCredential=door_pin:/etc/utdstream/door_pin\n" in local.read_text()


def test_installation_when_the_program_lies_in_a_home_shows_its_folders_to_the_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ProtectHome=` hides them else; a folder within another one is not named twice."""
    monkeypatch.setattr(sys, "prefix", "/home/pi/bell/.venv")
    monkeypatch.setattr(sys, "base_prefix", "/home/pi/.pyenv/versions/3.13")
    monkeypatch.setattr(install, "__file__", "/home/pi/bell/device/install.py")
    root = tmp_path / "image"
    key = tmp_path / "key"
    key.write_text("pk_live_123\n")
    Installation("kiosk", root=root, dry_run=False, key_file=key).run()
    local = (root / "etc/systemd/system/utd-kiosk.service.d/local.conf").read_text()
    assert "ProtectHome=tmpfs\nBindReadOnlyPaths=/home/pi/.pyenv/versions/3.13 /home/pi/bell\n" in local


def test_installation_of_an_engine_when_there_is_no_media_server_says_so_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The service would fail each two seconds for ever. (Nothing is written: it is found out first.)"""
    for name in ("UTD_LIVEKIT_SERVER", "SUDO_USER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(Installation, "_write", lambda *_args, **_more: pytest.fail("it wrote"))
    assert main(["install-service", "--app", "engine"]) == 2
    assert "/usr/local/bin" in capsys.readouterr().err


def test_installation_when_a_person_without_root_asks_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2, and how to."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["install-service"]) == 2
    assert "sudo" in capsys.readouterr().err


def test_installation_when_only_tried_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--dry-run` says every step."""
    assert main(["install-service", "--dry-run", "--root", str(tmp_path)]) == 0
    assert "write" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_installation_when_there_is_no_key_says_how_to_give_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2 and one sentence."""
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert main(["install-service", "--root", str(tmp_path / "image")]) == 2
    assert "--app-key-file" in capsys.readouterr().err
