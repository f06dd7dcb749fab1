"""A doorbell process whose button is a line on stdin; says when it was pressed. `bell_process.py <config>`."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

from device import config
from device.doorbell.app import Doorbell
from device.service import Service
from utdstream import Devices


def say(*words: object) -> None:
    """A line as one piece: two threads must not write into each other's."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


class Lines:
    """Each line is a press; the moment goes to stdout."""

    problem: str | None = None

    def start(self, pressed: Callable[[], None], released: Callable[[], None] | None = None) -> None:
        def read() -> None:
            for _ in sys.stdin:
                at = time.monotonic()
                pressed()
                say("pressed", at)
            bell.stop()

        threading.Thread(target=read, daemon=True).start()

    def stop(self) -> None:
        pass


class Telling(Service):
    """A service that says its status on stdout."""

    def ready(self, status: str) -> None:
        self._tell(status)
        super().ready(status)

    def status(self, text: str) -> None:
        self._tell(text)
        super().status(text)

    def _tell(self, text: str) -> None:
        if text != self.last_status:
            say("status", text)


bell = Doorbell(config.load(sys.argv[1]), devices=Devices(), button=Lines())
sys.exit(Telling().run(bell))
