"""Set-up, second step: `.venv`, the Python packages, mosquitto, livekit-server.

Owns: what is fetched, from where, and where it is put. Standard library only; the finding of programs
is the engine's own (`utdstream/engine/stack/binaries.py`, loaded by its path: nothing is installed yet).

1. Every step looks first, so a second run does nothing, and a run that was broken off goes on.
2. What is fetched is written beside its place and moved there whole; archives are checked first.
3. A step that cannot be done says what to do, the others go on, and the exit status is 1.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import importlib.util
import io
import json
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
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
STAMP = VENV / "utdstream-setup.json"

RELEASES = "https://github.com/livekit/livekit/releases/download"
# From the release's checksums.txt.
CHECKSUMS = {
    "amd64": "c020fac437b7cc9b776eef1ad5ea8af77be9acfa07602eca20a3a44930dfbc70",
    "arm64": "332015305518765fe05bad74fc3a9d9583e635e7dd130de3c4fc563d69c550f3",
}
ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
GO_MODULE = "github.com/livekit/livekit-server/cmd/server"
MINIMUM_GO = (1, 26)
CONNECT_TIMEOUT_S = 5.0
HEARTBEAT_S = 15.0


class Undone(Exception):
    """A step that could not be done; the message is a sentence that says what to do."""


def main() -> int:
    """Do all steps; the exit status."""
    started = time.monotonic()
    binaries = load_binaries()
    steps = (
        ("sound", install_sound),
        ("Python packages", install_packages),
        ("mosquitto", lambda: install_mosquitto(binaries)),
        ("livekit-server", lambda: install_livekit(binaries)),
    )
    undone: list[str] = []
    for number, (name, step) in enumerate(steps, 1):
        try:
            found = step()
        except Undone as error:
            undone.append(f"{name}: {error}")
            say(f"[{number}/{len(steps)}] {name}: not done")
        except KeyboardInterrupt:
            print("setup: broken off; the next run goes on from here", file=sys.stderr)
            return 130
        else:
            say(f"[{number}/{len(steps)}] {name}: {found}")
    for sentence in undone:
        print(f"setup: {sentence}", file=sys.stderr)
    if not undone:
        say(f"ready ({time.monotonic() - started:.1f} s)")
    return 1 if undone else 0


def load_binaries() -> ModuleType:
    """`utdstream.engine.stack.binaries`, without importing the package."""
    path = ROOT / "utdstream" / "engine" / "stack" / "binaries.py"
    spec = importlib.util.spec_from_file_location("utdstream_binaries", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


# --- Python packages


def install_packages() -> str:
    """`.venv` with this package and everything its tests need."""
    key = stamp_key()
    python = VENV / "bin" / "python"
    if stamped_key() == key and python.exists():
        return f"in {VENV.name} already"
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        raise Undone(
            "this Python has no venv module; install it (`sudo apt install python3-venv`) and run this again"
        )
    if not works(python):
        say(f"making {VENV.name} with Python {platform.python_version()}")
        run([sys.executable, "-m", "venv", "--clear", str(VENV)], "the virtual environment could not be made")
    pip = [str(python), "-m", "pip", "install"]
    say("installing the Python packages (about 150 MB the first time)")
    run(
        [*pip, "--disable-pip-version-check", "--progress-bar", "off", "-e", f"{ROOT}[dev]"],
        "pip did not finish; check the network and run this again: what was fetched is kept",
    )
    put(STAMP, json.dumps({"key": key}).encode())
    return f"installed in {VENV.name}"


def stamp_key() -> str:
    """Changes with the requirements, the interpreter and the place of the repository."""
    digest = hashlib.sha256()
    for name in ("setup.cfg", "pyproject.toml"):
        digest.update((ROOT / name).read_bytes())
    digest.update(f"{sys.version} {platform.machine()} {ROOT}".encode())
    return digest.hexdigest()


def stamped_key() -> str | None:
    """What the last finished installation was for."""
    try:
        return str(json.loads(STAMP.read_text(encoding="utf-8"))["key"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def works(python: Path) -> bool:
    """Whether `.venv` is whole and of this Python version."""
    if not python.exists():
        return False
    script = "import pip, sys; print(tuple(sys.version_info[:2]))"
    answer = subprocess.run([str(python), "-c", script], capture_output=True, text=True, check=False)
    return answer.returncode == 0 and answer.stdout.strip() == str(tuple(sys.version_info[:2]))


# --- sound

# PyAudio has no built package for Linux: it is compiled against PortAudio. PulseAudio and ALSA's way to it
# are the sound card of the tests.
SOUND_PACKAGES = (
    "gcc",
    "libc6-dev",
    "portaudio19-dev",
    "libasound2-plugins",
    "pulseaudio",
    "pulseaudio-utils",
)


def install_sound() -> str:
    """What PyAudio is compiled against, and the sound server that the tests start for themselves."""
    header = Path("/usr/include/portaudio.h").exists()
    if header and all(shutil.which(program) for program in ("gcc", "pulseaudio", "parec")):
        return "PortAudio's header, PulseAudio"
    apt_install(SOUND_PACKAGES, f"install {', '.join(SOUND_PACKAGES)} and run this again")
    return "installed with apt"


def apt_install(packages: Sequence[str], manual: str) -> None:
    """Install the system's packages. Raises: Undone, with `manual` for those without apt or sudo."""
    if shutil.which("apt-get") is None:
        raise Undone(f"this system has no apt; {manual}")
    prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if prefix and (shutil.which("sudo") is None or not succeeds([*prefix, "true"])):
        raise Undone(f"this user may not install packages; {manual}")
    say(f"installing {', '.join(packages)} with apt")
    install = [*prefix, "apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
    if not succeeds(install):
        succeeds([*prefix, "apt-get", "update", "-q"])
        run(install, f"apt did not finish; {manual}", {**os.environ, "DEBIAN_FRONTEND": "noninteractive"})


# --- mosquitto


def install_mosquitto(binaries: ModuleType) -> str:
    """The broker and its dynamic-security plugin, from the system's packages."""
    with contextlib.suppress(binaries.ProgramMissing):
        plugin = binaries.find_dynsec_plugin()
        return f"{binaries.find_mosquitto().path} ({plugin.path.name})"
    manual = "install mosquitto 2.0 or newer (`sudo apt install mosquitto`) and run this again"
    apt_install(("mosquitto",), manual)
    try:
        return str(binaries.find_mosquitto().path) + " " + str(binaries.find_dynsec_plugin().path)
    except binaries.ProgramMissing as error:
        raise Undone(str(error)) from error


# --- livekit-server


def install_livekit(binaries: ModuleType) -> str:
    """livekit-server of the tested version: found, or fetched, or built."""
    with contextlib.suppress(binaries.ProgramMissing):
        return describe(binaries)
    folder = binaries.cache_folder()
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    with locked(folder / "setup.lock"):
        with contextlib.suppress(binaries.ProgramMissing):
            return describe(binaries)  # another set-up has put it there meanwhile
        target = binaries.cached_livekit_server()
        reasons: list[str] = []
        for way in (fetch_livekit, build_livekit):
            try:
                way(binaries.LIVEKIT_VERSION, target)
                return describe(binaries)
            except Undone as error:
                reasons.append(str(error))
                say(f"  {error}")
    raise Undone("; ".join(reasons) + f"; or name one in {binaries.LIVEKIT_VARIABLE}")


def describe(binaries: ModuleType) -> str:
    """Which livekit-server is used, with a word when it is not the tested version."""
    program = binaries.find_livekit_server()
    if program.source == "cache":
        return f"{program.path}"
    version = binaries.livekit_version(program.path)
    if version != binaries.LIVEKIT_VERSION:
        return (
            f"{program.path} ({program.source}), version {version or 'unknown'}: "
            f"{binaries.LIVEKIT_VERSION} is the tested one"
        )
    return f"{program.path} ({program.source})"


def fetch_livekit(version: str, target: Path) -> None:
    """The project's release archive for this machine, checked against its pinned checksum."""
    architecture = ARCHITECTURES[platform.machine().lower()]
    name = f"livekit_{version}_linux_{architecture}.tar.gz"
    say(f"fetching {name} from the project's release")
    archive = download(f"{RELEASES}/v{version}/{name}")
    found = hashlib.sha256(archive).hexdigest()
    if found != CHECKSUMS[architecture]:
        raise Undone(f"the archive {name} has the checksum {found}, not the expected one: it is not used")
    put(target, unpack(archive), mode=0o755)


def download(url: str) -> bytes:
    """The content at `url`. Raises: Undone, after 5 s when nobody answers."""
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
        raise Undone(f"the release could not be fetched ({reason})") from error
    return b"".join(chunks)


def unpack(archive: bytes) -> bytes:
    """The program in a release archive."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
            for member in tar:
                if member.isfile() and Path(member.name).name == "livekit-server":
                    file = tar.extractfile(member)
                    assert file is not None  # a regular file has content
                    return file.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise Undone(f"the release archive is damaged ({error})") from error
    raise Undone("the release archive holds no livekit-server")


def build_livekit(version: str, target: Path) -> None:
    """The same version, built from source by `go install`."""
    need = f"install Go {'.'.join(map(str, MINIMUM_GO))} or newer to build livekit-server from source"
    go = shutil.which("go")
    if go is None:
        raise Undone(f"there is no Go on this machine: {need}")
    found = go_version(go)
    if found is None or found < MINIMUM_GO:
        raise Undone(f"Go is {'.'.join(map(str, found)) if found else 'broken'}: {need}")
    say(f"building livekit-server {version} with Go (some minutes)")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="build-") as folder:
        environment = {**os.environ, "GOBIN": folder, "CGO_ENABLED": "0"}
        command = [go, "install", f"{GO_MODULE}@v{version}"]
        run(command, "go install did not finish; check the network and run this again", environment)
        built = Path(folder) / "server"
        if not built.is_file():
            raise Undone("go install made no program called server")
        built.replace(target)


def go_version(go: str) -> tuple[int, int] | None:
    """The version of Go, as (1, 26)."""
    answer = subprocess.run([go, "version"], capture_output=True, text=True, check=False)
    match = re.search(r"\bgo(\d+)\.(\d+)", answer.stdout)
    return (int(match[1]), int(match[2])) if match else None


# --- small things


def say(text: str) -> None:
    """Progress, at once."""
    print(text, flush=True)


def run(command: Sequence[str], otherwise: str, environment: dict[str, str] | None = None) -> None:
    """Run a program, its output shown, with a sign of life. Raises: Undone with `otherwise`."""
    started = time.monotonic()
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment)
    except OSError as error:
        raise Undone(f"{otherwise} ({error})") from error
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
        raise Undone(otherwise)


def succeeds(command: Sequence[str]) -> bool:
    """Whether a program ends with exit status 0; its output is shown only by `run`."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    answer = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=environment, check=False,
    )  # fmt: skip
    return answer.returncode == 0


def put(target: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Put `content` at `target`, whole or not at all."""
    handle, draft = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(draft, mode)
        os.replace(draft, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """One set-up at a time fills the cache; the others wait and find it filled."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another set-up to finish")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main())
