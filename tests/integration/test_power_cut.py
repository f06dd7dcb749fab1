"""A whole stack after a power cut, and on a full disk: it starts, it rings, and nobody's keys have changed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from damage import KINDS
from engine_site import EventReader
from engine_up import EngineUp
from facts import eventually

from utdstream._wire import codec, messages, routes

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("programs")]

DAMAGED = (
    "stack.toml",
    "engine.db",
    "mqtt/dynsec.json",
    "mqtt/mosquitto.db",
    "engine.toml",
    "livekit.yaml",
    "mosquitto.conf",
)
PORTS = ("engine", "livekit", "livekit_udp", "stun", "mqtt", "mqtt_engine")
BAN = {"identity": "mallory", "reason": "tested"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class House:
    """A data folder with a project in it, and what its people know: a door's key, the house's, a ban."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.token: str | None = None
        ports = data.parent / "ports.toml"  # the customary ones are other stacks' while this one is down
        ports.write_text("\n".join(["[ports]", *(f"{name} = {free_port()}" for name in PORTS)]))
        self.options = ("--config", str(ports))
        with EngineUp(data, *self.options) as up:
            self.kept = tomllib.loads((data / "stack.toml").read_text())
            self.keys = {
                identity: self.as_server(up, "POST", routes.KEYS, {"identity": identity}).json()["app_key"]
                for identity in ("door", "house")
            }
            assert self.as_server(up, "POST", routes.BAN, BAN).status_code == 201
            self.check(up)
            eventually((data / "engine.db.good").exists, "there is a good copy", 10.0)
            eventually(self.copy_has_all, "the good copy has the keys", 10.0)
            up.signal(signal.SIGTERM)  # the broker writes what it keeps at its end, or once a minute
        with EngineUp(data, *self.options) as up:
            self.check(up)
            cut(up)

    def copy_has_all(self) -> bool:
        good = (self.data / "engine.db.good").read_bytes()
        return all(word in good for word in (b"mallory", b"house"))

    def ask(self, up: EngineUp, method: str, path: str, body: object, **headers: str) -> requests.Response:
        named = {
            "X-App-Id": self.kept["project"]["app_id"],
            **{k.replace("_", "-"): v for k, v in headers.items()},
        }
        return requests.request(method, up.facts["base_url"] + path, json=body, headers=named, timeout=8)

    def as_server(self, up: EngineUp, method: str, path: str, body: object = None) -> requests.Response:
        return self.ask(up, method, path, body, X_App_Secret=self.kept["project"]["app_secret"])

    def mint(self, up: EngineUp, identity: str) -> dict[str, Any]:
        answer = self.ask(
            up, "POST", routes.AUTH_SESSION, {"identity": identity}, X_App_Key=self.keys[identity]
        )
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def check(self, up: EngineUp) -> None:
        """The same project, keys and ban; and the door rings at the house over the broker."""
        assert up.facts["app_id"] == self.kept["project"]["app_id"]
        banned = self.as_server(up, "GET", routes.BANS).json()["data"]
        assert [ban["identity"] for ban in banned] == [BAN["identity"]]
        login = codec.parse_session(self.mint(up, "house")).mqtt
        assert login is not None
        with EventReader(login) as device:
            call = self.ring(up)
            assert call.status_code == 201, call.text
            device.wait_for(messages.CALL_INITIATED, call.json()["call_id"])

    def ring(self, up: EngineUp) -> requests.Response:
        if self.token is None:  # the secrets stay, and so does what they signed
            self.token = str(self.mint(up, "door")["user_token"])
        bearer = {"Authorization": f"Bearer {self.token}"}
        return self.ask(up, "POST", routes.CALLS, {"callee_identity": "house"}, **bearer)


def cut(up: EngineUp) -> None:
    """The power goes: every process at once, and nothing says goodbye."""
    for pid in up.pids.values():
        os.kill(pid, signal.SIGSTOP)  # none sees another die
    up.process.kill()
    up.process.wait()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House(tmp_path_factory.mktemp("house") / "data")


@pytest.mark.parametrize("kind", [*(kind for kind in KINDS if kind != "of_wrong_mode")])
def test_stack_when_its_files_are_damaged_starts_and_nothing_is_otherwise(
    house: House, tmp_path: Path, kind: str
) -> None:
    """All files at once, by each kind of damage: identity, keys, bans and the bell are as before; it says so."""
    data = tmp_path / "data"
    shutil.copytree(house.data, data)
    for number, name in enumerate(DAMAGED):
        KINDS[kind](data / name, random.Random(number))
    with EngineUp(data, *house.options) as up:
        house.check(up)
        told = {Path(path).name.split(".bad-")[0] for path in up.facts["put_aside"]}
        up.signal(signal.SIGTERM)
    wanted = {"engine.db", "stack.toml", "dynsec.json"} if kind != "missing" else set()
    assert told - {"mosquitto.db"} == wanted


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own with little room."""
    if os.geteuid() != 0:
        pytest.skip("a disk of 24 MB is mounted by root alone: run the tests as root")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(
            f"this system mounts no tmpfs here ({mounted.stderr.strip()}): allow it with CAP_SYS_ADMIN"
        )
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return filler


def test_stack_when_its_disk_is_full_refuses_in_a_sentence_and_heals(house: House, small_disk: Path) -> None:
    """Also the broker, which cuts its own file off then: it starts again, and its devices find their place."""
    data = small_disk / "data"
    shutil.copytree(house.data, data)
    with EngineUp(data, *house.options) as up:
        house.check(up)
        filler = fill(small_disk)
        codes = set()

        def is_refused() -> bool:
            answer = house.ring(up)
            codes.add((answer.status_code, answer.json().get("code")))
            return answer.status_code == 503

        eventually(is_refused, "a call cannot be written down", 20.0)
        assert codes <= {(201, None), (503, "unavailable")}
        os.kill(up.pids["mqtt"], signal.SIGKILL)
        filler.unlink()
        eventually(lambda: house.ring(up).status_code == 201, "calls are written down again", 10.0)
        eventually(
            lambda: rings(house, up), "the broker is back, with its logins, and all is as before", 20.0
        )
        up.signal(signal.SIGTERM)


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_stack_when_its_disk_takes_nothing_does_not_start_and_says_so_in_one_sentence(
    house: House, small_disk: Path, how: str
) -> None:
    """And what it says can be done: after it the stack starts as if nothing had been."""
    data = small_disk / "data"
    shutil.copytree(house.data, data)
    if how == "full":
        fill(small_disk)
    else:
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    command = ["engine", "up", "--data", str(data), *house.options]
    ended = subprocess.run(
        [sys.executable, "-m", "utdstream.cli", *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    said = [line for line in ended.stderr.splitlines() if line.startswith("utdstream: ")]
    assert (ended.returncode, len(said), "Traceback" in ended.stderr) == (1, 1, False)
    assert str(data) in said[0]
    assert "make room there" in said[0]
    if how == "full":
        (small_disk / "filler").unlink()
    else:
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    with EngineUp(data, *house.options) as up:
        house.check(up)
        up.signal(signal.SIGTERM)


def rings(house: House, up: EngineUp) -> bool:
    try:
        house.check(up)
    except (AssertionError, OSError):
        return False
    return True
