"""Devices in use in this process: the same object given to several sessions is opened once.

Owns: `SharedCapture` and `SharedSpeaker`, and the tables from a device object to its own. Threads: the tables
belong to the loop; a device opens and closes on a thread that may block on it, frames pass on its own.

An entry of the tables lives while somebody uses it; it holds its device, so the id it is filed under stays taken.
"""

from __future__ import annotations

import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from utdstream._livekit.playout import mix
from utdstream.media import BYTES_PER_SAMPLE, Camera, Microphone, Speaker

User = TypeVar("User")
Frame = TypeVar("Frame")
Frame_co = TypeVar("Frame_co", covariant=True)


class _Shared(ABC, Generic[User]):
    """One device, opened by its first user and closed by its last."""

    def __init__(self) -> None:
        self._operation = threading.Lock()  # one open or close at a time; never taken by a frame
        self._changing = threading.Lock()  # held for one assignment of `_users`, which frames read as it is
        self._users: tuple[User, ...] = ()
        self._open = False

    def attach(self, user: User) -> None:
        """Opens the device for its first user. Blocks on the device. Raises: what the driver raises."""
        with self._operation:
            with self._changing:
                self._users = (*self._users, user)
            if not self._open:
                try:
                    self._start()
                except BaseException:
                    self.forget(user)
                    raise
                self._open = True

    def forget(self, user: User) -> None:
        """Lets nothing reach `user` from now on; `detach` must follow. Any thread, never blocks."""
        with self._changing:
            self._users = tuple(other for other in self._users if other != user)

    def detach(self, user: User) -> None:
        """Closes the device behind its last user. Blocks on the device. Raises: what the driver raises."""
        self.forget(user)
        with self._operation:
            if self._open and not self._users:
                self._open = False
                self._stop()

    @abstractmethod
    def _start(self) -> None: ...

    @abstractmethod
    def _stop(self) -> None: ...


class _Startable(Protocol[Frame_co]):
    def start(self, sink: Callable[[Frame_co], None]) -> None: ...

    def stop(self) -> None: ...


class SharedCapture(_Shared[Callable[[Frame], None]], Generic[Frame]):
    """One microphone or camera; each of its frames goes to all sinks, on the device's own thread."""

    def __init__(self, device: _Startable[Frame]) -> None:
        super().__init__()
        self.device = device

    def _start(self) -> None:
        self.device.start(self._fan_out)

    def _stop(self) -> None:
        self.device.stop()

    def _fan_out(self, frame: Frame) -> None:
        for sink in self._users:
            sink(frame)


class SharedSpeaker(_Shared[Callable[[int], bytes]]):
    """One speaker; it plays the clipped sum of what all sources give, pulled on its own thread."""

    def __init__(self, speaker: Speaker) -> None:
        super().__init__()
        self.speaker = speaker

    def _start(self) -> None:
        self.speaker.start(self._pull)

    def _stop(self) -> None:
        self.speaker.stop()

    def _pull(self, samples: int) -> bytes:
        sources = self._users
        if len(sources) == 1:
            return sources[0](samples)
        size = samples * self.speaker.format.channels * BYTES_PER_SAMPLE
        return mix([source(samples) for source in sources], size)


_captures: weakref.WeakValueDictionary[int, SharedCapture[Any]] = weakref.WeakValueDictionary()
_speakers: weakref.WeakValueDictionary[int, SharedSpeaker] = weakref.WeakValueDictionary()


def capture(device: Microphone | Camera) -> SharedCapture[Any]:
    """Returns the one capture of this device, making it for its first user. Thread: loop."""
    entry = _captures.get(id(device))
    if entry is None:
        entry = _captures[id(device)] = SharedCapture(device)
    return entry


def speaker(device: Speaker) -> SharedSpeaker:
    """Returns the one playback of this device, making it for its first user. Thread: loop."""
    entry = _speakers.get(id(device))
    if entry is None:
        entry = _speakers[id(device)] = SharedSpeaker(device)
    return entry
