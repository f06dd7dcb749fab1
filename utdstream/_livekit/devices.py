"""Devices in use in this process: the same object given to several sessions is opened once.

Owns: `SharedCapture`, `SharedCamera`, `SharedSpeaker`, and the table from a device object to its own. Thread: the
loop; frames pass on the device's own. When a device opens and closes is in `sharing`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from utdstream._livekit.loop import LoopThread
from utdstream._livekit.playout import mix
from utdstream._livekit.sharing import DeviceLimits, Shared
from utdstream._livekit.votes import CameraVotes
from utdstream.media import BYTES_PER_SAMPLE, Camera, PcmFormat, Speaker

Frame = TypeVar("Frame")
Frame_co = TypeVar("Frame_co", covariant=True)


class _Startable(Protocol[Frame_co]):
    def start(self, sink: Callable[[Frame_co], None]) -> None: ...

    def stop(self) -> None: ...


class SharedCapture(Shared[Callable[[Frame], None]], Generic[Frame]):
    """One microphone or camera; each of its frames goes to all sinks, on the device's own thread."""

    def __init__(
        self,
        loop: LoopThread,
        kind: str,
        device: _Startable[Frame],
        limits: DeviceLimits = DeviceLimits(),  # noqa: B008 - frozen
        idle: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(loop, kind, limits, idle)
        self.device = device

    def _start(self) -> None:
        self.device.start(self._fan_out)

    def _stop(self) -> None:
        self.device.stop()

    def _fan_out(self, frame: Frame) -> None:
        for sink in self.users:
            sink(frame)


class SharedCamera(SharedCapture[Any]):
    """One camera; what its users ask of it is voted on."""

    def __init__(
        self,
        loop: LoopThread,
        camera: Camera,
        limits: DeviceLimits = DeviceLimits(),  # noqa: B008 - frozen
        idle: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(loop, "camera", camera, limits, idle)
        self.votes = CameraVotes(camera)

    def _opened(self) -> None:
        self.votes.begin()

    def _stop(self) -> None:
        self.votes.end()
        super()._stop()


class SharedSpeaker(Shared[Callable[[int], bytes]]):
    """One speaker; it plays the clipped sum of what all sources give, pulled on its own thread."""

    def __init__(
        self,
        loop: LoopThread,
        speaker: Speaker,
        pcm: PcmFormat,
        limits: DeviceLimits = DeviceLimits(),  # noqa: B008 - frozen
        idle: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(loop, "speaker", limits, idle)
        self.speaker = speaker
        self._sample_bytes = pcm.channels * BYTES_PER_SAMPLE

    def _start(self) -> None:
        self.speaker.start(self._pull)

    def _stop(self) -> None:
        self.speaker.stop()

    def _pull(self, samples: int) -> bytes:
        sources = self.users
        if len(sources) == 1:
            return sources[0](samples)
        return mix([source(samples) for source in sources], max(0, samples) * self._sample_bytes)


_in_use: dict[tuple[str, int], Shared[Any]] = {}
"""By kind and id of the device, whose id stays taken while it is in use. Loop thread."""

S = TypeVar("S", bound=Shared[Any])


def shared(kind: str, device: object, make: Callable[[Callable[[], object]], S]) -> S:
    """Returns the one that opens and closes `device`, made for its first user. `attach` in the same turn.

    `make` is given what its `idle` has to be. Thread: loop.
    """
    key = (kind, id(device))
    entry = _in_use.get(key)
    if entry is None:
        entry = _in_use[key] = make(lambda: _in_use.pop(key, None))
    return entry  # type: ignore[return-value]  # a kind has one class
