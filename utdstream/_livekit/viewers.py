"""Whether anybody watches the own camera, so that it need not be encoded for nobody.

Owns: `ViewerWatch`, one a published camera. Thread: the loop; the camera is told from it and must not wait.

1. Nobody else in the room: nobody watches, at once.
2. Somebody is: dynacast switches the layer off when the last one unsubscribes, and WebRTC's figures say so
   (`outbound.active`). livekit-server waits before it says it (`video.dynacast_pause_delay`, 5 s by default; our
   engine's stack sets 2 s).
3. Who comes may watch: an arrival counts as a viewer until the figures say otherwise.
4. A camera that is not told anything is watched: when in doubt, encode.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from utdstream._livekit.loop import LoopThread
from utdstream.media import WatchedCamera

if TYPE_CHECKING:
    from utdstream._livekit.publishing import Publisher, Slot

_log = logging.getLogger(__name__)

LOOK_S = 0.5
BENEFIT_S = 3.0
"""An arrival has this long to subscribe."""
STATS_S = 2.0


class ViewerWatch:
    """Looks every half second, and tells the camera what changed."""

    def __init__(self, loop: LoopThread, camera: WatchedCamera, publisher: Publisher, slot: Slot) -> None:
        self._loop = loop
        self._camera = camera
        self._publisher = publisher
        self._slot = slot
        self._task: asyncio.Task[None] | None = None
        self._benefit_until = 0.0
        self._was_alone = True
        self.watched = True

    def start(self) -> None:
        self._benefit_until = self._loop.asyncio_loop.time() + BENEFIT_S
        self._task = self._loop.spawn(self._run())

    def close(self) -> None:
        """The camera is unpublished; whoever starts it again finds it watched."""
        if self._task is not None:
            self._task.cancel()  # it waits on a clock or on figures: nothing that must finish
        self._tell(watched=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            if self._publisher.reconnecting:
                continue
            self._tell(watched=await self._look())

    async def _look(self) -> bool:
        now = self._loop.asyncio_loop.time()
        alone = self._publisher.alone
        if alone:
            self._was_alone = True
            return False
        if self._was_alone:
            self._was_alone = False
            self._benefit_until = now + BENEFIT_S
        if now < self._benefit_until:
            return True
        return await self._layer_is_active()

    async def _layer_is_active(self) -> bool:
        publication = self._slot.publication
        track = publication.track if publication is not None else None
        if track is None:
            return True
        try:
            entries = await asyncio.wait_for(track.get_stats(), STATS_S)
        except (TimeoutError, Exception) as error:  # noqa: BLE001 - livekit raises bare Exception here
            _log.debug("figures of the camera's track: %s", error)
            return True
        layers = [
            entry.outbound_rtp.outbound for entry in entries if entry.WhichOneof("stats") == "outbound_rtp"
        ]
        return not layers or any(layer.active for layer in layers)

    def _tell(self, *, watched: bool) -> None:
        if watched == self.watched:
            return
        self.watched = watched
        _log.debug("the camera is %s", "watched" if watched else "watched by nobody: it rests")
        try:
            self._camera.set_watched(watched)
        except Exception:  # noqa: BLE001 - a driver's fault must not stop the loop
            _log.exception("the camera could not be told whether it is watched")
