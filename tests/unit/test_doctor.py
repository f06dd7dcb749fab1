"""`utdstream doctor`: what it looks at on this machine."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from utdstream._command import doctor
from utdstream.checks import Check, name_of, requirements
from utdstream.whole_files import put_aside


def only(name: str, checks: list[Check]) -> Check:
    (found,) = [check for check in checks if check.name == name]
    return found


def test_every_check_when_it_is_not_ok_has_a_remedy() -> None:
    """A check that is not ok says what to do; one that is says nothing."""
    for check in doctor.examine():
        assert check.found
        assert bool(check.remedy) == (check.state != "ok"), check


def test_packages_when_examined_are_what_the_package_asks_for() -> None:
    """Each once: the base ones with the tested core first, then those of the extras with their use."""
    names = [check.name.removeprefix("package ") for check in doctor._packages()]
    assert names[:2] == ["utdstream", "livekit"]
    assert len(names) == len(set(names))
    assert {name_of(wanted) for wanted in requirements() + requirements("engine")} <= set(names)
    assert "pytest" not in names


def test_servers_when_they_are_missing_are_warnings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A door needs no server; the remedy says how to get one."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("UTD_LIVEKIT_SERVER", raising=False)
    monkeypatch.setenv("UTD_MOSQUITTO_DYNSEC", str(tmp_path / "missing.so"))
    monkeypatch.setenv("UTD_HAPROXY", str(tmp_path / "missing"))
    checks = list(doctor._programs())
    assert [check.state for check in checks] == ["warn", "warn", "warn"]
    assert "make setup" in only("livekit-server", checks).remedy
    assert "--tls" in only("haproxy", checks).remedy


@pytest.mark.parametrize(
    ("says", "state"), [("2.6.12-1", "ok"), ("3.2.0", "ok"), ("2.4.1", "fail"), ("", "fail")]
)
def test_proxy_when_it_is_too_old_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, says: str, state: str
) -> None:
    """HAProxy from 2.6 on; what it says is read as it writes it."""
    program = tmp_path / "haproxy"
    program.write_text(f"#!/bin/sh\necho 'HAProxy version {says} 2023/12/16 - https://haproxy.org/'\n")
    program.chmod(0o755)
    monkeypatch.setenv("UTD_HAPROXY", str(program))
    check = only("haproxy", list(doctor._programs()))
    assert (check.state, "2.6" in check.remedy) == (state, state == "fail")


def test_program_when_it_does_not_start_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A binary of another architecture is worse than none."""
    broken = tmp_path / "livekit-server"
    broken.write_bytes(b"\x7fELF nonsense")
    broken.chmod(0o755)
    monkeypatch.setenv("UTD_LIVEKIT_SERVER", str(broken))
    assert only("livekit-server", list(doctor._programs())).state == "fail"


def test_port_when_another_program_has_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its number and use."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        monkeypatch.setattr("utdstream.engine.stack.ports.DEFAULT_PORTS", {"engine": port})
        (check,) = doctor._ports()
    assert check.state == "warn"
    assert f"{port}/tcp (engine)" in check.found


def test_data_folder_when_files_were_put_aside_names_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As long as they lie there; without a data folder there is nothing to look at."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(doctor, "_SERVICE_FOLDER", tmp_path / "none")
    assert not list(doctor._data_folder())
    folder = tmp_path / "utdstream"
    (folder / "mqtt").mkdir(parents=True)
    assert only("data folder", list(doctor._data_folder())).state == "ok"
    (folder / "mqtt" / "mosquitto.db").write_text("damaged")
    aside = put_aside(folder / "mqtt" / "mosquitto.db")
    assert aside is not None
    found = only("data folder", list(doctor._data_folder()))
    assert found.state == "warn"
    assert aside.name in found.found
    monkeypatch.setattr(doctor, "_LEAST_FREE_MB", 10**9)
    assert "MB are free" in only("data folder", list(doctor._data_folder())).found
