"""`utdstream doctor`: what it calls a failure, and what it advises."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import metadata
from pathlib import Path

import pytest

from utdstream._command import doctor
from utdstream._command.doctor import Check


@contextmanager
def engine(*, status: int = 200, date: str | None = None) -> Iterator[str]:
    """A server that answers /health with this status and Date."""

    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(status if self.path == "/health" else 404)
            if date is not None:
                self.send_header("Date", date)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Health)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def only(name: str, checks: list[Check]) -> Check:
    (found,) = [check for check in checks if check.name == name]
    return found


def test_every_advice_is_given_when_something_is_not_ok() -> None:
    """A check that is not ok says what to do."""
    for check in doctor.examine():
        assert check.status in ("ok", "warn", "fail")
        assert check.found
        assert bool(check.fix) == (check.status != "ok"), check


@pytest.mark.parametrize(
    ("name", "status"),
    [("glibc 2.36", "ok"), ("glibc 2.28", "ok"), ("glibc 2.27", "fail"), ("", "fail"), ("glibc 3.0", "ok")],
)
def test_the_c_library_is_judged_when_its_name_is_known(name: str, status: str) -> None:
    """livekit's wheels need glibc 2.28."""
    assert doctor._glibc(name).status == status


def test_a_32_bit_system_fails_when_python_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """livekit has no 32-bit build."""
    monkeypatch.setattr(doctor.platform, "machine", lambda: "armv7l")
    (check,) = doctor._machine()
    assert check.status == "fail"
    assert "64-bit" in check.fix


def test_an_old_python_fails_when_it_runs_the_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The floor is 3.11."""
    monkeypatch.setattr(doctor.sys, "version_info", (3, 10, 4, "final", 0))
    (check,) = doctor._python()
    assert (check.status, check.found) == ("fail", "3.10.4")


def test_packages_are_judged_when_they_are_missing_or_of_another_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A missing base package fails, a missing extra is a remark that names the extra."""

    def version(name: str) -> str:
        if name == "livekit":
            return "1.0.0"
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.metadata, "version", version)
    checks = list(doctor._packages())
    assert only("livekit", checks).status == "fail"
    assert "1.2.1" in only("livekit", checks).fix
    assert only("requests", checks).status == "fail"
    assert only("paho-mqtt", checks).status == "warn"
    assert "utdstream[mqtt]" in only("paho-mqtt", checks).fix


def test_missing_servers_are_remarks_when_the_machine_is_a_device(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A door needs no server; whoever wants one is told how."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("UTD_LIVEKIT_SERVER", raising=False)
    monkeypatch.setenv("UTD_MOSQUITTO_DYNSEC", str(tmp_path / "missing.so"))
    checks = list(doctor._programs())
    assert [check.status for check in checks] == ["warn", "warn"]
    assert "make setup" in only("livekit-server", checks).fix


def test_a_program_that_does_not_start_fails_when_it_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A binary of another architecture is worse than none."""
    broken = tmp_path / "livekit-server"
    broken.write_bytes(b"\x7fELF nonsense")
    broken.chmod(0o755)
    monkeypatch.setenv("UTD_LIVEKIT_SERVER", str(broken))
    assert only("livekit-server", list(doctor._programs())).status == "fail"


def test_a_taken_port_is_named_when_another_program_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its number and use."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        monkeypatch.setattr("utdstream.engine.stack.settings.DEFAULT_PORTS", _ports(engine=port))
        (check,) = doctor._ports()
    assert check.status == "warn"
    assert f"{port}/tcp (engine)" in check.found


def _ports(**numbers: int) -> object:
    from utdstream.engine.stack.settings import DEFAULT_PORTS

    free = dict.fromkeys(("livekit", "livekit_udp", "livekit_tcp", "stun", "mqtt"), 0)
    return type(DEFAULT_PORTS)(**{**free, **numbers})


@pytest.mark.parametrize(("moment", "status"), [(0.0, "fail"), (1.8e9, "ok"), (5e9, "fail")])
def test_the_clock_is_judged_when_its_year_is_not_sane(moment: float, status: str) -> None:
    """A Pi without a battery wakes up in 1970."""
    assert doctor._clock(moment).status == status


@pytest.mark.parametrize(("seconds_off", "status"), [(0, "ok"), (20, "warn"), (-20, "warn"), (4000, "fail")])
def test_the_clocks_are_compared_when_an_engine_is_named(seconds_off: int, status: str) -> None:
    """Tokens have a time in them."""
    import time

    with engine(date=formatdate(time.time() + seconds_off, usegmt=True)) as url:
        assert doctor._engine(url).status == status


def test_an_engine_without_a_date_is_fine_when_it_answers() -> None:
    """No comparison, no failure."""
    with engine() as url:
        assert doctor._engine(url).status == "ok"


def test_an_engine_fails_when_it_is_none_or_not_there() -> None:
    """Refused, HTTP 500, no address: three sentences."""
    with engine(status=500) as url:
        assert doctor._engine(url).status == "fail"
    assert doctor._engine(url).status == "fail"
    for wrong in ("ftp://host", "nonsense", "http://host:port"):
        assert "http://host:port" in doctor._engine(wrong).fix


def test_table_and_json_agree_when_checks_are_shown() -> None:
    """Same facts, two forms."""
    checks = [Check("a", "ok", "here"), Check("bee", "fail", "gone", "bring it")]
    table = doctor.as_table(checks)
    assert "-> bring it" in table
    assert "1 failed" in table
    answer = json.loads(doctor.as_json(checks))
    assert answer["ok"] is False
    assert answer["checks"][1] == {"name": "bee", "status": "fail", "found": "gone", "fix": "bring it"}
