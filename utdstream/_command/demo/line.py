"""The line between the parent and one child: JSON lines on the child's stdin and stdout.

Owns: how a child gets its credentials (never on a command line, where all users could read them), takes
orders, tells what happens, and ends when its parent is gone. Threads: `say` from any; one daemon thread
reads the orders.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from utdstream import DeadlineExceeded, UTDStreamException

ORDERS = "demo-orders"
STOPS_WITHIN_S = 3.0
EXIT_FAILED = 1
EXIT_STOPPED = 130


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a device needs to sign in."""

    base_url: str
    app_id: str
    app_key: str = field(repr=False)


class CallFailed(Exception):
    """The call did not go as it should; the message is a sentence for a person."""


class Line:
    """A child's end of the line."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # held for one written line
        self._pressed = threading.Event()
        self._finished = False
        first = sys.stdin.readline()
        if not first:  # the parent was stopped before it had anything to say
            sys.exit(EXIT_STOPPED)
        given = json.loads(first)
        self.credentials = Credentials(given["base_url"], given["app_id"], given["app_key"])
        threading.Thread(target=self._listen, name=ORDERS, daemon=True).start()

    def say(self, event: str, **fields: object) -> None:
        """Tells the parent; `at` is this moment unless it is given. Any thread."""
        line = json.dumps({"event": event, "at": time.monotonic(), **fields})
        # The parent may be gone: then `_listen` ends this process in good order.
        with self._lock, contextlib.suppress(BrokenPipeError):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    def wait_for_press(self, timeout: float) -> None:
        """Waits until the parent tells of a press. Blocks: to `timeout`. Raises: DeadlineExceeded."""
        if not self._pressed.wait(timeout):
            raise DeadlineExceeded(f"the button was not pressed within {timeout:g} s")

    def finish(self) -> None:
        """Lets the end of the line end nothing from now on."""
        self._finished = True

    def _listen(self) -> None:
        for order in sys.stdin:
            if order.strip() == "press":
                self._pressed.set()
        if not self._finished:  # the parent stopped this child, or died
            os.kill(os.getpid(), signal.SIGINT)
            # When it died the servers died too, and a good end may wait for them longer than is good.
            time.sleep(STOPS_WITHIN_S)
            os._exit(EXIT_STOPPED)


def threads_left() -> list[str]:
    """Lists the threads of this process after everything was disposed, without the demo's own.

    Blocks: a moment, for REST threads to notice that their client is gone.
    """
    for thread in threading.enumerate():
        if thread.name.startswith("utdstream-rest"):
            thread.join(1.0)
    return [thread.name for thread in threading.enumerate() if thread.name != ORDERS]


def run(child: Callable[[Line], None]) -> int:
    """Runs a child's program; its exit status. What went wrong is told to the parent in one sentence."""
    line = Line()
    try:
        child(line)
    except KeyboardInterrupt:
        return EXIT_STOPPED
    except (UTDStreamException, CallFailed, OSError) as error:
        line.say("failed", sentence=str(error))
        return EXIT_FAILED
    finally:
        line.finish()
    return 0
