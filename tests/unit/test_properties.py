"""What a device says of itself: whatever it raises or says wrongly is one typed error."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy
import pytest

from utdstream import DeviceError, PermissionDenied
from utdstream._livekit.properties import PictureFormat, native_sound, sound_format
from utdstream.media import PcmFormat
from utdstream.synthetic import PatternCamera, ToneMicrophone


def gone(name: str, error: Exception) -> Any:
    """A device whose property `name` raises."""

    class Device(PatternCamera):
        format = PcmFormat(48_000, 1)

    def fail(_: object) -> None:
        raise error

    setattr(Device, name, property(fail, lambda *_: None))
    return Device(320, 240, 15)


def test_picture_when_read_is_what_the_camera_promises() -> None:
    """A plain camera may not rest."""
    assert PictureFormat.of(PatternCamera(320, 240, 15)) == PictureFormat(
        320, 240, 15, encoded=False, may_rest=False
    )


@pytest.mark.parametrize("name", ["width", "height", "frames_per_second", "encoded"])
def test_picture_when_a_property_raises_is_a_device_error(name: str) -> None:
    """With the driver's words in it."""
    with pytest.raises(DeviceError, match="unplugged"):
        PictureFormat.of(gone(name, OSError("unplugged")))


@pytest.mark.parametrize("size", [0, -1, 1_000_000, None, "320", 320.5, True])
def test_picture_when_a_size_is_wrong_is_a_device_error(size: object) -> None:
    """It would end the process in the native core."""
    camera: Any = SimpleNamespace(width=size, height=240, frames_per_second=15, encoded=False)
    with pytest.raises(DeviceError, match="width"):
        PictureFormat.of(camera)


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf"), None, "15", True])
def test_picture_when_the_rate_is_wrong_is_a_device_error(rate: object) -> None:
    """Nothing could be divided by it."""
    camera: Any = SimpleNamespace(width=320, height=240, frames_per_second=rate, encoded=False)
    with pytest.raises(DeviceError, match="frames_per_second"):
        PictureFormat.of(camera)


def test_picture_when_the_numbers_are_of_another_library_is_taken() -> None:
    """Sizes from numpy, a rate that is no whole number: a driver's own types."""
    camera: Any = SimpleNamespace(
        width=numpy.int64(320), height=numpy.uint16(240), frames_per_second=29.97, encoded=False
    )
    assert PictureFormat.of(camera) == PictureFormat(320, 240, 29.97, encoded=False, may_rest=False)


@pytest.mark.parametrize("kind", ["microphone", "speaker"])
def test_format_when_it_raises_or_is_none_is_a_device_error(kind: str) -> None:
    """An error of the SDK's own passes as it is."""
    assert sound_format(kind, ToneMicrophone()) == PcmFormat(48_000, 1)
    with pytest.raises(DeviceError, match=f"{kind} is left out.*unplugged"):
        sound_format(kind, gone("format", OSError("unplugged")))
    with pytest.raises(DeviceError, match="must be a PcmFormat"):
        sound_format(kind, SimpleNamespace(format=None))
    with pytest.raises(PermissionDenied):
        sound_format(kind, gone("format", PermissionDenied("no")))


def test_native_sound_when_it_raises_is_a_device_error() -> None:
    """Also what only our own drivers have."""
    assert native_sound(ToneMicrophone()) is None
    with pytest.raises(DeviceError):
        native_sound(gone("native", OSError("unplugged")))
