"""One child process of the supervisor: how it is started, stopped and described.

Owns: the `Popen` of one part and its environment. Its log is in `child_log`. Knows no other part and no policy:
whether a death is undone is the supervisor's decision. Imports the standard library and `stack`.
Thread: the supervisor's alone, but for the read-only facts.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from utdstream.engine.stack.child_log import BoundedLog, PlainLog
from utdstream.engine.stack.ports import Part, Reservation
from utdstream.engine.stack.users import User

_GRACE_S = 3.0
_FORCE_AFTER_S = 0.3


@dataclass(slots=True)
class Child:
    """One part of the stack, with the process it has now, if any."""

    part: Part
    command: list[str]
    log: BoundedLog | PlainLog
    reservations: list[Reservation] = field(default_factory=list)
    """Its ports, held until the first process binds them."""
    user: User | None = None
    """The user that it runs as; None: this process's."""
    prepare: Callable[[str], object] | None = None
    """Done before each start, with the end of what the process before it wrote. Raises: InvalidConfig."""
    process: subprocess.Popen[bytes] | None = None
    ended: int | None = None
    """Exit status of the last process, negative for a signal; None while it runs."""
    watched: bool = False
    """Whether a death is to be undone: from the first answer until it is stopped or killed on purpose."""
    started_at: float = 0.0
    deaths: int = 0
    restart_at: float | None = None
    unanswered: bool = False
    """It was started again and has not answered yet."""

    @property
    def running(self) -> bool:
        return self.process is not None

    @property
    def pid(self) -> int | None:
        process = self.process
        return process.pid if process is not None else None

    def spawn(self) -> None:
        """Starts the process, unless it runs. It dies with the thread that calls this (see `leash`).

        Raises: OSError, InvalidConfig.
        """
        if self.process is not None:
            return
        if self.prepare is not None:
            self.prepare("" if self.ended is None else self.log.tail())
        for reservation in self.reservations:
            reservation.release()
        leash = Path(__file__).with_name("leash.py")
        user = "-" if self.user is None else f"{self.user.uid}:{self.user.gid}"
        log = self.log.open()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(leash), str(os.getpid()), user, *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in a terminal is the parent's
                env=_environment(self.part),
            )
        finally:
            os.close(log)
            if self.process is None:
                self.log.end()
        self.ended, self.restart_at, self.started_at = None, None, time.monotonic()

    def spawn_watched(self) -> None:
        """As `spawn`; its death is undone from now on, and its first answer is told."""
        self.spawn()
        self.watched = self.unanswered = True

    def reap(self) -> int | None:
        """The process id, when the process has ended since the last look; else None."""
        process = self.process
        if process is None or process.poll() is None:
            return None
        self.log.end()
        self.process, self.ended = None, process.returncode
        return process.pid

    def forget(self) -> None:
        """Neither reports nor undoes its death from now on."""
        self.watched, self.restart_at, self.unanswered = False, None, False

    def terminate(self) -> None:
        """Asks it to stop (SIGTERM)."""
        if self.process is not None:
            self.process.terminate()

    def kill(self) -> None:
        """Ends it now (SIGKILL), for good."""
        self.forget()
        process = self.process
        if process is not None:
            process.kill()
            process.wait()
            self.log.end()
            self.process, self.ended = None, process.returncode

    def wait_or_kill(self) -> None:
        """Waits, after `terminate`, until it has ended; past its grace it is killed."""
        process = self.process
        if process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_FORCE_AFTER_S if self.part == "livekit" else _GRACE_S)
        if self.part == "livekit" and process.poll() is None:
            # The first SIGTERM waits, for ever, until every participant has left; the second does not.
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_S)
        self.kill()

    def ending(self) -> str:
        """How its last process ended, as the end of a sentence."""
        status = self.ended
        if status is None:
            return "runs"
        if status >= 0:
            return f"ended with exit status {status}"
        try:
            return f"was ended by {signal.Signals(-status).name}"
        except ValueError:
            return f"was ended by signal {-status}"

    def log_tail(self) -> str:
        """The end of its log, as the end of a sentence."""
        text, path = self.log.tail(), self.log.path
        return f"its log {path} ends with:\n{text}" if text else f"its log {path} is empty"


def stop_in_order(children: Iterable[Child]) -> None:
    """Stops all of them: each is asked first, then waited for. Blocks: 4 s at most for each."""
    asked = list(children)
    for child in asked:
        child.forget()
        child.terminate()
    for child in asked:
        child.wait_or_kill()


def _environment(part: Part) -> dict[str, str]:
    if part != "engine":
        # LIVEKIT_KEYS, LIVEKIT_CONFIG and others would go before the configuration file.
        return {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ") if name in os.environ}
    package = str(Path(__file__).parents[2])  # the same code as the parent's, installed or not
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([package, path] if path else [package])}
