"""Processes that run cells side by side, each on a stack of its own: a fault of one is not felt by the others.

Owns: `Worker`, the process as the run sees it, and `serve`, what it does: names of cells come in as lines,
outcomes go out as JSON lines. A cell whose process ends, or that is not over in time, has failed: the next gets a
new process.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from cells import FAIL, Cell, Outcome, cells, run, unrun
from ground import ground

MATRIX = Path(__file__).with_name("matrix.py")
CELL_S = 240.0
"""Longer than the slowest cell, and than all starts of a stack that fail within one."""
END_S = 20.0


class Worker:
    """One process, begun with its first cell. One thread at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def run(self, cell: Cell) -> Outcome:
        """Returns what came of the cell. Blocks: to `CELL_S`."""
        process = self._process or self._begin()
        assert process.stdin is not None
        with suppress(OSError):
            process.stdin.write(cell.name + "\n")
            process.stdin.flush()
        try:
            line = self._lines.get(timeout=CELL_S)
        except queue.Empty:
            process.send_signal(signal.SIGABRT)  # its stacks are on standard error
            self.close()
            return self._failed(cell, f"its process hangs: the cell is not over after {CELL_S:g} s")
        if not line:
            self.close()
            return self._failed(cell, f"its process has ended by itself, with {process.returncode}")
        return Outcome(**json.loads(line))

    def close(self) -> None:
        """Ends the process; the next cell gets another."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        with suppress(OSError):
            process.stdin.close()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _begin(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(MATRIX), "--worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._process, self._lines = process, queue.SimpleQueue()
        threading.Thread(target=_read, args=(process, self._lines), daemon=True).start()
        return process

    @staticmethod
    def _failed(cell: Cell, why: str) -> Outcome:
        outcome = unrun(cell, why)
        outcome.result = FAIL
        return outcome


def _read(process: subprocess.Popen[str], lines: queue.SimpleQueue[str]) -> None:
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            lines.put(line)
    lines.put("")


def run_all(
    chosen: list[Cell], count: int, may_begin: Callable[[], bool], took: Callable[[Cell, Outcome], None]
) -> None:
    """Runs the cells in `count` processes; each is begun if it `may_begin`, which may block. Blocks."""
    left, lock = deque(chosen), threading.Lock()

    def work() -> None:
        worker = Worker()
        try:
            while left and may_begin():
                try:
                    cell = left.popleft()
                except IndexError:
                    return
                outcome = worker.run(cell)
                with lock:
                    took(cell, outcome)
        finally:
            worker.close()

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def serve() -> None:
    """Runs each cell that is named, until the input ends."""
    faulthandler.enable()
    for chatty in ("utdstream", "livekit"):
        logging.getLogger(chatty).setLevel(logging.CRITICAL)
    said, sys.stdout = os.fdopen(os.dup(1), "w"), sys.stderr  # nothing else gets between the outcomes
    by_name = {cell.name: cell for cell in cells()}
    with ground() as shared:
        for line in sys.stdin:
            print(json.dumps(asdict(run(by_name[line.rstrip("\n")], shared))), file=said, flush=True)
