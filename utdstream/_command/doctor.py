"""`utdstream doctor`: is everything on this machine that calls need, and if not, what provides it?

Owns: which packages, programs and ports are looked at; the shape and the checks that both doctors share
are in `utdstream.checks`. The finding of programs is the engine's (`engine.stack.binaries`), reached late.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from utdstream._command.options import CA_FILE
from utdstream.checks import (
    Check,
    CheckState,
    clock_check,
    engine_checks,
    machine_checks,
    name_of,
    package_check,
    requirements,
)
from utdstream.trust import worded_for

_SERVICE_FOLDER = Path("/var/lib/utd-engine")
_LEAST_FREE_MB = 50
OK, WARN, FAIL = CheckState.OK, CheckState.WARN, CheckState.FAIL

_EXTRAS = {
    "mqtt": "incoming calls over MQTT",
    "video": "USB, RTSP and file cameras",
    "device": "doorbells and kiosks",
    "engine": "the self-hosted engine",
}


def examine(*, base_url: str | None = None, ca_file: Path | None = None) -> list[Check]:
    """Returns all checks, in order; `base_url` adds those of an engine. Blocks: some seconds at most."""
    checks = [*machine_checks(), *_packages(), *_programs(), *_ports(), *_data_folder()]
    if base_url is None:
        return [*checks, clock_check(time.time())]
    asked = engine_checks(base_url, ca_file)
    return checks + [replace(check, remedy=worded_for(check.remedy, CA_FILE)) for check in asked]


def _packages() -> Iterator[Check]:
    """Checks what the package itself says that it needs: always, or for one of its extras."""
    yield package_check("utdstream", remedy="pip install -e . in its checkout, or install its wheel")
    uses = {name_of(wanted): "" for wanted in requirements()}
    exact = {name_of(wanted) for wanted in requirements() if "==" in wanted}
    for extra, use in _EXTRAS.items():
        for wanted in requirements(extra):
            uses.setdefault(name_of(wanted), use)
    for name, use in uses.items():
        yield package_check(name, use=use, needed=not use, exact=name in exact)


def _programs() -> Iterator[Check]:
    from utdstream.engine.stack import binaries

    try:
        livekit = binaries.find_livekit_server()
    except binaries.ProgramMissing as error:
        yield Check("livekit-server", WARN, "not found", f"for `utdstream engine up`: {error}")
    else:
        version = binaries.livekit_version(livekit.path)
        found = f"{version or 'does not start'} ({livekit.path}, from {livekit.source})"
        tested = f"{binaries.LIVEKIT_VERSION} is the tested one"
        remedy = f"{tested}; take this away, then run `{binaries.provided_by()}`"
        if version is None:
            yield Check("livekit-server", FAIL, found, remedy)
        elif version != binaries.LIVEKIT_VERSION:
            yield Check("livekit-server", WARN, found, remedy)
        else:
            yield Check("livekit-server", OK, found)
    try:
        broker = binaries.find_mosquitto()
        plugin = binaries.find_dynsec_plugin()
    except binaries.ProgramMissing as error:
        yield Check("mosquitto", WARN, "not found", f"for `utdstream engine up`: {error}")
    else:
        version = binaries.mosquitto_version(broker.path)
        yield _at_least("mosquitto", (2, 0), version, f"{broker.path}, {plugin.path.name}")
    try:
        proxy = binaries.find_haproxy()
    except binaries.ProgramMissing as error:
        yield Check("haproxy", WARN, "not found", f"for `utdstream engine up --tls` alone: {error}")
    else:
        yield _at_least("haproxy", (2, 6), binaries.haproxy_version(proxy.path), str(proxy.path))


def _at_least(name: str, wanted: tuple[int, int], version: str | None, where: str) -> Check:
    found = f"{version or 'does not start'} ({where})"
    if version is None or tuple(map(int, version.split(".")[:2])) < wanted:
        return Check(name, FAIL, found, f"install {name} {wanted[0]}.{wanted[1]} or newer")
    return Check(name, OK, found)


def _ports() -> Iterator[Check]:
    from utdstream.engine.stack.ports import DEFAULT_PORTS, LOOPBACK, PORT_KINDS, is_free

    if not is_free("tcp", LOOPBACK, 0):
        remedy = "bring the loopback interface up: sudo ip link set lo up"
        yield Check("ports", FAIL, f"{LOOPBACK} cannot be bound", remedy)
        return
    taken = [
        f"{port}/{PORT_KINDS[name][1]} ({name})"
        for name, port in DEFAULT_PORTS.items()
        if not is_free(PORT_KINDS[name][1], LOOPBACK, port)
    ]
    if taken:
        remedy = "nothing, if that is your `utdstream engine up`; a first run takes other ports"
        yield Check("ports", WARN, f"in use: {', '.join(taken)}", remedy)
    else:
        yield Check("ports", OK, "all default ports are free")


def _data_folder() -> Iterator[Check]:
    """Looks at the folders of `utdstream engine up`, as far as there are some: this user's, the service's. Without
    the extra `engine` none runs here.
    """
    if importlib.util.find_spec("msgspec") is None:
        return
    from utdstream.engine.stack import data_folder
    from utdstream.engine.stack.settings import put_aside_in

    for folder in (data_folder.default_data_folder(), _SERVICE_FOLDER):
        if not os.access(folder, os.R_OK | os.X_OK):
            continue
        free_mb = shutil.disk_usage(folder).free // 1_000_000
        aside = [path.name for path in put_aside_in(folder)]
        if free_mb < _LEAST_FREE_MB:
            remedy = "make room there: calls and keys are refused while nothing can be written"
            yield Check("data folder", WARN, f"{folder}: {free_mb} MB are free", remedy)
        elif aside:
            remedy = "a good copy is in their place; look at them, then delete them. Is the card still sound?"
            yield Check("data folder", WARN, f"{folder}: damaged and put aside: {', '.join(aside)}", remedy)
        else:
            yield Check("data folder", OK, f"{folder}: nothing is damaged, {free_mb} MB are free")
