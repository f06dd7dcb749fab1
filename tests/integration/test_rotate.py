"""`utdstream engine rotate` under a running `engine up`: each secret is made anew, and all works after it."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from engine_site import EventReader
from engine_up import own_ports
from facts import eventually
from people import small_devices

from utdstream import (
    ConnectFailed,
    Devices,
    IncomingCall,
    SessionClosed,
    UTDCallStatus,
    UTDRoom,
    UTDSession,
    UTDStreamClient,
    UTDStreamType,
)
from utdstream._wire import codec, routes
from utdstream.cli import main
from utdstream.models import MqttLogin

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("programs")]
NAMES = ("token_secret", "app_key", "app_secret", "mqtt_password", "livekit_api_secret")
S = UTDCallStatus
WITHIN_S = 20.0


class Up:
    """A running `utdstream engine up`, its data folder, and a house that waits for calls."""

    def __init__(self, data: Path) -> None:
        self.data = data
        command = ["engine", "up", "--json", "--data", str(data), *own_ports(data.parent)]
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

    def client(self, identity: str, devices: Devices, *, may_host: bool = False) -> UTDStreamClient:
        """A device that is signed in with a key of its own."""
        key = self.ask("POST", routes.KEYS, {"identity": identity, "may_host": may_host}).json()["app_key"]
        project = self.kept()["project"]
        client = UTDStreamClient(project["app_id"], key, base_url=self.base_url, devices=devices)
        client.authenticate(identity=identity)
        return client

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=15)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    up = Up(tmp_path_factory.mktemp("rotate") / "data")
    yield up
    up.stop()


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
def test_house_when_a_secret_is_rotated_talks_on_and_is_rung_as_before(up: Up, name: str) -> None:
    """The call under way goes on with sound, the inbox hears again, the next call is made and answered; nobody
    touched any of the devices, which have keys of their own. After a new media key the call is joined again.
    """
    with ExitStack() as people:
        house, door, guest = (
            people.enter_context(up.client(f"{who}-{name}", devices=small_devices()))
            for who in ("house", "door", "guest")
        )
        inbox = house.incoming_calls()
        rings: list[IncomingCall] = []
        inbox.ringing.subscribe(rings.append)
        inbox.connected.wait_for(True, timeout=WITHIN_S)
        calling = people.enter_context(door.call_session(UTDStreamType.AUDIO_CALL))
        calling.start(callee_identity=f"house-{name}")
        eventually(lambda: rings, "it rings", WITHIN_S)
        answering = people.enter_context(rings[0].accept())
        eventually(lambda: hears(answering) and hears(calling), "they talk", WITHIN_S)
        rotated(up, name)
        assert up.process.poll() is None
        eventually(lambda: inbox.connected.value, "the inbox hears again", WITHIN_S)
        eventually(lambda: hears(answering) and hears(calling), "they talk on", 3 * WITHIN_S)
        assert (calling.status.value, answering.status.value) == (S.ACTIVE, S.ACTIVE)
        calling.end()
        with guest.call_session(UTDStreamType.AUDIO_CALL) as session:
            session.start(callee_identity=f"house-{name}")
            eventually(lambda: len(rings) > 1, "it rings again", WITHIN_S)
            with rings[1].accept() as answered:
                assert answered.call_id.value == session.call_id.value


def hears(session: UTDSession) -> bool:
    """Whether sound of the other side comes now, not only what is kept of before."""
    try:
        frames = itertools.islice(session.audio_frames(), 50, 150)
        return sum(any(frame.data) for frame in frames) > 50
    except SessionClosed:
        return False  # it is joined again


def test_stream_when_the_media_key_is_rotated_is_joined_again(up: Up) -> None:
    """By host and viewer, who hears the host as before; the old media key opens nothing."""
    with ExitStack() as people:
        host = people.enter_context(up.client("presenter", devices=small_devices(), may_host=True))
        viewer = people.enter_context(up.client("viewer", devices=small_devices()))
        shown = people.enter_context(
            host.join_live_stream(identity="presenter", room_name="news", as_host=True)
        )
        shown.set_microphone(True)
        seen = people.enter_context(viewer.join_live_stream(identity="viewer", room_name="news"))
        eventually(lambda: hears(seen), "the host is heard", WITHIN_S)
        minted = up.ask(
            "POST", routes.TOKEN, {"identity": "late", "room_name": "news", "type": "live_stream"}
        )
        rotated(up, "livekit_api_secret")
        eventually(lambda: hears(seen), "the host is heard again", 2 * WITHIN_S)
        with UTDRoom() as room, pytest.raises(ConnectFailed):
            room.connect(minted.json()["url"], minted.json()["token"], timeout=5)


def test_app_key_when_rotated_is_worth_nothing_nor_what_was_got_with_it(up: Up) -> None:
    """The old open key, its user tokens, its broker passwords; the new one is taken, so are keys of devices."""
    key = up.ask("POST", routes.KEYS, {"identity": "hall"}).json()["app_key"]
    old = up.secret_of("app_key")
    minted = up.ask("POST", routes.AUTH_SESSION, {"identity": "hall"}, X_App_Key=old).json()
    login = codec.parse_session(minted).mqtt
    assert login is not None
    assert lets_in(login)
    assert rotated(up, "app_key") == old
    assert up.ask("POST", routes.AUTH_SESSION, {"identity": "hall"}, X_App_Key=old).status_code == 401
    refused = up.ask("GET", routes.CALLS, Authorization=f"Bearer {minted['user_token']}")
    assert (refused.status_code, refused.json()["code"]) == (401, "invalid_token")
    eventually(lambda: not lets_in(login), "the old password is refused", WITHIN_S)
    for good in (key, up.secret_of("app_key")):
        assert up.ask("POST", routes.AUTH_SESSION, {"identity": "hall"}, X_App_Key=good).status_code == 200


def test_broker_passwords_when_rotated_leave_user_tokens_and_the_other_way_round(up: Up) -> None:
    """Each is made of a secret of its own: no rotation breaks silently what another one is for."""
    minted = up.ask("POST", routes.AUTH_SESSION, {"identity": "cellar"}).json()
    login, bearer = codec.parse_session(minted).mqtt, {"Authorization": f"Bearer {minted['user_token']}"}
    assert login is not None
    rotated(up, "token_secret")
    eventually(lambda: lets_in(login), "the broker password is as it was", WITHIN_S)
    assert up.ask("GET", routes.CALLS, **bearer).status_code == 401
    renewed = up.ask("POST", routes.AUTH_SESSION, {"identity": "cellar"}).json()
    assert codec.parse_session(renewed).mqtt == login
    rotated(up, "mqtt_password")
    eventually(lambda: not lets_in(login), "the broker password is void", WITHIN_S)
    assert up.ask("GET", routes.CALLS, Authorization=f"Bearer {renewed['user_token']}").status_code == 200
    assert lets_in(login_of(up, "cellar"))


def test_data_folder_when_moved_away_makes_a_stack_that_works_and_takes_nothing_old(tmp_path: Path) -> None:
    """A new project: old app key, secret, device's key and broker password are void, the engine starts."""
    first = Up(tmp_path / "data")
    project = first.kept()["project"]
    device = first.ask("POST", routes.KEYS, {"identity": "old-door"}).json()["app_key"]
    login = login_of(first, "old-door")
    assert lets_in(login)
    first.stop()
    first.data.rename(tmp_path / "data of before")
    second = Up(tmp_path / "data")
    try:
        new = second.kept()["project"]
        for app_id in (project["app_id"], new["app_id"]):
            for header, value in (
                ("X-App-Secret", project["app_secret"]),
                ("X-App-Key", project["app_key"]),
                ("X-App-Key", device),
            ):
                headers = {"X-App-Id": app_id, header: value}
                path, body = second.base_url + routes.AUTH_SESSION, {"identity": "old-door"}
                assert requests.post(path, json=body, headers=headers, timeout=5).status_code == 401
        renewed = login_of(second, "old-door")
        assert not lets_in(replace(login, host=renewed.host, port=renewed.port))
        assert lets_in(renewed)
    finally:
        second.stop()


def test_app_secret_when_rotated_is_worth_nothing(up: Up) -> None:
    """The old one is refused, the new one taken, the keys of devices are not concerned."""
    key = up.ask("POST", routes.KEYS, {"identity": "door"}).json()["app_key"]
    old = rotated(up, "app_secret")
    assert up.ask("GET", routes.KEYS, X_App_Secret=old).status_code == 401
    assert up.ask("GET", routes.KEYS).status_code == 200
    assert up.ask("POST", routes.AUTH_SESSION, {"identity": "door"}, X_App_Key=key).status_code == 200


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
