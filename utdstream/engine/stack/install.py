"""Puts livekit-server into the cache: from the project's release, from an archive at hand, or built with Go.

Owns: where livekit-server comes from, its checksum, how it gets to its place. Used by `utdstream engine install`
and by the set-up, before any package is installed: the standard library and `binaries` only. Blocks; one thread.
It prints its progress, because minutes can pass.

1. Nothing is put in place that is not whole: an archive is checked first, a draft is renamed.
2. One installation at a time fills a cache; the others wait and find it filled.
3. Broken off with Ctrl-C, it leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import io
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from utdstream.engine.stack import binaries
from utdstream.whole_files import write_whole

RELEASES = "https://github.com/livekit/livekit/releases/download"
ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
GO_MODULE = "github.com/livekit/livekit-server/cmd/server"
MINIMUM_GO = (1, 26)
CONNECT_TIMEOUT_S = 5.0
HEARTBEAT_S = 15.0


class InstallFailed(Exception):
    """Something could not be installed; the message is a sentence that says what to do."""


def livekit_server(archive: Path | None = None) -> binaries.Program:
    """livekit-server of the tested version: found, or fetched, or built; from `archive` when one is given.

    Raises: InstallFailed.
    """
    if archive is not None:
        with _filling() as target:
            _take(archive, target)
        return _found()
    with contextlib.suppress(binaries.ProgramMissing):
        return binaries.find_livekit_server()
    with _filling() as target:
        if not target.exists():  # another installation may have put it there meanwhile
            _fetch_or_build(target)
    return _found()


def describe(program: binaries.Program) -> str:
    """Which livekit-server is used, with a word when it is not the tested version. Blocks."""
    if program.source == "cache":
        return str(program.path)
    version = binaries.livekit_version(program.path)
    said = f"{program.path} ({program.source})"
    if version != binaries.LIVEKIT_VERSION:
        said += f", version {version or 'unknown'}: {binaries.LIVEKIT_VERSION} is the tested one"
    return said


def _found() -> binaries.Program:
    try:
        return binaries.find_livekit_server()
    except binaries.ProgramMissing as error:
        raise InstallFailed(str(error)) from error


@contextlib.contextmanager
def _filling() -> Iterator[Path]:
    """The place of this version's livekit-server, with the cache's lock held. Raises: InstallFailed."""
    target = binaries.cached_livekit_server()
    try:
        target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with (target.parent / "setup.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("waiting for another installation to finish")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield target
    except OSError as error:
        raise InstallFailed(f"{target.parent} cannot be written ({error})") from error


def _fetch_or_build(target: Path) -> None:
    reasons: list[str] = []
    for way in (_fetch, _build):
        try:
            way(target)
        except InstallFailed as error:
            reasons.append(str(error))
            say(f"  {error}")
        else:
            return
    raise InstallFailed(
        "; ".join(reasons) + f"; or fetch {_address()} on another machine and give it to "
        f"`utdstream engine install --from`; or name a livekit-server in {binaries.LIVEKIT_VARIABLE}"
    )


# --- the release


def archive_name() -> str:
    """What the release's archive for this machine is called. Raises: InstallFailed."""
    return f"livekit_{binaries.LIVEKIT_VERSION}_linux_{_architecture()}.tar.gz"


def _address() -> str:
    return f"{RELEASES}/v{binaries.LIVEKIT_VERSION}/{archive_name()}"


def _architecture() -> str:
    machine = platform.machine().lower()
    if machine not in ARCHITECTURES:
        raise InstallFailed(f"livekit-server has no release for {machine}: x86-64 and aarch64 only")
    return ARCHITECTURES[machine]


def _fetch(target: Path) -> None:
    name = archive_name()
    say(f"fetching {name} from the project's release")
    _unpack_checked(_download(_address()), name, target)


def _take(archive: Path, target: Path) -> None:
    try:
        content = archive.read_bytes()
    except OSError as error:
        raise InstallFailed(f"{archive} cannot be read ({error.strerror or error})") from error
    _unpack_checked(content, str(archive), target)


def _unpack_checked(content: bytes, name: str, target: Path) -> None:
    found = hashlib.sha256(content).hexdigest()
    wanted = binaries.LIVEKIT_CHECKSUMS[_architecture()]
    if found != wanted:
        raise InstallFailed(
            f"{name} has the checksum {found}, not {wanted} of {archive_name()}: it is not used"
        )
    try:
        write_whole(target, unpack(content), mode=0o755)
    except OSError as error:
        raise InstallFailed(f"{target} cannot be written ({error.strerror}); make room there") from error


def _download(url: str) -> bytes:
    """The content at `url`. Raises: InstallFailed, after 5 s when nobody answers."""
    chunks: list[bytes] = []
    size, told = 0, time.monotonic()
    try:
        with urllib.request.urlopen(url, timeout=CONNECT_TIMEOUT_S) as answer:
            while chunk := answer.read(1 << 18):
                chunks.append(chunk)
                size += len(chunk)
                if time.monotonic() - told > HEARTBEAT_S:
                    told = time.monotonic()
                    say(f"  {size / 1e6:.0f} MB")
    except (OSError, urllib.error.URLError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise InstallFailed(f"the release could not be fetched ({reason})") from error
    return b"".join(chunks)


def unpack(archive: bytes) -> bytes:
    """The program in a release archive. Raises: InstallFailed."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
            for member in tar:
                if member.isfile() and Path(member.name).name == "livekit-server":
                    file = tar.extractfile(member)
                    assert file is not None  # a regular file has content
                    return file.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise InstallFailed(f"the release archive is damaged ({error})") from error
    raise InstallFailed("the release archive holds no livekit-server")


# --- the source


def _build(target: Path) -> None:
    """The same version by `go install`; the checksums of its source are Go's own affair."""
    need = f"install Go {'.'.join(map(str, MINIMUM_GO))} or newer to build livekit-server from source"
    go = shutil.which("go")
    if go is None:
        raise InstallFailed(f"there is no Go on this machine: {need}")
    found = _go_version(go)
    if found is None or found < MINIMUM_GO:
        raise InstallFailed(f"Go is {'.'.join(map(str, found)) if found else 'broken'}: {need}")
    say(f"building livekit-server {binaries.LIVEKIT_VERSION} with Go (some minutes)")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="build-") as folder:
        environment = {**os.environ, "GOBIN": folder, "CGO_ENABLED": "0"}
        command = [go, "install", f"{GO_MODULE}@v{binaries.LIVEKIT_VERSION}"]
        run(command, "go install did not finish; check the network and run this again", environment)
        built = Path(folder) / "server"
        if not built.is_file():
            raise InstallFailed("go install made no program called server")
        write_whole(target, built.read_bytes(), mode=0o755)


def _go_version(go: str) -> tuple[int, int] | None:
    """The version of Go, as (1, 26)."""
    answer = subprocess.run([go, "version"], capture_output=True, text=True, check=False)
    match = re.search(r"\bgo(\d+)\.(\d+)", answer.stdout)
    return (int(match[1]), int(match[2])) if match else None


# --- what every step needs


def say(text: str) -> None:
    """Progress, at once."""
    print(text, flush=True)


def run(command: Sequence[str], otherwise: str, environment: Mapping[str, str] | None = None) -> None:
    """Run a program, its output shown, with a sign of life. Raises: InstallFailed with `otherwise`."""
    started = time.monotonic()
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stdout, env=environment)
    except OSError as error:
        raise InstallFailed(f"{otherwise} ({error})") from error
    try:
        while True:
            try:
                status = process.wait(HEARTBEAT_S)
                break
            except subprocess.TimeoutExpired:
                say(f"  still at it ({time.monotonic() - started:.0f} s)")
    except BaseException:
        process.terminate()
        process.wait()
        raise
    if status != 0:
        raise InstallFailed(otherwise)
