"""Whether anybody watches the own camera, so that it need not be encoded for nobody.

Owns: `ViewerWatch`, one a published camera. Thread: the loop; the camera is told from it and must not wait.

1. Nobody else in the room: nobody watches, at once.
2. Somebody is: dynacast switches the layer off when the last viewer unsubscribes, and WebRTC's figures say so
   (`outbound.active`). livekit-server waits before it says it (`video.dynacast_pause_delay`, 5 s by default; our
   engine's stack sets 2 s).
3. A participant who arrives may watch: counted as a viewer until the figures say otherwise.
4. A camera that is not told anything is watched: when in doubt, encode.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from livekit import rtc

from utdstream._livekit.loop import LoopThread

_log = logging.getLogger(__name__)

LOOK_S = 0.5
BENEFIT_S = 3.0
"""An arrival has this long to subscribe."""
STATS_S = 2.0


class Resting(Protocol):
    """A camera that may rest. Any thread, no wait."""

    def set_watched(self, watched: bool) -> None: ...


class ViewerWatch:
    """Looks every half second, and tells the camera what changed.

    `is_alone`: nobody else is in the room. `is_reconnecting`: nothing can be known now. `layer_is_active`: whether
    the core sends the camera's layer, None when it cannot say; asked only when the other two leave it open.
    """

    def __init__(
        self,
        loop: LoopThread,
        camera: Resting,
        *,
        is_alone: Callable[[], bool],
        is_reconnecting: Callable[[], bool],
        layer_is_active: Callable[[], Awaitable[bool | None]],
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._loop = loop
        self._camera = camera
        self._is_alone = is_alone
        self._is_reconnecting = is_reconnecting
        self._layer_is_active = layer_is_active
        self._clock = clock or loop.asyncio_loop.time
        self._task: asyncio.Task[None] | None = None
        self._benefit_until = self._clock() + BENEFIT_S
        self._was_alone = True
        self.watched = True

    def start(self) -> None:
        """Looks from now on, until `close`."""
        self._task = self._loop.spawn(self._run())

    def close(self) -> None:
        """Ends it, and tells the camera that it is watched, as every camera is that starts."""
        if self._task is not None:
            self._task.cancel()  # it waits on a clock or on figures: nothing that must finish
        self._tell(watched=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Looks once, and tells the camera when the answer is another one."""
        if not self._is_reconnecting():
            self._tell(watched=await self._somebody_watches())

    async def _somebody_watches(self) -> bool:
        if self._is_alone():
            self._was_alone = True
            return False
        now = self._clock()
        if self._was_alone:
            self._was_alone = False
            self._benefit_until = now + BENEFIT_S
        if now < self._benefit_until:
            return True
        return await self._layer_is_active() is not False

    def _tell(self, *, watched: bool) -> None:
        if watched == self.watched:
            return
        self.watched = watched
        _log.debug("the camera is %s", "watched" if watched else "watched by nobody: it rests")
        try:
            self._camera.set_watched(watched)
        except Exception:  # noqa: BLE001 - a driver's fault must not stop the loop
            _log.exception("the camera could not be told whether it is watched")


async def layer_is_active(track: rtc.LocalTrack | None) -> bool | None:
    """Asks WebRTC whether it sends any layer of `track`; None without figures, or not within STATS_S."""
    if track is None:
        return None
    try:
        entries = await asyncio.wait_for(track.get_stats(), STATS_S)
    except (TimeoutError, Exception) as error:  # noqa: BLE001 - livekit raises bare Exception here
        _log.debug("figures of the camera's track: %s", error)
        return None
    layers = [entry.outbound_rtp.outbound for entry in entries if entry.WhichOneof("stats") == "outbound_rtp"]
    return any(layer.active for layer in layers) if layers else None
