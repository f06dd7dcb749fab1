"""The set-up: where programs are found, what it says when something is missing, nothing half done."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import io
import json
import os
import sys
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest

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
    """`install.py` on a machine with no livekit-server and an empty cache."""
    module = load("install")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("UTD_LIVEKIT_SERVER", raising=False)
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


def test_livekit_is_found_in_the_variable_then_path_then_cache(tmp_path: Path) -> None:
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


# --- livekit-server, fetched


@pytest.fixture
def release(install: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A release server of our own; the fixture's value is the archive to serve."""
    folder = tmp_path / "release"
    archive = folder / f"v{VERSION}" / f"livekit_{VERSION}_linux_amd64.tar.gz"
    archive.parent.mkdir(parents=True)
    content = f"#!/bin/sh\necho livekit-server version {VERSION}\n".encode()
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo("livekit-server")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setattr(install, "RELEASES", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(install.platform, "machine", lambda: "x86_64")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield archive
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_release_is_put_in_the_cache_when_its_checksum_is_right(
    install: ModuleType, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Executable, under the version's name, and nothing else is left there."""
    digest = hashlib.sha256(release.read_bytes()).hexdigest()
    monkeypatch.setitem(install.CHECKSUMS, "amd64", digest)
    said = install.install_livekit(binaries)
    cached = binaries.cached_livekit_server()
    assert said == str(cached)
    assert binaries.livekit_version(cached) == VERSION
    assert sorted(path.name for path in cached.parent.iterdir()) == [cached.name, "setup.lock"]


def test_the_release_is_not_used_when_its_checksum_is_wrong(install: ModuleType, release: Path) -> None:
    """The pinned checksum decides, and nothing of the archive reaches the cache."""
    with pytest.raises(install.Undone, match="not the expected one"):
        install.install_livekit(binaries)
    assert not binaries.cached_livekit_server().exists()


@pytest.mark.parametrize("content", [b"", b"not an archive", b"\x1f\x8b\x08\x00half"])
def test_a_damaged_archive_is_a_sentence_when_it_is_opened(install: ModuleType, content: bytes) -> None:
    """No traceback of tarfile."""
    with pytest.raises(install.Undone):
        install.unpack(content)


# --- livekit-server, built


@pytest.fixture
def no_release(install: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "RELEASES", "http://127.0.0.1:1")


def test_both_reasons_are_said_when_there_is_no_release_and_no_go(
    install: ModuleType, no_release: None
) -> None:
    """A person without GitHub and without Go learns both, and the third way."""
    with pytest.raises(install.Undone) as undone:
        install.install_livekit(binaries)
    for words in ("could not be fetched", "no Go on this machine", "UTD_LIVEKIT_SERVER"):
        assert words in str(undone.value)


def test_an_old_go_is_refused_when_it_cannot_build_this(
    install: ModuleType, no_release: None, tmp_path: Path
) -> None:
    """livekit-server 1.13.5 needs Go 1.26."""
    program(tmp_path / "bin" / "go", "echo go version go1.19.8 linux/amd64")
    with pytest.raises(install.Undone, match=r"Go is 1\.19: install Go 1\.26"):
        install.install_livekit(binaries)


def test_livekit_is_built_when_the_release_cannot_be_reached(
    install: ModuleType, no_release: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """`go install` names the program `server`; the cache names it by version."""
    program(
        tmp_path / "bin" / "go",
        'if [ "$1" = version ]; then echo go version go1.26.8 linux/amd64; exit; fi\n'
        f'echo "$1 $2"; printf "#!/bin/sh\\necho version {VERSION}\\n" > "$GOBIN/server"\n'
        '/bin/chmod 755 "$GOBIN/server"',
    )
    install.install_livekit(binaries)
    said = capfd.readouterr().out
    assert f"install github.com/livekit/livekit-server/cmd/server@v{VERSION}" in said
    assert "could not be fetched" in said
    cached = binaries.cached_livekit_server()
    assert binaries.livekit_version(cached) == VERSION
    assert sorted(path.name for path in cached.parent.iterdir()) == [cached.name, "setup.lock"]


def test_nothing_is_left_when_the_build_fails(install: ModuleType, no_release: None, tmp_path: Path) -> None:
    """The next run starts afresh."""
    program(tmp_path / "bin" / "go", 'echo go version go1.26.0 linux/amd64; [ "$1" = version ]')
    with pytest.raises(install.Undone, match="go install did not finish"):
        install.install_livekit(binaries)
    assert [path.name for path in binaries.cache_folder().iterdir()] == ["setup.lock"]


# --- the other steps


def test_a_missing_venv_module_is_a_sentence_when_python_has_none(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Debian splits it off."""
    monkeypatch.setattr(install, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(install, "STAMP", tmp_path / ".venv" / "stamp.json")
    monkeypatch.setattr(install.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(install.Undone, match="python3-venv"):
        install.install_packages()


def test_nothing_is_installed_when_the_stamp_is_of_today(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A second run is ready at once; changed requirements are noticed."""
    monkeypatch.setattr(install, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(install, "STAMP", tmp_path / ".venv" / "stamp.json")
    monkeypatch.setattr(install, "ROOT", tmp_path)
    (tmp_path / "setup.cfg").write_text("one", encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text("", encoding="utf-8")
    program(tmp_path / ".venv" / "bin" / "python", "exit 1")
    install.put(install.STAMP, json.dumps({"key": install.stamp_key()}).encode())
    assert "already" in install.install_packages()
    (tmp_path / "setup.cfg").write_text("two", encoding="utf-8")
    assert install.stamped_key() != install.stamp_key()


def test_mosquitto_is_asked_for_when_this_user_may_not_install_it(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One sentence with the command, not a password prompt."""
    monkeypatch.setenv("UTD_MOSQUITTO_DYNSEC", str(tmp_path / "missing.so"))
    program(tmp_path / "bin" / "apt-get", "exit 1")
    program(tmp_path / "bin" / "sudo", "exit 1")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(install.Undone, match="sudo apt install mosquitto"):
        install.install_mosquitto(binaries)


def test_all_steps_are_tried_when_one_cannot_be_done(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit status is 1 and each sentence is on stderr."""

    def undone(*_: object) -> str:
        raise install.Undone("do this")

    monkeypatch.setattr(install, "install_sound", lambda: "there")
    monkeypatch.setattr(install, "install_packages", lambda: "fine")
    monkeypatch.setattr(install, "install_mosquitto", undone)
    monkeypatch.setattr(install, "install_livekit", undone)
    assert install.main() == 1
    out, err = capsys.readouterr()
    assert "[2/4] Python packages: fine" in out
    assert err.splitlines() == ["setup: mosquitto: do this", "setup: livekit-server: do this"]


def test_the_interpreter_of_the_tests_passes_the_gate(gate: ModuleType) -> None:
    """Or these tests would not run."""
    assert gate.refusal(sys.version_info, 64, "x86_64", "Linux") == ""
