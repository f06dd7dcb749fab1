"""The engine as a process of its own: it starts alone, stops when told, and explains why it cannot."""

from __future__ import annotations

import contextlib
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests
from facts import eventually

from utdstream.engine.stack.ports import lan_address

pytestmark = pytest.mark.integration


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """`python -m utdstream.engine` with nothing else around; warnings are errors in it too."""

    def __init__(self, folder: Path, port: int, extra: str = "", descriptors: int | None = None) -> None:
        self.url = f"http://127.0.0.1:{port}"
        settings = folder / f"engine-{port}.toml"
        settings.write_text(
            f"""
[engine]
port = {port}
database = "{folder / "engine.db"}"
token_secret = "token-secret"
{extra}
[project]
app_id = "1234567890"
app_key = "key"
app_secret = "secret"
[livekit]
url = "http://127.0.0.1:{free_port()}"
api_key = "livekit"
api_secret = "livekit-secret-of-at-least-32-bytes"
[mqtt]
port = {free_port()}
password = "broker"
"""
        )
        self.child = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "utdstream.engine", "--config", str(settings)],
            stderr=subprocess.PIPE,
            text=True,
        )
        if descriptors is not None:  # before it has read its packages
            resource.prlimit(self.child.pid, resource.RLIMIT_NOFILE, (descriptors, descriptors))

    def is_serving(self) -> bool:
        try:
            return requests.get(f"{self.url}/health", timeout=2).json()["status"] == "ok"
        except requests.ConnectionError:
            return False

    def finish(self) -> tuple[int, str]:
        _, log = self.child.communicate(timeout=10)
        return self.child.returncode, log


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path, free_port())
    yield process
    if process.child.poll() is None:
        process.child.kill()
        process.finish()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_without_its_neighbours_and_stops_when_told(alone: Process, number: signal.Signals) -> None:
    """It serves without its neighbours and stops when told."""
    eventually(alone.is_serving, "the engine serves without media server and broker", 10.0)
    before = time.monotonic()
    alone.child.send_signal(number)
    code, log = alone.finish()
    assert code == 0
    assert time.monotonic() - before < 2.0
    assert "Traceback" not in log


def test_mint_when_the_broker_is_away_answers_with_the_login(alone: Process) -> None:
    """A mint without a broker answers with the login."""
    eventually(alone.is_serving, "the engine serves", 10.0)
    headers = {"X-App-Id": "1234567890", "X-App-Key": "key"}
    answer = requests.post(
        f"{alone.url}/api/v1/auth/session", json={"identity": "door"}, headers=headers, timeout=8
    )
    assert answer.status_code == 200
    assert answer.json()["mqtt"]["username"] == "1234567890/door"


def guesses_until_slowed_down(url: str, addresses: Callable[[int], str]) -> int:
    """How many wrong credentials are answered as such before one is slowed down; 200 at most."""
    with requests.Session() as session:
        for number in range(200):
            headers = {"X-App-Id": "1234567890", "X-App-Key": "guess", "X-Forwarded-For": addresses(number)}
            answer = session.get(f"{url}/api/v1/project", headers=headers, timeout=5)
            if answer.status_code == 429:
                return number
            assert answer.status_code == 401
    return 200


@pytest.fixture
def behind_proxy(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path, free_port(), extra='host = "0.0.0.0"\nforwarded_for = true')
    yield process
    process.child.kill()
    process.finish()


def test_address_when_the_proxy_tells_it_is_the_one_that_is_slowed_down(behind_proxy: Process) -> None:
    """A guesser slows nobody else down, whoever else comes through the same proxy; of IPv6 a /64 is one address.
    What the guesser's own client wrote into the header stands before what the proxy added.
    """
    eventually(behind_proxy.is_serving, "the engine serves", 10.0)
    url = behind_proxy.url
    assert guesses_until_slowed_down(url, lambda number: f"198.51.100.{number}, 192.0.2.1") < 200
    assert guesses_until_slowed_down(url, lambda number: "192.0.2.2") > 100
    assert guesses_until_slowed_down(url, lambda number: f"2001:db8::{number:x}") < 200


def test_address_when_no_proxy_of_this_machine_tells_it_cannot_be_forged(
    alone: Process, behind_proxy: Process
) -> None:
    """Neither where no proxy was named, nor from another machine where one was."""
    eventually(lambda: alone.is_serving() and behind_proxy.is_serving(), "the engines serve", 10.0)
    assert guesses_until_slowed_down(alone.url, lambda number: f"192.0.2.{number}") < 200
    address = lan_address()
    if address is not None:
        elsewhere = behind_proxy.url.replace("127.0.0.1", address)
        assert guesses_until_slowed_down(elsewhere, lambda number: f"192.0.2.{number}") < 200


def test_port_when_taken_is_said(tmp_path: Path) -> None:
    """A port that is taken is said."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, log = Process(tmp_path, int(taken.getsockname()[1])).finish()
    assert code == 1
    assert "address already in use" in log


def test_settings_when_mistaken_are_said(tmp_path: Path) -> None:
    """A mistake in the settings is said."""
    code, log = Process(tmp_path, free_port(), extra="colour = 1").finish()
    assert code == 2
    assert "[engine]" in log
    assert "colour" in log
    assert "Traceback" not in log


def test_database_when_it_cannot_be_used_is_said(tmp_path: Path) -> None:
    """A database that cannot be used is said."""
    (tmp_path / "engine.db").write_text("this is no database, and long enough to be sure of it" * 40)
    code, log = Process(tmp_path, free_port()).finish()
    assert code == 1
    assert "not a database" in log


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Lets this process hold two thousand connections: many systems begin with 1,024 descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip(f"this user may hold {hard} descriptors at most: raise `ulimit -Hn` to 2048 or more")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def lines_to(process: Process, count: int, source: str) -> list[socket.socket]:
    """So many connections from this loopback address, each with half of a head or with nothing."""
    port = int(process.url.rsplit(":", 1)[1])
    lines = []
    for number in range(count):
        line = socket.create_connection(("127.0.0.1", port), timeout=8, source_address=(source, 0))
        if number % 2:
            line.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nX-a: ")
        lines.append(line)
    return lines


def is_closed(line: socket.socket) -> bool:
    line.setblocking(False)
    try:
        return line.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_connection_when_it_completes_no_head_is_closed(alone: Process) -> None:
    """Silence, half of a head, and a head that comes byte by byte have five seconds in all."""
    eventually(alone.is_serving, "the engine serves", 10.0)
    began = time.monotonic()
    silent, half, slow = [*lines_to(alone, 2, "127.0.0.1"), *lines_to(alone, 1, "127.0.0.1")]

    def all_closed() -> bool:
        with contextlib.suppress(OSError):
            slow.send(b"G")
        return is_closed(silent) and is_closed(half) and is_closed(slow)

    eventually(all_closed, "all three are closed", 10.0)
    assert time.monotonic() - began > 4.0
    for line in (silent, half, slow):
        line.close()


def test_connection_when_its_answer_was_given_and_its_body_never_ends_is_closed(alone: Process) -> None:
    """The rest of a body that was refused keeps no place."""
    eventually(alone.is_serving, "the engine serves", 10.0)
    line = lines_to(alone, 1, "127.0.0.1")[0]
    line.sendall(b"POST /api/v1/calls HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n{")
    assert line.recv(12) == b"HTTP/1.1 401"
    line.recv(65_536)

    def closed() -> bool:
        with contextlib.suppress(OSError):
            line.send(b"x")
        return is_closed(line)

    eventually(closed, "the connection is closed", 10.0)
    line.close()


@pytest.mark.usefixtures("many_descriptors")
def test_asker_when_strangers_fill_their_places_is_answered(tmp_path: Path) -> None:
    """With 512 descriptors and 1,500 silent connections from three addresses a request is answered."""
    lines: list[socket.socket] = []
    alone = Process(tmp_path, free_port(), descriptors=512)
    try:
        eventually(alone.is_serving, "the engine serves", 10.0)
        with ExitStack() as held:
            for last in (2, 3, 4):
                lines += [held.enter_context(line) for line in lines_to(alone, 500, f"127.0.0.{last}")]
            for _ in range(20):
                assert alone.is_serving()
            assert sum(is_closed(line) for line in lines) > 1000
        alone.child.send_signal(signal.SIGTERM)
        code, log = alone.finish()
        assert code == 0
        assert len(log) < 2000
    finally:
        alone.child.kill()
        alone.child.wait()


def key_of(alone: Process, identity: str) -> str:
    """A new key of this identity."""
    headers = {"X-App-Id": "1234567890", "X-App-Secret": "secret"}
    answer = requests.post(
        f"{alone.url}/api/v1/keys", json={"identity": identity}, headers=headers, timeout=5
    )
    return str(answer.json()["app_key"])


@pytest.mark.usefixtures("many_descriptors")
def test_asker_when_one_key_holds_all_the_connections_it_can_is_answered(tmp_path: Path) -> None:
    """One device's key begins more requests than there is room for, and ends none of them."""
    alone = Process(tmp_path, free_port(), descriptors=512)
    try:
        eventually(alone.is_serving, "the engine serves", 10.0)
        key, door = key_of(alone, "mallory"), {"X-App-Id": "1234567890", "X-App-Key": key_of(alone, "door")}
        head = (
            f"X-App-Id: 1234567890\r\nX-App-Key: {key}\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"
        )
        with ExitStack() as held:
            for _ in range(200):
                line = held.enter_context(lines_to(alone, 1, "127.0.0.1")[0])
                line.sendall(f"POST /api/v1/auth/session HTTP/1.1\r\nHost: x\r\n{head}".encode())
                with contextlib.suppress(ConnectionError):
                    line.recv(100)  # the engine waits for the body now, or closed the connection
            answer = requests.get(f"{alone.url}/api/v1/project", headers=door, timeout=5)
            assert answer.status_code == 200
    finally:
        alone.child.kill()
        alone.finish()
