"""What the doorbell and the kiosk share: one queue, one worker, devices that may be missing, a bounded end.

Owns: `DeviceApp`. Threads: `run` belongs to the main thread, which is the worker and never waits for a network;
`press`, `release`, `stop` and `put` are called from any; `utd-close` frees one thing each at the end. Imports no
adapter: they are reached through the registry.

1. Nothing that is missing ends the program: engine, broker, card, camera, button. The status says what is missing.
   A program that runs already with this identity does, before a device is touched.
2. An event that cannot be handled is logged, and the next one is taken.
3. The end is bounded: what does not close within STOP_S is left to the end of the process.
4. At rest and above its memory limit, it ends itself and starts anew (`memory`).
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from queue import Empty
from typing import Generic, TypeVar

from device import registry
from device.config import MachineConfig
from device.errors import AlreadyRunning
from device.link import Link
from device.memory import ANEW, MemoryWatch
from device.service import Heart, Service
from device.trigger.port import Button
from utdstream import Devices, UTDStreamException
from utdstream.mailbox import Mailbox

_log = logging.getLogger(__name__)

WORKER_PATIENCE_S = 10.0
"""An event that takes longer has hung the worker: the watchdog is not fed any more."""
LOOK_S, WELL_LOOK_S = 1.0, 30.0
"""The status is looked at as often as this, though nothing happens; and while all is well and at rest."""
STOP_S = 2.0

EventT = TypeVar("EventT")
MadeT = TypeVar("MadeT")


class DeviceApp(ABC, Generic[EventT]):
    """One program. `devices` and `button` instead of the configured ones, for tests and other boards."""

    name: str
    """What logs and the watchdog call it, like `the doorbell`."""
    has_camera = False
    """Whether the configured camera is opened."""

    def __init__(self, config: MachineConfig, *, devices: Devices | None, button: Button | None) -> None:
        self._config = config
        self._given = (devices, button)
        self._queue: Mailbox[EventT | None] = Mailbox()
        self._heart = Heart(WORKER_PATIENCE_S)
        self._limit_at: float | None = None
        self._look_s = LOOK_S
        """Until the status is looked at again."""
        self._problems: dict[str, str] = {}
        self._devices = Devices()
        self._buttons: list[Button] = []
        self._link: Link | None = None
        self._service: Service | None = None
        self._stopping = threading.Event()
        self._memory = MemoryWatch(config.device.memory_limit_mib)
        self._anew = False

    # -- for the service, buttons, callbacks: any thread, never waits

    @abstractmethod
    def press(self) -> None:
        """Takes a press of the button."""

    def release(self) -> None:
        """Takes the end of a press."""

    def stop(self) -> None:
        """Ends `run` soon. Idempotent."""
        self._stopping.set()
        self.look()

    def put(self, event: EventT) -> None:
        """Hands an event to the worker."""
        self._queue.put(event)

    # -- what each app says for itself; all on the worker

    @abstractmethod
    def _connect(self) -> Link:
        """Returns the link to the engine, not started yet; `_devices` are open."""

    @abstractmethod
    def _handle(self, event: EventT) -> None:
        """Takes one event."""

    @abstractmethod
    def _time_up(self) -> None:
        """Acts on the end of the time limit that `_limit` set."""

    @abstractmethod
    def _state_words(self, link: Link | None) -> str:
        """Returns the state in plain words, without what is missing."""

    def _at_rest(self) -> bool:
        """Returns whether nobody would miss the program for some seconds."""
        return False

    def _adopt(self, devices: Devices) -> Devices:
        """Returns the devices as they are used; opens what else this app needs."""
        return devices

    def _closers(self) -> Sequence[Callable[[], object]]:
        """Returns what is to be freed at the end besides buttons and link; each on a thread of its own."""
        return ()

    # -- the worker

    def run(self, service: Service) -> int:
        """Works until `stop`. The exit status, or ANEW. Raises: AlreadyRunning."""
        self._service = service
        service.watch(f"{self.name}'s worker", self._heart.alive)
        try:
            self._start_buttons()  # first: one of them notices another program with this identity
            self._open()
            self._link = self._connect()
            self._link.start(service)
            while not self._stopping.is_set():
                self._turn()
        finally:
            self._close()
        return ANEW if self._anew else 0

    def _turn(self) -> None:
        """Takes one event, or the time limit; looks at the status now and then."""
        left_s = self._look_s if self._limit_at is None else self._limit_at - time.monotonic()
        try:
            event = self._queue.get(timeout=min(self._look_s, max(0.0, left_s)))
        except Empty:
            event = None
        self._heart.busy()
        try:
            if self._limit_at is not None and time.monotonic() >= self._limit_at:
                self._limit_at = None
                self._time_up()
            if event is not None:
                self._handle(event)
            self._show()
            if self._queue.empty() and self._memory.is_time(at_rest=self._at_rest()):
                self._start_anew()
            self._look_s = WELL_LOOK_S if self._at_rest() and self._is_well() else LOOK_S
        except Exception:  # noqa: BLE001 - the worker's outermost frame: the next press must still ring
            self._look_s = LOOK_S
            _log.exception("an event could not be handled; %s goes on", self.name)
        finally:
            self._heart.idle()

    def _start_anew(self) -> None:
        if self._service is not None:
            self._service.status("starting anew, to give memory back")
        self._anew = True
        self._stopping.set()

    def _limit(self, seconds: float | None) -> None:
        """Calls `_time_up` after so many seconds, unless another limit is set before; None lifts it."""
        self._limit_at = None if seconds is None else time.monotonic() + seconds

    # -- devices

    def _open(self) -> None:
        """Opens what is configured; what cannot be opened is a problem, never an end."""
        given, _ = self._given
        self._devices = self._adopt(given if given is not None else self._open_devices())

    def _start_buttons(self) -> None:
        _, button = self._given
        for each in [button] if button is not None else registry.make_buttons(self._config):
            self._buttons.append(each)
            self._try("button", functools.partial(each.start, self.press, self.release))

    def _open_devices(self) -> Devices:
        sound = self._try("sound", lambda: registry.open_audio(self._config))
        microphone, speaker = sound or (None, None)
        camera = self._try("camera", lambda: registry.open_camera(self._config)) if self.has_camera else None
        return Devices(microphone, speaker, camera)

    def _try(self, what: str, work: Callable[[], MadeT]) -> MadeT | None:
        """Returns what `work` made; None when it failed, which the status says from now on."""
        try:
            made = work()
        except AlreadyRunning:
            raise
        except UTDStreamException as error:
            self._problems[what] = error.message
            _log.warning("%s: %s", what, error)
            return None
        self._problems.pop(what, None)
        return made

    # -- what people see

    @property
    def status(self) -> str:
        """The state in plain words, and what is missing."""
        missing = [f"{name}: {problem}" for name, problem in self._missing().items()]
        return "; ".join([self._state_words(self._link), *missing])

    def _missing(self) -> dict[str, str]:
        missing = dict(self._problems)
        parts = [(name, getattr(self._devices, name)) for name in ("microphone", "speaker", "camera")]
        for name, device in [*parts, *(("button", each) for each in self._buttons)]:
            problem = getattr(device, "problem", None)  # a device of the user's own may have none
            if problem:
                missing[name] = str(problem)
        return missing

    def _is_well(self) -> bool:
        return self._link is not None and self._link.is_well and not self._missing()

    def look(self) -> None:
        """Has the status looked at now. Any thread, never waits."""
        self._queue.put(None)

    def _show(self) -> None:
        if self._service is not None:
            self._service.status(self.status)

    # -- the end

    def _close(self) -> None:
        """Blocks: STOP_S at most."""
        for each in self._buttons:
            each.stop()
        closers = [*self._closers(), *([self._link.close] if self._link is not None else [])]
        threads = [threading.Thread(target=work, name="utd-close", daemon=True) for work in closers]
        until = time.monotonic() + STOP_S
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
