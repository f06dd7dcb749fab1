"""TLS on the way to an engine: what is trusted, and what is said of a handshake that fails."""

from __future__ import annotations

import gc
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from authority import DAY, Authority, TlsDoor
from small_engine import SmallEngine, reply

from utdstream import ClientConfig, EngineUnreachable, InvalidConfig, TlsFailed, UTDStreamClient, trust
from utdstream._livekit.errors import translate
from utdstream.checks import CheckState, engine_checks
from utdstream.cli import main

KEY = "app-key-that-nobody-may-see"
MINT = {"user_token": "bearer", "ws_url": None}


@pytest.fixture
def engine() -> Iterator[SmallEngine]:
    """An engine that signs everybody in."""
    server = SmallEngine()
    server.respond = lambda request: reply(MINT)
    yield server
    server.close()


@contextmanager
def behind_tls(engine: SmallEngine, certificate: tuple[Path, Path]) -> Iterator[int]:
    """The port of a TLS server in front of it."""
    with TlsDoor(urlsplit(engine.url).port or 0, certificate) as door:
        yield door.port


def sign_in(url: str, ca_file: Path | None = None) -> None:
    with UTDStreamClient("1", KEY, base_url=url, config=ClientConfig(ca_file=ca_file)) as client:
        client.authenticate(identity="door", timeout=10)


def test_engine_when_its_authority_is_the_ca_file_is_asked_over_tls(
    engine: SmallEngine, authority: Authority
) -> None:
    """By name and by address, by the client and by the doctors."""
    with behind_tls(engine, authority.issue()) as port:
        for host in ("localhost", "127.0.0.1"):
            sign_in(f"https://{host}:{port}", authority.ca_file)
            check = engine_checks(f"https://{host}:{port}", authority.ca_file)[0]
            assert check.state is CheckState.OK, check
    assert {request.path for request in engine.requests} == {"/api/v1/auth/session", "/health"}


@pytest.mark.parametrize(
    ("names", "valid", "known", "sentence"),
    [
        (("localhost",), (-DAY, DAY), False, trust.UNKNOWN_AUTHORITY),
        (("localhost",), (-2 * DAY, -timedelta(seconds=1)), True, trust.EXPIRED),
        (("localhost",), (DAY, 2 * DAY), True, trust.NOT_YET_VALID),
        (("elsewhere.example",), (-DAY, DAY), True, trust.OTHER_NAME),
        (("192.0.2.1",), (-DAY, DAY), True, trust.OTHER_NAME),
    ],
)
def test_certificate_when_it_is_refused_is_said_in_one_sentence(
    engine: SmallEngine,
    authority: Authority,
    tmp_path: Path,
    names: tuple[str, ...],
    valid: tuple[timedelta, timedelta],
    known: bool,
    sentence: str,
) -> None:
    """The same by client and doctors; the engine is told nothing, and nothing is asked twice."""
    issuer = authority if known else Authority(tmp_path, "foreign")
    ca_file = authority.ca_file
    with behind_tls(engine, issuer.issue(names, valid=valid)) as port:
        with pytest.raises(TlsFailed) as caught:
            sign_in(f"https://localhost:{port}", ca_file)
        check = engine_checks(f"https://localhost:{port}", ca_file)[0]
    assert str(caught.value).startswith(f"asking the engine at localhost:{port} failed: {sentence}")
    assert check.state is CheckState.FAIL
    assert f"{check.found.rpartition(' and ')[2]}: {check.remedy}".startswith(sentence)
    assert engine.requests == []


def test_authority_when_it_is_not_the_engines_is_told_where_it_was_named(
    engine: SmallEngine, authority: Authority, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A program, a command line and a configuration name the file in their own words; a wrong file by its path."""
    with behind_tls(engine, Authority(tmp_path, "own").issue()) as port:
        url = f"https://localhost:{port}"
        with pytest.raises(TlsFailed, match=r"prints as ClientConfig\(ca_file=...\)"):
            sign_in(url)
        wrong = authority.ca_file
        assert f"{wrong} holds another one" in engine_checks(url, wrong)[0].remedy
        main(["doctor", "--base-url", url])
    said = capsys.readouterr().out
    assert "prints as --ca-file" in said
    assert "ClientConfig" not in said


def test_tls_when_spoken_to_a_clear_port_is_said(engine: SmallEngine) -> None:
    """The remedy names http://."""
    url = engine.url.replace("http:", "https:")
    with pytest.raises(TlsFailed, match="write http:// instead"):
        sign_in(url)
    assert "write http:// instead" in engine_checks(url)[0].remedy


def test_clear_text_when_spoken_to_a_tls_port_is_said(engine: SmallEngine, authority: Authority) -> None:
    """The remedy names https://; the server saw no key."""
    with behind_tls(engine, authority.issue()) as port:
        with pytest.raises(TlsFailed, match="write https:// instead"):
            sign_in(f"http://127.0.0.1:{port}")
        assert "write https:// instead" in engine_checks(f"http://127.0.0.1:{port}")[0].remedy
    assert engine.requests == []


def test_connection_when_a_clear_engine_cuts_it_off_is_no_matter_of_tls() -> None:
    """A restart in the middle of a request must not read as a wrong scheme."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        silent.close()
        with pytest.raises(EngineUnreachable) as caught:
            sign_in(f"http://127.0.0.1:{port}")
    assert not isinstance(caught.value, TlsFailed)


def test_ca_file_when_it_cannot_be_used_is_refused_at_once(tmp_path: Path) -> None:
    """Missing, and no certificate: before anything is asked."""
    (tmp_path / "text").write_text("no certificate")
    for wrong in (tmp_path / "nowhere.pem", tmp_path / "text"):
        with pytest.raises(InvalidConfig, match="CA file"):
            UTDStreamClient("1", KEY, config=ClientConfig(ca_file=wrong))
        assert "PEM" in engine_checks("https://localhost:9", wrong)[0].remedy


def test_ca_file_when_it_is_deleted_later_is_said(engine: SmallEngine, tmp_path: Path) -> None:
    """The next request reads it again."""
    from utdstream._rest.http import Http
    from utdstream._threads.deadline import Deadline

    own = Authority(tmp_path)
    http = Http(own.ca_file)
    own.ca_file.unlink()
    with behind_tls(engine, own.issue()) as port, pytest.raises(TlsFailed, match="cannot be read any more"):
        http.request("GET", f"https://localhost:{port}/x", headers={}, deadline=Deadline(5, 5, "asking"))
    http.close()


def test_second_ca_file_when_a_process_has_one_is_refused(authority: Authority, tmp_path: Path) -> None:
    """The media core's trust belongs to the process: silently trusting one of two would be worse."""
    UTDStreamClient("1", KEY, config=ClientConfig(ca_file=authority.ca_file)).dispose()
    other = Authority(tmp_path, "other")
    with pytest.raises(InvalidConfig, match="into one"):
        UTDStreamClient("1", KEY, config=ClientConfig(ca_file=other.ca_file))


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ("invalid peer certificate: UnknownIssuer", trust.UNKNOWN_AUTHORITY),
        ("invalid peer certificate: certificate expired: verification time 1401403404", trust.EXPIRED),
        ('invalid peer certificate: certificate not valid for name "x"', trust.OTHER_NAME),
        ("received corrupt message of type InvalidContentType", "ws://"),
        ("WebSocket protocol error: Handshake not finished", "wss://"),
    ],
)
def test_media_core_when_it_refuses_a_certificate_is_explained(told: str, sentence: str) -> None:
    """In the words of the other connections."""
    from livekit import rtc

    error = translate(rtc.ConnectError(f"signal failure: {told}"), "joining the media room")
    assert sentence in error.message


def test_port_when_it_resets_the_greeting_speaks_no_tls_and_leaves_nothing_open() -> None:
    """A server that is going down; the probe's socket is closed too."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def reset() -> None:
            line, _ = server.accept()
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            line.close()

        thread = threading.Thread(target=reset)
        thread.start()
        assert trust.speaks_tls("127.0.0.1", server.getsockname()[1]) is False
        thread.join()
    gc.collect()


def test_port_when_it_answers_with_an_alert_speaks_tls() -> None:
    """It refuses the greeting, and does it as TLS does."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            line, _ = server.accept()
            with line:
                line.recv(4096)
                line.sendall(bytes([0x15, 3, 3, 0, 2, 2, 40]))

        thread = threading.Thread(target=refuse)
        thread.start()
        assert trust.speaks_tls("127.0.0.1", server.getsockname()[1]) is True
        thread.join()
