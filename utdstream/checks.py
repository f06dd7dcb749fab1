"""What a doctor says: one finding a line, with its remedy; and the checks that both doctors share.

Owns: `Check`, its table for a person and its JSON for a program; the looks at Python, the machine, its packages
and an engine. Standard library and vocabulary only. `utdstream doctor` and `utd-device doctor` speak in these.

1. A check changes nothing and raises nothing.
2. No finding shows a secret: what stands before the @ of an address is masked.
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
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from importlib import metadata, util
from pathlib import Path
from urllib.parse import urlsplit

from utdstream.errors import InvalidConfig
from utdstream.one_line import one_line
from utdstream.trust import ONLY_TLS, only_tls, tls_context, tls_problem

_MINIMUM_PYTHON = (3, 11)
_MINIMUM_GLIBC = (2, 28)  # what the livekit wheels are built against
_CLOCK_WARN_S, _CLOCK_FAIL_S = 5.0, 60.0  # the Date of an answer is in whole seconds
_ENGINE_TIME = "X-UTD-Time"  # as in `_wire/routes`: `Date` may be a proxy's, or its cache's
_ANSWER_S = 5.0
_MAX_HEALTH = 10_000
_LOGIN = re.compile(r"(?<=://)[^/\s@]*@")


class CheckState(StrEnum):
    """How a thing that was looked at is."""

    OK = "ok"
    WARN = "warn"
    """Works without it, but less well, or not for long."""
    FAIL = "fail"
    """Does not work without it."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; `remedy` is a command or a sentence, empty when all is well."""

    name: str
    state: CheckState
    found: str
    remedy: str = ""


def passed(checks: Sequence[Check]) -> bool:
    """Tells whether nothing failed."""
    return all(check.state is not CheckState.FAIL for check in checks)


def as_table(checks: Sequence[Check]) -> str:
    """Writes for a person: a line each, the remedy below what needs one, the count at the end."""
    width = max((len(check.name) for check in checks), default=0)
    lines: list[str] = []
    for check in checks:
        lines.append(f"{check.state.value:4}  {check.name:{width}}  {one_line(check.found)}")
        if check.remedy:
            lines.append(f"{'':4}  {'':{width}}  -> {one_line(check.remedy)}")
    failed = sum(check.state is CheckState.FAIL for check in checks)
    warned = sum(check.state is CheckState.WARN for check in checks)
    return "\n".join([*lines, "", f"{len(checks)} checks: {failed} failed, {warned} to look at"])


def as_json(checks: Sequence[Check]) -> str:
    """Writes for a program: `{"ok": true, "checks": [{"name", "state", "found", "remedy"}, ...]}`."""
    return json.dumps({"ok": passed(checks), "checks": [asdict(check) for check in checks]}, indent=1)


# -- the machine


def machine_checks() -> list[Check]:
    """Checks Python, the processor and the C library: what every wheel of livekit needs."""
    return [_python(sys.version_info[:3]), _processor(platform.machine()), _libc()]


def _python(version: tuple[int, ...]) -> Check:
    found = ".".join(map(str, version))
    if version >= _MINIMUM_PYTHON:
        return Check("python", CheckState.OK, found)
    return Check("python", CheckState.FAIL, found, "install Python 3.11 or newer")


def _processor(machine: str) -> Check:
    bits = struct.calcsize("P") * 8
    found = f"{platform.system()} {machine}, {bits}-bit Python"
    if bits == 64 and machine in ("x86_64", "aarch64", "arm64", "AMD64"):
        return Check("machine", CheckState.OK, found)
    remedy = "livekit has no 32-bit build; install a 64-bit system (x86-64 or aarch64)"
    return Check("machine", CheckState.FAIL, found, remedy)


def _libc() -> Check:
    if sys.platform != "linux":
        remedy = "utdstream is tested on Linux alone"
        return Check("glibc", CheckState.WARN, f"{sys.platform}: not Linux", remedy)
    try:
        return _glibc(os.confstr("CS_GNU_LIBC_VERSION") or "")
    except (ValueError, OSError):
        return _glibc("")


def _glibc(name: str) -> Check:
    match = re.fullmatch(r"glibc (\d+)\.(\d+).*", name)
    if match is None:
        remedy = "livekit needs glibc; install a system that has it (Alpine's C library is musl)"
        return Check("glibc", CheckState.FAIL, name or "another C library", remedy)
    if (int(match[1]), int(match[2])) >= _MINIMUM_GLIBC:
        return Check("glibc", CheckState.OK, name)
    return Check("glibc", CheckState.FAIL, name, "livekit needs glibc 2.28 or newer; install a newer system")


# -- its packages


def package_check(
    distribution: str,
    *,
    use: str = "",
    remedy: str = "",
    needed: bool = True,
    module: str = "",
    exact: bool = False,
) -> Check:
    """Checks that a Python package is installed.

    `use` says what misses it, `remedy` replaces the pip command that utdstream's own requirement gives. `needed`
    False: its absence is a warning. `module` is how it is imported, for packages whose distribution is not
    recorded (Debian's). `exact`: no other version than the required one was tested.
    """
    name, wanted = f"package {distribution}", requirement(distribution)
    try:
        found = metadata.version(distribution)
    except metadata.PackageNotFoundError:
        if module and util.find_spec(module) is not None:
            return Check(name, CheckState.OK, "installed")
        state = CheckState.FAIL if needed else CheckState.WARN
        remedy = remedy or f"pip install '{wanted}'"
        return Check(name, state, "not installed", f"for {use}: {remedy}" if use else remedy)
    if exact and wanted not in (distribution, f"{distribution}=={found}"):
        return Check(name, CheckState.FAIL, found, f"pip install '{wanted}': other versions are not tested")
    return Check(name, CheckState.OK, found)


def requirement(distribution: str) -> str:
    """Returns what utdstream asks for, as pip takes it (`livekit==1.2.1`); the bare name without a wish."""
    return next((wanted for wanted, _ in _asked() if name_of(wanted) == distribution), distribution)


def requirements(extra: str = "") -> list[str]:
    """Lists what utdstream asks for, as pip takes it: always, or with one of its extras."""
    return [wanted for wanted, asked_with in _asked() if asked_with == extra]


def name_of(wanted: str) -> str:
    """Returns the distribution of a requirement: `livekit` of `livekit==1.2.1`."""
    return re.split(r"[^\w.-]", wanted)[0]


def _asked() -> Iterator[tuple[str, str]]:
    """Yields each requirement and its extra, empty for none; nothing in a tree that was never installed."""
    try:
        asked = metadata.requires("utdstream") or []
    except metadata.PackageNotFoundError:
        return
    for each in asked:
        wanted, _, condition = each.partition(";")
        extra = re.search(r"extra == .([\w-]+)", condition)
        yield wanted.strip(), extra[1] if extra is not None else ""


# -- the clock and an engine


def clock_check(now: float, engine_date: str = "", engine_time: str = "") -> Check:
    """Checks this machine's clock, in seconds since 1970: its year, and the engine's time.

    `engine_time` is the engine's own word (`X-UTD-Time`), `engine_date` the `Date` of its answer.
    """
    remedy = "sudo timedatectl set-ntp true: tokens and certificates have a time in them"
    if not 2025 <= time.gmtime(now).tm_year < 2100:
        found = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
        return Check("clock", CheckState.FAIL, found, remedy)
    engine_s = _engine_time(engine_time, engine_date)
    if engine_s is None:
        return Check("clock", CheckState.OK, time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now)))
    ahead_s = now - engine_s
    if abs(ahead_s) <= _CLOCK_WARN_S:
        return Check("clock", CheckState.OK, "the same as the engine's")
    found = f"{abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} the engine's"
    return Check("clock", CheckState.FAIL if abs(ahead_s) > _CLOCK_FAIL_S else CheckState.WARN, found, remedy)


def _engine_time(told: str, date: str) -> float | None:
    """The engine's own word, else the `Date` of an engine of another maker."""
    if re.fullmatch("[0-9]{13}", told):  # milliseconds since 1970, until the year 2286
        return int(told) / 1000
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError):
        return None


def engine_checks(base_url: str, ca_file: str | Path | None = None) -> list[Check]:
    """Checks that an engine answers, and this machine's clock against the engine's. No key is needed or sent.

    `ca_file`: PEM file that an https engine's certificate is checked against, instead of the system's authorities.
    Blocks: 5 seconds when nothing answers.
    """
    shown = _LOGIN.sub("***@", base_url)
    begun = time.monotonic()
    try:
        status, headers, health = _health(base_url, ca_file)
    except InvalidConfig as error:
        return [
            Check("engine", CheckState.FAIL, f"{shown}: not asked", error.message),
            clock_check(time.time()),
        ]
    except (OSError, http.client.HTTPException) as error:
        refused = ONLY_TLS if only_tls(error, base_url) else tls_problem(error, ca_file)
        if refused:
            found, _, remedy = refused.partition(": ")
            found = f"{shown} was reached, and {found}"
            return [Check("engine", CheckState.FAIL, found, remedy), clock_check(time.time())]
        found = f"{shown} does not answer ({error or type(error).__name__})"
        remedy = "check the address and the network; on the engine's machine: `utdstream engine up --lan`"
        return [Check("engine", CheckState.FAIL, found, remedy), clock_check(time.time())]
    except ValueError:  # last: a refused certificate is one too
        found = f"{shown!r} is no address"
        return [
            Check("engine", CheckState.FAIL, found, how_to_write(shown)),
            clock_check(time.time()),
        ]
    return [
        _answered(shown, status, f"{shown} answers after {(time.monotonic() - begun) * 1000:.0f} ms"),
        *_key_checks(urlsplit(base_url).hostname or "", health),
        clock_check(time.time(), headers.get("Date", ""), headers.get(_ENGINE_TIME, "")),
    ]


def how_to_write(address: str) -> str:
    """Says how to write an engine's address that is none; one without its scheme is given both."""
    if re.fullmatch(r"[\w.-]+(:\d+)?(/\S*)?|\[[0-9A-Fa-f:]+\](:\d+)?(/\S*)?", address):
        return f"write https://{address}, or http://{address} where the engine has no TLS"
    return "write it as https://host:port, or http://host:port where the engine has no TLS"


def _key_checks(host: str, health: bytes) -> Iterator[Check]:
    """Yields a finding where the engine's one app key, which every device holds, is good for any identity."""
    try:
        is_open = json.loads(health).get("open_key") is True
    except (ValueError, RecursionError, AttributeError):
        return  # an engine of another maker
    if is_open and not (host == "localhost" or host.startswith("127.") or host == "::1"):
        found = (
            "open_key is on: whoever has the app key, from one device or off this network, is any identity"
        )
        remedy = "on the engine's machine: `utdstream engine key add` for each device, then open_key = false"
        yield Check("app keys", CheckState.WARN, found, remedy)


def _answered(shown: str, status: int, found: str) -> Check:
    if status == 200:
        return Check("engine", CheckState.OK, found)
    if status >= 500:
        found = f"{shown} answers HTTP {status}"
        return Check("engine", CheckState.FAIL, found, "look at the engine's own log")
    # An engine of another maker may have no /health.
    found = f"{shown} answers HTTP {status} to GET /health"
    return Check("engine", CheckState.WARN, found, "check that the address is an engine's")


def _health(base_url: str, ca_file: str | Path | None) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Returns status, headers and body of `GET /health`.

    Raises: InvalidConfig (the CA file), ValueError (no address), OSError, HTTPException.
    """
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(base_url)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(
            parts.hostname, parts.port, timeout=_ANSWER_S, context=tls_context(ca_file)
        )
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=_ANSWER_S)
    try:
        connection.request("GET", parts.path.rstrip("/") + "/health")
        answer = connection.getresponse()
        body = answer.read(_MAX_HEALTH)
        return answer.status, answer.headers, body
    finally:
        connection.close()
