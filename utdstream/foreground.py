"""A command's work on a thread of its own, while the main thread waits for the signal that ends it.

Owns: the signals of a command in the foreground. Main thread only. Imports the standard library alone.

Nothing is raised by a handler: its exception would come between any two instructions of the main thread, also
inside a lock of the standard library (an interrupted `threading.Condition.wait` ends in "release unlocked lock"),
inside a destructor, where it is lost, or between the birth of a process and the line that writes it down.
"""

from __future__ import annotations

import select
import signal
import socket
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future
from types import FrameType

_DONE = 0
"""What stands for the end of the work where the numbers of signals stand."""


def run(
    work: Callable[[], object],
    *,
    stop: Callable[[], None],
    signals: Collection[signal.Signals] = (signal.SIGINT, signal.SIGTERM),
    again: signal.Handlers = signal.SIG_DFL,
) -> signal.Signals | None:
    """Runs `work` on a thread until it returns or a signal comes; then `stop`, which makes `work` return soon.

    Returns the signal, or None when `work` ended by itself. A second signal finds `again`, from the first on and
    after this returns: the default ends the process at once. A second SIGHUP is ignored: a terminal that closes
    sends two. Blocks: as long as `work` does.
    Raises: what `work` raised before a signal came; what it raises on being stopped belongs to the stop.
    """
    reader, writer = socket.socketpair()
    with reader, writer:
        for end in (reader, writer):
            end.setblocking(False)

        def give_way(number: int, frame: FrameType | None) -> None:
            for one in signals:
                signal.signal(one, signal.SIG_IGN if one == signal.SIGHUP else again)

        before = {one: signal.getsignal(one) for one in signals}
        wakeup_before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        came: signal.Signals | None = None
        try:
            for one in signals:
                signal.signal(one, give_way)
            done = _started(work, lambda: writer.send(bytes([_DONE])))
            number = _first_byte(reader, among=(_DONE, *signals))
            if number != _DONE:
                came = signal.Signals(number)
                stop()
            error = done.exception()  # waits
        finally:
            signal.set_wakeup_fd(wakeup_before)
            if came is None:
                for one, handler in before.items():
                    signal.signal(one, handler)
    if error is not None and came is None:
        raise error
    return came


def _started(work: Callable[[], object], wake: Callable[[], object]) -> Future[None]:
    done: Future[None] = Future()

    def run_it() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - the outermost frame; it is raised in the main thread
            wake()
            done.set_exception(error)
        else:
            wake()
            done.set_result(None)

    threading.Thread(target=run_it, name="utdstream-foreground", daemon=True).start()
    return done


def _first_byte(reader: socket.socket, *, among: Collection[int]) -> int:
    """Waits for the number of a signal, which the interpreter writes, or for the work's end."""
    while True:
        select.select([reader], [], [])
        number = reader.recv(1)[0]
        if number in among:
            return number
