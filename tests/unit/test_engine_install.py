"""`utdstream engine install`: livekit-server fetched, taken from an archive or built; nothing half done."""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path

import pytest

from utdstream import cli
from utdstream.engine import __main__ as engine
from utdstream.engine.stack import binaries, install

VERSION = binaries.LIVEKIT_VERSION
NAME = f"livekit_{VERSION}_linux_amd64.tar.gz"


def program(path: Path, script: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with no livekit-server, no Go, an empty cache and no way to the release; the cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("UTD_LIVEKIT_SERVER", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(install, "RELEASES", "http://127.0.0.1:1")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    return tmp_path / "cache" / "utdstream"


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A release's archive whose checksum is the expected one."""
    made = tmp_path / "release" / f"v{VERSION}" / NAME
    made.parent.mkdir(parents=True)
    content = f"#!/bin/sh\necho livekit-server version {VERSION}\n".encode()
    with tarfile.open(made, "w:gz") as tar:
        member = tarfile.TarInfo("livekit-server")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    monkeypatch.setitem(binaries.LIVEKIT_CHECKSUMS, "amd64", hashlib.sha256(made.read_bytes()).hexdigest())
    return made


@pytest.fixture
def release(archive: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A release server of our own that serves the archive; what it was asked for."""
    asked: list[str] = []

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(archive.parents[1])))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setattr(install, "RELEASES", f"http://127.0.0.1:{server.server_port}")
    yield asked
    server.shutdown()
    thread.join()
    server.server_close()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- fetched


def test_install_when_the_release_is_there_puts_it_into_the_cache(
    release: list[str], cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Executable, nothing else beside it; stdout says where; a second run fetches nothing."""
    for _ in range(2):
        assert cli.main(["engine", "install"]) == 0
    cached = binaries.cached_livekit_server()
    out, err = capsys.readouterr()
    assert out.splitlines() == [f"livekit-server: {cached}"] * 2
    assert f"fetching {NAME}" in err
    assert binaries.livekit_version(cached) == VERSION
    assert names(cache) == [cached.name, "setup.lock"]
    assert release == [f"/v{VERSION}/{NAME}"]


def test_install_when_asked_for_json_says_path_source_and_version(
    release: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing but one line of JSON is on stdout."""
    assert cli.main(["engine", "install", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {"path": str(binaries.cached_livekit_server()), "source": "cache", "version": VERSION}


def test_install_when_the_checksum_is_wrong_uses_nothing(
    release: list[str], cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The written checksum decides, and nothing of the archive reaches the cache."""
    monkeypatch.setitem(binaries.LIVEKIT_CHECKSUMS, "amd64", "0" * 64)
    assert cli.main(["engine", "install"]) == 1
    assert "it is not used" in capsys.readouterr().err
    assert names(cache) == ["setup.lock"]


def test_install_when_broken_off_leaves_nothing(
    release: list[str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the moment the draft would get its name; the exit status is 130."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    assert cli.main(["engine", "install"]) == 130
    assert names(cache) == ["setup.lock"]


# --- from an archive


def test_install_when_given_an_archive_takes_it_without_a_network(archive: Path, cache: Path) -> None:
    """The way of a machine without internet; the checksum is compared as ever."""
    assert cli.main(["engine", "install", "--from", str(archive)]) == 0
    assert names(cache) == [binaries.cached_livekit_server().name, "setup.lock"]


def test_install_when_given_another_file_says_which_one_is_expected(
    archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A truncated download, or the archive of another machine."""
    archive.write_bytes(archive.read_bytes()[:-1])
    assert cli.main(["engine", "install", "--from", str(archive)]) == 1
    said = capsys.readouterr().err
    assert NAME in said
    assert "it is not used" in said
    assert cli.main(["engine", "install", "--from", str(archive.parent / "none")]) == 1
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"not an archive", b"\x1f\x8b\x08\x00half"])
def test_unpack_when_the_archive_is_damaged_says_a_sentence(content: bytes) -> None:
    """No traceback of tarfile."""
    with pytest.raises(install.InstallFailed):
        install.unpack(content)


# --- built


def test_install_when_there_is_no_release_and_no_go_says_every_way(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Both reasons, the archive to fetch elsewhere, and the variable."""
    assert cli.main(["engine", "install"]) == 1
    said = capsys.readouterr().err
    for words in ("could not be fetched", "no Go on this machine", NAME, "--from", "UTD_LIVEKIT_SERVER"):
        assert words in said


def test_install_when_go_is_old_refuses_it(tmp_path: Path) -> None:
    """livekit-server 1.13.5 needs Go 1.26."""
    program(tmp_path / "bin" / "go", "echo go version go1.19.8 linux/amd64")
    with pytest.raises(install.InstallFailed, match=r"Go is 1\.19: install Go 1\.26"):
        install.livekit_server()


def test_install_when_the_release_cannot_be_reached_builds_with_go(
    tmp_path: Path, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """`go install` names the program `server`; the cache names it by version."""
    program(
        tmp_path / "bin" / "go",
        'if [ "$1" = version ]; then echo go version go1.26.8 linux/amd64; exit; fi\n'
        f'echo "$1 $2"; printf "#!/bin/sh\\necho version {VERSION}\\n" > "$GOBIN/server"\n'
        '/bin/chmod 755 "$GOBIN/server"',
    )
    found = install.livekit_server()
    said = capfd.readouterr().out
    assert f"install github.com/livekit/livekit-server/cmd/server@v{VERSION}" in said
    assert "could not be fetched" in said
    assert binaries.livekit_version(found.path) == VERSION
    assert names(cache) == [found.path.name, "setup.lock"]


def test_install_when_the_build_fails_leaves_nothing(tmp_path: Path, cache: Path) -> None:
    """The next run starts afresh."""
    program(tmp_path / "bin" / "go", 'echo go version go1.26.0 linux/amd64; [ "$1" = version ]')
    with pytest.raises(install.InstallFailed, match="go install did not finish"):
        install.livekit_server()
    assert names(cache) == ["setup.lock"]


# --- what a missing program is answered with


def test_missing_program_when_not_in_a_checkout_names_engine_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A wheel has no `make setup`."""
    assert binaries.provided_by() == "make setup"
    monkeypatch.setattr(binaries, "_CHECKOUT", tmp_path)
    with pytest.raises(binaries.ProgramMissing, match="run `utdstream engine install`"):
        binaries.find_livekit_server()


def test_engine_when_its_packages_are_missing_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sentence with utdstream's own requirement, not a traceback of the first import."""
    version = metadata.version

    def without_starlette(name: str) -> str:
        if name == "starlette":
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(metadata, "version", without_starlette)
    assert engine.main(["--config", "never-read.toml"]) == 1
    assert cli.main(["engine", "up"]) == 1
    assert cli.main(["demo"]) == 1
    for said in capsys.readouterr().err.splitlines():
        assert said.endswith("packages that are not installed; run `pip install 'starlette>=0.46'`")
