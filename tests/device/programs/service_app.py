"""A service with one worker; the line `hang` on stdin makes it hang."""

from __future__ import annotations

import sys
import threading

from device.service import Service


class Worker:
    def __init__(self) -> None:
        self._stop = threading.Event()
        self._service: Service | None = None
        self.alive = True

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
            if line.strip() == "hang":
                self.alive = False

    def stop(self) -> None:
        self._stop.set()

    def press(self) -> None:
        if self._service is not None:
            self._service.status("pressed")


sys.exit(Service().run(Worker()))
