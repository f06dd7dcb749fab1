"""The media core, loaded before it is needed: else the first room of a process waits 0.3 to 0.6 s for it.

Owns: `warm_up`. Threads: any may call; the work is on `utdstream-warm-up`. Imports nothing of the core until then.

1. Only the imports give way to the rest of the machine, on a thread of their own: what a thread starts has its
   priority, and the core's own threads and the loop's would give way for ever; so would numpy's, which the
   program may compute with, so that numpy is imported before.
2. What fails is left to whoever needs the core: it fails there again, and properly.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading

from utdstream._threads.errands import start_thread

_log = logging.getLogger(__name__)

NICE = 10
_gently = threading.Lock()
"""Held for ever by the first that loads it gently: once a process is enough."""


def warm_up(*, gently: bool = False) -> None:
    """Loads and starts the media core in the background. Any thread, does not block.

    `gently`: nobody waits for it yet; the imports leave the processor to others (Linux), once a process.
    """
    if not gently or _gently.acquire(blocking=False):
        start_thread(lambda: _warm_up(gently=gently), "utdstream-warm-up")


def _warm_up(*, gently: bool) -> None:
    try:
        if gently:
            import numpy  # noqa: F401 - rule 1

            importing = threading.Thread(target=_import_gently, name="utdstream-warm-up-imports", daemon=True)
            importing.start()
            importing.join()
        from utdstream._livekit.loop import loop_thread

        loop_thread()
        import utdstream._livekit.connection  # noqa: F401 - loads the rest
    except Exception as error:  # noqa: BLE001 - a thread's outermost frame (rule 2)
        _log.debug("the media core could not be loaded in advance: %s", error)


def _import_gently() -> None:
    with contextlib.suppress(Exception):  # rule 2
        if sys.platform == "linux":  # of this thread alone; elsewhere it would be the whole process
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        import utdstream._livekit.connection  # noqa: F401 - and all that it needs, livekit first
