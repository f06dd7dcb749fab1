"""Our own H.264: key frames on request, a bitrate that follows, pictures that survive."""

from __future__ import annotations

import io
import threading

import av
import numpy
import pytest
from facts import eventually

from device.camera.encoder import EncodedCamera, H264Encoder, jpeg, to_av
from device.camera.pyav import PyAvCamera
from device.camera.synthetic import SyntheticCamera
from utdstream.media import EncodedFrame, PixelFormat, RawFrame

WIDTH, HEIGHT = 640, 480


def picture(number: int, *, noise: bool = True, pixel_format: PixelFormat = PixelFormat.I420) -> RawFrame:
    """A picture that moves; with noise it is dear."""
    random = numpy.random.default_rng(number)
    size = pixel_format.size_bytes(WIDTH, HEIGHT)
    data = (
        random.integers(0, 255, size, dtype=numpy.uint8)
        if noise
        else numpy.full(size, number % 255, numpy.uint8)
    )
    return RawFrame(data.tobytes(), WIDTH, HEIGHT, pixel_format, number * 33_333)


def nal_types(unit: EncodedFrame) -> list[int]:
    data = bytes(unit.data)
    return [data[at + 3] & 0x1F for at in range(len(data) - 3) if data[at : at + 3] == b"\0\0\1"]


def test_key_frame_when_asked_for_is_the_very_next_unit() -> None:
    """SPS, PPS and IDR in one access unit; before and after it come ordinary ones; no B-frames anywhere."""
    encoder = H264Encoder(WIDTH, HEIGHT, 30, 1_000_000)
    units = []
    for number in range(20):
        if number == 10:
            encoder.request_key_frame()
        unit = encoder.encode(picture(number, noise=False))
        assert unit is not None
        units.append(unit)
    assert [number for number, unit in enumerate(units) if unit.is_key_frame] == [0, 10]
    for number in (0, 10):
        assert {7, 8, 5} <= set(nal_types(units[number]))
    decoder = av.CodecContext.create("h264", "r")
    decoded = [frame for unit in units for frame in decoder.decode(av.Packet(bytes(unit.data)))]
    assert len(decoded) >= 18


def test_bitrate_when_changed_is_followed() -> None:
    """From 3 Mbit/s to 0.5: the next seconds cost less than a third."""
    encoder = H264Encoder(WIDTH, HEIGHT, 30, 3_000_000)

    def size_of_two_seconds(begin: int) -> int:
        units = [encoder.encode(picture(number)) for number in range(begin, begin + 60)]
        return sum(len(unit.data) for unit in units if unit is not None)

    size_of_two_seconds(0)
    dear = size_of_two_seconds(60)
    encoder.set_bitrate(500_000)
    size_of_two_seconds(120)
    cheap = size_of_two_seconds(180)
    assert cheap < dear / 3


@pytest.mark.parametrize("pixel_format", list(PixelFormat))
def test_picture_when_converted_keeps_its_colours(pixel_format: PixelFormat) -> None:
    """Every pixel format reaches the encoder as it is."""
    size = pixel_format.size_bytes(64, 48)
    frame = RawFrame(bytes(range(256)) * (size // 256) + bytes(size % 256), 64, 48, pixel_format, 0)
    made = to_av(frame)
    assert (made.width, made.height) == (64, 48)
    if pixel_format is PixelFormat.I420:
        assert made.to_ndarray().tobytes() == bytes(frame.data)
    if pixel_format is PixelFormat.RGB24:
        assert made.to_ndarray().tobytes() == bytes(frame.data)


def test_jpeg_when_made_shows_the_picture() -> None:
    """A picture of one grey is that grey again."""
    made = jpeg(picture(120, noise=False))
    with av.open(io.BytesIO(made), "r") as container:
        frame = next(container.decode(video=0))
    assert (frame.width, frame.height) == (WIDTH, HEIGHT)
    assert abs(int(frame.to_ndarray(format="gray").mean()) - 120) < 20


def test_camera_when_nobody_watches_encodes_nothing_and_begins_with_a_key_frame() -> None:
    """No access unit comes while nobody watches; the first one after it is an IDR."""
    camera, units = EncodedCamera(SyntheticCamera(320, 240, 30)), []
    camera.start(units.append)
    eventually(lambda: len(units) > 5, "it is encoded")
    camera.set_watched(False)
    encoded = camera.frames_encoded
    pictures = threading.Event()
    pictures.wait(0.3)  # what lay in the slot is through; several pictures have come since
    assert camera.frames_encoded <= encoded + 2
    before = len(units)
    camera.set_watched(True)
    eventually(lambda: len(units) > before, "it is encoded again")
    camera.stop()
    first = units[before]
    assert isinstance(first, EncodedFrame)
    assert first.is_key_frame


def test_snapshot_when_the_camera_rests_starts_it_for_one_picture() -> None:
    """A doorbell takes a picture also while no call runs the camera."""
    device = PyAvCamera("test", 320, 240, 20)
    assert EncodedCamera(device).snapshot().startswith(b"\xff\xd8")
    assert device.newest is None


def test_snapshot_when_the_camera_runs_takes_the_newest() -> None:
    """Beside a call, without disturbing it."""
    camera, units = EncodedCamera(SyntheticCamera(320, 240, 20)), []
    camera.start(units.append)
    eventually(lambda: units, "it runs")
    assert camera.snapshot().startswith(b"\xff\xd8")
    camera.stop()
