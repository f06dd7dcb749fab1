"""What one thread hands to another: nothing is lost, and no wait is longer than its time."""

from __future__ import annotations

import contextlib
import re
import signal
import threading
import time
from pathlib import Path
from queue import Empty

import pytest

from utdstream.mailbox import Mailbox

ROOT = Path(__file__).parents[2]
GETS = 20_000
PATIENCE_S = 60.0


def test_get_when_its_time_is_over_before_it_sleeps_returns() -> None:
    """A microsecond: `SimpleQueue.get` waits for ever after 500 to 8,000 of these, up to Python 3.12."""
    over = threading.Event()

    def wait_often() -> None:
        for _ in range(GETS):
            with contextlib.suppress(Empty):
                Mailbox[int]().get(timeout=0.000001)
        over.set()

    threading.Thread(target=wait_often, daemon=True).start()
    assert over.wait(PATIENCE_S)


def test_get_when_a_signal_handler_takes_longer_than_what_was_left_returns() -> None:
    """The handler of a program that wakes in the middle of a wait of the main thread."""

    def handle(number: int, frame: object) -> None:
        until = time.monotonic() + 0.4
        while time.monotonic() < until:
            pass

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        main = threading.main_thread().ident
        assert main is not None
        timer = threading.Timer(0.1, signal.pthread_kill, (main, signal.SIGUSR1))
        timer.start()
        with pytest.raises(Empty):
            Mailbox[int]().get(timeout=0.3)
        timer.join()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_get_when_things_were_put_by_many_threads_takes_each_once_in_the_order_of_its_thread() -> None:
    """The reader sleeps and wakes meanwhile."""
    mailbox: Mailbox[tuple[int, int]] = Mailbox()

    def put_all(thread: int) -> None:
        for number in range(1000):
            mailbox.put((thread, number))

    threads = [threading.Thread(target=put_all, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    taken = [mailbox.get(timeout=PATIENCE_S) for _ in range(4000)]
    for thread in threads:
        thread.join()
    for number in range(4):
        assert [count for thread, count in taken if thread == number] == list(range(1000))
    with pytest.raises(Empty):
        mailbox.get_nowait()


def test_modules_when_threads_hand_over_use_the_mailbox() -> None:
    """Or `queue.Queue`, which is written in Python: no file has a `SimpleQueue`, whose waits may never end."""
    users = [
        str(path.relative_to(ROOT))
        for folder in ("utdstream", "device", "docs")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"SimpleQueue[(\[]", path.read_text(encoding="utf-8"))
    ]
    assert users == []


def test_get_when_it_may_take_however_long_waits_until_something_is_put() -> None:
    """Without a time nothing is raised."""
    mailbox: Mailbox[str] = Mailbox()
    timer = threading.Timer(0.05, mailbox.put, ("here",))
    timer.start()
    assert mailbox.get() == "here"
    timer.join()


def test_get_when_something_is_put_while_it_sleeps_wakes_at_once() -> None:
    """And not at the end of its time."""
    mailbox: Mailbox[str] = Mailbox()
    timer = threading.Timer(0.05, mailbox.put, ("here",))
    timer.start()
    began = time.monotonic()
    assert mailbox.get(timeout=PATIENCE_S) == "here"
    assert time.monotonic() - began < PATIENCE_S / 2
    timer.join()
