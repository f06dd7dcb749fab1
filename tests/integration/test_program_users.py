"""Started by root, each program of a stack runs as a user of its own, and reads what is its own alone."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from facts import eventually

from utdstream import UTDStreamClient
from utdstream._wire import routes
from utdstream.engine.stack import binaries, users
from utdstream.engine.stack.ports import PARTS, Part
from utdstream.engine.stack.programs import write_configuration
from utdstream.engine.stack.settings import StackSettings, TlsSection
from utdstream.engine.stack.supervisor import Supervisor
from utdstream.engine.stack.users import User

pytestmark = [
    pytest.mark.integration,
    pytest.mark.usefixtures("programs"),
    pytest.mark.skipif(
        os.geteuid() != 0, reason="root alone can start a program as another user: run it with sudo"
    ),
]

USERS: dict[Part, User] = {
    "livekit": User(61911, 61911),
    "mqtt": User(61912, 61912),
    "engine": User(61913, 61913),
}
"""Numbers without a name, which no service here has."""


@pytest.fixture
def settings() -> Iterator[StackSettings]:
    """A stack below a folder that everybody may pass."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        can_read = users.can_run_python(USERS["engine"])
        own = {part: user for part, user in USERS.items() if part != "engine" or can_read}
        yield StackSettings(folder=Path(folder) / "data", users=own)


def uids_of(pid: int | None) -> set[int]:
    """All the users that a process is: real, effective, saved, of files."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith("Uid:"))
    return set(map(int, line.split()[1:]))


def test_programs_when_they_have_users_run_as_these_and_work(settings: StackSettings) -> None:
    """With no right to become another; a device signs in and hears by the broker, before and after a restart."""
    with Supervisor(settings) as running:
        for _ in range(2):
            for part in PARTS:
                user = settings.users.get(part, User(0, 0))
                assert uids_of(running.pid(part)) == {user.uid}
                groups = (
                    Path(f"/proc/{running.pid(part)}/status").read_text().split("Groups:")[1].splitlines()[0]
                )
                assert part == "engine" or groups.split() == []
            project, address = running.settings.project, running.settings.base_url
            with UTDStreamClient(project.app_id, project.app_key, base_url=address) as client:
                client.authenticate(identity="house")
                inbox = client.incoming_calls()
                inbox.connected.wait_for(True, timeout=10)
            for part in PARTS:
                running.stop_part(part)
                running.start_part(part)


def test_proxy_when_it_has_a_user_of_its_own_takes_a_new_certificate_too(
    proxy: None, settings: StackSettings
) -> None:
    """Nothing of the authority is its own; after a renewal and a restart it shows the new certificate."""
    tls = TlsSection(enabled=True, authority=settings.folder / "shared")
    user = User(61914, 61914)
    encrypted = replace(settings, users={**settings.users, "proxy": user}, tls=tls)
    with Supervisor(encrypted) as running:
        assert uids_of(running.pid("proxy")) == {user.uid}
        owned = {file.name for file in encrypted.folder.rglob("*") if file.stat().st_uid == user.uid}
        assert owned == {"proxy", "haproxy.cfg", "haproxy.sock", "server.pem"}
        project, address = running.settings.project, running.settings.base_url
        assert ask(address, running.settings.ca_file) == 200
        pid, before = running.pid("proxy"), running.certificate
        encrypted.server_file.unlink()
        assert running.renew_certificate()
        assert (running.pid("proxy") == pid, running.certificate == before) == (True, False)
        running.stop_part("proxy")
        running.start_part("proxy")
        assert ask(address, running.settings.ca_file) == 200
        login = {"identity": "house"}
        headers = {"X-App-Id": project.app_id, "X-App-Key": project.app_key}
        mint = requests.post(
            address + routes.AUTH_SESSION,
            json=login,
            headers=headers,
            verify=str(running.settings.ca_file),
            timeout=5,
        )
        ca_file = running.settings.ca_file
        assert ca_file is not None
        assert mint.json()["mqtt"]["ca"] == ca_file.read_text()


def ask(address: str, ca_file: Path | None) -> int:
    return requests.get(address + "/health", verify=str(ca_file), timeout=5).status_code


def test_files_when_programs_have_users_are_each_ones_own(settings: StackSettings) -> None:
    """None can read another's, or the keys of all; others see nothing of the folder."""
    with Supervisor(settings) as running:
        running.stop_part("mqtt")
        for path in settings.folder.rglob("*"):
            owner = path.stat().st_uid
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
            in_mqtt = path.name == "mosquitto.conf" or "mqtt" in path.relative_to(settings.folder).parts
            expected: Part | None = "mqtt" if in_mqtt else "livekit" if path.name == "livekit.yaml" else None
            if expected is not None:
                assert owner == USERS[expected].uid, path
            elif "engine" not in settings.users or "logs" in path.parts:
                assert owner == 0, path
        assert stat.S_IMODE(settings.folder.stat().st_mode) == 0o711


def test_programs_when_their_supervisor_is_killed_die_with_it(settings: StackSettings) -> None:
    """Although they are not its user's."""
    program = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "from utdstream.engine.stack.settings import StackSettings\n"
        "from utdstream.engine.stack.supervisor import Supervisor\n"
        "from utdstream.engine.stack.users import User\n"
        "users = {part: User(*numbers) for part, numbers in json.loads(sys.argv[2]).items()}\n"
        "with Supervisor(StackSettings(folder=Path(sys.argv[1]), users=users)) as running:\n"
        "    print(*[running.pid(part) for part in ('livekit', 'mqtt', 'engine')], flush=True)\n"
        "    sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, str(settings.folder), json.dumps(settings.users)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pids = process.stdout.readline().split()
        assert len(pids) == 3
        process.send_signal(signal.SIGKILL)
    eventually(lambda: not [pid for pid in pids if Path(f"/proc/{pid}/exe").exists()], "all are gone")


def test_database_when_the_engine_gets_a_user_and_loses_it_goes_along(tmp_path: Path) -> None:
    """Calls, bans and keys are what they were."""
    plugin = binaries.find_dynsec_plugin().path
    alone = StackSettings(folder=tmp_path / "data")
    apart = StackSettings(folder=tmp_path / "data", users={"engine": USERS["engine"]})
    write_configuration(alone, plugin)
    alone.database.write_text("all calls")
    write_configuration(apart, plugin)
    assert (apart.database.read_text(), apart.database.stat().st_uid) == ("all calls", USERS["engine"].uid)
    assert not alone.database.exists()
    write_configuration(alone, plugin)
    assert alone.database.read_text() == "all calls"
