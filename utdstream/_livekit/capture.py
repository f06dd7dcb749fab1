"""One capture device opening and closing for one session, on threads that may block on it.

Owns: `Capture`. Thread: the loop; the device itself is opened and closed on short threads.

1. Opens and closes of one capture are done in the order in which they were asked for, however long one takes:
   a close never overtakes the open it belongs to, so no device stays open for nobody.
2. A device that is late (OPEN_TIMEOUT_S) is an error, and is closed again by itself when it has opened after all.
3. From the moment of `close` no frame reaches the sink, also while the device still stops.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from utdstream._livekit import devices
from utdstream._livekit.loop import LoopThread, bounded
from utdstream.errors import DeviceError, UTDStreamException
from utdstream.media import Camera, Microphone

_log = logging.getLogger(__name__)

OPEN_TIMEOUT_S = 5.0
CLOSE_TIMEOUT_S = 1.0


class Capture:
    """Brings a device's frames to one sink at a time, while it is open. `kind` is microphone or camera."""

    def __init__(
        self,
        loop: LoopThread,
        kind: str,
        device: Microphone | Camera,
        *,
        open_timeout_s: float = OPEN_TIMEOUT_S,
        close_timeout_s: float = CLOSE_TIMEOUT_S,
    ) -> None:
        self._loop = loop
        self._kind = kind
        self._shared = devices.capture(device)
        self._open_timeout_s = open_timeout_s
        self._close_timeout_s = close_timeout_s
        self._sink: Callable[[Any], None] | None = None
        self._opening: asyncio.Task[None] | None = None
        self._epoch = 0  # raised by each `open` and `close`: what began before may not speak for the present
        self._turn = asyncio.Lock()  # rule 1: it wakes in the order of asking

    @property
    def is_open(self) -> bool:
        """True from `open` until `close`, or until opening has failed."""
        return self._sink is not None

    def open_early(self, sink: Callable[[Any], None]) -> None:
        """Begins to open; the next `open` waits for it, and raises what came of it."""
        if self._sink is None and self._opening is None:
            self._sink = sink
            self._epoch += 1
            self._opening = self._loop.spawn(self._open(sink, self._epoch))

    async def open(self, sink: Callable[[Any], None]) -> None:
        """Returns when the device delivers to `sink`, at once when it does already.

        Returns also when `close` came meanwhile. Raises: DeviceError, or another error of the SDK that the
        driver raised.
        """
        self.open_early(sink)
        opening = self._opening
        if opening is None:
            return
        await asyncio.wait({opening})
        if self._opening is opening:
            self._opening = None
        opening.result()

    async def _open(self, sink: Callable[[Any], None], epoch: int) -> None:
        attach, detach = self._shared.attach, self._shared.detach
        opening = self._loop.spawn(self._in_turn(lambda: attach(sink), f"utd-open-{self._kind}"))
        if not await bounded(opening, self._open_timeout_s):
            self._fail(epoch)
            self._loop.spawn(self._in_turn(lambda: detach(sink), f"utd-undo-{self._kind}"))
            raise DeviceError(
                f"the {self._kind} did not open within {self._open_timeout_s:g} s; is it in use elsewhere?"
            )
        error = opening.exception()
        if error is not None:
            self._fail(epoch)
            if isinstance(error, UTDStreamException):
                raise error
            raise DeviceError(f"the {self._kind} could not be opened: {error}") from error

    def _fail(self, epoch: int) -> None:
        if self._epoch == epoch:
            self._sink = None

    async def close(self) -> None:
        """Stops the frames at once, then waits at most `close_timeout_s` for the device."""
        sink, self._sink = self._sink, None
        self._opening = None
        self._epoch += 1
        if sink is None:
            return
        self._shared.forget(sink)
        detach = self._shared.detach
        closing = self._loop.spawn(self._in_turn(lambda: detach(sink), f"utd-close-{self._kind}"))
        if not await bounded(closing, self._close_timeout_s):
            _log.warning(
                "the %s did not stop within %g s; the call goes on without waiting",
                self._kind,
                self._close_timeout_s,
            )

    async def _in_turn(self, work: Callable[[], None], name: str) -> None:
        async with self._turn:
            await self._loop.in_thread(work, name)
