"""The units under a real systemd, when its root is built (`make test-systemd`)."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import debian_roots
import pytest
import requests
import systemd_root
from bell import config_of
from booted import HOME, Machine, Unit
from people import People
from presses import as_toml, config_tables

from utdstream import DeadlineExceeded, UTDStreamClient, UTDStreamType
from utdstream._wire import routes
from utdstream.testing import LocalStack

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture(scope="module")
def stack_of_the_machine() -> Iterator[LocalStack]:
    with LocalStack() as made:
        yield made


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    if shutil.which("systemd-nspawn") is None:
        pytest.skip("systemd-nspawn is missing: apt install systemd-container debootstrap")
    made = Machine(debian_roots.needed(systemd_root, "test-systemd"))
    yield made
    made.off()


def test_doorbell_when_installed_lives_under_systemd(
    machine: Machine, stack_of_the_machine: LocalStack, tmp_path: Path
) -> None:
    """Install, boot without engine and broker, ready, a call, kill -9, hang, stop: one life of a service."""
    stack, unit = stack_of_the_machine, Unit(machine, "doorbell")
    tables = config_tables(config_of(stack, tmp_path, "unit-door", doorbell={"callees": ["house"]}))
    del tables["engine"]["app_key_file"]  # the key comes as a credential
    machine.write("/etc/utdstream/doorbell.toml", as_toml(tables))
    machine.write("/run/key", stack.app_key)
    for part in ("engine", "mqtt"):
        stack.stop(part)
    unit.install("--app-key-file", "/run/key", settings="WatchdogSec=3\nTimeoutAbortSec=1\n")
    assert unit.show("ActiveState") == "active"
    assert "waiting for the engine" in unit.show("StatusText"), "absent at boot is said, and no failure"
    assert machine.run("stat", "-c", "%a %U", "/etc/utdstream/app_key").stdout.strip() == "600 root"
    assert "processor" in unit.seen_by_it("cat", "/proc/cpuinfo"), "gpiozero looks there for the board"
    assert unit.exposure() <= 1.8

    stack.start("mqtt")
    stack.start("engine")
    unit.is_said("ready")
    assert unit.show("NRestarts") == "0", "an outage restarts nothing"

    with UTDStreamClient(stack.app_id, stack.app_key, base_url=stack.base_url) as house:
        house.authenticate(identity="house")
        with house.call_session(UTDStreamType.VIDEO_CALL) as call:  # the core runs inside the hardened unit
            call.start(callee_identity="unit-door")
            call.wait_for_answer(timeout=20)
            try:
                picture = call.snapshot(timeout=20)
            except DeadlineExceeded as error:
                raise AssertionError(f"{error}\n{unit.journal()}") from None
            assert picture.startswith(b"\x89PNG"), "the door is seen"
    unit.is_said("ready")

    unit.kill("-9")
    unit.was_restarted(1)
    unit.is_said("ready")
    unit.kill("-STOP")
    unit.was_restarted(2)  # the watchdog ends what hangs
    unit.is_said("ready")

    begun = time.monotonic()
    assert unit.stop().returncode == 0
    took_s = time.monotonic() - begun
    print(f"stopped in {took_s:.2f} s")
    assert took_s < 2
    assert unit.show("Result") == "success"
    assert stack.app_key not in unit.journal()


def test_kiosk_when_installed_from_a_home_sees_its_program_and_nothing_else_there(
    machine: Machine, tmp_path: Path
) -> None:
    """An environment in somebody's private home is shown to the hardened unit, the rest of the home is not."""
    programs = f"{HOME}/kiosk/bin"
    machine.write(f"{HOME}/kiosk/pyvenv.cfg", "home = /usr/bin\n")
    machine.run("mkdir", "-p", programs)
    machine.run("ln", "-s", "/usr/bin/python3", f"{programs}/python")
    script = machine.run("cat", "/opt/utdstream/bin/utd-device").stdout
    machine.write(f"{programs}/utd-device", script.replace("/opt/utdstream/bin", programs))
    machine.run("chmod", "755", f"{programs}/utd-device")
    machine.write(f"{HOME}/.ssh/id", "private")
    machine.run("chmod", "700", HOME)
    tables: dict[str, dict[str, object]] = {
        "engine": {"base_url": "http://127.0.0.1:9", "app_id": "1234567890"},
        "device": {"identity": "unit-kiosk"},
        "audio": {"adapter": "synthetic"},
        "button": {"adapter": "none"},
    }
    machine.write("/etc/utdstream/kiosk.toml", as_toml(tables))
    machine.write("/run/key", "no-key-of-anybody")
    unit = Unit(machine, "kiosk")
    said = unit.install("--app-key-file", "/run/key", programs=programs)
    assert "systemctl restart utd-kiosk.service" in said
    assert unit.show("ActiveState") == "active"
    unit.is_said("waiting for the engine")
    assert unit.seen_by_it("ls", "-A", HOME).split() == ["kiosk", "utdstream"]
    assert unit.exposure() <= 1.8
    again = unit.install(programs=programs)
    assert "write" not in again
    assert "systemctl start utd-kiosk.service" in again, "what runs and is unchanged is not disturbed"
    assert unit.show("NRestarts") == "0"
    unit.stop()


def test_engine_when_installed_carries_calls_and_heals_its_parts(machine: Machine) -> None:
    """Engine, media server and broker inside the hardened unit: a call, a part's death, the supervisor's, stop."""
    unit = Unit(machine, "engine")
    unit.install(settings="WatchdogSec=3\n")
    assert unit.show("ActiveState") == "active"
    unit.is_said("ready at http://")
    assert unit.exposure() <= 1.2

    kept = machine.run("cat", "/var/lib/utd-engine/stack.toml").stdout
    project = tomllib.loads(kept)["project"]
    base_url = unit.show("StatusText").removeprefix("ready at ")
    made = requests.post(  # it serves the network, so the open key is off
        base_url + routes.KEYS,
        headers={
            routes.HEADER_APP_ID: project["app_id"],
            routes.HEADER_APP_SECRET: project["app_secret"],
        },
        json={"identity": "*", "may_host": True},
        timeout=10,
    )
    known = SimpleNamespace(app_id=project["app_id"], app_key=made.json()["app_key"], base_url=base_url)
    people = People(known)  # type: ignore[arg-type] # a stack of somebody else: people need these three
    try:
        talk(people)
        livekit = machine.run("pgrep", "-f", "livekit-server --config").stdout.split()
        assert len(livekit) == 1
        machine.run("kill", "-9", *livekit)
        unit.is_said("livekit died and is started again")
        unit.is_said("ready at http://")
        assert unit.show("NRestarts") == "0", "the engine's own supervisor heals a part"
        talk(people)
        unit.kill("-9")
        unit.was_restarted(1)
        unit.is_said("ready at http://")
        talk(people)
    finally:
        people.close()
    unit.kill("-STOP")
    unit.was_restarted(2, within_s=40)
    unit.is_said("ready at http://")

    assert machine.run("cat", "/var/lib/utd-engine/stack.toml").stdout == kept, "keys and ports are the same"
    assert unit.stop().returncode == 0
    assert unit.show("Result") == "success"
    assert machine.run("pgrep", "-f", "livekit-server|mosquitto").stdout == ""
    assert project["app_key"] not in unit.journal()


def test_engine_when_its_unit_says_tls_encrypts_and_heals_the_proxy(machine: Machine) -> None:
    """HAProxy inside the hardened unit: it answers by its own authority, before and after its death."""
    if machine.run("test", "-x", "/usr/sbin/haproxy").returncode != 0:
        pytest.skip(
            f"this root is older than HAProxy in it: delete {systemd_root.NAME} in the cache of utdstream"
        )
    unit, start = Unit(machine, "engine"), "/opt/utdstream/bin/utdstream engine up --lan --tls"
    unit.install(settings=f"ExecStart=\nExecStart={start} --data /var/lib/utd-engine\n")
    unit.is_said("ready at https://")
    assert unit.exposure() <= 1.2
    base_url = unit.show("StatusText").removeprefix("ready at ")
    with tempfile.NamedTemporaryFile("w") as ca_file:
        ca_file.write(machine.run("cat", "/var/lib/utd-engine/tls/ca.pem").stdout)
        ca_file.flush()
        assert requests.get(base_url + "/health", verify=ca_file.name, timeout=10).json()["parts"]
        machine.run("kill", "-9", *machine.run("pgrep", "-f", "haproxy -C").stdout.split())
        unit.is_said("proxy died and is started again")
        unit.is_said("ready at https://")
        assert requests.get(base_url + "/health", verify=ca_file.name, timeout=10).status_code == 200
    assert unit.stop().returncode == 0
    assert machine.run("pgrep", "-f", "haproxy -C").stdout == ""


def talk(people: People) -> None:
    """One audio call through this engine: rung over its broker, heard through its media server."""
    caller, callee = people("caller"), people("callee")
    inbox = callee.inbox()
    with caller.call(UTDStreamType.AUDIO_CALL) as call:
        call.start(callee_identity=callee.identity)
        with inbox.ringing.wait(timeout=10).accept() as answered:
            call.wait_for_answer(timeout=10)
            assert any(any(frame.data) for frame in itertools.islice(answered.audio_frames(), 300))
