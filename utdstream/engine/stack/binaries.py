"""Where the programs are: livekit-server, mosquitto with its dynamic-security plugin, and HAProxy.

Owns: the finding order, used by the supervisor at run time, by `utdstream doctor` and by the set-up
(before any package is installed); the words that say how to provide them.
Imports the standard library only, and nothing of this package. Any thread. Never downloads.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

LIVEKIT_VERSION = "1.13.5"
# From the release's checksums.txt, by architecture.
LIVEKIT_CHECKSUMS = {
    "amd64": "c020fac437b7cc9b776eef1ad5ea8af77be9acfa07602eca20a3a44930dfbc70",
    "arm64": "332015305518765fe05bad74fc3a9d9583e635e7dd130de3c4fc563d69c550f3",
}
LIVEKIT_VARIABLE = "UTD_LIVEKIT_SERVER"
MOSQUITTO_VARIABLE = "UTD_MOSQUITTO"
PLUGIN_VARIABLE = "UTD_MOSQUITTO_DYNSEC"
HAPROXY_VARIABLE = "UTD_HAPROXY"

PLUGIN_NAME = "mosquitto_dynamic_security.so"
_CHECKOUT = Path(__file__).resolve().parents[3]
# Debian keeps mosquitto and haproxy in sbin, which is not on a user's PATH.
_SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/usr/local/bin", "/usr/bin", "/opt/homebrew/sbin")
_PLUGIN_PATTERNS = (
    "/usr/lib/*-linux-gnu*/" + PLUGIN_NAME,
    "/usr/lib64/" + PLUGIN_NAME,
    "/usr/lib/" + PLUGIN_NAME,
    "/usr/local/lib*/" + PLUGIN_NAME,
    "/opt/homebrew/lib/" + PLUGIN_NAME,
)


class ProgramMissing(Exception):
    """A program is not on this machine; the message says how to provide it."""


@dataclass(frozen=True)
class Program:
    """One program that was found; `source` says where the search ended (a variable, PATH, cache)."""

    path: Path
    source: str


def provided_by() -> str:
    """The command that provides livekit-server here: a checkout has its set-up, a wheel has not."""
    return "make setup" if (_CHECKOUT / "tools" / "setup.py").is_file() else "utdstream engine install"


def cache_folder(environ: Mapping[str, str] | None = None) -> Path:
    """Where fetched programs are kept: outside the repository, shared by all clones."""
    env = os.environ if environ is None else environ
    root = env.get("XDG_CACHE_HOME", "")
    base = Path(root) if root.startswith("/") else Path(env.get("HOME") or os.path.expanduser("~")) / ".cache"
    return base / "utdstream"


def cached_livekit_server(environ: Mapping[str, str] | None = None) -> Path:
    """Where this version's livekit-server is put (whether it is there or not)."""
    return cache_folder(environ) / f"livekit-server-{LIVEKIT_VERSION}"


def find_livekit_server(environ: Mapping[str, str] | None = None) -> Program:
    """livekit-server: `UTD_LIVEKIT_SERVER`, then PATH, then the cache.

    Raises: ProgramMissing.
    """
    env = os.environ if environ is None else environ
    named = _named(env, LIVEKIT_VARIABLE)
    if named is not None:
        return named
    on_path = shutil.which("livekit-server", path=env.get("PATH", os.defpath))
    if on_path:
        return Program(Path(on_path), "PATH")
    cached = cached_livekit_server(env)
    if _is_executable(cached):
        return Program(cached, "cache")
    raise ProgramMissing(
        f"livekit-server was not found in {LIVEKIT_VARIABLE}, on PATH or in {cache_folder(env)}; "
        f"run `{provided_by()}`, or name one (version {LIVEKIT_VERSION}) in {LIVEKIT_VARIABLE}"
    )


def find_mosquitto(environ: Mapping[str, str] | None = None) -> Program:
    """The MQTT broker: `UTD_MOSQUITTO`, then PATH, then the system's folders. Raises: ProgramMissing."""
    env = os.environ if environ is None else environ
    return _of_the_system(env, MOSQUITTO_VARIABLE, "mosquitto", "the MQTT broker", "2.0")


def find_haproxy(environ: Mapping[str, str] | None = None) -> Program:
    """The proxy that speaks TLS: `UTD_HAPROXY`, then PATH, then the system's folders. Raises: ProgramMissing."""
    env = os.environ if environ is None else environ
    return _of_the_system(env, HAPROXY_VARIABLE, "haproxy", "which speaks TLS for the stack", "2.6")


def find_dynsec_plugin(environ: Mapping[str, str] | None = None) -> Program:
    """mosquitto's dynamic-security plugin; its folder differs by architecture. Raises: ProgramMissing."""
    env = os.environ if environ is None else environ
    named = env.get(PLUGIN_VARIABLE, "")
    if named:
        if Path(named).is_file():
            return Program(Path(named), PLUGIN_VARIABLE)
        raise ProgramMissing(f"{PLUGIN_VARIABLE} names {named}, which is not a file")
    for path in _plugin_candidates():
        return Program(path, "system")
    raise ProgramMissing(
        f"mosquitto's {PLUGIN_NAME} was not found; install mosquitto 2.0 or newer "
        f"(`sudo apt install mosquitto`), or name the file in {PLUGIN_VARIABLE}"
    )


def livekit_version(program: Path, *, timeout: float = 10.0) -> str | None:
    """What `livekit-server --version` says, as "1.13.5"; None when it does not start. Blocks."""
    return _version([str(program), "--version"], timeout)


def mosquitto_version(program: Path, *, timeout: float = 10.0) -> str | None:
    """What `mosquitto -h` says, as "2.0.11"; None when it does not start. Blocks."""
    return _version([str(program), "-h"], timeout)


def haproxy_version(program: Path, *, timeout: float = 10.0) -> str | None:
    """What `haproxy -v` says, as "2.6.12"; None when it does not start. Blocks."""
    return _version([str(program), "-v"], timeout)


def _version(command: list[str], timeout: float) -> str | None:
    try:
        answer = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(rb"version v?(\d+(?:\.\d+)+)", answer.stdout)
    return match.group(1).decode() if match else None


def _of_the_system(env: Mapping[str, str], variable: str, name: str, role: str, at_least: str) -> Program:
    named = _named(env, variable)
    if named is not None:
        return named
    folders = [env.get("PATH", os.defpath), *_SYSTEM_FOLDERS]
    found = shutil.which(name, path=os.pathsep.join(folders))
    if found:
        return Program(Path(found), "PATH")
    raise ProgramMissing(
        f"{name}, {role}, was not found; install version {at_least} or newer (`sudo apt install {name}`), "
        f"or name one in {variable}"
    )


def _named(env: Mapping[str, str], variable: str) -> Program | None:
    name = env.get(variable, "")
    if not name:
        return None
    if not _is_executable(Path(name)):
        raise ProgramMissing(f"{variable} names {name}, which is not an executable file")
    return Program(Path(name), variable)


def _plugin_candidates() -> Iterator[Path]:
    for pattern in _PLUGIN_PATTERNS:
        for name in sorted(glob.glob(pattern)):
            yield Path(name)


def _is_executable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
