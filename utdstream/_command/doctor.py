"""`utdstream doctor`: is everything on this machine that calls need, and if not, what to do?

Owns: the checks. Each looks at one thing, changes nothing, and never raises. Imports the standard
library; the finding of programs is the engine's (`engine.binaries`), reached late.
"""

from __future__ import annotations

import http.client
import json
import os
import platform
import re
import struct
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from importlib import metadata
from urllib.parse import urlsplit

OK, WARN, FAIL = "ok", "warn", "fail"

_MINIMUM_PYTHON = (3, 11)
_MINIMUM_GLIBC = (2, 28)  # what the livekit wheels are built against
_REQUIRED = {"livekit": "1.2.1", "requests": None, "transitions": None}
_EXTRAS = {
    "paho-mqtt": ("mqtt", "incoming calls over MQTT"),
    "av": ("video", "USB, RTSP and file cameras"),
    "starlette": ("engine", "the self-hosted engine"),
    "uvicorn": ("engine", "the self-hosted engine"),
    "livekit-api": ("engine", "the self-hosted engine"),
}
_CLOCK_WARN_S, _CLOCK_FAIL_S = 5.0, 60.0


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: `status` is ok, warn or fail; `fix` is empty when it is ok."""

    name: str
    status: str
    found: str
    fix: str = ""


def examine(*, base_url: str | None = None) -> list[Check]:
    """All checks, in order. `base_url` adds those of an engine. Blocks: some seconds at most."""
    looks: list[Callable[[], Iterator[Check]]] = [_python, _machine, _libc, _packages, _programs, _ports]
    checks = [check for look in looks for check in look()]
    checks.append(_clock(time.time()))
    if base_url is not None:
        checks.append(_engine(base_url))
    return checks


def as_table(checks: list[Check]) -> str:
    """The checks for a person: one line each, and the fix below what needs one."""
    width = max(len(check.name) for check in checks)
    lines: list[str] = []
    for check in checks:
        lines.append(f"{check.status:4}  {check.name:{width}}  {check.found}")
        if check.fix:
            lines.append(f"{'':4}  {'':{width}}  -> {check.fix}")
    failed = sum(check.status == FAIL for check in checks)
    warned = sum(check.status == WARN for check in checks)
    lines.append("")
    lines.append(f"{len(checks)} checks: {failed} failed, {warned} to look at")
    return "\n".join(lines)


def as_json(checks: list[Check]) -> str:
    """The checks for a program."""
    ok = all(check.status != FAIL for check in checks)
    return json.dumps({"ok": ok, "checks": [asdict(check) for check in checks]}, indent=1)


def _python() -> Iterator[Check]:
    version = sys.version_info[:3]
    found = ".".join(map(str, version))
    if version >= _MINIMUM_PYTHON:
        yield Check("python", OK, found)
    else:
        yield Check("python", FAIL, found, "install Python 3.11 or newer")


def _machine() -> Iterator[Check]:
    bits, machine = struct.calcsize("P") * 8, platform.machine()
    found = f"{platform.system()} {machine}, {bits}-bit Python"
    if bits == 64 and machine in ("x86_64", "aarch64", "arm64", "AMD64"):
        yield Check("machine", OK, found)
    else:
        yield Check(
            "machine", FAIL, found, "livekit has no 32-bit build; install a 64-bit system (x86-64 or aarch64)"
        )


def _libc() -> Iterator[Check]:
    if sys.platform != "linux":
        yield Check("glibc", WARN, f"{sys.platform}: not Linux", "Linux is what utdstream is tested on")
        return
    yield _glibc(_libc_name())


def _libc_name() -> str:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):
        return ""


def _glibc(name: str) -> Check:
    match = re.fullmatch(r"glibc (\d+)\.(\d+).*", name)
    if match is None:
        return Check("glibc", FAIL, name or "another C library", "livekit needs glibc; Alpine's musl is none")
    if (int(match[1]), int(match[2])) >= _MINIMUM_GLIBC:
        return Check("glibc", OK, name)
    return Check("glibc", FAIL, name, "livekit needs glibc 2.28 or newer; install a newer system")


def _packages() -> Iterator[Check]:
    for name, wanted in _REQUIRED.items():
        found = _version(name)
        if found is None:
            yield Check(name, FAIL, "not installed", "pip install utdstream")
        elif wanted is not None and found != wanted:
            yield Check(name, FAIL, found, f"pip install {name}=={wanted}: other versions are not tested")
        else:
            yield Check(name, OK, found)
    for name, (extra, use) in _EXTRAS.items():
        found = _version(name)
        if found is None:
            yield Check(name, WARN, "not installed", f"for {use}: pip install 'utdstream[{extra}]'")
        else:
            yield Check(name, OK, found)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _programs() -> Iterator[Check]:
    from utdstream.engine.stack import binaries

    try:
        livekit = binaries.find_livekit_server()
    except binaries.ProgramMissing as error:
        yield Check("livekit-server", WARN, "not found", f"for `utdstream engine up`: {error}")
    else:
        version = binaries.livekit_version(livekit.path)
        found = f"{version or 'does not start'} ({livekit.path}, from {livekit.source})"
        fix = f"version {binaries.LIVEKIT_VERSION} is the tested one; run `make setup`"
        if version is None:
            yield Check("livekit-server", FAIL, found, fix)
        elif version != binaries.LIVEKIT_VERSION:
            yield Check("livekit-server", WARN, found, fix)
        else:
            yield Check("livekit-server", OK, found)
    try:
        broker = binaries.find_mosquitto()
        plugin = binaries.find_dynsec_plugin()
    except binaries.ProgramMissing as error:
        yield Check("mosquitto", WARN, "not found", f"for `utdstream engine up`: {error}")
        return
    version = binaries.mosquitto_version(broker.path)
    found = f"{version or 'does not start'} ({broker.path}, {plugin.path.name})"
    if version is None or int(version.split(".")[0]) < 2:
        yield Check("mosquitto", FAIL, found, "install mosquitto 2.0 or newer")
    else:
        yield Check("mosquitto", OK, found)


def _ports() -> Iterator[Check]:
    from dataclasses import asdict as fields

    from utdstream.engine.stack.ports import is_free
    from utdstream.engine.stack.settings import DEFAULT_PORTS, LOOPBACK, PORT_KINDS

    if not is_free("tcp", LOOPBACK, 0):
        yield Check(
            "ports",
            FAIL,
            f"{LOOPBACK} cannot be bound",
            "bring the loopback interface up (ip link set lo up)",
        )
        return
    taken = [
        f"{port}/{PORT_KINDS[name][1]} ({name})"
        for name, port in fields(DEFAULT_PORTS).items()
        if not is_free(PORT_KINDS[name][1], LOOPBACK, port)
    ]
    if taken:
        yield Check(
            "ports",
            WARN,
            f"in use: {', '.join(taken)}",
            "nothing, if that is your `utdstream engine up`; a first run takes other ports",
        )
    else:
        yield Check("ports", OK, "all default ports are free")


def _clock(now: float) -> Check:
    found = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    if 2025 <= time.gmtime(now).tm_year < 2100:
        return Check("clock", OK, found)
    return Check(
        "clock", FAIL, found, "set the clock (timedatectl set-ntp true): tokens are refused otherwise"
    )


def _engine(base_url: str) -> Check:
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return Check("engine", FAIL, f"{base_url!r} is no address", "write it as http://host:port")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, port, timeout=5.0)
    try:
        connection.request("GET", parts.path.rstrip("/") + "/health")
        answer = connection.getresponse()
        answer.read()
        now, date = time.time(), answer.getheader("Date", "")
    except (OSError, http.client.HTTPException) as error:
        return Check(
            "engine", FAIL, f"{base_url}: {error}", "check address, network and that the engine runs"
        )
    finally:
        connection.close()
    if answer.status != 200:
        return Check(
            "engine", FAIL, f"{base_url}: HTTP {answer.status}", "check that the address is an engine's"
        )
    return _compared(base_url, date, now)


def _compared(base_url: str, date: str, now: float) -> Check:
    try:
        ahead = now - parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError):
        return Check("engine", OK, f"{base_url} answers (its clock is not told)")
    found = f"{base_url} answers; this clock is {abs(ahead):.0f} s {'ahead' if ahead > 0 else 'behind'}"
    if abs(ahead) <= _CLOCK_WARN_S:
        return Check("engine", OK, found)
    status = FAIL if abs(ahead) > _CLOCK_FAIL_S else WARN
    return Check(
        "engine", status, found, "set both clocks (timedatectl set-ntp true): tokens have a time in them"
    )
