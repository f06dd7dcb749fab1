"""`utd-device doctor` on this machine: no camera, no GPIO, the real engine and broker."""

from __future__ import annotations

import json
import os
import socket
from importlib import metadata, util
from pathlib import Path

import pytest
from bell import config_of
from presses import as_toml, config_tables

from device import doctor, registry
from device.__main__ import main
from device.config import MachineConfig, load, parse
from utdstream.checks import Check, as_json, as_table, passed
from utdstream.testing import LocalStack


@pytest.mark.integration
def test_doctor_when_all_is_there_says_so(stack: LocalStack, tmp_path: Path) -> None:
    """The real engine and broker answer; synthetic devices need nothing; the key is not shown."""
    checks = doctor.examine(config_of(stack, tmp_path, "patient-1"))
    states = {item.name: item.state for item in checks}
    assert [states[each] for each in ("engine", "clock", "sign-in", "broker")] == ["ok"] * 4
    assert passed(checks)
    assert stack.app_key not in as_table(checks) + as_json(checks)


@pytest.mark.integration
def test_doctor_when_things_are_missing_names_the_command_that_mends_each(
    stack: LocalStack, tmp_path: Path
) -> None:
    """A machine without a sound card, a Pi camera, GPIO: four arrows."""
    config = config_of(
        stack,
        tmp_path,
        "patient-2",
        audio={"adapter": "alsa", "microphone": "No such card"},
        camera={"adapter": "picamera2"},
        button={"adapter": "gpio"},
        home_assistant={"enabled": True, "port": 1},
    )
    found = {item.name: item for item in doctor.examine(config)}
    assert "sound cards" in found, "the names that the configuration may use"
    assert found["microphone"].state == "fail"
    assert "apt install python3-picamera2" in found["package picamera2"].remedy
    assert found["GPIO"].state == "fail"
    assert found["Home Assistant"].state == "warn"
    assert not passed(list(found.values()))
    assert all(item.remedy for item in found.values() if item.state != "ok")


def test_doctor_when_the_door_cannot_open_as_wished_says_why(tmp_path: Path) -> None:
    """Openers whom the door does not answer; a PIN that is not there, too short, or open to others."""
    pin = tmp_path / "pin"
    tables = {
        "engine": {"app_id": "1", "base_url": "http://127.0.0.1:9"},
        "device": {"identity": "door"},
        "doorbell": {"callees": ["house"], "auto_answer": "always"},
        "door": {"openers": ["house", "anna"], "pin_file": str(pin)},
    }

    def found(name: str) -> list[str]:
        config = parse(tables, tmp_path / "doorbell.toml")
        return [check.found for check in doctor._door(config) if check.name == name]

    deaf, always = found("openers")
    assert "anna" in deaf
    assert "always" in always
    assert "cannot be read" in found("door PIN")[0]
    pin.write_text("271")
    assert "4 to 64" in found("door PIN")[0]
    pin.write_text("271828")
    pin.chmod(0o644)
    assert "can be read by others" in found("door PIN")[0]
    pin.chmod(0o600)
    assert found("door PIN") == ["found (not shown)"]


def camera_check(**camera: object) -> Check:
    tables = {"engine": {"app_id": "x"}, "device": {"identity": "door"}, "camera": camera}
    (found,) = registry.examine_camera(parse(tables, Path("/etc/utdstream/doorbell.toml")))
    return found


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_doctor_when_a_network_camera_listens_says_so_and_shows_no_password(scheme: str) -> None:
    """It was "ok" whether anything listened or not."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"127.0.0.1:{server.getsockname()[1]}"
        found = camera_check(adapter="pyav", source=f"{scheme}://user:secret@{place}/main?token=secret")
    assert (found.state, place in found.found, "secret" in str(found)) == ("ok", True, False)
    found = camera_check(adapter="pyav", source=f"{scheme}://user:secret@{place}/main?token=secret")
    assert (found.state, place in found.found, "secret" in str(found)) == ("fail", True, False)
    assert found.remedy


def test_doctor_when_a_cameras_password_hides_its_host_asks_nobody_and_shows_neither() -> None:
    """`admin:12/34@...`: an address's reader takes `admin` for the host and 12 for its port."""
    found = camera_check(adapter="pyav", source="rtsp://admin:12/34@127.0.0.1/main")
    assert (found.state, "admin" in found.found, "12" in found.found) == ("fail", False, False)
    assert "%2F" in found.remedy


def test_doctor_when_a_cameras_file_or_node_is_missing_says_so(tmp_path: Path) -> None:
    """And an address that no connection can be opened to; what cannot be asked is not judged."""
    (tmp_path / "film.mp4").touch()
    states = {
        source: camera_check(adapter="pyav", source=source).state
        for source in (
            *(str(tmp_path / "film.mp4"), str(tmp_path / "no.mp4"), "/dev/video99", "0", "test"),
            *("rtsp://", "tcp://127.0.0.1/", "rtsp://host:port/", "udp://127.0.0.1:5000"),
        )
    }
    assert list(states.values()) == [
        *("ok", "fail", "fail", "fail", "ok"),
        *("fail", "fail", "fail", "ok"),
    ]
    assert camera_check(adapter="synthetic").state == "ok"


def test_doctor_when_pyav_is_missing_fails_also_without_an_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """`pyav` reads with it: no picture comes whatever encodes. A raw synthetic camera lacks snapshots alone."""

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    states = {}
    for name in ("pyav", "synthetic"):
        config = no_engine(camera={"adapter": name, "source": "test", "encoder": "none"})
        states[name] = next(each.state for each in doctor.examine(config) if each.name == "package av")
    assert states == {"pyav": "fail", "synthetic": "warn"}


def test_doctor_when_a_camera_is_no_node_wants_no_group_video(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network camera is read over the network."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getgroups", list)
    asked = {
        source: "group video"
        in [each.name for each in doctor.examine(no_engine(camera={"adapter": "pyav", "source": source}))]
        for source in ("/dev/video99", "test", "rtsp://127.0.0.1:9/")
    }
    assert asked == {"/dev/video99": True, "test": False, "rtsp://127.0.0.1:9/": False}


def no_engine(**sections: dict[str, object]) -> MachineConfig:
    tables = {
        "engine": {"app_id": "x", "base_url": "http://127.0.0.1:9"},
        "device": {"identity": "door"},
        "audio": {"adapter": "none"},
        "button": {"adapter": "command"},
        **sections,
    }
    return parse(tables, Path("/etc/utdstream/doorbell.toml"))


@pytest.mark.integration
def test_doctor_when_the_engine_is_away_or_refuses_says_which(stack: LocalStack, tmp_path: Path) -> None:
    """Different sentences with different remedies; nobody is sent to look for a key when the address is wrong."""
    config = config_of(stack, tmp_path, "patient-3", engine={"base_url": "http://127.0.0.1:9"})
    found = {item.name: item for item in doctor.examine(config)}
    assert found["engine"].state == "fail"
    assert "engine up" in found["engine"].remedy
    assert "app key" not in found["sign-in"].remedy
    config = config_of(stack, tmp_path, "patient-4")
    (tmp_path / "app_key").write_text("wrong")
    found = {item.name: item for item in doctor.examine(config)}
    assert found["engine"].state == "ok"
    assert found["sign-in"].state == "fail"
    assert "app key" in found["sign-in"].remedy
    (tmp_path / "app_key").unlink()
    found = {item.name: item for item in doctor.examine(config)}
    assert (found["engine"].state, found["app key"].state) == ("ok", "fail")


@pytest.mark.integration
@pytest.mark.usefixtures("programs")
def test_doctor_when_the_engine_refuses_the_identity_names_the_next_step(tmp_path: Path) -> None:
    """A key of another identity, a blank in one: the engine itself is well, and its line has no remedy."""
    with LocalStack(open_key=False) as closed:
        for identity, step in (
            ("patient-5", "`utdstream engine key add patient-5`"),
            ("patient 6", "change [device] identity in"),
        ):
            config = config_of(closed, tmp_path, identity)
            (tmp_path / "app_key").write_text(closed.issue_key("house"))
            found = {item.name: item for item in doctor.examine(config)}
            assert (found["engine"].state, found["sign-in"].state) == ("ok", "fail")
            assert step in found["sign-in"].remedy


@pytest.mark.integration
def test_doctor_when_run_as_a_command_prints_a_table_or_json(
    stack: LocalStack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 0 when all that is needed is there, 1 when not; a key that others can read is a warning."""
    tables = config_tables(config_of(stack, tmp_path, "patient-5"))
    path = tmp_path / "doorbell.toml"
    path.write_text(as_toml(tables))
    (tmp_path / "app_key").chmod(0o644)
    assert main(["doctor", "--config", str(path)]) == 0
    shown = capsys.readouterr().out
    assert f"-> sudo chmod 600 {tmp_path / 'app_key'}" in shown
    assert "a press calls no one" in shown
    assert "checks: 0 failed" in shown

    (tmp_path / "app_key").chmod(0o600)
    tables["doorbell"]["chime_file"] = "no-such.wav"
    path.write_text(as_toml(tables))
    assert main(["doctor", "--config", str(path), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    states = {item["name"]: item["state"] for item in told["checks"]}
    assert told["ok"] is False
    assert (states["app key"], states["chime_file"]) == ("ok", "fail")
    assert stack.app_key not in shown + json.dumps(told)


@pytest.mark.integration
def test_doctor_when_the_key_is_only_the_services_finds_it_where_it_was_installed(
    stack: LocalStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `install-service` no configuration names the key: the unit gets it as a credential."""
    tables = config_tables(config_of(stack, tmp_path, "patient-6"))
    del tables["engine"]["app_key_file"]
    path = tmp_path / "doorbell.toml"
    path.write_text(as_toml(tables))
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setattr(doctor, "INSTALLED_KEY", tmp_path / "none")
    found = {item.name: item for item in doctor.examine(load(path))}
    assert found["app key"].state == "fail"
    (tmp_path / "app_key").chmod(0o600)
    monkeypatch.setattr(doctor, "INSTALLED_KEY", tmp_path / "app_key")
    found = {item.name: item for item in doctor.examine(load(path))}
    assert (found["app key"].state, found["sign-in"].state) == ("ok", "ok")


@pytest.mark.parametrize(
    ("properties", "state", "words", "remedy"),
    [
        (
            "LoadState=not-found\nActiveState=inactive\n",
            "warn",
            "not installed",
            "install-service --app kiosk",
        ),
        (
            "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\nStatusText=ready",
            "ok",
            "active: ready",
            "",
        ),
        (
            "LoadState=loaded\nActiveState=active\nUnitFileState=disabled",
            "warn",
            "not started at boot",
            "systemctl enable",
        ),
        ("LoadState=loaded\nActiveState=failed\nUnitFileState=enabled", "warn", "is failed", "journalctl -u"),
    ],
)
def test_service_when_asked_for_is_told_with_what_to_do(
    properties: str, state: str, words: str, remedy: str
) -> None:
    """What `systemctl show` says, for people."""
    finding = doctor.unit_finding("kiosk", properties)
    assert finding.state == state
    assert words in finding.found
    assert remedy in finding.remedy
