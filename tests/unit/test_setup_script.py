"""The set-up: what it says on a machine that lacks something, and that a second run does nothing."""

from __future__ import annotations

import ast
import configparser
import importlib.util
import os
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

from utdstream.engine.stack import binaries

TOOLS = Path(__file__).parents[2] / "tools"
VERSION = binaries.LIVEKIT_VERSION


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"utdstream_tools_{name}", TOOLS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def gate() -> ModuleType:
    return load("setup")


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """`install.py` for a user with an empty PATH and an empty cache."""
    module = load("install")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("UTD_LIVEKIT_SERVER", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (tmp_path / "bin").mkdir()
    return module


def program(path: Path, script: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


# --- the gate


def test_the_gate_is_readable_by_an_old_python_when_one_runs_it() -> None:
    """A SyntaxError would be the traceback that the gate is there to avoid."""
    ast.parse((TOOLS / "setup.py").read_text(encoding="utf-8"), feature_version=(3, 6))


@pytest.mark.parametrize(
    ("version", "bits", "machine", "system", "words"),
    [
        ((3, 11, 0), 64, "x86_64", "Linux", ""),
        ((3, 14, 1), 64, "aarch64", "Linux", ""),
        ((3, 10, 9), 64, "x86_64", "Linux", "Python 3.11 or newer; this is 3.10"),
        ((3, 11, 2), 32, "armv7l", "Linux", "no 32-bit build"),
        ((3, 11, 2), 32, "aarch64", "Linux", "this is a 32-bit Python on aarch64"),
        ((3, 11, 2), 64, "riscv64", "Linux", "x86-64 or aarch64"),
        ((3, 12, 0), 64, "arm64", "Darwin", "Linux"),
    ],
)
def test_the_gate_says_one_sentence_when_the_machine_does_not_do(
    gate: ModuleType, version: tuple[int, ...], bits: int, machine: str, system: str, words: str
) -> None:
    """What is wrong, and what to do."""
    said = gate.refusal(version, bits, machine, system)
    assert words in said
    assert bool(said) == bool(words)
    assert "\n" not in said


def test_the_gate_finds_a_newer_python_when_the_first_is_too_old(gate: ModuleType, tmp_path: Path) -> None:
    """Old systems often have a second interpreter."""
    assert gate.newer_python(str(tmp_path)) is None
    program(tmp_path / "python3.11")
    newest = program(tmp_path / "python3.12")
    assert gate.newer_python(f"/nowhere:{tmp_path}") == str(newest)


# --- the finding order


def test_livekit_when_looked_for_is_found_in_the_variable_then_path_then_cache(tmp_path: Path) -> None:
    """The first that is there wins."""
    named = program(tmp_path / "named" / "server")
    on_path = program(tmp_path / "bin" / "livekit-server")
    environ = {
        "UTD_LIVEKIT_SERVER": str(named),
        "PATH": str(tmp_path / "bin"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    cached = program(binaries.cached_livekit_server(environ))
    assert cached == tmp_path / "cache" / "utdstream" / f"livekit-server-{VERSION}"

    def found() -> tuple[Path, str]:
        answer = binaries.find_livekit_server(environ)
        return answer.path, answer.source

    assert found() == (named, "UTD_LIVEKIT_SERVER")
    del environ["UTD_LIVEKIT_SERVER"]
    assert found() == (on_path, "PATH")
    on_path.unlink()
    assert found() == (cached, "cache")
    cached.unlink()
    with pytest.raises(binaries.ProgramMissing, match="make setup"):
        found()


def test_a_named_program_is_not_passed_over_when_it_is_missing(tmp_path: Path) -> None:
    """Whoever names one wants that one."""
    program(tmp_path / "livekit-server")
    environ = {"UTD_LIVEKIT_SERVER": str(tmp_path / "missing"), "PATH": str(tmp_path)}
    with pytest.raises(binaries.ProgramMissing, match="UTD_LIVEKIT_SERVER names"):
        binaries.find_livekit_server(environ)


def test_the_cache_is_in_the_home_folder_when_nothing_else_is_said() -> None:
    """A relative XDG_CACHE_HOME is ignored, as its specification asks."""
    for environ in ({"HOME": "/home/x"}, {"HOME": "/home/x", "XDG_CACHE_HOME": "here"}):
        assert binaries.cache_folder(environ) == Path("/home/x/.cache/utdstream")


# --- the system's packages


@pytest.fixture
def bare(install: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """`install.py` where gcc, PulseAudio, the broker's plugin and HAProxy are missing, with apt and its lists."""
    monkeypatch.setenv("UTD_MOSQUITTO_DYNSEC", str(tmp_path / "missing.so"))
    monkeypatch.setenv("UTD_HAPROXY", str(tmp_path / "missing"))
    monkeypatch.setattr(install, "APT_LISTS", tmp_path / "lists")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "debian_Packages").touch()
    program(tmp_path / "bin" / "apt-get", f'echo "$@" >> {tmp_path}/apt')
    return install


def test_one_command_is_asked_for_when_sudo_wants_a_password(bare: ModuleType, tmp_path: Path) -> None:
    """The packages of all steps stand in it, and apt is not called."""
    program(tmp_path / "bin" / "sudo", "exit 1")
    with pytest.raises(bare.InstallFailed, match="password") as undone:
        bare.install_system_packages()
    commands = [line for line in str(undone.value).splitlines() if line.startswith("  sudo ")]
    assert len(commands) == 1
    assert set(bare.missing_packages()) <= set(commands[0].split())
    assert {"gcc", "pulseaudio", "mosquitto", "haproxy"} <= set(commands[0].split())
    assert not (tmp_path / "apt").exists()


def test_an_administrator_is_named_when_there_is_no_sudo(bare: ModuleType) -> None:
    """The command is the same, without sudo."""
    with pytest.raises(bare.InstallFailed, match="administrator") as undone:
        bare.install_system_packages()
    assert "\n  apt-get install -y" in str(undone.value)
    assert "sudo apt" not in str(undone.value)


def test_the_lists_are_fetched_first_when_apt_has_none(bare: ModuleType, tmp_path: Path) -> None:
    """One command still, also in a new container."""
    (tmp_path / "lists" / "debian_Packages").unlink()
    program(tmp_path / "bin" / "sudo", "exit 1")
    with pytest.raises(bare.InstallFailed) as undone:
        bare.install_system_packages()
    assert "  sudo sh -c 'apt-get update && apt-get install -y " in str(undone.value)


def test_packages_are_installed_when_sudo_asks_nothing(
    bare: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All with one call of apt."""
    program(tmp_path / "bin" / "sudo", 'shift; exec "$@"')
    program(tmp_path / "bin" / "env", 'shift; exec "$@"')
    program(tmp_path / "bin" / "true")
    wanted = [["gcc", "mosquitto"], []]
    monkeypatch.setattr(bare, "missing_packages", lambda: wanted.pop(0))
    assert "gcc, mosquitto" in bare.install_system_packages()
    said = (tmp_path / "apt").read_text(encoding="utf-8").splitlines()
    assert said == ["install -y -q --no-install-recommends gcc mosquitto"]


def test_packages_are_named_when_the_system_has_no_apt(bare: ModuleType, tmp_path: Path) -> None:
    """Other systems call them otherwise."""
    (tmp_path / "bin" / "apt-get").unlink()
    with pytest.raises(bare.InstallFailed, match=r"no apt; .*mosquitto"):
        bare.install_system_packages()


def test_venv_and_header_are_missing_packages_when_python_has_none(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Debian splits both off, and names them after the Python."""
    monkeypatch.setattr(install.importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(install.sysconfig, "get_path", lambda _: str(tmp_path))
    python = "python{}.{}".format(*sys.version_info[:2])
    assert install.missing_packages()[:2] == [f"{python}-venv", f"{python}-dev"]


# --- Python packages


def test_python_packages_wait_when_python_has_no_venv(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The command is said by the step before, once."""
    monkeypatch.setattr(install.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(install.InstallFailed, match="wait for the system packages") as undone:
        install.install_python_packages(tmp_path / ".venv")
    assert "sudo" not in str(undone.value)


def fake_root(install: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A checkout with a virtual environment whose pip writes down what it is told; the environment."""
    monkeypatch.setattr(install, "ROOT", tmp_path)
    (tmp_path / "setup.cfg").write_text("one", encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text("", encoding="utf-8")
    python = tmp_path / ".venv" / "bin" / "python"
    version = tuple(sys.version_info[:2])
    program(python, f'if [ "$1" = -c ]; then echo "{version}"; else echo "$@" >> {tmp_path}/pip; fi')
    return tmp_path / ".venv"


def test_nothing_is_installed_when_the_stamp_is_of_today(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A second run is ready at once; changed requirements are noticed."""
    venv = fake_root(install, monkeypatch, tmp_path)
    assert "installed" in install.install_python_packages(venv)
    assert "already" in install.install_python_packages(venv)
    (tmp_path / "setup.cfg").write_text("two", encoding="utf-8")
    assert "installed" in install.install_python_packages(venv)
    assert len((tmp_path / "pip").read_text(encoding="utf-8").splitlines()) == 2


def test_pyaudio_is_added_when_its_header_has_come(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without the system's packages all but PyAudio is installed, and the next run goes on from there."""
    venv = fake_root(install, monkeypatch, tmp_path)
    monkeypatch.setattr(install, "python_header", lambda: tmp_path / "Python.h")
    monkeypatch.setattr(install, "PORTAUDIO_HEADER", tmp_path / "portaudio.h")
    assert "PyAudio not yet" in install.install_python_packages(venv)
    (tmp_path / "Python.h").touch()
    (tmp_path / "portaudio.h").touch()
    program(tmp_path / "bin" / "gcc")
    assert install.install_python_packages(venv) == "installed in .venv"
    first, second = (tmp_path / "pip").read_text(encoding="utf-8").splitlines()
    assert first.endswith("[dev]")
    assert second.endswith("[dev,audio]")


@pytest.mark.parametrize("version", [(3, 11), (3, 12), (3, 13), (3, 14)])
def test_a_package_without_wheel_is_said_when_setup_cfg_leaves_it_out(
    install: ModuleType, version: tuple[int, int]
) -> None:
    """The set-up's words and the markers in setup.cfg agree."""
    settings = configparser.ConfigParser()
    settings.read(TOOLS.parent / "setup.cfg", encoding="utf-8")
    left_out = {
        found.name
        for line in settings["options.extras_require"]["gpio"].split("\n")
        if line and (found := Requirement(line)).marker is not None
        and not found.marker.evaluate({"python_version": "{}.{}".format(*version)})
    }  # fmt: skip
    said = list(install.without_wheels(version))
    assert {sentence.split()[0] for sentence in said} == left_out
    assert all("sudo apt install" in sentence for sentence in said)


# --- all steps


def test_all_steps_are_tried_when_one_cannot_be_done(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit status is 1, each sentence is on stderr, and what is to be typed stands last."""

    def undone(*_: object) -> str:
        raise install.InstallFailed("do this")

    monkeypatch.setattr(install, "install_system_packages", undone)
    monkeypatch.setattr(install, "install_python_packages", lambda _: "fine")
    monkeypatch.setattr(install.stack, "livekit_server", undone)
    assert install.main([]) == 1
    out, err = capsys.readouterr()
    assert "[2/3] Python packages: fine" in out
    assert err.splitlines() == ["setup: livekit-server: do this", "setup: system packages: do this"]


def test_interpreter_when_it_is_the_tests_own_passes_the_gate(gate: ModuleType) -> None:
    """Or these tests would not run."""
    assert gate.refusal(sys.version_info, 64, "x86_64", "Linux") == ""


# --- what messages and pages ask for


def test_messages_when_something_is_missing_ask_for_nothing_that_is_not_there() -> None:
    """utdstream is on no public index; `make setup` is said by the one function that knows of a checkout."""
    from_the_index = re.compile(r"pip install\s+[^\n`]*?(?<![./\w-])utdstream\b(?!-[\d*])")
    found = []
    for folder in ("utdstream", "device", "docs", "."):
        pages = (TOOLS.parent / folder).glob("*.md" if folder == "." else "**/*.*")
        for path in pages:
            if path.suffix not in (".py", ".md", ".service"):
                continue
            text = path.read_text(encoding="utf-8")
            asked = from_the_index.findall(text)
            asked += ["make setup"] * (path.suffix == ".py" and "make setup" in text)
            found += [f"{path.relative_to(TOOLS.parent)}: {words}" for words in asked]
    assert found == ["utdstream/engine/stack/binaries.py: make setup"]
