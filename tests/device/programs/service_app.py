"""A service with one worker. A line on stdin makes it `hang`, or `ignore` a stop."""

from __future__ import annotations

import sys
import threading

from device import service as services
from device.service import Service


class Worker:
    def __init__(self) -> None:
        self._stop = threading.Event()
        self._service: Service | None = None
        self.alive = True
        self._ignores = False

    def run(self, service: Service) -> int:
        self._service = service
        service.watch("the worker", lambda: self.alive)
        service.ready("working")
        threading.Thread(target=self._read, daemon=True).start()
        while not self._stop.wait(0.05):
            pass
        return 0

    def _read(self) -> None:
        for line in sys.stdin:
            match line.strip():
                case "hang":
                    self.alive = False
                case "ignore":
                    self._ignores = True
                    services.STOP_S = 0.3
            if self._service is not None:
                self._service.status(f"told to {line.strip()}")

    def stop(self) -> None:
        if not self._ignores:
            self._stop.set()

    def press(self) -> None:
        if self._service is not None:
            self._service.status("pressed")


sys.exit(Service().run(Worker()))
