"""A device that opens and closes for a session: late, failing, in the middle of each other, shared."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import pytest
from facts import PATIENCE_S, eventually

from utdstream import DeviceError, PermissionDenied
from utdstream._livekit.capture import Capture
from utdstream._livekit.loop import LoopThread, loop_thread
from utdstream._livekit.sharing import DeviceLimits
from utdstream._threads.deadline import Deadline
from utdstream.media import PcmFormat, PcmFrame

FRAME = PcmFrame(bytes(960), 48_000, 1, 0)
SHORT_S = 0.05


class SlowMicrophone:
    """Opens and closes when the test says so; the log tells what happened to it."""

    format = PcmFormat(48_000, 1)

    def __init__(self) -> None:
        self.log: list[str] = []
        self.may_open, self.may_close = threading.Event(), threading.Event()
        self.may_open.set()
        self.may_close.set()
        self.opening, self.closing = threading.Event(), threading.Event()
        self.fails: Exception | None = None
        self.sink: Callable[[PcmFrame], None] | None = None

    def start(self, sink: Callable[[PcmFrame], None]) -> None:
        self.opening.set()
        assert self.may_open.wait(PATIENCE_S)
        self.log.append("open")
        if self.fails is not None:
            raise self.fails
        self.sink = sink

    def stop(self) -> None:
        self.closing.set()
        assert self.may_close.wait(PATIENCE_S)
        self.log.append("close")

    def deliver(self) -> None:
        """One frame, as a device gives it that is already stopping too."""
        assert self.sink is not None
        self.sink(FRAME)


class User:
    """A test's session: one capture, what it heard, and the loop to use it on."""

    def __init__(self, device: SlowMicrophone, *, open_s: float = 5.0, close_s: float = 5.0) -> None:
        self.loop: LoopThread = loop_thread()
        self.heard: list[PcmFrame] = []
        self.sink = self.heard.append
        self.capture = self.loop.call(
            lambda: Capture(self.loop, "microphone", device, limits=DeviceLimits(open_s, close_s, SHORT_S)),
            deadline=self.limit(),
        )

    @staticmethod
    def limit() -> Deadline:
        return Deadline(PATIENCE_S, PATIENCE_S, "the test")

    def open(self) -> None:
        self.loop.run(lambda: self.capture.open(self.sink), deadline=self.limit())

    def open_early(self) -> None:
        self.loop.call(lambda: self.capture.open_early(self.sink), deadline=self.limit())

    def close(self) -> None:
        self.loop.run(self.capture.close, deadline=self.limit())

    @property
    def is_open(self) -> bool:
        return self.loop.call(lambda: self.capture.is_open, deadline=self.limit())

    def in_background(self, work: Callable[[], Any]) -> tuple[threading.Thread, list[BaseException]]:
        """Runs a blocking act beside the test; what it raised is in the list."""
        raised: list[BaseException] = []

        def run() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - the test looks at it
                raised.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread, raised


@pytest.fixture
def device() -> SlowMicrophone:
    """A microphone that opens and closes at once, until the test says otherwise."""
    return SlowMicrophone()


def test_capture_when_opened_and_closed_brings_frames_in_between(device: SlowMicrophone) -> None:
    """None comes after the close, whatever the device still delivers."""
    user = User(device)
    user.open()
    user.open()  # it is open
    device.deliver()
    user.close()
    device.deliver()
    user.close()  # it is closed
    assert len(user.heard) == 1
    assert device.log == ["open", "close"]


def test_capture_when_the_device_is_late_raises_and_closes_it_in_the_end(device: SlowMicrophone) -> None:
    """It opened after all, for nobody: it does not stay open, and no frame comes."""
    device.may_open.clear()
    user = User(device, open_s=SHORT_S)
    with pytest.raises(DeviceError, match=r"did not open within 0\.05 s"):
        user.open()
    assert not user.is_open
    device.may_open.set()
    eventually(lambda: device.log == ["open", "close"], "the device is closed")
    device.deliver()
    assert user.heard == []


@pytest.mark.parametrize(
    ("fault", "raised"), [(OSError("busy"), DeviceError), (PermissionDenied("no"), PermissionDenied)]
)
def test_capture_when_the_device_fails_raises_and_can_be_tried_again(
    device: SlowMicrophone, fault: Exception, raised: type[Exception]
) -> None:
    """A driver's error becomes a DeviceError with its cause; one of the SDK's own passes as it is."""
    device.fails = fault
    user = User(device)
    with pytest.raises(raised, match=str(fault)) as caught:
        user.open()
    assert caught.value is fault or caught.value.__cause__ is fault
    assert not user.is_open
    device.fails = None
    user.open()
    device.deliver()
    assert len(user.heard) == 1
    user.close()


def test_capture_when_closed_while_it_opens_ends_closed(device: SlowMicrophone) -> None:
    """The one who opened is let go without an error; the device closes as soon as it has opened."""
    device.may_open.clear()
    user = User(device)
    thread, raised = user.in_background(user.open)
    assert device.opening.wait(PATIENCE_S)
    user.close()  # does not wait for the device longer than its limit
    assert not user.is_open
    device.may_open.set()
    thread.join(PATIENCE_S)
    assert raised == []
    eventually(lambda: device.log == ["open", "close"], "the device is closed")
    device.deliver()
    assert user.heard == []


def test_capture_when_opened_again_while_it_still_closes_ends_open(device: SlowMicrophone) -> None:
    """Off and on again, quicker than the device: the last word counts."""
    user = User(device)
    user.open()
    device.may_close.clear()
    user.close()
    thread, raised = user.in_background(user.open)
    eventually(lambda: user.is_open, "it opens again")
    device.may_close.set()
    thread.join(PATIENCE_S)
    assert raised == []
    device.deliver()
    assert len(user.heard) == 1
    user.close()
    assert device.log == ["open", "close", "open", "close"]


def test_capture_when_opened_early_is_waited_for_by_the_next_open(device: SlowMicrophone) -> None:
    """One open in all; who opens returns when the device delivers."""
    device.may_open.clear()
    user = User(device)
    user.open_early()
    assert device.opening.wait(PATIENCE_S)
    thread, raised = user.in_background(user.open)
    assert thread.is_alive()
    device.may_open.set()
    thread.join(PATIENCE_S)
    assert (raised, device.log) == ([], ["open"])
    user.close()


def test_capture_when_opened_early_in_vain_tells_the_next_open_once(device: SlowMicrophone) -> None:
    """Its failure is raised by whoever opens next, without trying again; the one after tries."""
    device.fails = OSError("busy")
    user = User(device)
    user.open_early()
    eventually(lambda: device.log == ["open"] and not user.is_open, "it has failed")
    device.fails = None
    with pytest.raises(DeviceError, match="busy"):
        user.open()
    assert device.log == ["open"]
    user.open()
    assert device.log == ["open", "open"]
    user.close()


def test_capture_when_opened_early_and_closed_forgets_what_came_of_it(device: SlowMicrophone) -> None:
    """Left before it was needed: the next open is a new one."""
    device.fails = OSError("busy")
    user = User(device)
    user.open_early()
    eventually(lambda: device.log == ["open"] and not user.is_open, "it has failed")
    user.close()
    device.fails = None
    user.open()
    assert device.log == ["open", "open"]
    user.close()


def test_capture_when_two_sessions_use_one_device_opens_it_once(device: SlowMicrophone) -> None:
    """The first opens, the last closes."""
    one, two = User(device), User(device)
    one.open()
    two.open()
    device.deliver()
    one.close()
    device.deliver()
    two.close()
    assert (len(one.heard), len(two.heard)) == (1, 2)
    assert device.log == ["open", "close"]


# -- a device that hangs ----------------------------------------------------------------------------


def threads_of(device: str) -> int:
    """How many threads open or close a device of this kind now."""
    return sum(
        thread.name in (f"utd-open-{device}", f"utd-close-{device}") for thread in threading.enumerate()
    )


def test_capture_when_the_device_hangs_in_stop_costs_one_thread_and_no_later_call(
    device: SlowMicrophone,
) -> None:
    """Everybody else is told at once, and goes on without it."""
    first = User(device, close_s=SHORT_S)
    first.open()
    device.may_close.clear()
    first.close()  # returns, though the device does not
    for _ in range(5):
        later = User(device)
        with pytest.raises(DeviceError, match=r"does not come back from its stop\(\)"):
            later.open()
        assert not later.is_open
        later.close()
    assert threads_of("microphone") == 1
    device.may_close.set()
    eventually(lambda: threads_of("microphone") == 0, "it has come back")
    User(device).open()
    assert device.log == ["open", "close", "open"]


def test_capture_when_the_device_hangs_in_start_costs_one_thread_and_no_later_call(
    device: SlowMicrophone,
) -> None:
    """Whoever waited is told when its time is up, whoever comes then at once."""
    device.may_open.clear()
    with pytest.raises(DeviceError, match="did not open within"):
        User(device, open_s=SHORT_S).open()
    for _ in range(5):
        with pytest.raises(DeviceError, match=r"does not come back from its start\(\)"):
            User(device).open()
    assert threads_of("microphone") == 1
    device.may_open.set()
    eventually(lambda: device.log == ["open", "close"], "it has opened after all, for nobody, and is closed")
    User(device).open()


def test_capture_when_the_device_comes_back_is_told_so_and_opens(device: SlowMicrophone) -> None:
    """A card that took two seconds to close is left out for one second, not for the whole call."""
    first, second, gone = (User(device, close_s=SHORT_S) for _ in range(3))
    first.open()
    device.may_close.clear()
    first.close()
    returned: list[str] = []
    for user, name in ((second, "second"), (gone, "gone")):
        with pytest.raises(DeviceError):
            user.open()
        user.loop.call(
            lambda user=user, name=name: user.capture.on_return(lambda: returned.append(name)),
            deadline=user.limit(),
        )
    gone.close()  # left meanwhile
    device.may_close.set()
    eventually(lambda: returned == ["second"], "it is told")
    second.open()
    device.deliver()
    assert len(second.heard) == 1
    second.close()


def test_capture_when_one_leaves_while_another_comes_loses_nobody(device: SlowMicrophone) -> None:
    """A session that attaches in the middle of the last one's leave finds the device open."""
    one, two = User(device), User(device)
    one.open()
    device.may_close.clear()
    leaving, failed = one.in_background(one.close)
    assert device.closing.wait(PATIENCE_S)
    coming, refused = two.in_background(two.open)
    eventually(lambda: two.is_open, "the second waits for the device")
    device.may_close.set()
    leaving.join(PATIENCE_S)
    coming.join(PATIENCE_S)
    assert (failed, refused) == ([], [])
    device.deliver()
    assert (len(one.heard), len(two.heard)) == (0, 1)
    two.close()
    assert device.log == ["open", "close", "open", "close"]


def test_capture_when_many_come_and_go_at_random_ends_as_the_last_word_says(device: SlowMicrophone) -> None:
    """Two hundred opens and closes of four sessions, in any order: whoever is open at the end is served."""
    choose = random.Random(4)
    users = [User(device) for _ in range(4)]
    for _ in range(200):
        user = choose.choice(users)
        choose.choice((user.open, user.close, user.open_early))()
    wanted = [user.is_open for user in users]
    for user, is_wanted in zip(users, wanted, strict=True):
        if is_wanted:
            user.open()
        user.heard.clear()
    if any(wanted):
        device.deliver()
    assert [bool(user.heard) for user in users] == wanted
    for user in users:
        user.close()
    assert device.log.count("open") == device.log.count("close")
    assert device.log[-1] == "close"
