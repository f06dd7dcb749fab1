"""What a camera is to an app, beyond the SDK's own port.

Owns: the port. Imports the SDK's port only.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from utdstream import Camera


@runtime_checkable
class SnapshotCamera(Camera, Protocol):
    """A camera that gives single pictures, also while no call is on, and says what is wrong with it."""

    @property
    def problem(self) -> str | None:
        """What is wrong now, as a sentence; None while pictures come, and while it is not started."""
        ...

    def snapshot(self, timeout: float = 3.0) -> bytes:
        """Returns the newest picture as JPEG. Blocks: to `timeout` seconds. Raises: DeviceError."""
        ...
