"""Devices in use in this process: the same object given to several sessions is opened once.

Owns: `SharedCapture` and `SharedSpeaker`, and the tables from a device object to its own. Threads: the tables
belong to the loop; a device opens and closes on a thread that may block on it, frames pass on its own.

An entry of the tables lives while somebody uses it; it holds its device, so the id it is filed under stays taken.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from utdstream._livekit.playout import mix
from utdstream.media import BYTES_PER_SAMPLE, Camera, Microphone, Speaker

Frame = TypeVar("Frame")
Frame_co = TypeVar("Frame_co", covariant=True)


class _Startable(Protocol[Frame_co]):
    def start(self, sink: Callable[[Frame_co], None]) -> None: ...

    def stop(self) -> None: ...


class SharedCapture(Generic[Frame]):
    """One capture device, opened by its first user and closed by its last; frames fan out to all.

    `attach` and `detach` may block on the device: call them on a thread that may.
    """

    def __init__(self, device: _Startable[Frame]) -> None:
        self.device = device
        self._operation = threading.Lock()  # one open or close at a time; never taken by a frame
        self._sinks: tuple[Callable[[Frame], None], ...] = ()
        self._open = False

    def attach(self, sink: Callable[[Frame], None]) -> None:
        with self._operation:
            self._sinks = (*self._sinks, sink)
            if not self._open:
                try:
                    self.device.start(self._fan_out)
                except BaseException:
                    self.forget(sink)
                    raise
                self._open = True

    def forget(self, sink: Callable[[Frame], None]) -> None:
        """No frame reaches `sink` from now on. Never blocks."""
        self._sinks = tuple(other for other in self._sinks if other != sink)

    def detach(self, sink: Callable[[Frame], None]) -> None:
        self.forget(sink)
        with self._operation:
            if self._open and not self._sinks:
                self._open = False
                self.device.stop()

    def _fan_out(self, frame: Frame) -> None:
        for sink in self._sinks:
            sink(frame)


class SharedSpeaker:
    """One speaker, opened by its first user and closed by its last; all users are mixed.

    `attach` and `detach` may block on the device: call them on a thread that may.
    """

    def __init__(self, speaker: Speaker) -> None:
        self.speaker = speaker
        self._operation = threading.Lock()  # one open or close at a time; never taken by pull
        self._sources: tuple[Callable[[int], bytes], ...] = ()
        self._open = False

    def attach(self, source: Callable[[int], bytes]) -> None:
        with self._operation:
            self._sources = (*self._sources, source)
            if not self._open:
                try:
                    self.speaker.start(self._pull)
                except BaseException:
                    self._sources = tuple(other for other in self._sources if other != source)
                    raise
                self._open = True

    def detach(self, source: Callable[[int], bytes]) -> None:
        self._sources = tuple(other for other in self._sources if other != source)
        with self._operation:
            if self._open and not self._sources:
                self._open = False
                self.speaker.stop()

    def _pull(self, samples: int) -> bytes:
        sources = self._sources
        if len(sources) == 1:
            return sources[0](samples)
        size = samples * self.speaker.format.channels * BYTES_PER_SAMPLE
        return mix([source(samples) for source in sources], size)


_captures: weakref.WeakValueDictionary[int, SharedCapture[Any]] = weakref.WeakValueDictionary()
_speakers: weakref.WeakValueDictionary[int, SharedSpeaker] = weakref.WeakValueDictionary()


def capture(device: Microphone | Camera) -> SharedCapture[Any]:
    """The one capture of this device."""
    entry = _captures.get(id(device))
    if entry is None:
        entry = _captures[id(device)] = SharedCapture(device)
    return entry


def speaker(device: Speaker) -> SharedSpeaker:
    """The one playback of this device."""
    entry = _speakers.get(id(device))
    if entry is None:
        entry = _speakers[id(device)] = SharedSpeaker(device)
    return entry
