"""The stack's processes: watched, stopped in order, never left behind."""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import livekit.api
import pytest
import requests
from engine_up import EngineUp, own_ports

from utdstream.engine.config import LimitsSection
from utdstream.engine.stack import programs, ready
from utdstream.engine.stack import supervisor as supervisor_module
from utdstream.engine.stack.ports import PARTS, PORT_KINDS, Part, PortTaken, is_free
from utdstream.engine.stack.settings import StackSettings
from utdstream.engine.stack.supervisor import PartEvent, StackError, Supervisor
from utdstream.errors import EngineUnreachable, InvalidConfig, SessionClosed
from utdstream.testing import LocalStack

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("programs")]

PATIENCE_S = 15.0


def is_alive(pid: int) -> bool:
    """Whether a process runs (one that waits to be reaped does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(fact: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not fact():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {PATIENCE_S:g} s: {what}")
        time.sleep(0.01)


def pids(supervisor: Supervisor) -> dict[Part, int]:
    found = {part: supervisor.pid(part) for part in PARTS}
    return {part: pid for part, pid in found.items() if pid is not None}


def assert_nothing_left(processes: dict[Part, int], ports: dict[str, int]) -> None:
    """No process runs and every port can be bound."""
    for part, pid in processes.items():
        wait_until(lambda pid=pid: not is_alive(pid), f"{part} (pid {pid}) is gone")
    for name, port in ports.items():
        kind = PORT_KINDS[name][1]
        wait_until(lambda kind=kind, port=port: is_free(kind, "127.0.0.1", port), f"{name} {port} is free")


def ports_of(settings: StackSettings) -> dict[str, int]:
    return {name: port for name, port in dataclasses.asdict(settings.ports).items() if port is not None}


@pytest.fixture
def settings(tmp_path: Path) -> StackSettings:
    return StackSettings(folder=tmp_path / "stack", limits=LimitsSection(enabled=False))


# --- watched


@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_started_again_and_said_when_it_is_killed_from_outside(
    settings: StackSettings, part: Part, caplog: pytest.LogCaptureFixture
) -> None:
    """A death nobody asked for is a warning and a new process on the same port."""
    events: queue.SimpleQueue[PartEvent] = queue.SimpleQueue()
    with Supervisor(settings, on_event=events.put) as supervisor:
        before, ports = pids(supervisor), supervisor.settings.ports
        os.kill(before[part], signal.SIGKILL)
        said = [events.get(timeout=PATIENCE_S) for _ in range(3)]
        assert [(event.part, event.kind) for event in said] == [
            (part, "died"),
            (part, "restarted"),
            (part, "back"),
        ]
        assert "SIGKILL" in said[0].detail
        after = pids(supervisor)
        assert after[part] != before[part]
        assert {other: after[other] for other in PARTS if other != part} == {
            other: before[other] for other in PARTS if other != part
        }
        assert supervisor.settings.ports == ports
        assert ready.failure(part, supervisor.settings) is None
    assert any(record.levelname == "WARNING" and part in record.message for record in caplog.records)


def test_a_callback_may_stop_the_stack_when_a_part_died(settings: StackSettings) -> None:
    """Rule of the house: callbacks may call anything."""
    stopped = threading.Event()

    def on_event(event: PartEvent) -> None:
        supervisor.stop()
        stopped.set()

    supervisor = Supervisor(settings, on_event=on_event)
    supervisor.start()
    processes, ports = pids(supervisor), ports_of(supervisor.settings)
    os.kill(processes["mqtt"], signal.SIGKILL)
    assert stopped.wait(PATIENCE_S)
    supervisor.stop()
    assert_nothing_left(processes, ports)


def test_children_live_when_the_thread_that_started_the_stack_is_gone(settings: StackSettings) -> None:
    """The kernel's parent-death signal is about threads: the supervisor's own outlives its caller's."""
    supervisor = Supervisor(settings)
    starter = threading.Thread(target=supervisor.start)
    starter.start()
    starter.join()
    try:
        assert all(is_alive(pid) for pid in pids(supervisor).values())
        assert all(ready.failure(part, supervisor.settings) is None for part in PARTS)
    finally:
        supervisor.stop()


# --- stopped


def test_no_process_and_no_port_is_left_when_the_stack_is_stopped(settings: StackSettings) -> None:
    """Also with a connection open, and `stop` twice is fine."""
    supervisor = Supervisor(settings)
    supervisor.start()
    processes, ports = pids(supervisor), ports_of(supervisor.settings)
    assert set(processes) == set(PARTS)
    with socket.create_connection(("127.0.0.1", ports["engine"])):
        supervisor.stop()
        supervisor.stop()
        assert_nothing_left(processes, ports)
    with pytest.raises(SessionClosed):
        supervisor.start_part("mqtt")
    with pytest.raises(SessionClosed):
        supervisor.start()


def test_a_stopped_part_stays_down_until_it_is_started_when_asked_for() -> None:
    """Stop and kill through the API are wishes, not accidents; the port is kept."""
    with LocalStack() as stack:
        addresses = (stack.base_url, stack.livekit_url, stack.mqtt_port)
        for down in (stack.stop, stack.kill):
            for number, part in enumerate(PARTS):
                old = stack.pid(part)
                assert old is not None
                down(part)
                assert not is_alive(old)
                assert not stack.is_running(part)
                assert [stack.is_running(other) for other in PARTS] == [i > number for i in range(3)]
            with pytest.raises(EngineUnreachable, match="no answer"):
                stack.mqtt_login("door")
            for part in PARTS:
                assert not stack.is_running(part)
                stack.start(part)
                stack.start(part)
                assert stack.is_running(part)
        assert (stack.base_url, stack.livekit_url, stack.mqtt_port) == addresses
        assert stack.mqtt_login("door").port == stack.mqtt_port


def test_an_unknown_part_is_refused_with_the_known_ones_when_named(stack: LocalStack) -> None:
    """A typo gets an answer."""
    with pytest.raises(InvalidConfig, match="livekit, mqtt, engine"):
        stack.stop("broker")  # type: ignore[arg-type]


# --- the folder


def test_no_file_is_readable_by_others_when_the_stack_has_worked(settings: StackSettings) -> None:
    """Also not the files the programs write themselves: database, broker store, logs."""
    before = os.umask(0o022)
    try:
        with Supervisor(settings) as supervisor:
            supervisor.stop_part("mqtt")
            supervisor.start_part("mqtt")
            files = [settings.folder, *settings.folder.rglob("*")]
            assert {"engine.db", "livekit.yaml", "dynsec.json"} <= {file.name for file in files}
            for file in files:
                assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file
    finally:
        os.umask(before)


def test_the_folder_is_gone_and_the_logs_are_kept_when_a_local_stack_ends(tmp_path: Path) -> None:
    """Secrets are deleted, logs only where they were asked for."""
    with LocalStack(log_dir=tmp_path / "logs") as stack:
        folder = stack._folder
        assert folder is not None
        assert folder.is_dir()
        wait_until(lambda: "connected" in stack.logs("engine"), "the engine has logged something")
        shown = repr(stack)
    assert not folder.exists()
    assert (tmp_path / "logs" / "engine.log").stat().st_size > 0
    for secret in (stack._project, shown):
        assert "secret" not in repr(secret)


def test_the_folder_of_a_killed_process_is_deleted_when_the_next_stack_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds secrets. A folder in use, and one just made, are left alone."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    abandoned, fresh = tmp_path / "utdstream-stack-old", tmp_path / "utdstream-stack-new"
    for folder in (abandoned, fresh):
        folder.mkdir()
        (folder / "engine.toml").write_text("secret", encoding="utf-8")
    with LocalStack() as first:
        used = first._folder
        assert used is not None
        for folder in (abandoned, used):
            os.utime(folder, (0, 0))
        with LocalStack():
            assert not abandoned.exists()
            assert fresh.exists()
            assert used.exists()


def test_two_stacks_run_side_by_side_when_both_are_wanted(stack: LocalStack) -> None:
    """Own ports, own project, own broker logins."""
    with LocalStack(project={"name": "other"}) as other:
        assert other.base_url != stack.base_url
        assert other.app_id != stack.app_id
        assert other.mqtt_login("door").password != stack.mqtt_login("door").password


# --- what cannot start


def test_a_missing_program_is_a_sentence_when_the_stack_starts(
    settings: StackSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It says how to provide it; no thread is left."""
    monkeypatch.setenv("UTD_LIVEKIT_SERVER", str(tmp_path / "missing"))
    with pytest.raises(StackError, match="UTD_LIVEKIT_SERVER"):
        Supervisor(settings).start()


def test_the_end_of_the_log_is_in_the_sentence_when_a_part_does_not_start(
    settings: StackSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever reads it need not look for the log; what had started is stopped."""
    broken = tmp_path / "livekit-server"
    broken.write_text("#!/bin/sh\necho nothing works here >&2\nexit 3\n", encoding="utf-8")
    broken.chmod(0o755)
    monkeypatch.setenv("UTD_LIVEKIT_SERVER", str(broken))
    supervisor = Supervisor(settings)
    with pytest.raises(StackError, match=r"livekit ended with exit status 3.*\n?.*nothing works here"):
        supervisor.start()
    assert_nothing_left({}, ports_of(supervisor.settings))


def test_a_wanted_port_is_named_when_another_program_has_it(settings: StackSettings) -> None:
    """A configured port is never exchanged for another."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        wanted = dataclasses.replace(settings, ports=dataclasses.replace(settings.ports, mqtt=port))
        with pytest.raises(PortTaken, match=str(port)):
            Supervisor(wanted).start()


# --- `utdstream engine up`, a process of its own


@pytest.fixture
def engine_up(tmp_path: Path) -> Iterator[Callable[..., EngineUp]]:
    started: list[EngineUp] = []

    def start(*more: str) -> EngineUp:
        started.append(EngineUp(tmp_path / "data", *more))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.communicate()


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 0), (signal.SIGHUP, 0), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_nothing_is_left_when_engine_up_gets_a_signal(
    engine_up: Callable[..., EngineUp], number: int, status: int
) -> None:
    """Ctrl-C, systemd's stop, a closed terminal, and kill -9, of which it hears nothing."""
    running = engine_up()
    assert all(is_alive(pid) for pid in running.pids.values())
    assert running.signal(number) == status
    assert_nothing_left(running.pids, running.ports)


def test_keys_and_ports_are_the_same_when_engine_up_runs_again(engine_up: Callable[..., EngineUp]) -> None:
    """Devices find it where it was; the keys are in a private file, and not in what is printed."""
    first = engine_up()
    keys_file = Path(first.facts["keys_file"])
    assert stat.S_IMODE(keys_file.stat().st_mode) == 0o600
    kept = keys_file.read_text(encoding="utf-8")
    first.signal(signal.SIGTERM)
    second = engine_up()
    assert second.ports == first.ports
    assert second.facts["app_id"] == first.facts["app_id"]
    assert keys_file.read_text(encoding="utf-8") == kept
    tables = tomllib.loads(kept)
    hidden = [tables["project"]["app_key"], tables["project"]["app_secret"], *tables["secrets"].values()]
    assert not [secret for secret in hidden if secret in json.dumps(second.facts)]
    second.signal(signal.SIGTERM)


def test_a_second_engine_up_is_one_sentence_when_the_data_folder_is_in_use(
    engine_up: Callable[..., EngineUp], tmp_path: Path
) -> None:
    """Exit status 1, no traceback."""
    engine_up()
    ended = subprocess.run(
        [sys.executable, "-m", "utdstream.cli", "engine", "up", "--data", str(tmp_path / "data")],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ended.returncode == 1
    assert "already running" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_nothing_is_left_when_engine_up_is_interrupted_while_it_starts(tmp_path: Path) -> None:
    """Ctrl-C before it was ready, at whatever moment."""
    ports = own_ports(tmp_path)
    for pause_s in (0.05, 0.15, 0.25, 0.35):
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "utdstream.cli", "engine", "up", "--json"),
                *("--data", str(tmp_path / "d")),
                *ports,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        threading.Event().wait(pause_s)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE_S)
        # The interpreter itself, interrupted before our first line: it says so and ends with 1.
        is_before_us = process.returncode == 1 and "init_import_site" in errors
        assert is_before_us or process.returncode in (130, -signal.SIGINT), errors
        wait_until(lambda: not _using(tmp_path / "d"), "no process uses the data folder")


def _using(folder: Path) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in line and is_alive(int(entry.name)):
                found.append(int(entry.name))
    return found


# --- renewed


def test_part_when_it_does_not_come_up_with_new_secrets_is_tried_until_it_does(
    settings: StackSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rotation that meets a taken port is said, and ends nothing."""
    write = programs.write_configuration
    with Supervisor(settings) as supervisor, socket.socket() as thief:

        def write_and_take_the_port(given: StackSettings, plugin: Path) -> None:
            write(given, plugin)
            assert given.ports.mqtt is not None
            thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            thief.bind(("127.0.0.1", given.ports.mqtt))
            thief.listen()

        monkeypatch.setattr(supervisor_module, "write_configuration", write_and_take_the_port)
        rotated = dataclasses.replace(
            supervisor.settings.secrets, mqtt_password="the-next-password-of-the-broker"
        )
        with pytest.raises(StackError, match=r"mqtt does not answer .* and is tried again"):
            supervisor.renew(dataclasses.replace(supervisor.settings, secrets=rotated), timeout=2.0)
        thief.close()
        wait_until(lambda: ready.failure("mqtt", supervisor.settings) is None, "the broker is back")


# --- logs


def test_log_when_the_media_server_refuses_a_token_holds_nothing_of_it(settings: StackSettings) -> None:
    """livekit-server writes each of its own that it refuses, such as one of a device whose time is over."""
    with Supervisor(settings) as supervisor:
        secrets = supervisor.settings.secrets
        token = (
            livekit.api.AccessToken(secrets.livekit_api_key, secrets.livekit_api_secret)
            .with_identity("door")
            .with_ttl(timedelta(minutes=-2))
            .to_jwt()
        )
        address = f"http://127.0.0.1:{supervisor.settings.ports.livekit}/rtc/validate"
        assert requests.get(address, params={"access_token": token}, timeout=5).status_code == 401
        log = settings.log("livekit")
        wait_until(lambda: "(a token)" in log.read_text(encoding="utf-8"), "the refusal is logged")
    assert token.split(".")[1] not in log.read_text(encoding="utf-8")
