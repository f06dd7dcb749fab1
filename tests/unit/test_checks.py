"""The checks that both doctors share: what is a failure, and what mends it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate, parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import metadata

import pytest

from utdstream import checks
from utdstream._wire import routes
from utdstream.checks import Check, CheckState, as_json, as_table, clock_check, engine_checks, package_check


@contextmanager
def engine(*, status: int = 200, date: str | None = None, own: str | None = None) -> Iterator[str]:
    """A server that answers /health with this status and Date, and its `own` time."""

    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(status if self.path == "/health" else 404)
            if date is not None:
                self.send_header("Date", date)
            if own is not None:
                self.send_header(routes.HEADER_TIME, own)
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


@pytest.mark.parametrize(
    ("name", "state"),
    [("glibc 2.36", "ok"), ("glibc 2.28", "ok"), ("glibc 2.27", "fail"), ("", "fail"), ("glibc 3.0", "ok")],
)
def test_glibc_when_its_version_is_known_is_judged(name: str, state: str) -> None:
    """livekit's wheels need glibc 2.28."""
    assert checks._glibc(name).state == state


def test_machine_when_it_has_32_bits_fails() -> None:
    """livekit has no 32-bit build."""
    check = checks._processor("armv7l")
    assert check.state is CheckState.FAIL
    assert "64-bit" in check.remedy


def test_python_when_it_is_old_fails() -> None:
    """The floor is 3.11."""
    check = checks._python((3, 10, 4))
    assert (check.state, check.found) == (CheckState.FAIL, "3.10.4")


def test_package_when_it_is_missing_fails_or_warns_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """A needed one fails, another is a warning that names its use; the version is utdstream's own requirement."""

    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    needed = package_check("livekit")
    assert (needed.state, needed.remedy) == (CheckState.FAIL, "pip install 'livekit==1.2.1'")
    extra = package_check("paho-mqtt", use="incoming calls over MQTT", needed=False)
    assert extra.state is CheckState.WARN
    assert extra.remedy == "for incoming calls over MQTT: pip install 'paho-mqtt<3,>=2.1'"
    assert package_check("pyaudio", remedy="sudo apt install python3-pyaudio").remedy.startswith("sudo")
    assert package_check("debians", module="json").state is CheckState.OK, "unrecorded, and importable"


def test_package_when_its_version_is_untested_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The core is held to one version; the others are taken as they are."""
    monkeypatch.setattr(metadata, "version", lambda name: "1.0.0")
    assert package_check("livekit", exact=True).state is CheckState.FAIL
    assert "livekit==1.2.1" in package_check("livekit", exact=True).remedy
    assert package_check("livekit-api").state is CheckState.OK


@pytest.mark.parametrize(("moment", "state"), [(0.0, "fail"), (1.8e9, "ok"), (5e9, "fail")])
def test_clock_when_its_year_is_not_sane_fails(moment: float, state: str) -> None:
    """A Pi without a battery wakes up in 1970."""
    assert clock_check(moment).state == state


def test_clock_when_it_is_off_says_by_how_much_and_which_way() -> None:
    """A `Date` is in whole seconds, so little is nothing."""
    date = "Fri, 01 Jan 2027 00:00:00 GMT"
    told = parsedate_to_datetime(date).timestamp()
    assert clock_check(told + 2, date).state is CheckState.OK
    behind = clock_check(told - 3600, date)
    assert (behind.state, behind.found) == (CheckState.FAIL, "3600 s behind the engine's")
    assert "set-ntp" in behind.remedy
    ahead = clock_check(told + 30, date)
    assert (ahead.state, ahead.found) == (CheckState.WARN, "30 s ahead of the engine's")


@pytest.mark.parametrize(("seconds_off", "state"), [(0, "ok"), (20, "warn"), (-20, "warn"), (4000, "fail")])
def test_clocks_when_an_engine_answers_are_compared(seconds_off: int, state: str) -> None:
    """Tokens have a time in them."""
    with engine(date=formatdate(time.time() + seconds_off, usegmt=True)) as url:
        found, clock = engine_checks(url)
    assert (found.state, clock.state) == (CheckState.OK, state)


@pytest.mark.parametrize("own", ["0", "9" * 400, "tomorrow"])
def test_clock_when_the_engine_says_its_time_is_not_compared_with_a_proxys(own: str) -> None:
    """`Date` counts for an engine that does not say its own, or no time at all."""
    date = formatdate(time.time() - 4000, usegmt=True)
    with engine(date=date, own=str(round(time.time() * 1000))) as url:
        assert engine_checks(url)[1].state is CheckState.OK
    with engine(date=date, own=own) as url:
        assert engine_checks(url)[1].state is CheckState.FAIL


def test_engine_when_it_tells_no_date_is_fine() -> None:
    """No comparison, no failure."""
    with engine() as url:
        assert [check.state for check in engine_checks(url)] == [CheckState.OK] * 2


def test_engine_when_it_is_none_or_not_there_fails() -> None:
    """HTTP 500, HTTP 404, refused, no address: four sentences."""
    with engine(status=500) as url:
        assert "the engine's own log" in engine_checks(url)[0].remedy
    with engine(status=404) as url:
        assert engine_checks(url)[0].state is CheckState.WARN
    refused = engine_checks(url)[0]
    assert refused.state is CheckState.FAIL
    assert "engine up" in refused.remedy
    for wrong in ("ftp://host", "http://host:port"):
        assert "http://host:port" in engine_checks(wrong)[0].remedy


@pytest.mark.parametrize("address", ["192.0.2.10:8080", "engine.home", "[2001:db8::1]:8080"])
def test_engine_when_its_address_has_no_scheme_is_shown_with_both(address: str) -> None:
    """An engine that encrypts, as one for a network should, is not to be asked in clear."""
    remedy = engine_checks(address)[0].remedy
    assert f"https://{address}" in remedy
    assert f"http://{address}" in remedy


def test_engine_when_its_address_has_a_login_does_not_show_it() -> None:
    """What a doctor prints is pasted into tickets."""
    check = engine_checks("http://admin:canary@127.0.0.1:9")[0]
    assert "canary" not in str(check)
    assert "***@127.0.0.1:9" in check.found


def test_table_and_json_when_checks_are_shown_agree() -> None:
    """Same facts, two forms."""
    shown = [Check("a", CheckState.OK, "here"), Check("bee", CheckState.FAIL, "gone", "bring it")]
    table = as_table(shown)
    assert "-> bring it" in table
    assert "1 failed" in table
    answer = json.loads(as_json(shown))
    assert answer["ok"] is False
    assert answer["checks"][1] == {"name": "bee", "state": "fail", "found": "gone", "remedy": "bring it"}


@pytest.mark.parametrize(
    ("host", "health", "is_said"),
    [
        ("192.0.2.1", b'{"open_key": true}', True),
        ("engine.example.com", b'{"open_key": true}', True),
        ("127.0.0.1", b'{"open_key": true}', False),
        ("localhost", b'{"open_key": true}', False),
        ("192.0.2.1", b'{"open_key": false}', False),
        ("192.0.2.1", b"{}", False),
        ("192.0.2.1", b"<html>", False),
        ("192.0.2.1", b"[1]", False),
    ],
)
def test_open_key_when_on_beyond_loopback_is_a_finding(host: str, health: bytes, *, is_said: bool) -> None:
    """One key for every identity, in every device: the doctor says what that means and what ends it."""
    found = list(checks._key_checks(host, health))
    assert [check.state for check in found] == [CheckState.WARN] * is_said
    if is_said:
        assert "utdstream engine key add" in found[0].remedy
