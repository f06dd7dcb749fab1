"""`utdstream engine up`: the stack in the foreground, until a signal.

Owns: the life of one run (lock, start, announcement, signals, stop). Main thread only: it takes
SIGINT, SIGTERM and SIGHUP. Prints nothing: `announce` gets what a person should know.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from utdstream.engine import stack_file
from utdstream.engine.stack import PARTS
from utdstream.engine.supervisor import Supervisor

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Stop(BaseException):
    """A signal came; raised in the main thread wherever it is."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def run(
    *,
    config: Path | None,
    data: Path | None,
    lan: bool,
    announce: Callable[[dict[str, object]], None],
) -> int:
    """Run the stack until SIGINT (130), SIGTERM or SIGHUP (0); the exit status. Blocks until then.

    `announce` is called once, when everything answers. No process and no port is left behind.
    Raises: InvalidConfig, StackError, PortTaken.
    """
    settings, lock = stack_file.load(config=config, data=data, lan=lan)
    before = {number: signal.signal(number, _raise_stop) for number in _SIGNALS}
    if before[signal.SIGHUP] is signal.SIG_IGN:  # started by nohup
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    supervisor = Supervisor(settings)
    try:
        supervisor.start()
        stack_file.remember_ports(supervisor.settings)
        announce(facts(supervisor))
        threading.Event().wait()
    except _Stop as stop:
        return 130 if stop.number == signal.SIGINT else 0
    finally:
        # From here a second signal ends this process at once, and the children with it.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        supervisor.stop()
        os.close(lock)
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def facts(supervisor: Supervisor) -> dict[str, object]:
    """Where everything is, without a key: the file that holds the keys is named instead."""
    settings = supervisor.settings
    return {
        "base_url": settings.base_url,
        "livekit_url": settings.livekit_url,
        "mqtt_host": settings.address,
        "mqtt_port": settings.ports.mqtt,
        "app_id": settings.project.app_id,
        "keys_file": str(settings.folder / stack_file.NAME),
        "logs": str(settings.folder / "logs"),
        "pids": {part: supervisor.pid(part) for part in PARTS},
    }


def _raise_stop(number: int, frame: FrameType | None) -> None:
    # One signal is enough: what follows must not be interrupted by the same again.
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.SIG_DFL)
    raise _Stop(number)
