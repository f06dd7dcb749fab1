"""What every camera adapter shares: a thread that reads pictures, notices when none come, and opens anew.

Owns: `CapturingCamera`, and `Pace` for sources with a rate of their own. Its thread is `utd-camera`; a second
one, `utd-camera-watch`, gives up on a driver that hangs. Imports no driver.

1. `start` succeeds although the camera is missing or busy: `problem` says what is wrong, and it is opened
   again with growing pauses. A call goes on without pictures.
2. No picture for SILENT_S: the driver hangs. Its thread is left behind and a new one opens the camera. At
   most MAX_STUCK threads are left behind: then only a restart of the program helps, and `problem` says so.
3. The end of a live source is a failure; the end of a file is its beginning.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

from device.camera.encoder import snapshot_of
from device.errors import CameraFailed
from utdstream import DeviceError
from utdstream.backoff import Backoff
from utdstream.media import EncodedFrame, RawFrame

_log = logging.getLogger(__name__)

Frame = RawFrame | EncodedFrame
SILENT_S = 2.0
OPEN_S = 10.0
"""A camera may take this long to its first picture."""
RETRY = Backoff(first_s=0.2, most_s=2.0)
JOIN_S = 2.0
MAX_STUCK = 4
FRESH_S = 1.0


class _Life:
    """One opening of the camera: its thread, and whether it is still wanted."""

    def __init__(self) -> None:
        self.wanted = True
        self.last_frame_s: float | None = None
        self.begun_s = time.monotonic()
        self.thread: threading.Thread | None = None


class CapturingCamera(ABC):
    """A `utdstream.Camera` over `frames()`, a generator that a subclass gives."""

    encoded = False

    def __init__(self, width: int, height: int, frames_per_second: int) -> None:
        self.width, self.height = width, height
        self.frames_per_second = frames_per_second
        self.problem: str | None = None
        """What is wrong now, as a sentence; None while pictures come, and while it is not started."""
        self.opened = 0
        self._lock = threading.Lock()  # the lives; never held while a driver is called
        self._life: _Life | None = None
        self._stuck = 0
        self._sink: Callable[[Frame], None] | None = None
        self._stopped = threading.Event()
        self._watcher: threading.Thread | None = None
        self._newest: RawFrame | None = None
        self._newest_s = 0.0

    @abstractmethod
    def frames(self, wanted: Callable[[], bool]) -> Iterator[Frame]:
        """Opens the device and yields pictures while `wanted()`; closes it when it is left.

        Raises: DeviceError. Runs on `utd-camera`.
        """

    @property
    def newest(self) -> RawFrame | None:
        """The newest picture, when it is younger than a second."""
        return self._newest if time.monotonic() - self._newest_s < FRESH_S else None

    def start(self, sink: Callable[[Frame], None]) -> None:
        """Captures from now on. Raises: DeviceError when it is started already, PackageMissing."""
        with self._lock:
            if self._sink is not None:
                raise DeviceError("the camera is started already; stop it first")
            self._sink = sink
            self._stopped.clear()
            self._begin()
            self._watcher = threading.Thread(target=self._watch, name="utd-camera-watch", daemon=True)
            self._watcher.start()

    def stop(self) -> None:
        """Stops: no call of the sink begins after this returns, unless the driver hangs. Idempotent."""
        with self._lock:
            life, self._life = self._life, None
            watcher, self._watcher = self._watcher, None
            self._sink = None
            self._stopped.set()
        if life is not None:
            self._leave(life, JOIN_S)
        if watcher is not None and watcher is not threading.current_thread():
            watcher.join(JOIN_S)
        self.problem = None
        self._newest = None

    def request_key_frame(self) -> None:  # noqa: B027 - optional, as in the port
        """Does nothing: raw cameras have no key frames."""

    def set_bitrate(self, bitrate_bps: int) -> None:  # noqa: B027 - optional, as in the port
        """Does nothing: raw cameras have no bitrate."""

    def snapshot(self, timeout: float = 3.0) -> bytes:
        """Returns the newest picture as JPEG; see `snapshot_of`."""
        return snapshot_of(self, timeout)

    # -- the threads

    def _begin(self) -> None:
        """Starts a life. With the lock."""
        life = _Life()
        life.thread = threading.Thread(target=self._run, args=(life,), name="utd-camera", daemon=True)
        self._life = life
        life.thread.start()

    def _leave(self, life: _Life, seconds: float) -> bool:
        """Tells a life to end; False when its driver does not let it."""
        life.wanted = False
        thread = life.thread
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(seconds)
        if thread.is_alive():
            self._stuck += 1
            _log.error("the camera's driver hangs; its thread is left behind (%d so far)", self._stuck)
            return False
        return True

    def _run(self, life: _Life) -> None:
        failures = 0

        def wanted() -> bool:
            return life.wanted

        while wanted():
            life.begun_s, life.last_frame_s = time.monotonic(), None
            reason = "it delivers no more pictures"
            try:
                with contextlib.closing(self.frames(wanted)) as frames:  # type: ignore[type-var]
                    self.opened += 1
                    for frame in frames:
                        failures = 0
                        self._deliver(life, frame)
                        if not wanted():
                            return
            except DeviceError as error:
                reason = error.message
            except Exception as error:  # noqa: BLE001 - the thread's outermost frame; drivers raise anything
                reason = f"{type(error).__name__}: {error}"
            if not wanted():
                return
            self._failed(reason)
            life.begun_s = time.monotonic() + 3600  # waiting is not hanging
            self._stopped.wait(RETRY.pause_s(failures))
            failures += 1

    def _deliver(self, life: _Life, frame: Frame) -> None:
        now = time.monotonic()
        life.last_frame_s = now
        if isinstance(frame, RawFrame):
            self._newest, self._newest_s = frame, now
        if self.problem is not None:
            _log.info("the camera works again")
            self.problem = None
        sink = self._sink
        if sink is not None and life.wanted:
            sink(frame)

    def _failed(self, reason: str) -> None:
        if self.problem is None:
            _log.warning("the camera failed: %s; it is opened again as soon as that works", reason)
        self.problem = reason

    def _watch(self) -> None:
        while not self._stopped.wait(0.1):
            life = self._life
            if life is None:
                return
            last, limit = (
                (life.begun_s, OPEN_S) if life.last_frame_s is None else (life.last_frame_s, SILENT_S)
            )
            if time.monotonic() - last < limit:
                continue
            self._failed(f"no picture for {limit:g} s: the driver hangs")
            if not self._leave(life, 1.0) and self._stuck >= MAX_STUCK:
                self.problem = "the camera's driver hangs for good: restart the program, check the cable"
                return
            with self._lock:
                if self._sink is not None and self._life is life:
                    self._begin()


def need_even(width: int, height: int) -> None:
    """Raises: CameraFailed: 4:2:0 pictures have even sizes."""
    if width % 2 or height % 2:
        raise CameraFailed(f"a picture of {width}x{height} cannot be sent: both numbers must be even")


class Pace:
    """When the next picture of a source with a rate of its own is due; no drift."""

    def __init__(self, frames_per_second: int) -> None:
        self._period_s = 1 / frames_per_second
        self._due_s: float | None = None
        self._pause = threading.Event()

    def is_early(self) -> bool:
        """Tells whether a live picture came sooner than the wished rate: then it is left out."""
        now = time.monotonic()
        if self._due_s is None or now - self._due_s > 1:
            self._due_s = now
        if now < self._due_s - self._period_s / 2:
            return True
        self._due_s += self._period_s
        return False

    def wait(self, wanted: Callable[[], bool]) -> bool:
        """Waits until a file's next picture is due; False when it is not wanted any more."""
        now = time.monotonic()
        if self._due_s is None or now - self._due_s > 1:
            self._due_s = now
        while (left_s := self._due_s - time.monotonic()) > 0:
            if not wanted():
                return False
            self._pause.wait(min(left_s, 0.1))
        self._due_s += self._period_s
        return True
