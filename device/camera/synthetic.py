"""A camera without hardware, for trying and testing: the counting test picture, through our own encoder."""

from __future__ import annotations

import time
from collections.abc import Callable

from device.camera.encoder import encoded_unless_none, snapshot_of
from device.camera.port import SnapshotCamera
from device.config import MachineConfig
from utdstream.media import EncodedFrame, RawFrame
from utdstream.synthetic import PatternCamera

SOURCES = {"": "a counting test picture"}
"""What `[camera] source` may be, and its pictures: a row each on the page of cameras."""
FRESH_S = 1.0


class SyntheticCamera(PatternCamera):
    """`PatternCamera` that keeps its newest picture for `snapshot`."""

    problem: str | None = None
    _newest: RawFrame | None = None
    _newest_s = 0.0

    @property
    def newest(self) -> RawFrame | None:
        """The newest picture, when it is younger than a second."""
        return self._newest if time.monotonic() - self._newest_s < FRESH_S else None

    def start(self, sink: Callable[[RawFrame | EncodedFrame], None]) -> None:
        def keep(frame: RawFrame | EncodedFrame) -> None:
            if isinstance(frame, RawFrame):
                self._newest, self._newest_s = frame, time.monotonic()
            sink(frame)

        super().start(keep)

    def snapshot(self, timeout: float = 3.0) -> bytes:
        """Returns the newest picture as JPEG; see `snapshot_of`."""
        return snapshot_of(self, timeout)


def open_camera(config: MachineConfig) -> SnapshotCamera:
    """Opens the test picture in the configured size and rate."""
    camera = config.camera
    raw = SyntheticCamera(camera.width, camera.height, camera.frames_per_second)
    return encoded_unless_none(raw, camera)
