"""`utdstream engine up`: the stack in the foreground, until a signal.

Owns: the life of one run (lock, start, announcement, stop). Main thread only: `foreground` takes
SIGINT, SIGTERM and SIGHUP there. Prints nothing: `announce` gets what a person should know, and the service
manager, where there is one, what it should: a part that died changes the status and is started again; only a
supervisor that does not respond any more is worth a restart of everything (the watchdog).
"""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from utdstream import foreground
from utdstream.engine.stack import data_folder, users
from utdstream.engine.stack.ports import Part
from utdstream.engine.stack.settings import TlsSection
from utdstream.engine.stack.supervisor import PartEvent, StackError, Supervisor
from utdstream.errors import InvalidConfig
from utdstream.service_manager import ServiceManager

_log = logging.getLogger(__name__)

_LOOK_S = 0.5
"""New secrets are looked for as often as this."""
_LOOK_AT_CERTIFICATE_S = 60.0


def run(
    *,
    config: Path | None,
    data: Path | None,
    lan: bool,
    address: str | None = None,
    tls: TlsSection | None = None,
    announce: Callable[[dict[str, object]], None],
) -> int:
    """Runs the stack until SIGINT (130), SIGTERM or SIGHUP (0); the exit status. Blocks until then.

    `announce` is called once, when everything answers. No process and no port is left behind.
    Raises: InvalidConfig, StackError, PortTaken.
    """
    settings, lock = data_folder.load(config=config, data=data, lan=lan, address=address, tls=tls)
    settings = dataclasses.replace(settings, users=users.find(settings.parts))
    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # it is, under nohup
        signals.append(signal.SIGHUP)
    manager = ServiceManager()
    report = _Report(manager)
    supervisor = Supervisor(settings, on_event=report.hear)
    stopping = threading.Event()

    def work() -> None:
        supervisor.start()
        data_folder.remember_ports(supervisor.settings)
        announce(facts(supervisor))
        aside = ", ".join(path.name for path in supervisor.settings.put_aside())
        report.ready(
            f"ready at {supervisor.settings.base_url}"
            + (f"; damaged and put aside: {aside}" if aside else "")
        )
        _hold(supervisor, manager, config, stopping)

    def stop() -> None:
        stopping.set()
        manager.stopping()
        supervisor.stop()

    try:
        manager.status("starting")
        came = foreground.run(work, stop=stop, signals=signals)
    finally:
        if not stopping.is_set():
            stop()
        os.close(lock)
    return 130 if came == signal.SIGINT else 0


def facts(supervisor: Supervisor) -> dict[str, object]:
    """Where everything is, without a key: the file that holds the keys is named instead."""
    settings, certificate = supervisor.settings, supervisor.certificate
    return {
        "base_url": settings.base_url,
        "livekit_url": settings.livekit_url,
        "mqtt_host": settings.mqtt_host,
        "mqtt_port": settings.mqtt_port,
        "mqtt_tls": settings.mqtt_tls,
        "app_id": settings.project.app_id,
        "keys_file": str(settings.folder / data_folder.NAME),
        "logs": str(settings.folder / "logs"),
        "put_aside": [str(path) for path in settings.put_aside()],
        "pids": {part: supervisor.pid(part) for part in settings.parts},
        "ca_file": None if settings.ca_file is None else str(settings.ca_file),
        "tls_fingerprint": None if certificate is None else certificate.fingerprint,
    }


class _Report:
    """The stack's state as the service manager's status. `hear`: the supervisor's thread."""

    def __init__(self, manager: ServiceManager) -> None:
        self._manager = manager
        self._well = "starting"
        self._down: set[Part] = set()

    def ready(self, well: str) -> None:
        self._well = well
        self._manager.ready(self._text())

    def hear(self, event: PartEvent) -> None:
        if event.kind == "back":
            self._down.discard(event.part)
        else:
            self._down.add(event.part)
        self._manager.status(self._text())

    def _text(self) -> str:
        down = sorted(self._down)
        return f"{' and '.join(down)} died and is started again" if down else self._well


def _hold(
    supervisor: Supervisor, manager: ServiceManager, config: Path | None, stopping: threading.Event
) -> None:
    """Until `stopping`: says that the supervisor is alive as often as the service manager wants it, takes what
    `utdstream engine rotate` wrote, and looks after the certificate.
    """
    folder = supervisor.settings.folder
    seen = data_folder.stamp(folder)
    pause_s = min(manager.watchdog_s / 3 or _LOOK_S, _LOOK_S)
    keeper = _Keeper(supervisor)
    while not stopping.wait(pause_s):
        if manager.watchdog_s and supervisor.responds(timeout=pause_s):
            manager.alive()
        now = data_folder.stamp(folder)
        if now != seen and now != (0, 0):
            seen = now
            _take_secrets(supervisor, config)
        keeper.look()


class _Keeper:
    """Has the certificate renewed: one that ends soon, whose files were replaced, or after the clock was set."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._looked_at = time.monotonic()
        self._said = ""

    def look(self) -> None:
        if (
            self._supervisor.certificate is None
            or time.monotonic() - self._looked_at < _LOOK_AT_CERTIFICATE_S
        ):
            return
        self._looked_at = time.monotonic()
        try:
            if self._supervisor.renew_certificate():
                _log.info("devices are shown a new certificate from now on")
            self._said = ""
        except (InvalidConfig, StackError) as error:
            if error.message != self._said:
                _log.warning("the certificate is not renewed: %s", error)
            self._said = error.message


def _take_secrets(supervisor: Supervisor, config: Path | None) -> None:
    try:
        settings = data_folder.reread(supervisor.settings, config)
    except InvalidConfig as error:
        _log.warning("the settings changed and are not in order, the old ones stay in force: %s", error)
        return
    try:
        parts = supervisor.renew(settings)
    except StackError as error:
        _log.warning("secrets were rotated: %s", error)
        return
    if parts:
        _log.info("secrets were rotated: %s started again with the new ones", " and ".join(parts))
