"""How much memory this program holds, and when it starts anew because of it.

Owns: `MemoryWatch`, `start_anew`, the doctor's look at the limit. Standard library and vocabulary only.
Thread: the app's worker; `start_anew` the main one.

What the media core loses for good (a room that the media server ended without a word, or that was left while
others published in it) comes back with a new process alone. So a device at rest above its limit closes everything
and becomes a new one in place: the same process id, the same arguments, with systemd and without.

1. At rest only, seen twice in a row: what a call held a moment ago goes within seconds.
2. Not in the first YOUNG_S: a limit below what the program needs would restart it again and again.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from utdstream.checks import Check, CheckState

_log = logging.getLogger(__name__)

LOOK_S = 30.0
YOUNG_S = 600.0
OF_THE_MACHINE = 0.75
"""A limit above this part of the machine's memory comes too late."""
MIB = 1024 * 1024
ANEW = -1
"""What the run of an app returns in place of an exit status: the program is to start anew."""


def held_mib(process: int | str = "self") -> float:
    """Returns what nobody else could use if this process kept it: its own memory, in RAM and swapped out, in MiB.

    Raises: OSError when there is no such process.
    """
    said = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace")
    return sum(int(kib) for kib in re.findall(r"^(?:RssAnon|VmSwap):\s+(\d+) kB", said, re.MULTILINE)) / 1024


class MemoryWatch:
    """Says when it is time to start anew. `limit_mib` 0: never."""

    def __init__(
        self,
        limit_mib: int,
        *,
        held: Callable[[], float] = held_mib,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit_mib = limit_mib
        self._held = held
        self._clock = clock
        self._old_at = clock() + YOUNG_S
        self._next = 0.0
        self._seen_over = 0
        self._told = False

    def is_time(self, *, at_rest: bool) -> bool:
        """Looks, every LOOK_S at most, and says whether the program is to start anew now. Never raises."""
        now = self._clock()
        if self._limit_mib == 0 or now < self._next:
            return False
        self._next = now + LOOK_S
        try:
            held = self._held()
        except OSError as error:
            _log.debug("the memory in use cannot be read: %s", error)
            return False
        if held <= self._limit_mib:
            self._seen_over = 0
            return False
        if not self._told:
            self._told = True
            _log.warning(
                "%.0f MiB in use, above [device] memory_limit_mib = %d: starting anew when at rest",
                held,
                self._limit_mib,
            )
        self._seen_over = self._seen_over + 1 if at_rest else 0
        return self._seen_over >= 2 and now >= self._old_at


def start_anew() -> None:
    """Becomes a new process in place of this one, which has closed everything. Does not return.

    Under systemd it is the same service, which hears of the new status only. A press by signal meanwhile is lost.
    """
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # stays so until the new program listens for it
    sys.stdout.flush()
    sys.stderr.flush()
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # what native code left open does not go along
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def examine(limit_mib: int) -> Iterator[Check]:
    """Checks that the limit fits the machine."""
    if limit_mib == 0:
        yield Check("memory", CheckState.OK, "no limit: the program never starts anew because of it")
        return
    machine_mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / MIB
    found = f"at rest above {limit_mib} MiB the program starts anew"
    if limit_mib > machine_mib * OF_THE_MACHINE:
        remedy = f"set [device] memory_limit_mib to {int(machine_mib * OF_THE_MACHINE)} or less"
        yield Check("memory", CheckState.WARN, f"{found}, this machine has {machine_mib:.0f}", remedy)
    else:
        yield Check("memory", CheckState.OK, f"{found} (this machine has {machine_mib:.0f})")
