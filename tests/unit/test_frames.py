"""Pictures as numpy sees them."""

from __future__ import annotations

import numpy
import pytest

from utdstream import InvalidConfig, PixelFormat, RawFrame

WIDTH, HEIGHT = 6, 4


def frame(pixel_format: PixelFormat, width: int = WIDTH, height: int = HEIGHT) -> RawFrame:
    """A picture whose bytes count up."""
    data = bytes(number % 256 for number in range(pixel_format.size_bytes(width, height)))
    return RawFrame(data, width, height, pixel_format, captured_at_us=0)


@pytest.mark.parametrize(
    ("pixel_format", "shape"),
    [
        (PixelFormat.I420, (6, 6)),
        (PixelFormat.NV12, (6, 6)),
        (PixelFormat.RGB24, (4, 6, 3)),
        (PixelFormat.RGBA, (4, 6, 4)),
        (PixelFormat.BGRA, (4, 6, 4)),
    ],
)
def test_array_when_made_of_a_picture_is_a_view_of_its_bytes(
    pixel_format: PixelFormat, shape: tuple[int, ...]
) -> None:
    """Nothing is copied, and a program that writes into it is stopped: the picture may be another's too."""
    picture = frame(pixel_format)
    array = picture.as_array()
    assert array.shape == shape
    assert array.tobytes() == picture.data
    assert numpy.shares_memory(array, numpy.frombuffer(picture.data, dtype=numpy.uint8))
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0] = 0


def test_array_when_its_buffer_can_be_written_cannot() -> None:
    """A camera of the user's own may reuse its buffer; the array shows what is in it now."""
    buffer = bytearray(frame(PixelFormat.RGB24).data)
    array = RawFrame(buffer, WIDTH, HEIGHT, PixelFormat.RGB24, captured_at_us=0).as_array()
    assert not array.flags.writeable
    buffer[0] = 77
    assert array[0, 0, 0] == 77


@pytest.mark.parametrize(("width", "height"), [(5, 4), (6, 3)])
def test_array_when_a_planar_picture_is_odd_raises(width: int, height: int) -> None:
    """Its colour planes do not fit under its brightness."""
    with pytest.raises(InvalidConfig, match="even in both directions"):
        frame(PixelFormat.I420, width, height).as_array()


def test_array_when_bytes_are_missing_raises_and_says_how_many_there_should_be() -> None:
    """A picture of a camera of the user's own."""
    short = RawFrame(b"\x00" * 71, WIDTH, HEIGHT, PixelFormat.RGB24, captured_at_us=0)
    with pytest.raises(InvalidConfig, match="6x4 is 72 bytes; this one has 71"):
        short.as_array()
