"""The real picamera2 on libcamera's virtual camera: what a board would bring, and a pace.

Runs inside the root that `make test-picamera2` builds, nowhere else.
"""

from __future__ import annotations

import mmap
import sys
import threading
import time
import types
from typing import Any

import pytest

FRAMES_PER_SECOND = 30


class _Formats(type):
    def __getattr__(cls, name: str) -> str:
        return name


def _stand_in_for_kms() -> None:
    """picamera2 imports kms for its preview; there is no display here and none is wanted."""
    kms = types.ModuleType("kms")
    kms.PixelFormats = _Formats("PixelFormats", (), {})  # type: ignore[attr-defined]
    kms.PixelFormat = kms.PixelFormats  # type: ignore[attr-defined]

    class Card:
        def __init__(self, *_: object) -> None:
            raise RuntimeError("there is no display")

    kms.Card = Card  # type: ignore[attr-defined]
    sys.modules.setdefault("kms", kms)
    sys.modules.setdefault("pykms", kms)


_stand_in_for_kms()
picamera2 = pytest.importorskip("picamera2")

from picamera2.allocators import Allocator  # noqa: E402

from device.camera import picamera2 as adapter  # noqa: E402


class VirtualAllocator(Allocator):  # type: ignore[misc]
    """libcamera's own buffers, mapped once: the default ones have one plane and abort its NV12 generator."""

    def __init__(self, camera: Any) -> None:
        super().__init__()
        import libcamera

        self._libcamera_allocator = libcamera.FrameBufferAllocator(camera)
        self._maps: dict[Any, mmap.mmap] = {}

    def allocate(self, config: Any, _use_case: object) -> None:
        for item in config:
            if self._libcamera_allocator.allocate(item.stream) < 0:
                raise RuntimeError("no buffers")

    def buffers(self, stream: Any) -> Any:
        return self._libcamera_allocator.buffers(stream)

    def acquire(self, _buffers: object) -> None:
        pass

    def release(self, _buffers: object) -> None:
        pass

    def sync(self, _allocator: object, buffer: Any, _write: bool) -> Any:
        made = self._maps.get(buffer)
        if made is None:
            plane = buffer.planes[0]
            size = sum(each.length for each in buffer.planes)
            made = self._maps[buffer] = mmap.mmap(
                plane.fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE
            )
        return _Mapped(made)

    def cleanup(self) -> None:
        pass


class _Mapped:
    def __init__(self, made: mmap.mmap) -> None:
        self._made = made

    def __enter__(self) -> mmap.mmap:
        return self._made

    def __exit__(self, *_: object) -> None:
        pass


class VirtualCamera(picamera2.Picamera2):  # type: ignore[misc]
    """The real class; the virtual camera has no raw modes and no pace of its own."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.allocator = VirtualAllocator(self.camera)
        self.pre_callback = Pace(FRAMES_PER_SECOND)

    def _get_raw_modes(self) -> list[dict[str, object]]:
        return [{"format": "NV12", "size": (1280, 720)}]


class Pace:
    """Sleeps until the next picture is due: picamera2's event thread."""

    def __init__(self, frames_per_second: int) -> None:
        self._period_s = 1 / frames_per_second
        self._due_s = time.monotonic()
        self._pause = threading.Event()

    def __call__(self, _request: object) -> None:
        self._due_s = max(self._due_s + self._period_s, time.monotonic() - 1)
        self._pause.wait(max(0.0, self._due_s - time.monotonic()))


@pytest.fixture(autouse=True)
def virtual_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    """The adapter opens this camera."""
    monkeypatch.setattr(adapter, "picamera2_class", lambda: VirtualCamera)
