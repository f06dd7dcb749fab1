"""A stack that encrypts by itself: calls, what listens where, the proxy's life, and what it refuses."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import ssl
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from authority import DAY, Authority, TlsDoor
from engine_up import EngineUp
from facts import eventually
from people import People, Person, small_devices
from test_calls import connect_pair, dominant_hz

from utdstream import (
    ClientConfig,
    ConnectFailed,
    EngineUnreachable,
    TlsFailed,
    UTDCallStatus,
    UTDRoom,
    UTDStreamClient,
    UTDStreamType,
    trust,
)
from utdstream._wire import routes
from utdstream.cli import main
from utdstream.engine.config import LimitsSection
from utdstream.engine.stack import up as up_module
from utdstream.engine.stack.ports import lan_address
from utdstream.engine.stack.settings import StackSettings, TlsSection, new_project
from utdstream.engine.stack.supervisor import PartEvent, Supervisor
from utdstream.errors import InvalidConfig
from utdstream.mqtt import MqttIncomingCalls
from utdstream.testing import LocalStack

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("proxy")]


@pytest.fixture(scope="module")
def encrypted(proxy: None, authority: Authority) -> Iterator[LocalStack]:
    """A stack that speaks TLS with a certificate of the tests' authority."""
    with LocalStack(authority=authority.folder) as running:
        yield running


@pytest.fixture
def trusting(encrypted: LocalStack) -> Iterator[People]:
    made = People(encrypted)
    yield made
    made.close()


def config_of(stack: LocalStack) -> ClientConfig:
    return ClientConfig(ca_file=stack.ca_file)


def person(people: People, name: str, tone_hz: float = 1000.0) -> Person:
    return people(name, small_devices(tone_hz), config_of(people.stack))


# --- it works


def test_call_when_everything_is_encrypted_is_heard_both_ways(trusting: People) -> None:
    """REST, broker and signalling by the one `ca_file`; each side hears the other's tone."""
    door, house = person(trusting, "door"), person(trusting, "house", 700.0)
    assert trusting.stack.base_url.startswith("https://")
    assert trusting.stack.livekit_url == trusting.stack.base_url.replace("https", "wss")
    calling, answering = connect_pair(door, house)
    assert dominant_hz(answering) == pytest.approx(1000, abs=5)
    assert dominant_hz(calling) == pytest.approx(700, abs=5)


def test_event_stream_when_encrypted_tells_of_a_ring_at_once(trusting: People) -> None:
    """The proxy keeps no event back."""
    stack = trusting.stack
    door, house = person(trusting, "door"), person(trusting, "house")
    token = house.client._mint.user_token if house.client._mint is not None else ""
    headers = {routes.HEADER_APP_ID: stack.app_id, "Authorization": f"Bearer {token}"}
    where, verify = stack.base_url + routes.CALL_EVENTS, str(stack.ca_file)
    with requests.get(where, headers=headers, verify=verify, stream=True, timeout=10) as answer:
        lines = answer.iter_lines()
        door.call().start(callee_identity=house.identity, timeout=20)
        assert any(b"call_initiated" in line for line in itertools.islice(lines, 20))


def test_call_when_the_address_is_of_ipv6_is_heard(proxy: None, authority: Authority, tmp_path: Path) -> None:
    """Everything by the same address, media too."""
    address = global_ipv6()
    if address is None:
        pytest.skip("this machine has no IPv6 address on a network: give it one")
    tls = TlsSection(enabled=True, authority=authority.folder)
    project = replace(new_project(), open_key=True)
    settings = StackSettings(folder=tmp_path / "data", address=address, lan=True, tls=tls, project=project)
    with Supervisor(settings) as running, ExitStack() as open_:
        assert running.settings.base_url == f"https://[{address}]:{running.settings.ports.https}"
        clients = [
            open_.enter_context(
                UTDStreamClient(
                    project.app_id,
                    project.app_key,
                    base_url=running.settings.base_url,
                    devices=small_devices(),
                    config=ClientConfig(ca_file=authority.ca_file),
                )
            )
            for _ in range(2)
        ]
        for identity, client in zip(("door", "house"), clients, strict=True):
            client.authenticate(identity=identity)
        inbox = clients[1].incoming_calls()
        inbox.connected.wait_for(True, timeout=10)
        session = clients[0].call_session(UTDStreamType.AUDIO_CALL)
        session.start(callee_identity="house", timeout=20)
        answered = inbox.ringing.wait(timeout=10).accept(timeout=20)
        session.status.wait_for(UTDCallStatus.ACTIVE, timeout=10)
        assert dominant_hz(answered) == pytest.approx(1000, abs=5)


def global_ipv6() -> str | None:
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/if_inet6").read_text(encoding="ascii").splitlines():
            digits, _, _, scope, *_ = line.split()
            if scope == "00":
                return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))
    return None


# --- what listens where


def listening(pids: set[int]) -> set[tuple[str, int]]:
    """Address and port of every TCP socket on which one of these processes listens."""
    inodes = set()
    for pid in pids:
        for entry in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                inodes.add(os.readlink(f"/proc/{pid}/fd/{entry}"))
    found = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                address, port = fields[1].split(":")
                raw = bytes.fromhex(address)
                words = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
                found.add((socket.inet_ntop(family, words), int(port, 16)))
    return found


def test_engine_up_when_it_encrypts_listens_in_clear_on_loopback_alone(proxy: None, tmp_path: Path) -> None:
    """Beyond loopback there are two TLS ports and media's own, which is encrypted; the announcement says by what
    devices know the stack, and no key.
    """
    if lan_address() is None:
        pytest.skip("this machine has no address on a network: connect it")
    with EngineUp(tmp_path / "data", "--lan", "--tls") as up:
        facts = up.facts
        https, mqtts = int(facts["base_url"].rsplit(":", 1)[1]), facts["mqtt_port"]
        sockets = listening(set(facts["pids"].values()))
        beyond = {port for address, port in sockets if address not in ("127.0.0.1", "::1")}
        ca_file = Path(facts["ca_file"])
        answer = requests.get(facts["base_url"] + "/health", verify=str(ca_file), timeout=5)
        media = beyond - {https, mqtts}
        assert {https, mqtts} <= beyond
        assert len(media) == 1, "livekit-server's media over TCP"
        assert len(sockets) > len(beyond)
        assert (facts["mqtt_tls"], answer.json()["open_key"]) == (True, False)
        assert ssl.PEM_cert_to_DER_cert(ca_file.read_text())
        assert len(facts["tls_fingerprint"]) == 95
        up.process.send_signal(signal.SIGTERM)
        assert up.process.wait(15) == 0


def test_media_server_when_reached_through_the_proxy_offers_signalling_alone(encrypted: LocalStack) -> None:
    """Neither its own interface nor the engine's internal path can be asked for from the network."""

    def ask(method: str, path: str) -> requests.Response:
        url, verify = encrypted.base_url + path, str(encrypted.ca_file)
        return requests.request(method, url, verify=verify, timeout=5)

    for path in ("/internal/livekit", "//internal/livekit", "/%69nternal/livekit"):
        assert ask("POST", path).status_code == 404
    twirp = ask("POST", "/twirp/livekit.RoomService/ListRooms")
    assert (twirp.status_code, twirp.json()["code"]) == (404, "not_found")
    assert ask("GET", "/rtc/validate").status_code == 401


# --- the proxy's life


def test_proxy_when_it_is_killed_comes_back_and_devices_with_it(
    proxy: None, authority: Authority, tmp_path: Path
) -> None:
    """On the same ports; a device's inbox finds back by itself."""
    events: list[PartEvent] = []
    tls = TlsSection(enabled=True, authority=authority.folder)
    settings = StackSettings(folder=tmp_path / "data", tls=tls)
    with Supervisor(settings, on_event=events.append) as running:
        project, ports = running.settings.project, running.settings.ports
        trusting = ClientConfig(ca_file=authority.ca_file)
        with UTDStreamClient(
            project.app_id, project.app_key, base_url=running.settings.base_url, config=trusting
        ) as client:
            client.authenticate(identity="house")
            inbox = client.incoming_calls()
            inbox.connected.wait_for(True, timeout=10)
            killed = running.pid("proxy")
            assert killed is not None
            os.kill(killed, signal.SIGKILL)
            inbox.connected.wait_for(False, timeout=10)
            inbox.connected.wait_for(True, timeout=20)
        eventually(
            lambda: [event.kind for event in events] == ["died", "restarted", "back"], "it is said", 10
        )
        assert {event.part for event in events} == {"proxy"}
        assert running.settings.ports == ports


def test_engine_when_down_behind_its_proxy_is_unavailable_and_then_there_again(trusting: People) -> None:
    """The proxy says it as the engine would, so that a client tries again."""
    stack = trusting.stack
    stack.stop("engine")
    try:
        answer = requests.get(stack.base_url + "/health", verify=str(stack.ca_file), timeout=5)
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        client = UTDStreamClient(
            stack.app_id, stack.app_key, base_url=stack.base_url, config=config_of(stack)
        )
        trusting.keep(client)
        with pytest.raises(EngineUnreachable):
            client.authenticate(identity="early")
    finally:
        stack.start("engine")
    client.authenticate(identity="early")


def shown_by(port: int, authority: Authority, source: str = "127.0.0.1") -> int:
    """The serial number of the certificate that a client is shown now."""
    with socket.create_connection(("127.0.0.1", port), 5, (source, 0)) as plain:
        context = trust.tls_context(authority.ca_file)
        with context.wrap_socket(plain, server_hostname="localhost") as inside:
            found = inside.getpeercert()
            assert found is not None
            return int(str(found["serialNumber"]), 16)


def test_certificate_when_renewed_is_shown_at_once_and_no_connection_is_cut(
    proxy: None, authority: Authority, tmp_path: Path
) -> None:
    """Both ports show it; a connection of before goes on; one that is not in order changes nothing."""
    given = authority.issue()
    later = authority.issue()
    tls = TlsSection(certificate=given[0], key=given[1])
    with Supervisor(StackSettings(folder=tmp_path / "data", tls=tls)) as running:
        ports = running.settings.ports
        assert ports.https is not None
        assert ports.mqtts is not None
        before = [shown_by(port, authority) for port in (ports.https, ports.mqtts)]
        pid = running.pid("proxy")
        context = trust.tls_context(authority.ca_file)
        with (
            socket.create_connection(("127.0.0.1", ports.https), 5) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as open_,
        ):
            assert not running.renew_certificate()
            for new, old in zip(later, given, strict=True):
                old.write_bytes(new.read_bytes())
            assert running.renew_certificate()
            after = [shown_by(port, authority) for port in (ports.https, ports.mqtts)]
            open_.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert open_.recv(100).startswith(b"HTTP/1.1 200")
        assert (len({*before}), len({*after}), running.pid("proxy")) == (1, 1, pid)
        assert before != after
        given[1].write_text("nothing")
        with pytest.raises(InvalidConfig, match="--tls-key"):
            running.renew_certificate()
        assert shown_by(ports.https, authority) == after[0]


def test_certificate_when_its_files_are_replaced_is_taken_by_a_running_stack_or_refused_once(
    proxy: None,
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As `engine up` looks after it: however often it looks, it says once what is not in order."""
    monkeypatch.setattr(up_module, "_LOOK_AT_CERTIFICATE_S", 0.0)
    certificate, key = authority.issue()
    tls = TlsSection(certificate=certificate, key=key)
    with Supervisor(StackSettings(folder=tmp_path / "data", tls=tls)) as running:
        keeper, port = up_module._Keeper(running), running.settings.ports.https
        assert port is not None
        before = shown_by(port, authority)
        expired, key_of_it = authority.issue(valid=(-9 * DAY, -DAY))
        certificate.write_bytes(expired.read_bytes())
        key.write_bytes(key_of_it.read_bytes())
        for _ in range(3):
            keeper.look()
        assert caplog.text.count("expired on") == 1
        assert shown_by(port, authority) == before
        later, key_of_it = authority.issue()
        certificate.write_bytes(later.read_bytes())
        key.write_bytes(key_of_it.read_bytes())
        keeper.look()
        assert shown_by(port, authority) != before


def test_keys_when_the_engine_encrypts_are_made_from_here_and_from_another_machine(
    proxy: None, authority: Authority, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the data folder over loopback; by address with the `ca_file`, and with no other. The doctor agrees."""
    data = tmp_path / "data"
    with EngineUp(data, settings=f'[tls]\nenabled = true\nauthority = "{authority.folder}"') as up:
        assert main(["engine", "key", "add", "door", "--data", str(data)]) == 0
        kept = tomllib.loads((data / "stack.toml").read_text())["project"]
        secret = tmp_path / "secret"
        secret.write_text(kept["app_secret"])
        where = [
            "--base-url",
            up.facts["base_url"],
            "--app-id",
            kept["app_id"],
            "--app-secret-file",
            str(secret),
        ]
        trusting = ["--ca-file", str(authority.ca_file)]
        assert main(["engine", "key", "list", *where, *trusting]) == 0
        assert "door" in capsys.readouterr().out
        foreign = ["--ca-file", str(Authority(tmp_path, "foreign").ca_file)]
        assert main(["engine", "key", "list", *where, *foreign]) == 1
        assert trust.UNKNOWN_AUTHORITY in capsys.readouterr().err
        for options, state in ((trusting, "ok"), (foreign, "fail")):
            main(["doctor", "--json", "--base-url", up.facts["base_url"], *options])
            checks = json.loads(capsys.readouterr().out)["checks"]
            assert next(check["state"] for check in checks if check["name"] == "engine") == state


# --- strangers


def test_client_when_it_forges_an_address_is_counted_by_its_own(
    proxy: None, authority: Authority, tmp_path: Path
) -> None:
    """A guesser is slowed down, whatever it writes into its headers; a neighbour is not."""
    tls = TlsSection(enabled=True, authority=authority.folder)
    settings = StackSettings(folder=tmp_path / "data", tls=tls, limits=LimitsSection(requests_per_minute=20))
    with Supervisor(settings) as running:
        ports = running.settings.ports
        statuses = [
            ask_from("127.0.0.1", ports.https, authority, f"X-Forwarded-For: 192.0.2.{number}")
            for number in range(30)
        ]
        assert {statuses[0], statuses[-1]} == {401, 429}
        assert ask_from("127.0.0.2", ports.https, authority, "X-Forwarded-For: 127.0.0.1") == 401


def ask_from(source: str, port: int | None, authority: Authority, header: str) -> int:
    """The status of an answer to wrong credentials, asked from this address of loopback."""
    assert port is not None
    context = trust.tls_context(authority.ca_file)
    with (
        socket.create_connection(("127.0.0.1", port), 5, (source, 0)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as inside,
    ):
        head = f"GET {routes.PROJECT} HTTP/1.1\r\nHost: localhost\r\nX-App-Id: 1\r\nX-App-Key: 2\r\n{header}"
        inside.sendall(f"{head}\r\nConnection: close\r\n\r\n".encode())
        return int(inside.recv(4096).split()[1])


@pytest.mark.parametrize("port_name", ["https", "mqtts"])
def test_strangers_when_they_come_in_hundreds_leave_room_for_others(
    encrypted: LocalStack, trusting: People, authority: Authority, port_name: str
) -> None:
    """Of one address some are taken, the others closed at once; a new address gets in, and one from which somebody
    signed in as often as it likes.
    """
    ports = encrypted._settings.ports
    port = ports.https if port_name == "https" else ports.mqtts
    assert port is not None
    person(trusting, "known")  # from 127.0.0.1
    with ExitStack() as held:
        silent: list[socket.socket] = []
        for _ in range(400):
            with contextlib.suppress(ConnectionResetError):  # closed before it was open here
                line = socket.create_connection(("127.0.0.1", port), 5, (f"127.0.{port % 200}.7", 0))
                silent.append(held.enter_context(line))
                line.setblocking(False)
        eventually(
            lambda: sum(not is_closed(line) for line in silent) <= 100, "what is too many is closed", 9
        )
        assert shown_by(port, authority, f"127.0.{port % 200}.8")
        for _ in range(100):
            assert shown_by(port, authority)


def is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_handshake_when_it_does_not_come_is_not_waited_for(encrypted: LocalStack) -> None:
    """Neither a silent connection, nor half a greeting, nor half a request is held for longer than ten seconds."""
    ports = encrypted._settings.ports
    context = trust.tls_context(encrypted.ca_file)
    with ExitStack() as held:
        lines = [
            held.enter_context(socket.create_connection(("127.0.0.1", port), 5))
            for port in (ports.https, ports.https, ports.mqtts, ports.https, ports.mqtts)
            if port is not None
        ]
        lines[1].sendall(bytes.fromhex("16030100c8010000c40303"))
        for at, half in ((3, b"GET / HTTP/1.1\r\nHost:"), (4, b"\x10\x20\x00\x04MQTT")):
            inside = held.enter_context(context.wrap_socket(lines[at], server_hostname="localhost"))
            inside.sendall(half)
            lines[at] = inside
        for line in lines:
            line.settimeout(20)
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                while line.recv(4096):
                    pass


def test_http_2_when_begun_without_being_offered_is_no_request(encrypted: LocalStack) -> None:
    """Its hundred requests at a time on one connection would be one client's share, a hundred times."""
    port = encrypted._settings.ports.https
    assert port is not None
    with (
        socket.create_connection(("127.0.0.1", port), 5) as line,
        trust.tls_context(encrypted.ca_file).wrap_socket(line, server_hostname="localhost") as inside,
    ):
        inside.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5))
        assert inside.recv(12) == b"HTTP/1.1 400"


# --- what is refused, and how it is said


def test_client_when_it_speaks_in_clear_to_the_tls_port_is_told_so(encrypted: LocalStack) -> None:
    """And the other way round; nothing of a key is in the sentence."""
    settings = encrypted._settings
    for url, words in (
        (f"http://localhost:{settings.ports.https}", trust.ONLY_TLS),
        (f"https://localhost:{settings.ports.engine}", trust.NO_TLS),
    ):
        with (
            UTDStreamClient(
                encrypted.app_id, encrypted.app_key, base_url=url, config=config_of(encrypted)
            ) as client,
            pytest.raises(TlsFailed) as caught,
        ):
            client.authenticate(identity="lost")
        assert words in caught.value.message
        assert encrypted.app_key not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("foreign", trust.UNKNOWN_AUTHORITY),
        ("self-signed", trust.UNKNOWN_AUTHORITY),
        ("expired", trust.EXPIRED),
        ("not yet", trust.NOT_YET_VALID),
        ("other name", trust.OTHER_NAME),
    ],
)
def test_certificate_when_it_cannot_be_trusted_is_refused_by_rest_broker_and_media(
    encrypted: LocalStack, trusting: People, authority: Authority, tmp_path: Path, kind: str, words: str
) -> None:
    """One typed error that says what to do; not a byte is told to what shows it."""
    settings = encrypted._settings
    valid = {"expired": (-9 * DAY, -DAY), "not yet": (DAY, 9 * DAY)}.get(kind, (-DAY, DAY))
    names = ["elsewhere.example.com"] if kind == "other name" else ["localhost"]
    foreign = Authority(tmp_path, "foreign")
    shown = {"foreign": foreign.issue(), "self-signed": (foreign.ca_file, foreign.folder / "ca.key")}.get(
        kind
    ) or authority.issue(names, valid=valid)
    assert settings.ports.engine is not None
    assert settings.ports.mqtt is not None
    assert settings.ports.livekit is not None
    doubter = person(trusting, "doubter")
    login = replace(encrypted.mqtt_login(doubter.identity), host="localhost", ca=None)
    with (
        TlsDoor(settings.ports.engine, shown) as rest,
        TlsDoor(settings.ports.livekit, shown) as media,
        TlsDoor(settings.ports.mqtt, shown) as broker,
        doubter.client.incoming_calls(
            MqttIncomingCalls.from_login(replace(login, port=broker.port), ca_file=encrypted.ca_file)
        ) as inbox,
        UTDStreamClient(
            encrypted.app_id,
            encrypted.app_key,
            base_url=f"https://localhost:{rest.port}",
            config=config_of(encrypted),
        ) as client,
    ):
        with pytest.raises(TlsFailed) as caught:
            client.authenticate(identity="doubter")
        assert words in caught.value.message
        with UTDRoom() as room, pytest.raises(ConnectFailed) as failed:
            room.connect(url=f"wss://localhost:{media.port}", token="eyJ.not.sent", timeout=15)
        assert words in failed.value.message
        eventually(lambda: words in (inbox.problem or ""), "the inbox says why", 10)
        assert (rest.passed, media.passed, broker.passed) == (0, 0, 0)
