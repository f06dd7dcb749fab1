"""One device and its users, of whatever kind: open while there is one.

Owns: `Shared`, `DeviceLimits`. Thread: the loop; the device opens and closes on a short thread that may block.

1. What its users want is what becomes of a device: while there is one it is open or opens, else it is closed or
   closes. One thread at a time makes it so, and it is looked at again behind it: nothing is counted, none is lost.
2. A device that does not come back from `start` or `stop` in time hangs. It costs that one thread: its users, and
   those that come later, are told at once and go on without it. Once it comes back it is a device as any other.
3. Nothing reaches a user from the moment of its `detach`.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from utdstream._livekit.loop import LoopThread
from utdstream.errors import DeviceError, UTDStreamException

_log = logging.getLogger(__name__)

User = TypeVar("User")


@dataclass(frozen=True, slots=True)
class DeviceLimits:
    """How long a device may take before it hangs, and how long a session waits for it to close."""

    open_s: float = 5.0
    close_s: float = 3.0
    wait_s: float = 1.0


@dataclass(slots=True)
class _Waiting(Generic[User]):
    """A user that waits for the device to open."""

    user: User
    future: asyncio.Future[None]
    served: bool = False
    """The `start` that is under way is for it too."""


class Shared(ABC, Generic[User]):
    """One device, open while it has a user."""

    def __init__(self, loop: LoopThread, kind: str, limits: DeviceLimits, idle: Callable[[], object]) -> None:
        """`idle` is called whenever the device is closed and nobody wants it."""
        self._loop = loop
        self._kind = kind
        self._limits = limits
        self._idle = idle
        self.users: tuple[User, ...] = ()
        """Those that the device serves now; its own thread reads it as it is."""
        self._wanted: tuple[User, ...] = ()
        self._open = False
        self._under_way: str | None = None
        self._opening: list[_Waiting[User]] = []
        self._closing: list[asyncio.Future[None]] = []
        self.hangs: str | None = None
        """`start` or `stop`, when the device does not come back from it."""
        self._on_return: dict[object, Callable[[], object]] = {}

    def attach(self, user: User) -> asyncio.Future[None]:
        """Opens the device for its first user; the future is settled when it serves `user`.

        It fails with DeviceError, or another error of the SDK that the driver raised; `user` is detached then.
        """
        future: asyncio.Future[None] = self._loop.asyncio_loop.create_future()
        if self.hangs is not None:
            _fail(future, self._hanging())
        else:
            self._wanted = (*self._wanted, user)
            self._opening.append(_Waiting(user, future))
            self._look()
        return future

    def detach(self, user: User) -> asyncio.Future[None]:
        """Serves `user` no longer; the future is settled when the device is closed, used by others, or hangs."""
        done: asyncio.Future[None] = self._loop.asyncio_loop.create_future()
        self._forget(user)
        for waiting in self._opening:
            if waiting.user == user:
                _settle(waiting.future)
        self._closing.append(done)
        self._look()
        return done

    def on_return(self, key: object, callback: Callable[[], object] | None) -> None:
        """Calls back once when the device that hangs comes back; None takes that back."""
        if callback is None or self.hangs is None:
            self._on_return.pop(key, None)
        else:
            self._on_return[key] = callback

    # -- making it so ----------------------------------------------------------------------------

    def _look(self) -> None:
        if self.hangs is not None:
            self._let_go()
        elif self._under_way is not None:
            return
        elif self._open is bool(self._wanted):
            self.users = self._wanted
            opening, self._opening = self._opening, []
            for waiting in opening:
                _settle(waiting.future)
            self._let_go()
            if not self._open:
                self._idle()
        elif self._wanted:
            self.users = self._wanted
            for waiting in self._opening:
                waiting.served = True
            self._begin("start", self._start, self._limits.open_s)
        else:
            self._begin("stop", self._stop, self._limits.close_s)

    def _let_go(self) -> None:
        closing, self._closing = self._closing, []
        for done in closing:
            _settle(done)

    def _begin(self, what: str, work: Callable[[], None], patience_s: float) -> None:
        self._under_way = what
        timer = self._loop.asyncio_loop.call_later(patience_s, self._hang)
        name = f"utd-open-{self._kind}" if what == "start" else f"utd-close-{self._kind}"
        self._loop.in_thread(work, name).add_done_callback(lambda done: self._back(done, timer))

    def _hang(self) -> None:
        self.hangs = self._under_way
        _log.warning("%s", self._hanging())
        opening, self._opening = self._opening, []
        for waiting in opening:
            self._forget(waiting.user)
            _fail(waiting.future, self._late() if waiting.served else self._hanging())
        self._let_go()

    def _back(self, done: asyncio.Future[None], timer: asyncio.TimerHandle) -> None:
        timer.cancel()
        what, self._under_way = self._under_way, None
        error = done.exception()
        if error is not None:
            _log.debug("the %s failed in %s: %r", self._kind, what, error)
        self._open = what == "start" and error is None
        if self._open:
            self._opened()
        elif what == "start":
            self._fail_served(error)
        returned: list[Callable[[], object]] = []
        if self.hangs is not None:
            _log.info("the %s has come back from %s", self._kind, self.hangs)
            self.hangs = None
            returned, self._on_return = list(self._on_return.values()), {}
        self._look()
        for callback in returned:
            callback()

    def _fail_served(self, error: BaseException | None) -> None:
        served = [waiting for waiting in self._opening if waiting.served]
        self._opening = [waiting for waiting in self._opening if not waiting.served]
        for waiting in served:
            self._forget(waiting.user)
            _fail(waiting.future, self._failed(error))

    def _forget(self, user: User) -> None:
        self._wanted = tuple(other for other in self._wanted if other != user)
        self.users = tuple(other for other in self.users if other != user)

    # -- what is said ----------------------------------------------------------------------------

    def _failed(self, error: BaseException | None) -> UTDStreamException:
        if isinstance(error, UTDStreamException):
            return error
        failure = DeviceError(f"the {self._kind} could not be opened: {error}")
        failure.__cause__ = error
        return failure

    def _late(self) -> DeviceError:
        return DeviceError(
            f"the {self._kind} did not open within {self._limits.open_s:g} s; is it in use elsewhere?"
        )

    def _hanging(self) -> DeviceError:
        return DeviceError(
            f"the {self._kind} does not come back from its {self.hangs}(): it is left out until it does;"
            " unplug it, or restart the program"
        )

    # -- the device ------------------------------------------------------------------------------

    def _opened(self) -> None:
        """Does what follows when the device has started. Thread: loop."""

    @abstractmethod
    def _start(self) -> None: ...

    @abstractmethod
    def _stop(self) -> None: ...


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _fail(future: asyncio.Future[None], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # a user that has gone is no unretrieved exception
