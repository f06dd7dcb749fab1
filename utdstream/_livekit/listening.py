"""What is heard of a room on the session's speaker. Thread: the loop; the speaker pulls on its own.

Owns: `Listening`, one a connection that has a speaker.
"""

from __future__ import annotations

import asyncio
import logging

from utdstream._livekit import devices
from utdstream._livekit.loop import LoopThread
from utdstream._livekit.subscribing import AudioConsumer, Subscriber
from utdstream.media import Speaker
from utdstream.observe import CallbackError, Report

_log = logging.getLogger(__name__)


class Listening:
    """Everything that `subscriber` hears, on one speaker. A speaker that fails is reported; the call goes on."""

    def __init__(self, loop: LoopThread, speaker: Speaker, subscriber: Subscriber, report: Report) -> None:
        self._loop = loop
        self._speaker = devices.speaker(speaker)
        self._subscriber = subscriber
        self._report = report
        self._consumer = AudioConsumer(speaker.format)
        self._pull = self._consumer.mixer.pull
        self._opening: asyncio.Future[None] | None = None

    def open(self) -> None:
        """Begins, and opens the speaker meanwhile."""
        self._subscriber.add(self._consumer)
        self._opening = self._loop.in_thread(lambda: self._speaker.attach(self._pull), "utd-open-speaker")
        self._opening.add_done_callback(self._opened)

    def _opened(self, opening: asyncio.Future[None]) -> None:
        error = opening.exception()
        if error is not None:
            _log.warning("the speaker could not be opened: %s", error)
            self._report(CallbackError(error, "speaker"))

    def close(self) -> asyncio.Task[None]:
        """Ends, and closes the speaker; the task is done when it is closed."""
        self._subscriber.remove(self._consumer)
        return self._loop.spawn(self._close())

    async def _close(self) -> None:
        if self._opening is not None:
            await asyncio.wait({self._opening})  # else the close may overtake it, and the speaker stays open
        await self._loop.in_thread(lambda: self._speaker.detach(self._pull), "utd-close-speaker")
