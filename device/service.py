"""A program under systemd: ready, status in plain words, a watchdog that tells hung from unlucky, signals.

Owns: `Service`, `Heart`; what goes over the wire is `utdstream.service_manager`'s. Threads: `run` belongs to the
main thread; `utd-watchdog` feeds; `utd-stop` stops the app; the rest may be called from any.

1. The watchdog is fed while the program's own threads respond. An outage of network, broker, engine, camera or
   card changes the status and heals: it never restarts the service.
2. SIGTERM and SIGINT stop the app; what does not stop within STOP_S is ended (LiveKit's own panic is a SIGTERM
   too: the unit says `Restart=always`). SIGUSR1 is a press. SIGHUP is left alone: a configuration is read at the
   start, and a closed terminal ends the program.
3. Without `NOTIFY_SOCKET` everything here is silent, so the same program runs in a terminal.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Protocol

from device.memory import ANEW
from utdstream.one_line import one_line
from utdstream.service_manager import ServiceManager

_log = logging.getLogger(__name__)

STOP_S = 6.0
EXIT_STUCK = 70


class App(Protocol):
    """A program that `Service.run` runs."""

    def run(self, service: Service) -> int:
        """Works until `stop`; the exit status, or ANEW."""
        ...

    def stop(self) -> None:
        """Ends `run` soon. Any thread, never blocks, idempotent."""
        ...

    def press(self) -> None:
        """Takes a press of the button (SIGUSR1). Any thread, never blocks."""
        ...


class Heart:
    """The sign of life of one worker thread: idle is alive, busy for too long is not."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._busy_since: float | None = None

    def busy(self) -> None:
        """Notes that a piece of work begins."""
        self._busy_since = time.monotonic()

    def idle(self) -> None:
        """Notes that this piece of work is done."""
        self._busy_since = None

    def alive(self) -> bool:
        """Tells whether the present piece of work is within its time."""
        since = self._busy_since
        return since is None or time.monotonic() - since < self._patience_s


class Service:
    """What a program tells its service manager."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._manager = ServiceManager(environ)
        self._watched: dict[str, Callable[[], bool]] = {}
        self._lock = threading.Lock()
        self._status = ""
        self._ready = False
        self._over = threading.Event()

    @property
    def last_status(self) -> str:
        """What the status is now."""
        return self._status

    def ready(self, status: str) -> None:
        """Says, once, that calls can arrive, or all was done that can be: `systemctl start` returns."""
        if self._ready:
            self.status(status)
            return
        self._ready = True
        self._say(status)
        self._manager.ready(status)

    def status(self, text: str) -> None:
        """Tells the state in plain words; the same words again cost nothing."""
        text = one_line(text)
        if text != self._status:
            self._say(text)
            self._manager.status(text)

    def _say(self, text: str) -> None:
        self._status = one_line(text)
        _log.info("%s", text)

    def watch(self, name: str, alive: Callable[[], bool]) -> None:
        """Feeds the watchdog only while `alive()` says True. It is asked on the feeder's thread, answers at once
        and takes no lock (`Heart.alive`)."""
        with self._lock:
            self._watched[name] = alive

    def run(self, app: App) -> int:
        """Runs an app on the main thread until it ends or is told to; its exit status, or ANEW.

        What starts anew is not stopping for the service manager: it is the same process.
        """
        asked: list[str] = []
        status: int | None = None

        def stop(number: int, _frame: FrameType | None) -> None:
            # On a thread of its own: the one that was interrupted may hold the lock that `app.stop` wants.
            if not asked:
                asked.append(signal.Signals(number).name)
                threading.Thread(
                    target=self._stop, args=(app, asked[0]), name="utd-stop", daemon=True
                ).start()

        before = {
            signal.SIGTERM: signal.signal(signal.SIGTERM, stop),
            signal.SIGINT: signal.signal(signal.SIGINT, stop),
            signal.SIGUSR1: signal.signal(signal.SIGUSR1, lambda _number, _frame: app.press()),
        }
        feeder = threading.Thread(target=self._feed, name="utd-watchdog", daemon=True)
        if self._manager.watchdog_s:
            feeder.start()
        try:
            status = app.run(self)
            return status if not asked else max(status, 0)
        finally:
            if not asked and status != ANEW:  # else it is said already, with its reason
                self._manager.stopping()
            self._over.set()
            for number, handler in before.items():
                signal.signal(number, handler)
            if self._manager.watchdog_s:
                feeder.join(1.0)

    def _stop(self, app: App, why: str) -> None:
        self._manager.stopping(f"stopping ({why})")
        try:
            app.stop()
        except Exception:  # noqa: BLE001 - the outermost frame of this thread; the deadline holds
            _log.exception("the app cannot be told to stop")
        if not self._over.wait(STOP_S):
            _log.critical("not stopped within %g s: the process is ended", STOP_S)
            os._exit(EXIT_STUCK)

    # -- the watchdog

    def _feed(self) -> None:
        hung = ""
        while True:
            now = self._hung()
            if not now:
                self._manager.alive()
            elif now != hung:
                _log.critical("%s does not respond: the watchdog is not fed any more", now)
                self._manager.status(f"{now} does not respond")
            hung = now
            if self._over.wait(self._manager.watchdog_s / 3):
                return

    def _hung(self) -> str:
        """Returns the name of what does not respond; empty when all does."""
        with self._lock:
            watched = dict(self._watched)
        return next((name for name, alive in watched.items() if not alive()), "")
