"""One child of the demo, from the parent's side: its process, its line, its end.

Owns: `DemoProcess`. Threads: the parent's main thread; one daemon thread reads what the child says.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from pathlib import Path

from utdstream.mailbox import Mailbox

Event = dict[str, object]
"""What a child says: `from`, `event`, and what belongs to that event."""


class DemoProcess:
    """One child process and its line."""

    def __init__(self, name: str, arguments: list[str], log: Path, events: Mailbox[Event]) -> None:
        self.name = name
        self._events = events
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"utdstream._command.demo.{name}", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
                start_new_session=True,  # Ctrl-C is the parent's to handle
            )
        self._reader = threading.Thread(target=self._read, name=f"demo-{name}", daemon=True)
        self._reader.start()

    def tell(self, line: str) -> None:
        """Writes one line to the child; a child that is gone is noticed by its reader."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()

    def stop(self) -> None:
        """Hangs up the line: the child ends in good order, or is killed. Idempotent."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    def reap(self, within_s: float) -> None:
        """Waits for a child that was stopped; the last resort is a kill."""
        try:
            self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with contextlib.suppress(ValueError):
                self._events.put({"from": self.name, **json.loads(line)})
        self._events.put({"from": self.name, "event": "gone", "status": self.process.wait()})
