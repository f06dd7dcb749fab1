"""`utdstream engine pair` shows a code and waits; `utd-device pair` and `utdstream pair` use it."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from pairings import Owner

import device.__main__ as device_command
from device.config import load
from utdstream._wire import routes
from utdstream.cli import main
from utdstream.testing import LocalStack

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("programs")]


class Shown:
    """A running `utdstream engine pair`, and what its first lines say."""

    def __init__(self, stack: LocalStack, folder: Path, *more: str) -> None:
        secret = folder / "secret"
        secret.write_text(stack.app_secret)
        where = ("--base-url", stack.base_url, "--app-id", stack.app_id, "--app-secret-file", str(secret))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "utdstream.cli", "engine", "pair", *more, *where],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def end(self) -> tuple[int, str, str]:
        """Status, and what it says until its end."""
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def shown(stack: LocalStack, tmp_path: Path) -> Iterator[Shown]:
    made = Shown(stack, tmp_path, "--identity", "shown-kitchen", "--name", "Kitchen", "--json")
    yield made
    made.close()


def test_commands_when_used_together_pair_a_device_whose_key_nobody_sees(
    stack: LocalStack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The code is drawn and written; the device gets its files, the owner is told who it is."""
    showing = Shown(stack, tmp_path, "--identity", "drawn-kitchen", "--name", "Kitchen")
    lines = []
    while not lines or not lines[-1].startswith("Waiting"):
        lines.append(showing.line())
    text = "".join(lines)
    url = next(line.split("'")[1] for line in lines if "utd-device pair" in line)
    assert sum("█▀" in line or "▄" in line for line in lines) > 12, "a QR code of two rows a line"
    assert url.startswith(f"{stack.base_url}/pair#")
    assert url.partition("#")[2] in text.replace(url, "")
    file = tmp_path / "device" / "doorbell.toml"
    assert device_command.main(["pair", url, "--write", str(file)]) == 0
    status, out, _ = showing.end()
    assert status == 0
    assert "Paired: Kitchen (drawn-kitchen) is " in out
    assert " at 127.0.0.1, by key_" in out
    config = load(file)
    assert (config.device.identity, config.device.name) == ("drawn-kitchen", "Kitchen")
    assert (config.engine.base_url, config.engine.app_id) == (stack.base_url, stack.app_id)
    assert config.doorbell.callees == ("house",), "a new one is the example"
    assert stat.S_IMODE((file.parent / "app_key").stat().st_mode) == 0o600
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    said = capsys.readouterr()
    assert config.app_key not in text + out + said.out + said.err


def test_computer_when_paired_is_told_the_command_that_answers(
    shown: Shown, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a code alone, typed when asked; both commands print JSON for programs, without the key."""
    made = json.loads(shown.line())
    base_url = made["url"].partition("/pair#")[0]
    monkeypatch.chdir(tmp_path)
    typed = tmp_path / "typed"
    typed.write_text(made["code"] + "\n")
    with typed.open() as lines:
        monkeypatch.setattr("sys.stdin", lines)
        assert main(["pair", "--base-url", base_url, "--write", "house.toml", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    status, out, _ = shown.end()
    row = json.loads(out)
    assert (status, row["state"], row["key_id"]) == (0, "used", facts["key_id"])
    assert facts["app_key_file"] == str(tmp_path / "house.key")
    assert facts["identity"] == row["identity"] == "shown-kitchen"
    assert tomllib.loads((tmp_path / "house.toml").read_text())["engine"]["app_key_file"] == "house.key"
    assert (tmp_path / "house.key").read_text().strip() not in json.dumps(facts) + out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_code_when_the_command_is_stopped_is_withdrawn(stack: LocalStack, shown: Shown, number: int) -> None:
    """Ctrl-C, a service manager, a terminal that goes away."""
    made = json.loads(shown.line())
    shown.process.send_signal(number)
    status, out, err = shown.end()
    assert (status, json.loads(out)["state"]) == (130, "withdrawn")
    assert "Traceback" not in err
    owner = Owner.of(stack)
    assert owner.row_of(made["pairing_id"])["state"] == "withdrawn"


def test_command_when_the_code_was_ended_by_wrong_attempts_says_so(stack: LocalStack, shown: Shown) -> None:
    """Exit status 1: nobody was paired."""
    made = json.loads(shown.line())
    where = stack.base_url + routes.pairing_action(made["pairing_id"], "complete")
    for _ in range(5):
        requests.post(where, json={"nonce": "0" * 32, "key_digest": "0" * 64, "proof": "0" * 64}, timeout=5)
    status, out, _ = shown.end()
    assert (status, json.loads(out)["state"]) == (1, "locked")


def test_command_when_the_engine_starts_again_meanwhile_waits_on(
    own_stack: LocalStack, tmp_path: Path
) -> None:
    """The code is good after a `kill -9`."""
    showing = Shown(own_stack, tmp_path, "--identity", "steady-kitchen", "--json")
    url = json.loads(showing.line())["url"]
    own_stack.kill("engine")
    own_stack.start("engine")
    assert main(["pair", url, "--write", str(tmp_path / "kitchen.toml")]) == 0
    status, out, _ = showing.end()
    assert (status, json.loads(out)["identity"]) == (0, "steady-kitchen")


def test_command_when_the_code_is_wrong_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of both commands, before anybody is asked; nothing is written."""
    file = str(tmp_path / "x.toml")
    assert main(["pair", "1234-5678", "--base-url", "http://127.0.0.1:1", "--write", file]) == 1
    assert device_command.main(["pair", "http://192.0.2.1/pair#AAAA", "--write", file]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 2
    assert "mistyped" in said
    assert list(tmp_path.iterdir()) == []


def test_doorbell_when_it_was_paired_starts_with_what_was_written(stack: LocalStack, tmp_path: Path) -> None:
    """Nothing is added but its devices, which this machine has none of."""
    owner = Owner.of(stack)
    file = tmp_path / "doorbell.toml"
    file.write_text(
        '[audio]\nadapter = "synthetic"\n[camera]\nadapter = "synthetic"\n[button]\nadapter = "none"\n'
    )
    assert device_command.main(["pair", owner.offer("paired-door").url, "--write", str(file)]) == 0
    bell = subprocess.Popen(
        [sys.executable, "-m", "device", "doorbell", "--config", str(file)],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert bell.stderr is not None
    try:
        seen = []
        for line in bell.stderr:
            seen.append(line)
            if "ready" in line:
                break
        assert "ready" in seen[-1], seen
    finally:
        bell.terminate()
        bell.communicate(timeout=20)
