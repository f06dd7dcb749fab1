"""A device's way into the native core, as a slot knows it.

Owns: `Feed`, the base of every such way. A way that is added (another path for sound, another codec) is one more
subclass, chosen in `publishing`. Threads: `sink` runs on the device's own thread, the rest is the loop's.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

from livekit import rtc

from utdstream._livekit.loop import LoopThread
from utdstream.observe import CallbackError, Report

_log = logging.getLogger(__name__)

Frame_contra = TypeVar("Frame_contra", contravariant=True)


class Feed(ABC, Generic[Frame_contra]):
    """One device's way into the core, from its making to `close`: the gate, the counters, one report a fault.

    Made, started, opened and closed on the loop.
    """

    def __init__(self, loop: LoopThread, report: Report, name: str) -> None:
        self._loop = loop
        self._report = report
        self._name = name
        self._reported = False
        self.open = False
        """Frames pass. False while muted, refused or not connected: they are dropped and counted."""
        self.sent = 0
        """Frames that the core took. Any thread reads it."""
        self._dropped = 0
        self._closed = False

    @property
    def dropped(self) -> int:
        """Frames that were not sent, whatever the reason. Any thread."""
        return self._dropped

    @abstractmethod
    def sink(self, frame: Frame_contra) -> None:
        """Takes one frame of the device, on the device's thread. Copies it; never blocks, never raises."""

    @abstractmethod
    def make_track(self) -> rtc.LocalTrack:
        """Makes a track for one publication. Only in a connected room: else it gets three threads of its own."""

    @abstractmethod
    def publish_options(self) -> rtc.TrackPublishOptions:
        """Says how that track is published, all but its `source`."""

    async def wait_for_device(self, timeout_s: float) -> bool:
        """Returns True as soon as the track may be published; False when the device is not so far in time."""
        return True

    def on_device_ready(self, callback: Callable[[], None]) -> None:
        """Calls back on the loop when a device for which the wait was in vain is so far after all."""

    def prime(self) -> None:
        """Prepares for the publication that comes next, not muted."""

    def let_pass(self) -> None:
        """Lets frames pass from now on: the track is published and not muted."""
        self.open = True

    async def close(self) -> None:
        """Ends the feed; never waits for the device, whose last frames are dropped."""
        self._closed = True
        self.open = False

    def _refuse(self, error: Exception) -> None:
        """Drops a frame that must not reach the core: counted, and reported the first time."""
        self._dropped += 1
        if not self._closed:  # else the device's last frame met a source that is gone
            self._report_once(error)

    def _report_once(self, error: Exception) -> None:
        if not self._reported:
            self._reported = True
            _log.warning("%s: %s", self._name, error)
            self._report(CallbackError(error, self._name))
