"""How a command that needs root is written."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path

import pytest

from device import as_root
from device.as_root import as_root as written


def test_command_when_sudo_would_not_find_it_has_its_whole_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printed can be typed: sudo looks into no environment."""
    monkeypatch.setattr(as_root, "SUDO_LOOKS_IN", os.devnull)
    program = Path(sysconfig.get_path("scripts")) / "utd-device"
    assert written("press") == f"sudo {program} press"
    shown = subprocess.run([str(program), "--help"], capture_output=True, text=True, check=True, timeout=60)
    assert "install-service" in shown.stdout


def test_command_when_sudo_finds_it_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reads a path gladly."""
    monkeypatch.setattr(as_root, "SUDO_LOOKS_IN", sysconfig.get_path("scripts"))
    assert written("press") == "sudo utd-device press"
