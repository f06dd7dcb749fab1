"""Synthetic devices: what they produce, and how well the counter survives."""

from __future__ import annotations

import array
import itertools
import threading
import time
import wave
from pathlib import Path

import pytest
from facts import eventually
from h264_camera import H264Camera, collect, decode

from utdstream.errors import DeviceError, InvalidConfig
from utdstream.media import PcmFrame, PixelFormat, RawFrame
from utdstream.synthetic import (
    FileMicrophone,
    NullSpeaker,
    PatternCamera,
    RecordingSpeaker,
    ToneMicrophone,
    read_counter,
)


def picture_as(frame: RawFrame, pixel_format: PixelFormat) -> RawFrame:
    """The grey part of an I420 picture in another format."""
    luma = bytes(frame.data[: frame.width * frame.height])
    if pixel_format is PixelFormat.NV12:
        pixels = luma + bytes(len(luma) // 2)
    else:
        size = 3 if pixel_format is PixelFormat.RGB24 else 4
        pixels = b"".join(bytes((grey,)) * size for grey in luma)
    return RawFrame(pixels, frame.width, frame.height, pixel_format, 0)


def scaled(frame: RawFrame, width: int, height: int) -> RawFrame:
    """Nearest neighbour, luma only."""
    luma = bytes(
        frame.data[(y * frame.height // height) * frame.width + x * frame.width // width]
        for y in range(height)
        for x in range(width)
    )
    return RawFrame(luma + bytes(len(luma) // 2), width, height, PixelFormat.I420, 0)


@pytest.mark.parametrize("number", [0, 1, 255, 65_536, 0xABCDEF, 0xFFFFFF])
@pytest.mark.parametrize("size", [(640, 480), (64, 64), (1280, 720), (322, 242)])
def test_counter_when_painted_is_read_again(number: int, size: tuple[int, int]) -> None:
    """Every size, small and large numbers."""
    assert read_counter(PatternCamera(*size).picture(number)) == number


@pytest.mark.parametrize("pixel_format", list(PixelFormat))
def test_counter_when_in_another_format_is_read(pixel_format: PixelFormat) -> None:
    """All pixel formats of the ports."""
    frame = PatternCamera(128, 96).picture(4_711)
    if pixel_format is not PixelFormat.I420:
        frame = picture_as(frame, pixel_format)
    assert read_counter(frame) == 4_711


@pytest.mark.parametrize("size", [(320, 240), (160, 120), (214, 160), (1280, 960)])
def test_counter_when_scaled_is_read(size: tuple[int, int]) -> None:
    """A simulcast layer is still readable."""
    assert read_counter(scaled(PatternCamera(640, 480).picture(123_456), *size)) == 123_456


def test_counter_when_picture_is_something_else_is_none() -> None:
    """Grey, black, white, too small and cut off pictures hold none."""
    for grey in (0, 16, 128, 235, 255):
        pixels = bytes([grey]) * (64 * 64 * 3 // 2)
        assert read_counter(RawFrame(pixels, 64, 64, PixelFormat.I420, 0)) is None
    assert read_counter(RawFrame(b"", 64, 64, PixelFormat.I420, 0)) is None
    assert read_counter(RawFrame(bytes(24), 4, 4, PixelFormat.I420, 0)) is None


def test_counter_when_encoded_at_a_low_bitrate_is_read() -> None:
    """H.264 at 150 kbit/s leaves every counter readable, in order, without a gap."""
    units = collect(H264Camera(640, 480, 30, bitrate_bps=150_000), 20)
    counters = [read_counter(picture) for picture in decode(units)]
    assert counters == list(range(counters[0] or 0, (counters[0] or 0) + 20))


def test_key_frame_when_wished_for_is_the_next_unit() -> None:
    """The test camera obeys at once, with SPS and PPS in the unit."""
    camera = H264Camera(160, 120, 60)
    keys: list[bool] = []
    units: list[bytes] = []
    enough = threading.Event()

    def sink(unit: object) -> None:
        keys.append(bool(getattr(unit, "is_key_frame", False)))
        units.append(bytes(getattr(unit, "data", b"")))
        if len(keys) == 5:
            camera.request_key_frame()
        if len(keys) == 10:
            enough.set()

    camera.start(sink)
    assert enough.wait(10)
    camera.stop()
    assert keys[:10] == [True, False, False, False, False, True, False, False, False, False]
    assert camera.key_frame_requests == 1
    kinds = {
        unit[start + 3] & 31
        for unit in units[5:6]
        for start in range(len(unit) - 3)
        if unit[start : start + 3] == b"\0\0\1"
    }
    assert {5, 7, 8} <= kinds


def test_picture_when_made_is_cheap() -> None:
    """A 640 x 480 picture costs far less than a frame time."""
    camera = PatternCamera()
    begun = time.process_time()
    for number in range(50):
        camera.picture(number)
    assert (time.process_time() - begun) / 50 < 0.005


def first_frames(microphone: ToneMicrophone | FileMicrophone, count: int) -> list[PcmFrame]:
    frames: list[PcmFrame] = []
    enough = threading.Event()

    def sink(frame: PcmFrame) -> None:
        frames.append(frame)
        if len(frames) >= count:
            enough.set()

    microphone.start(sink)
    assert enough.wait(10)
    microphone.stop()
    return frames[:count]


@pytest.mark.parametrize("channels", [1, 2])
def test_tone_when_played_has_its_frequency_and_level(channels: int) -> None:
    """A tenth of a second of 1 kHz crosses zero upwards a hundred times, at 30 % of full scale."""
    samples = array.array("h")
    for frame in first_frames(ToneMicrophone(1000.0, channels=channels), 10):
        samples.frombytes(bytes(frame.data))
    left = samples[::channels]
    ups = sum(1 for before, after in itertools.pairwise(left) if before < 0 <= after)
    assert 99 <= ups <= 101
    assert max(left) == pytest.approx(0.3 * 32_767, rel=0.01)
    if channels == 2:
        assert samples[1::2] == left


@pytest.mark.parametrize("frequency", [1, 440, 441, 997, 7_919])
def test_tone_when_it_repeats_has_no_seam(frequency: int) -> None:
    """From the last frame of the period to the first the step is not larger than elsewhere."""
    microphone = ToneMicrophone(frequency, sample_rate_hz=16_000, level=1.0)
    samples = array.array("h")
    for pcm in microphone._frames * 2:
        samples.frombytes(pcm)
    steps = [abs(after - before) for before, after in itertools.pairwise(samples)]
    seam = len(samples) // 2 - 1
    assert steps[seam] <= max(steps[:seam]) + 1


@pytest.mark.parametrize(("frequency", "level"), [(0, 0.3), (30_000, 0.3), (1000, 1.1), (1000, -0.1)])
def test_tone_when_impossible_is_refused(frequency: float, level: float) -> None:
    """Above half the rate there is no tone."""
    with pytest.raises(InvalidConfig):
        ToneMicrophone(frequency, level=level)


def test_microphone_when_held_up_skips_and_counts() -> None:
    """A sink that stalls for half a second is not flooded afterwards."""
    microphone = ToneMicrophone()
    calls: list[float] = []
    after = threading.Event()
    stall = threading.Event()

    def sink(_frame: PcmFrame) -> None:
        calls.append(time.monotonic())
        if len(calls) == 1:
            stall.wait(0.5)
        if len(calls) == 12:
            after.set()

    microphone.start(sink)
    assert after.wait(10)
    microphone.stop()
    assert microphone.frames_skipped >= 40
    assert calls[11] - calls[1] > 0.03


def test_microphone_when_sink_raises_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """A broken sink is logged once; the device survives."""
    microphone = ToneMicrophone()
    calls: list[int] = []

    def sink(_frame: PcmFrame) -> None:
        calls.append(1)
        raise ValueError("broken")

    microphone.start(sink)
    eventually(lambda: len(calls) >= 3, "the sink is called again")
    microphone.stop()
    assert caplog.text.count("survived") == 1


def write_wav(path: Path, pcm: bytes, *, rate: int = 16_000, width: int = 2, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(pcm)
    return path


def test_file_when_played_gives_its_samples_then_silence(tmp_path: Path) -> None:
    """The last frame is filled up with silence, and silence follows."""
    pcm = bytes(range(256)) * 2  # 1.6 frames
    microphone = FileMicrophone(write_wav(tmp_path / "a.wav", pcm))
    played = b"".join(bytes(frame.data) for frame in first_frames(microphone, 4))
    assert played[:512] == pcm
    assert played[512:] == bytes(4 * 320 - 512)
    assert microphone.finished.is_set()


def test_file_when_looped_begins_again(tmp_path: Path) -> None:
    """Frame n + length is frame n."""
    pcm = b"\1\2" * 160 + b"\3\4" * 160
    microphone = FileMicrophone(write_wav(tmp_path / "a.wav", pcm), loop=True)
    played = b"".join(bytes(frame.data) for frame in first_frames(microphone, 4))
    assert played == pcm * 2
    assert not microphone.finished.is_set()


@pytest.mark.parametrize("kind", ["missing", "text", "empty", "8 bits", "3 channels", "4000 Hz", "no sound"])
def test_file_when_unusable_is_a_device_error_that_names_it(tmp_path: Path, kind: str) -> None:
    """The sentence names the file."""
    path = tmp_path / "bad.wav"
    if kind == "text":
        path.write_text("no sound at all")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "8 bits":
        write_wav(path, bytes(100), width=1)
    elif kind == "3 channels":
        write_wav(path, bytes(600), channels=3)
    elif kind == "4000 Hz":
        write_wav(path, bytes(600), rate=4_000)
    elif kind == "no sound":
        write_wav(path, b"")
    with pytest.raises(DeviceError, match="bad"):
        FileMicrophone(path)


def test_recording_when_stopped_is_a_wav_of_what_was_heard(tmp_path: Path) -> None:
    """The file holds the same sound as `pcm`."""
    path = tmp_path / "heard.wav"
    speaker = RecordingSpeaker(path, sample_rate_hz=16_000, channels=2)
    count = [0]

    def source(samples: int) -> bytes:
        count[0] += 1
        return bytes([count[0] % 256]) * (samples * 4)

    speaker.start(source)
    eventually(lambda: speaker.frames_played >= 20, "200 ms have been heard")
    speaker.stop()
    with wave.open(str(path), "rb") as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 2, 2)
        assert file.readframes(file.getnframes()) == speaker.pcm
    assert speaker.pcm[:640] == b"\1" * 640


def test_recording_when_under_way_is_a_readable_file(tmp_path: Path) -> None:
    """A machine that loses power keeps a file that players open."""
    path = tmp_path / "heard.wav"
    speaker = RecordingSpeaker(path, sample_rate_hz=8_000)
    speaker.start(lambda samples: bytes(2 * samples))
    try:
        with wave.open(str(path), "rb") as file:
            assert file.getnframes() == 0
        eventually(lambda: speaker.frames_played >= 102, "a second was heard")
        with wave.open(str(path), "rb") as file:
            assert file.getnframes() == 8_000
    finally:
        speaker.stop()


def test_recording_when_long_keeps_the_newest_in_memory() -> None:
    """Memory is bounded by `keep_s`."""
    speaker = RecordingSpeaker(sample_rate_hz=8_000, keep_s=0.02)
    for number in range(200):
        speaker._play(bytes([number]) * 160)
    assert speaker.pcm == bytes([198]) * 160 + bytes([199]) * 160
    assert len(speaker._pcm) <= 2 * 320 + 160


def test_recording_when_folder_is_missing_is_a_device_error(tmp_path: Path) -> None:
    """The path is in the sentence, and the speaker can be used for something else."""
    speaker = RecordingSpeaker(tmp_path / "no" / "heard.wav")
    with pytest.raises(DeviceError, match="heard"):
        speaker.start(lambda samples: bytes(2 * samples))
    speaker.stop()


def test_recording_when_source_stops_it_closes_the_file(tmp_path: Path) -> None:
    """Stop from the speaker's own thread."""
    path = tmp_path / "heard.wav"
    speaker, stopped = RecordingSpeaker(path), threading.Event()

    def source(samples: int) -> bytes:
        speaker.stop()
        stopped.set()
        return bytes(2 * samples)

    speaker.start(source)
    assert stopped.wait(5)
    with wave.open(str(path), "rb") as file:
        assert file.getnframes() == 0


def test_null_speaker_when_played_counts() -> None:
    """It pulls and forgets."""
    speaker = NullSpeaker()
    speaker.start(lambda samples: bytes(2 * samples))
    eventually(lambda: speaker.frames_played > 2, "frames are pulled")
    speaker.stop()


@pytest.mark.parametrize("size", [(63, 64), (62, 64), (64, 65), (8000, 64)])
def test_camera_when_size_is_impossible_is_refused(size: tuple[int, int]) -> None:
    """I420 needs even sizes."""
    with pytest.raises(InvalidConfig):
        PatternCamera(*size)
