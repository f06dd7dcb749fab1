"""One session's use of a capture device: as if the device were its own.

Owns: `Capture`, `CameraCapture`. Thread: the loop, but for what a frame asks of its camera. When the device itself
opens and closes is in `sharing`, what several sessions ask of one camera in `votes`.

From the moment of `close` no frame reaches the sink, also while the device still stops.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from utdstream._livekit import devices
from utdstream._livekit.devices import SharedCamera, SharedCapture
from utdstream._livekit.loop import LoopThread, bounded
from utdstream._livekit.properties import PictureFormat
from utdstream._livekit.sharing import DeviceLimits
from utdstream._livekit.votes import CameraVotes, Vote
from utdstream.media import Camera, Microphone

_log = logging.getLogger(__name__)

Sink = Callable[[Any], None]


class Capture:
    """Brings a device's frames to one sink at a time, while it is open. `kind` is microphone or camera."""

    def __init__(
        self,
        loop: LoopThread,
        kind: str,
        device: Microphone | Camera,
        *,
        limits: DeviceLimits = DeviceLimits(),  # noqa: B008 - frozen
    ) -> None:
        self._loop = loop
        self._kind = kind
        self._device = device
        self._limits = limits
        self._shared: SharedCapture[Any] | None = None
        self._sink: Sink | None = None
        self._opening: asyncio.Future[None] | None = None

    @property
    def is_open(self) -> bool:
        """True from `open` until `close`, or until opening has failed."""
        return self._sink is not None

    def _share(self) -> SharedCapture[Any]:
        """Returns the device as all its users have it, in this turn of the loop."""
        return devices.shared(
            self._kind,
            self._device,
            lambda idle: SharedCapture(self._loop, self._kind, self._device, self._limits, idle),
        )

    def open_early(self, sink: Sink) -> None:
        """Begins to open; the next `open` waits for it, and raises what came of it."""
        if self._sink is None and self._opening is None:
            self._shared = self._share()
            self._sink = sink
            opening = self._opening = self._shared.attach(sink)
            opening.add_done_callback(self._opened)

    def _opened(self, opening: asyncio.Future[None]) -> None:
        if self._opening is opening and opening.exception() is not None:
            self._failed()

    def _failed(self) -> None:
        self._sink = None

    async def open(self, sink: Sink) -> None:
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

    def on_return(self, callback: Callable[[], object]) -> None:
        """Calls back once, until `close`, when a device that hangs comes back."""
        if self._shared is not None:
            self._shared.on_return(self, callback)

    async def close(self) -> None:
        """Stops the frames at once, then waits a little for the device, and not at all for one that hangs."""
        sink, self._sink = self._sink, None
        shared, self._shared = self._shared, None
        self._opening = None
        if shared is None:
            return
        shared.on_return(self, None)
        if sink is not None and not await bounded(shared.detach(sink), self._limits.wait_s):
            _log.debug("the %s takes its time; the call goes on without waiting", self._kind)


class CameraCapture(Capture):
    """A session's use of a camera. Its feed and its viewers ask it what they would ask the camera."""

    def __init__(
        self,
        loop: LoopThread,
        camera: Camera,
        *,
        limits: DeviceLimits = DeviceLimits(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__(loop, "camera", camera, limits=limits)
        self._camera = camera
        self._vote = Vote()
        self._votes: CameraVotes | None = None
        """Where `_vote` counts, while the device is open."""
        self.may_rest = False
        """Whether the camera may be told that nobody watches; known since `read_picture`."""

    def read_picture(self) -> PictureFormat:
        """Returns what the camera promises now. Raises: DeviceError."""
        picture = PictureFormat.of(self._camera)
        self.may_rest = picture.may_rest
        return picture

    def _share(self) -> SharedCapture[Any]:
        camera = devices.shared(
            "camera", self._camera, lambda idle: SharedCamera(self._loop, self._camera, self._limits, idle)
        )
        self._votes = camera.votes
        self._votes.join(self._vote)
        return camera

    def _failed(self) -> None:
        super()._failed()
        self._leave_vote()

    async def close(self) -> None:
        self._leave_vote()
        await super().close()

    def _leave_vote(self) -> None:
        votes, self._votes = self._votes, None
        if votes is not None:
            votes.leave(self._vote)

    def request_key_frame(self) -> None:
        """Asks for a key frame, which all sessions get. Any thread. Raises: what the driver raises."""
        self._camera.request_key_frame()

    def set_bitrate(self, bitrate_bps: int) -> None:
        """Says what this session's network carries. Any thread. Raises: what the driver raises."""
        self._change(bitrate_bps=bitrate_bps)

    def set_watched(self, watched: bool) -> None:
        """Says whether anybody watches in this session. Any thread. Raises: what the driver raises."""
        self._change(watched=watched)

    def _change(self, *, watched: bool | None = None, bitrate_bps: int | None = None) -> None:
        votes = self._votes
        if votes is not None:
            votes.change(self._vote, watched=watched, bitrate_bps=bitrate_bps)
        else:
            self._vote.take(watched=watched, bitrate_bps=bitrate_bps)
