"""The bridge: one asyncio loop on one background daemon thread, and how other threads call into it.

Owns: the loop thread, its start, its end at interpreter exit. Thread: `utdstream-loop`, one a process.
Must not import sessions or REST. Rules, each with a test:

1. Blocking on the loop thread is refused (WrongThread), it would wait for itself.
2. `call` runs a plain function, `run` a coroutine that is cancelled at its deadline, `finish` a
   coroutine that must never be cancelled (connect, publish, unpublish, disconnect: a cancelled connect
   that succeeds natively kills the process 15 s later, python-sdks #784): the caller gets its error at
   once, the task goes on and `undo` is called with it when it is done.
3. KeyboardInterrupt in the waiting thread follows the same rule as a passed deadline.
4. Devices open and close on short daemon threads (`in_thread`): the loop never blocks.

`call_soon_threadsafe` with a reply queue costs about half of `run_coroutine_threadsafe(...).result()`;
see benchmarks/bridge.py.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Coroutine
from queue import Empty
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from utdstream._livekit.core_log import CoreLogFilter
from utdstream._threads.deadline import Deadline, mark_loop_thread
from utdstream._threads.switch_interval import SwitchInterval
from utdstream.errors import InvalidConfig, SessionClosed
from utdstream.mailbox import Mailbox

if TYPE_CHECKING:
    from utdstream._livekit.ffi import DirectCore

T = TypeVar("T")

_log = logging.getLogger(__name__)

EXIT_TIMEOUT_S = 8.0
EXIT_JOIN_S = 2.0
EXIT_CANCEL_S = 1.0
KILL_AFTER_S = 12.0
LAST_CALLBACKS_S = 0.05
YIELDS = 5
"""How often a caller hands its core to the loop before it sleeps: the answer of a plain function is mostly
there by then, and the wake-up of a sleeping thread is saved (10 against 16 us, and less CPU)."""


class Closing(Protocol):
    """Something that must be shut in order before the process may end."""

    async def leave(self) -> None: ...


class LoopThread:
    """The background loop. Made once a process by `loop_thread()`."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[Any]] = set()
        self.live: set[Closing] = set()
        """Connections to close at interpreter exit; loop thread only."""
        self.joining: set[asyncio.Task[None]] = set()
        """Joins under way, also those nobody waits for any more; loop thread only."""
        self.switch_interval = SwitchInterval()
        """The interpreter's, as the rooms of now want it; loop thread only."""
        self.direct_core: DirectCore | None = None
        """The core as the direct way of sound needs it, when it can be used."""
        self.ending = False
        """The interpreter exits: nothing is waited for that only saves memory."""
        self._killer: threading.Timer | None = None
        started = threading.Event()
        self._thread = threading.Thread(
            target=self._main, args=(started,), name="utdstream-loop", daemon=True
        )
        self._thread.start()
        started.wait()

    def _main(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        mark_loop_thread()
        self._loop.call_soon(started.set)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    @property
    def asyncio_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    # -- from other threads ----------------------------------------------------------------------

    def post(self, function: Callable[..., object], *arguments: object) -> None:
        """Runs `function(*arguments)` on the loop soon. Any thread, never blocks, silent after the end."""
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            _log.debug("the loop has ended, %r was not run", function)

    def call(self, function: Callable[..., T], *arguments: object, deadline: Deadline) -> T:
        """Returns the result of the plain function `function(*arguments)`, run on the loop.

        Blocks: to the deadline. Raises: what it raises; DeadlineExceeded.
        """
        reply: Mailbox[tuple[T | None, BaseException | None]] = Mailbox()

        def step() -> None:
            try:
                reply.put((function(*arguments), None))
            except BaseException as error:  # noqa: BLE001 - handed to the caller
                reply.put((None, error))

        self._submit(step)
        for _ in range(YIELDS):
            if not reply.empty():
                break
            os.sched_yield()
        try:
            result, error = deadline.get(reply)
        except Empty:
            raise deadline.error("the SDK's loop did not answer") from None
        if error is not None:
            raise error
        return result  # type: ignore[return-value]  # None only when T is None

    def run(self, make: Callable[[], Coroutine[Any, Any, T]], *, deadline: Deadline) -> T:
        """Returns the result of a coroutine that may be cancelled; at the deadline it is.

        Blocks: to the deadline. Raises: what it raises; DeadlineExceeded.
        """
        return self._wait_for_task(make, deadline, lambda task: task.cancel())

    def finish(
        self,
        make: Callable[[], Coroutine[Any, Any, T]],
        *,
        deadline: Deadline,
        undo: Callable[[asyncio.Task[T]], object],
    ) -> T:
        """Returns the result of a coroutine that is never cancelled.

        At the deadline the caller gets DeadlineExceeded, and `undo(task)` runs on the loop at once:
        the task may still be under way then.
        """
        return self._wait_for_task(make, deadline, undo)

    def _wait_for_task(
        self,
        make: Callable[[], Coroutine[Any, Any, T]],
        deadline: Deadline,
        give_up: Callable[[asyncio.Task[T]], object],
    ) -> T:
        reply: Mailbox[asyncio.Task[T]] = Mailbox()
        box: list[asyncio.Task[T]] = []

        def start() -> None:
            task = self.spawn(make())
            box.append(task)
            task.add_done_callback(reply.put)

        def abandon() -> None:
            if box:
                give_up(box[0])

        try:
            self._submit(start)  # inside: KeyboardInterrupt may come before the wait has begun
            task = deadline.get(reply)
        except Empty:
            self.post(abandon)
            raise deadline.error() from None
        except BaseException:  # rule 3
            self.post(abandon)
            raise
        try:
            return task.result()
        except asyncio.CancelledError:
            raise SessionClosed("the SDK is shutting down") from None

    def _submit(self, step: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(step)
        except RuntimeError:
            raise SessionClosed("the SDK has been shut down at interpreter exit") from None

    # -- on the loop thread ----------------------------------------------------------------------

    def spawn(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Starts a task that is kept alive until it is done and whose failure is never silent. Thread: loop."""
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.debug("a task of the loop failed: %r", task.exception())

    def in_thread(self, function: Callable[[], T], name: str) -> asyncio.Future[T]:
        """Runs a blocking function on a short daemon thread of its own. Thread: loop, which it never blocks."""
        future: asyncio.Future[T] = self._loop.create_future()

        def settle(result: T | None, error: BaseException | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]  # None only when T is None

        def work() -> None:
            try:
                result, error = function(), None
            except BaseException as failure:  # noqa: BLE001 - handed to the task that awaits it
                self.post(settle, None, failure)
            else:
                self.post(settle, result, error)

        threading.Thread(target=work, name=name, daemon=True).start()
        return future

    # -- the end ---------------------------------------------------------------------------------

    def shut_down(self) -> None:
        """Closes every connection in parallel, then the loop. Interpreter exit only; bounded.

        Exiting with streams open, a join under way or a task half done aborts the process now and then
        (SIGABRT, SIGSEGV); an ordered close never did.
        """
        self.ending = True
        self._killer = threading.Timer(KILL_AFTER_S, os._exit, (70,))
        self._killer.daemon = True
        self._killer.start()
        self.post(lambda: self._loop.create_task(self._close_all()))
        self._thread.join(EXIT_TIMEOUT_S + EXIT_JOIN_S + EXIT_CANCEL_S)

    async def _close_all(self) -> None:
        if self.joining:
            await asyncio.wait(set(self.joining), timeout=EXIT_JOIN_S)
        if self.live:
            leaving = {self._loop.create_task(connection.leave()) for connection in self.live}
            await asyncio.wait(leaving, timeout=EXIT_TIMEOUT_S)
        # Also the core's own: a coroutine that is left half done is torn down by the garbage collector
        # when the interpreter is half gone.
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        if rest:
            await asyncio.wait(rest, timeout=EXIT_CANCEL_S)
        self._loop.stop()

    def after_native_dispose(self) -> None:
        """Gives a native thread that is on its way into Python the time to come back. The very last hook.

        One that meets a finalized interpreter is unwound through Rust, which aborts the process.
        """
        time.sleep(LAST_CALLBACKS_S)
        if self._killer is not None:
            self._killer.cancel()


async def bounded(awaitable: asyncio.Future[Any] | Coroutine[Any, Any, Any], seconds: float) -> bool:
    """Waits at most `seconds`; False when it was not done then. Never cancels; its failure is returned
    to nobody: use it only where the next step is the same either way."""
    task = asyncio.ensure_future(awaitable)
    done, _ = await asyncio.wait({task}, timeout=seconds)
    if not done:
        return False
    if not task.cancelled() and task.exception() is not None:
        _log.debug("survived: %r", task.exception())
    return True


_start_lock = threading.Lock()
_instance: LoopThread | None = None


def loop_thread() -> LoopThread:
    """Returns the process's loop, and starts it with the first call (importing the native core: 0.3 to 0.6 s)."""
    global _instance
    if _instance is None:
        with _start_lock:
            if _instance is None:
                _instance = _bring_up()
    return _instance


def _bring_up() -> LoopThread:
    if not __debug__:
        raise InvalidConfig("python -O strips the checks of the media core: run without -O")
    began = time.monotonic()
    from livekit.rtc._ffi_client import FfiClient

    thread = LoopThread()
    # The last one registered runs first: shut_down, then the core's own dispose, then the last hook.
    atexit.register(thread.after_native_dispose)
    _ = FfiClient.instance
    core_log = logging.getLogger("livekit")
    core_log.addFilter(CoreLogFilter())
    # A program that has set up no logging is told what matters by errors and events, not by the core's lines.
    core_log.addHandler(logging.NullHandler())
    atexit.register(thread.shut_down)
    from utdstream._livekit.ffi import open_direct_core

    thread.direct_core = open_direct_core(thread.asyncio_loop)
    _log.debug("the media core is up after %.0f ms", (time.monotonic() - began) * 1000)
    return thread
