"""What a device says of itself, read in one place: a property that raises is a device that is not there.

Owns: `sound_format`, `native_sound`, `PictureFormat`. Thread: loop. They raise DeviceError for whatever a driver
raises or says wrongly: a wrong size that reached the native core would end the process, not the call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Self, TypeVar

from utdstream.errors import DeviceError, UTDStreamException
from utdstream.media import Camera, Microphone, PcmFormat, Speaker, WatchedCamera

T = TypeVar("T")

MOST_PIXELS = 16_384
"""A side that is longer is a mistake: no encoder of the core takes it."""
MOST_RATE = 1000


def sound_format(kind: str, device: Microphone | Speaker) -> PcmFormat:
    """Returns the format of a microphone or speaker as it is now."""
    found = _read(kind, lambda: device.format)
    if not isinstance(found, PcmFormat):
        raise DeviceError(f"the {kind} is left out: its format must be a PcmFormat, not {found!r}")
    return found


def native_sound(device: Microphone) -> object | None:
    """Returns the core's own sound behind this microphone, None when it is one of its own."""
    return _read("microphone", lambda: getattr(device, "native", None))


@dataclass(frozen=True, slots=True)
class PictureFormat:
    """What a camera promises of its pictures."""

    width: int
    height: int
    frames_per_second: float
    encoded: bool
    may_rest: bool
    """It need not encode while nobody watches."""

    @classmethod
    def of(cls, camera: Camera) -> Self:
        """Returns what `camera` promises now."""
        width = _size("width", _read("camera", lambda: camera.width))
        height = _size("height", _read("camera", lambda: camera.height))
        rate = _rate(_read("camera", lambda: camera.frames_per_second))
        encoded = bool(_read("camera", lambda: camera.encoded))
        may_rest = encoded and _read("camera", lambda: isinstance(camera, WatchedCamera))
        return cls(width, height, rate, encoded, may_rest)


def _size(name: str, found: object) -> int:
    if not isinstance(found, bool) and isinstance(found, Integral) and 0 < int(found) <= MOST_PIXELS:
        return int(found)
    raise DeviceError(f"the camera is left out: its {name} must be 1 to {MOST_PIXELS} pixels, not {found!r}")


def _rate(found: object) -> float:
    if not isinstance(found, bool) and isinstance(found, Real) and 0 < float(found) <= MOST_RATE:
        return float(found)
    raise DeviceError(
        f"the camera is left out: its frames_per_second must be above 0 and at most {MOST_RATE},"
        f" not {found!r}"
    )


def _read(kind: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except UTDStreamException:
        raise
    except Exception as error:
        raise DeviceError(f"the {kind} is left out, it does not say what it is: {error}") from error
