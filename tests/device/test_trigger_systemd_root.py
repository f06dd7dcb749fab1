"""`utd-device press` and `doctor` beside the hardened unit, on a real systemd in a cached root.

`make test-systemd` builds that root; root is needed.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator

import debian_roots
import pytest
import systemd_root
from booted import PYTHONPATH, Machine, Unit
from presses import as_toml

pytestmark = [pytest.mark.integration, pytest.mark.slow]

COMMAND = ["env", *PYTHONPATH.split(), "/opt/utdstream/bin/utd-device"]


@pytest.fixture
def machine() -> Iterator[Machine]:
    if shutil.which("systemd-nspawn") is None:
        pytest.skip("systemd-nspawn is missing: apt install systemd-container debootstrap")
    made = Machine(debian_roots.needed(systemd_root, "test-systemd"))
    yield made
    made.off()


def test_press_when_the_doorbell_is_a_service_is_taken_from_root_and_refused_to_others(
    machine: Machine,
) -> None:
    """The unit has a user, a /tmp and a folder of its own; `sudo utd-device press` is answered all the same."""
    tables: dict[str, dict[str, object]] = {
        "engine": {"base_url": "http://127.0.0.1:9", "app_id": "1234567890"},
        "device": {"identity": "unit-door"},
        "audio": {"adapter": "synthetic"},
        "camera": {"adapter": "none"},
        "button": {"adapter": "command"},
        "doorbell": {"callees": ["house"]},
    }
    machine.write("/etc/utdstream/doorbell.toml", as_toml(tables))
    machine.write("/run/key", "no-key-of-anybody")
    before = machine.run(*COMMAND, "press")
    assert (before.returncode, before.stdout) == (1, "")
    assert "nothing is running for unit-door" in before.stderr

    unit = Unit(machine, "doorbell")
    unit.install("--app-key-file", "/run/key")
    unit.is_said("waiting for the engine")
    pressed = machine.run(*COMMAND, "press")
    assert (pressed.returncode, pressed.stdout) == (0, "pressed\n"), pressed.stderr
    refused = machine.run("setpriv", "--reuid=65534", "--clear-groups", "--", *COMMAND, "press")
    assert refused.returncode == 1
    assert re.search(r"use `sudo \S*utd-device press`", refused.stderr)

    told = json.loads(machine.run(*COMMAND, "doctor", "--json").stdout)
    found = {item["name"]: item for item in told["checks"]}
    assert found["service"]["state"] == "ok"
    assert found["app key"]["state"] == "ok", "it is root's file, which only the unit is given"
    assert "utd-doorbell is active: waiting for the engine" in found["service"]["found"]
    machine.run("systemctl", "disable", unit.name)
    told = json.loads(machine.run(*COMMAND, "doctor", "--json").stdout)
    found = {item["name"]: item for item in told["checks"]}
    assert found["service"]["remedy"] == "sudo systemctl enable utd-doorbell"
    unit.stop()


def test_doorbell_when_killed_has_its_relay_let_go_and_needs_no_right_to_its_file(machine: Machine) -> None:
    """The configuration is root's alone; the unit's own user reads a copy, also behind the program."""
    tables: dict[str, dict[str, object]] = {
        "engine": {"base_url": "http://127.0.0.1:9", "app_id": "1234567890"},
        "device": {"identity": "unit-door"},
        "audio": {"adapter": "synthetic"},
        "camera": {"adapter": "none"},
        "button": {"adapter": "command"},
        "door": {"adapter": "gpio"},
        "doorbell": {"callees": ["house"]},
    }
    machine.write("/etc/utdstream/doorbell.toml", as_toml(tables))
    assert machine.run("chmod", "600", "/etc/utdstream/doorbell.toml").returncode == 0
    machine.write("/run/key", "no-key-of-anybody")
    unit = Unit(machine, "doorbell")
    unit.install("--app-key-file", "/run/key", settings="Environment=GPIOZERO_PIN_FACTORY=mock\n")
    unit.is_said("waiting for the engine")
    assert "relay is off" not in unit.journal()
    unit.kill("-9")
    unit.was_restarted(1)
    unit.is_said("waiting for the engine")
    assert unit.journal().count("the relay is off") == 1, unit.journal()
