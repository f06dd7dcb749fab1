"""The bridge into the loop thread: who waits, who is cancelled, who never is."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
from facts import eventually

from utdstream._livekit.loop import LoopThread, bounded, loop_thread
from utdstream._threads.deadline import Deadline
from utdstream.errors import ConnectFailed, DeadlineExceeded, SessionClosed, WrongThread

MARGIN_S = 0.25


@pytest.fixture
def loop() -> LoopThread:
    """The process's loop."""
    return loop_thread()


def limit(seconds: float = 5.0) -> Deadline:
    return Deadline(seconds, seconds, "asking")


def interrupt_main_thread() -> None:
    """Control-C, as the main thread gets it."""
    ident = threading.main_thread().ident
    assert ident is not None
    signal.pthread_kill(ident, signal.SIGINT)


def test_loop_when_asked_for_by_many_threads_is_one() -> None:
    """One daemon thread a process, whoever comes first."""
    got: list[LoopThread] = []
    threads = [threading.Thread(target=lambda: got.append(loop_thread())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(got) == 8
    assert len(set(map(id, got))) == 1
    (thread,) = (one for one in threading.enumerate() if one.name == "utdstream-loop")
    assert thread.daemon


def test_call_when_it_returns_gives_the_result_of_the_loop_thread(loop: LoopThread) -> None:
    """A plain function, run there."""
    assert loop.call(lambda: threading.current_thread().name, deadline=limit()) == "utdstream-loop"
    assert loop.call(lambda first, second: first + second, 1, 2, deadline=limit()) == 3


def test_call_when_it_raises_raises_here(loop: LoopThread) -> None:
    """The same object."""
    error = ConnectFailed("no")

    def fail() -> None:
        raise error

    with pytest.raises(ConnectFailed) as caught:
        loop.call(fail, deadline=limit())
    assert caught.value is error


def test_call_when_the_loop_is_busy_ends_at_the_deadline(loop: LoopThread) -> None:
    """The caller is never held longer."""
    free = threading.Event()
    loop.post(free.wait, 5)
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="loop did not answer"):
        loop.call(lambda: None, deadline=limit(0.2))
    assert time.monotonic() - began < 0.2 + MARGIN_S
    free.set()


def test_run_when_the_deadline_passes_cancels_the_coroutine(loop: LoopThread) -> None:
    """Statistics, data, waits: nothing goes on for nobody."""
    cancelled = threading.Event()

    async def wait() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match=r"asking.*0\.1 s"):
        loop.run(wait, deadline=limit(0.1))
    assert time.monotonic() - began < 0.1 + MARGIN_S
    assert cancelled.wait(5)


def test_run_when_interrupted_cancels_the_coroutine(loop: LoopThread) -> None:
    """Control-C follows the same rule as a passed deadline."""
    cancelled = threading.Event()

    async def wait() -> None:
        loop.post(interrupt_main_thread)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with pytest.raises(KeyboardInterrupt):
        loop.run(wait, deadline=limit())
    assert cancelled.wait(5)


class Finishing:
    """A coroutine that must finish: it waits for the test, and says whether it was cancelled."""

    def __init__(self, loop: LoopThread, *, first: Callable[[], object] = lambda: None) -> None:
        self._loop = loop
        self._first = first
        self.go_on = asyncio.Event()
        self.done = threading.Event()
        self.cancelled = False
        self.undone: list[asyncio.Task[str]] = []
        self.undone_before_done: list[bool] = []

    async def __call__(self) -> str:
        self._first()
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        finally:
            self.done.set()
        return "connected"

    def undo(self, task: asyncio.Task[str]) -> None:
        self.undone_before_done.append(not task.done())
        self.undone.append(task)


def test_finish_when_the_deadline_passes_adopts_the_task(loop: LoopThread) -> None:
    """A connect is never cancelled: its caller goes, the task goes on, and `undo` is told at once."""
    work = Finishing(loop)
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        loop.finish(work, deadline=limit(0.1), undo=work.undo)
    assert time.monotonic() - began < 0.1 + MARGIN_S
    eventually(lambda: len(work.undone) == 1, "undo was told")
    assert work.undone_before_done == [True]
    assert not work.done.is_set()
    loop.post(work.go_on.set)
    assert work.done.wait(5)
    assert not work.cancelled
    eventually(lambda: work.undone[0].done(), "the task ended by itself")
    assert loop.call(work.undone[0].result, deadline=limit()) == "connected"


def test_finish_when_interrupted_adopts_the_task(loop: LoopThread) -> None:
    """Control-C while connecting: the same."""
    work = Finishing(loop, first=interrupt_main_thread)
    with pytest.raises(KeyboardInterrupt):
        loop.finish(work, deadline=limit(), undo=work.undo)
    eventually(lambda: len(work.undone) == 1, "undo was told")
    loop.post(work.go_on.set)
    assert work.done.wait(5)
    assert not work.cancelled


def test_finish_when_it_is_done_in_time_undoes_nothing(loop: LoopThread) -> None:
    """The result, and no undo."""
    work = Finishing(loop)
    work.go_on.set()
    assert loop.finish(work, deadline=limit(), undo=work.undo) == "connected"
    assert work.undone == []


def test_finish_when_the_adopted_task_fails_late_says_nothing_loud(
    loop: LoopThread, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller has its error already; asyncio's 'never retrieved' is no user's business."""
    fail = asyncio.Event()

    async def late() -> None:
        await fail.wait()
        raise ConnectFailed("too late")

    adopted: list[asyncio.Task[None]] = []
    with caplog.at_level(logging.INFO):
        with pytest.raises(DeadlineExceeded):
            loop.finish(late, deadline=limit(0.05), undo=adopted.append)
        eventually(lambda: adopted, "it is adopted")
        loop.post(fail.set)
        eventually(lambda: adopted[0] not in loop._tasks, "it is forgotten")
        adopted.clear()
        gc.collect()
    assert "never retrieved" not in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_blocking_when_on_the_loop_thread_is_refused(loop: LoopThread) -> None:
    """It would wait for itself: no deadline can even be made there."""
    outcome: list[BaseException] = []

    def on_the_loop() -> None:
        try:
            loop.call(lambda: None, deadline=limit())
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            outcome.append(error)

    loop.call(on_the_loop, deadline=limit())
    assert [type(error) for error in outcome] == [WrongThread]
    assert "loop thread" in str(outcome[0])


def test_in_thread_when_a_device_blocks_leaves_the_loop_free(loop: LoopThread) -> None:
    """Opening a sound card may take seconds; the loop answers meanwhile."""
    free = threading.Event()
    names: list[str] = []

    def open_device() -> str:
        names.append(threading.current_thread().name)
        free.wait(5)
        return "open"

    async def opening() -> str:
        return await loop.in_thread(open_device, "utd-open-test")

    result: list[str] = []
    waiting = threading.Thread(target=lambda: result.append(loop.run(opening, deadline=limit())))
    waiting.start()
    eventually(lambda: names, "the device is being opened")
    began = time.monotonic()
    loop.call(lambda: None, deadline=limit())
    assert time.monotonic() - began < 0.5
    free.set()
    waiting.join(5)
    assert result == ["open"]
    assert names == ["utd-open-test"]


def test_in_thread_when_the_device_fails_passes_its_error(loop: LoopThread) -> None:
    """The driver's own exception, for whoever maps it."""

    def fail() -> None:
        raise OSError("busy")

    async def opening() -> None:
        await loop.in_thread(fail, "utd-open-test")

    with pytest.raises(OSError, match="busy"):
        loop.run(opening, deadline=limit())


def test_bounded_when_time_passes_goes_on_without_cancelling(loop: LoopThread) -> None:
    """A slow step is left behind, not killed."""

    async def story() -> tuple[bool, bool, bool]:
        go_on = asyncio.Event()
        slow = asyncio.ensure_future(go_on.wait())
        in_time = await bounded(slow, 0.01)
        go_on.set()
        await slow

        async def fail() -> None:
            raise ConnectFailed("no")

        return in_time, slow.cancelled(), await bounded(fail(), 1.0)

    assert loop.run(story, deadline=limit()) == (False, False, True)


def test_post_and_call_when_the_loop_has_ended_do_not_hang() -> None:
    """At interpreter exit: `post` is silent, the rest is refused."""
    own = LoopThread()
    own.shut_down()
    assert own._killer is not None
    own._killer.cancel()
    own.post(lambda: None)
    with pytest.raises(SessionClosed, match="exit"):
        own.call(lambda: None, deadline=limit())


def test_shut_down_when_tasks_are_under_way_leaves_none_half_done() -> None:
    """A coroutine that the garbage collector meets in a half dead interpreter can end the process badly."""
    own = LoopThread()
    ended = threading.Event()
    left: list[str] = []

    class Connection:
        async def leave(self) -> None:
            left.append("left")

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    def begin() -> None:
        own.live.add(Connection())
        own.asyncio_loop.create_task(work())  # not ours: the core makes such tasks

    own.call(begin, deadline=limit())
    began = time.monotonic()
    own.shut_down()
    assert own._killer is not None
    own._killer.cancel()
    assert time.monotonic() - began < 5.0
    assert left == ["left"]
    assert ended.is_set()
    assert own.asyncio_loop.is_closed()


def test_log_of_the_core_when_it_holds_a_token_is_masked(
    loop: LoopThread, caplog: pytest.LogCaptureFixture
) -> None:
    """The native side prints urls; join tokens do not reach a log file."""
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJkb29yIn0.c2lnbmF0dXJl"
    logging.getLogger("livekit").warning("connecting to %s", f"ws://sfu/rtc?access_token={token}&sdk=x")
    assert token not in caplog.text
    assert "c2lnbmF0dXJl" not in caplog.text
    assert "access_token=***" in caplog.text


def test_script_when_it_sets_up_no_logging_sees_none_of_the_cores_lines() -> None:
    """With logging it does."""
    for set_up, is_seen in (("", False), ("logging.basicConfig(); ", True)):
        script = (
            f"import logging; {set_up}from utdstream._livekit.loop import loop_thread; loop_thread(); "
            "logging.getLogger('livekit').error('peer_transport: something')"
        )
        ended = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
        )
        assert ("peer_transport" in ended.stderr) is is_seen, ended.stderr
