"""The Enter key as a button, for a program started in a terminal.

Owns: `KeyboardButton`; its thread `utd-keyboard` reads standard input.
"""

from __future__ import annotations

import os
import select
import sys
import threading
from collections.abc import Callable

from device.config import MachineConfig


class KeyboardButton:
    """Each line on standard input is a press and its release."""

    def __init__(self, config: MachineConfig, descriptor: int | None = None) -> None:
        self._given = descriptor
        self._thread: threading.Thread | None = None
        self._wake: tuple[int, int] | None = None
        self.problem: str | None = None

    def start(self, pressed: Callable[[], None], released: Callable[[], None] | None = None) -> None:
        try:
            descriptor = sys.stdin.fileno() if self._given is None else self._given
        except (AttributeError, OSError, ValueError):
            self.problem = "there is no keyboard: standard input is closed"
            return
        wake = os.pipe()
        self._wake = wake

        def read() -> None:
            while (
                self._wake is wake
            ):  # not any more, when a press has stopped this button: the pipe is closed
                ready, _, _ = select.select([descriptor, wake[0]], [], [])
                if wake[0] in ready:
                    return
                try:
                    typed = os.read(descriptor, 1024)
                except OSError:  # EIO: the terminal was closed
                    typed = b""
                if not typed:
                    self.problem = "there is no keyboard: standard input has ended"
                    return
                for _ in range(typed.count(b"\n")):
                    pressed()
                    if released is not None:
                        released()

        self._thread = threading.Thread(target=read, name="utd-keyboard", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        thread, self._thread = self._thread, None
        wake, self._wake = self._wake, None
        if wake is None or thread is None:
            return
        os.write(wake[1], b"x")
        if thread is not threading.current_thread():
            thread.join(2.0)
        os.close(wake[0])
        os.close(wake[1])
