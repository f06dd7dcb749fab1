"""`utdstream engine rotate` under a running `engine up`: each secret is made anew, and all works after it."""

from __future__ import annotations

import json
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
from engine_site import EventReader
from facts import eventually

from utdstream import IncomingCall, UTDStreamClient, UTDStreamType
from utdstream._wire import codec, routes
from utdstream.cli import main
from utdstream.models import MqttLogin

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("programs")]
NAMES = ("token_secret", "app_secret", "mqtt_password", "livekit_api_secret")
WITHIN_S = 20.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Up:
    """A running `utdstream engine up`, its data folder, and a house that waits for calls."""

    def __init__(self, data: Path) -> None:
        self.data = data
        ports = data.parent / "ports.toml"  # the customary ones are other stacks' while a part is down
        names = ("engine", "livekit", "livekit_udp", "stun", "mqtt", "mqtt_engine")
        ports.write_text("\n".join(["[ports]", *(f"{name} = {free_port()}" for name in names)]))
        command = ["engine", "up", "--json", "--data", str(data), "--config", str(ports)]
        with (data.parent / "up.log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "utdstream.cli", *command],
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        assert self.process.stdout is not None
        self.base_url = str(json.loads(self.process.stdout.readline())["base_url"])

    def kept(self) -> dict[str, Any]:
        """What `stack.toml` says."""
        return tomllib.loads((self.data / "stack.toml").read_text())

    def secret_of(self, name: str) -> str:
        """The secret of this name, as it is now."""
        kept = self.kept()
        return str(next(kept[section][name] for section in ("project", "secrets") if name in kept[section]))

    def log(self) -> str:
        return (self.data.parent / "up.log").read_text()

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> requests.Response:
        """What the engine answers; with the app secret unless other credentials are given."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        project = self.kept()["project"]
        named = named or {routes.HEADER_APP_SECRET: project["app_secret"]}
        return requests.request(
            method,
            self.base_url + path,
            json=body,
            headers={routes.HEADER_APP_ID: project["app_id"], **named},
            timeout=5,
        )

    def client(self) -> UTDStreamClient:
        project = self.kept()["project"]
        return UTDStreamClient(project["app_id"], project["app_key"], base_url=self.base_url)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    up = Up(tmp_path_factory.mktemp("rotate") / "data")
    yield up
    up.process.send_signal(signal.SIGTERM)
    up.process.communicate(timeout=15)


def rotated(up: Up, name: str) -> str:
    """Rotates, and waits until the stack says that it took the new secret; the old one."""
    old, said = up.secret_of(name), up.log().count("secrets were rotated")
    assert main(["engine", "rotate", name, "--data", str(up.data)]) == 0
    assert up.secret_of(name) != old
    eventually(
        lambda: up.log().count("secrets were rotated") > said,
        lambda: f"the stack took it (exit status {up.process.poll()}); its log ends with\n{up.log()[-2000:]}",
        WITHIN_S,
    )
    return old


def login_of(up: Up, identity: str) -> MqttLogin:
    login = codec.parse_session(up.ask("POST", routes.AUTH_SESSION, {"identity": identity}).json()).mqtt
    assert login is not None
    return login


def lets_in(login: MqttLogin) -> bool:
    """Whether the broker takes this login."""
    try:
        with EventReader(login):
            return True
    except AssertionError:
        return False


@pytest.mark.parametrize("name", NAMES)
def test_house_when_a_secret_is_rotated_is_rung_as_before(up: Up, name: str) -> None:
    """It signs in again, its inbox connects again, a call is made and answered, and no one touched it."""
    with up.client() as house, up.client() as door:
        house.authenticate(identity=f"house-{name}")
        door.authenticate(identity=f"door-{name}")
        inbox = house.incoming_calls()
        rings: list[IncomingCall] = []
        inbox.ringing.subscribe(rings.append)
        inbox.connected.wait_for(True, timeout=WITHIN_S)
        rotated(up, name)
        assert up.process.poll() is None
        eventually(lambda: inbox.connected.value, "the inbox hears again", WITHIN_S)
        with door.call_session(UTDStreamType.AUDIO_CALL) as session:
            session.start(callee_identity=f"house-{name}")
            eventually(lambda: rings, "it rings", WITHIN_S)
            with rings[0].accept() as answered:
                assert answered.call_id.value == session.call_id.value


def test_app_secret_when_rotated_is_worth_nothing(up: Up) -> None:
    """The old one is refused, the new one taken, the keys of devices are not concerned."""
    key = up.ask("POST", routes.KEYS, {"identity": "door"}).json()["app_key"]
    old = rotated(up, "app_secret")
    assert up.ask("GET", routes.KEYS, X_App_Secret=old).status_code == 401
    assert up.ask("GET", routes.KEYS).status_code == 200
    assert up.ask("POST", routes.AUTH_SESSION, {"identity": "door"}, X_App_Key=key).status_code == 200


def test_token_secret_when_rotated_ends_bearers_and_broker_passwords(up: Up) -> None:
    """What a thief took before is refused by engine and broker, whether its owner comes back or not."""
    bearer = up.ask("POST", routes.AUTH_SESSION, {"identity": "robbed"}).json()["user_token"]
    login = login_of(up, "robbed")
    rotated(up, "token_secret")
    assert up.ask("GET", routes.CALLS, Authorization=f"Bearer {bearer}").status_code == 401
    eventually(lambda: not lets_in(login), "the old password is refused", WITHIN_S)
    renewed = login_of(up, "robbed")
    assert renewed.password != login.password
    with EventReader(renewed) as reader:
        assert reader.granted == [True]


def test_log_when_secrets_were_rotated_holds_none(up: Up) -> None:
    """Neither the old nor the new."""
    old = rotated(up, "mqtt_password")
    for secret in (old, *map(up.secret_of, NAMES)):
        assert secret not in up.log()


def test_rotation_when_there_is_no_stack_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is made where nothing was."""
    assert main(["engine", "rotate", "app_secret", "--data", str(tmp_path)]) == 1
    assert "engine up" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
