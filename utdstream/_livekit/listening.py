"""What is heard of a room on the session's speaker. Thread: the loop; the speaker pulls on its own.

Owns: `Listening`, one a connection that has a speaker. A speaker that is not there, fails or hangs is reported,
and nothing is downloaded for it; one that hung is used as soon as it comes back.
"""

from __future__ import annotations

import asyncio
import logging

from utdstream._livekit import devices
from utdstream._livekit.devices import SharedSpeaker
from utdstream._livekit.loop import LoopThread
from utdstream._livekit.properties import sound_format
from utdstream._livekit.sharing import DeviceLimits
from utdstream._livekit.subscribing import AudioConsumer, Subscriber
from utdstream.errors import UTDStreamException
from utdstream.media import Speaker
from utdstream.observe import CallbackError, Report

_log = logging.getLogger(__name__)


class Listening:
    """Everything that `subscriber` hears, on one speaker, from `open` to `close`."""

    def __init__(
        self,
        loop: LoopThread,
        speaker: Speaker,
        subscriber: Subscriber,
        report: Report,
        *,
        limits: DeviceLimits = DeviceLimits(),  # noqa: B008 - frozen
    ) -> None:
        self._loop = loop
        self._speaker = speaker
        self._subscriber = subscriber
        self._report = report
        self._limits = limits
        self._shared: SharedSpeaker | None = None
        self._consumer: AudioConsumer | None = None

    def open(self) -> None:
        """Begins, and opens the speaker meanwhile. Never raises."""
        try:
            pcm = sound_format("speaker", self._speaker)
        except UTDStreamException as error:
            self._tell(error)
            return
        consumer = self._consumer = AudioConsumer(pcm)
        self._subscriber.add(consumer)
        shared = self._shared = devices.shared(
            "speaker",
            self._speaker,
            lambda idle: SharedSpeaker(self._loop, self._speaker, pcm, self._limits, idle),
        )
        shared.attach(consumer.mixer.pull).add_done_callback(
            lambda opening: self._opened(opening, shared, consumer)
        )

    def _opened(self, opening: asyncio.Future[None], shared: SharedSpeaker, consumer: AudioConsumer) -> None:
        error = opening.exception()
        if error is None or self._consumer is not consumer:
            return
        self._tell(error)
        self._subscriber.remove(consumer)
        shared.on_return(self, self.open)

    def _tell(self, error: BaseException) -> None:
        _log.warning("the speaker is left out: %s", error)
        self._report(CallbackError(error, "speaker"))

    def close(self) -> asyncio.Future[None]:
        """Ends, and closes the speaker; settled when it is closed, or hangs."""
        shared, self._shared = self._shared, None
        consumer, self._consumer = self._consumer, None
        if shared is None or consumer is None:
            nothing: asyncio.Future[None] = self._loop.asyncio_loop.create_future()
            nothing.set_result(None)
            return nothing
        self._subscriber.remove(consumer)
        shared.on_return(self, None)
        return shared.detach(consumer.mixer.pull)
