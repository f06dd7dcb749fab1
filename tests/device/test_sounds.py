"""Local sounds over a speaker, with and without a call."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
from facts import eventually

from device.audio.pcm import chime, read_wav
from device.audio.sounds import LocalSounds
from device.errors import AudioFailed
from utdstream import DeviceError
from utdstream.media import PcmFormat
from utdstream.synthetic import NullSpeaker

FORMAT = PcmFormat(48_000)


class ListeningSpeaker(NullSpeaker):
    """A speaker without a card that keeps what it was given, and counts how often it was opened."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = bytearray()
        self.opened = 0
        self.is_open = False

    def start(self, source: Callable[[int], bytes]) -> None:
        def listen(samples: int) -> bytes:
            pcm = source(samples)
            self.heard += pcm
            return pcm

        super().start(listen)
        self.opened += 1
        self.is_open = True

    def stop(self) -> None:
        super().stop()
        self.is_open = False


def test_chime_when_nobody_calls_opens_the_card_and_closes_it() -> None:
    """The card is held only while it sounds; the whole chime is heard."""
    speaker = ListeningSpeaker()
    sounds = LocalSounds(speaker)
    sounds.play()
    assert sounds.wait(10)
    assert bytes(speaker.heard[: len(chime(FORMAT))]) == chime(FORMAT)
    assert (speaker.opened, speaker.is_open) == (1, False)


def test_chime_when_a_call_plays_is_mixed_over_it() -> None:
    """The call goes on under the chime, on the same open card."""
    speaker = ListeningSpeaker()
    sounds = LocalSounds(speaker)
    level = numpy.full(480, 1000, dtype=numpy.int16)
    sounds.start(lambda samples: level[:1].repeat(samples).tobytes())
    sounds.play()
    assert sounds.wait(10)
    heard = numpy.frombuffer(bytes(speaker.heard), dtype=numpy.int16)
    assert heard.max() > 5000
    assert speaker.is_open
    sounds.stop()
    assert (speaker.opened, speaker.is_open) == (1, False)


def test_start_when_a_call_plays_is_a_device_error() -> None:
    """Sharing between calls is the SDK's business."""
    sounds = LocalSounds(ListeningSpeaker())
    sounds.start(lambda samples: bytes(2 * samples))
    with pytest.raises(DeviceError):
        sounds.start(lambda samples: bytes(2 * samples))
    sounds.stop()
    sounds.stop()


def test_second_press_when_it_still_chimes_begins_anew() -> None:
    """Each press is heard at once."""
    speaker = ListeningSpeaker()
    sounds = LocalSounds(speaker)
    sounds.play()
    eventually(lambda: len(speaker.heard) > 20_000, "some of the chime")
    sounds.play()
    assert sounds.wait(10)
    assert len(speaker.heard) > len(chime(FORMAT)) + 20_000


def test_card_when_it_cannot_be_opened_is_told_and_survived() -> None:
    """A doorbell whose speaker is broken still calls."""

    class Broken(NullSpeaker):
        def start(self, source: Callable[[int], bytes]) -> None:
            raise DeviceError("broken")

    sounds = LocalSounds(Broken())
    sounds.play()
    assert sounds.wait(5)
    assert str(sounds.last_error) == "broken"


def test_wav_when_of_another_rate_is_converted(tmp_path: Path) -> None:
    """One second stays one second."""
    path = tmp_path / "hello.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(4 * 16_000))
    assert len(read_wav(path, FORMAT, 30.0)) == 48_000 * 2


@pytest.mark.parametrize(("channels", "cut"), [(1, 1), (2, 2), (2, 1)])
def test_wav_when_it_is_cut_off_within_a_sample_sounds_to_the_last_whole_one(
    tmp_path: Path, channels: int, cut: int
) -> None:
    """A copy that a power cut broke off: a press chimes all the same."""
    path = written(tmp_path / "cut.wav", channels, 480)
    path.write_bytes(path.read_bytes()[:-cut])
    assert len(read_wav(path, FORMAT, 30.0)) == 479 * 2


def test_wav_when_it_holds_no_sound_is_one_sentence(tmp_path: Path) -> None:
    """Not a fault in the middle of a press."""
    with pytest.raises(AudioFailed, match="holds no sound"):
        read_wav(written(tmp_path / "empty.wav", 1, 0), FORMAT, 30.0)


def written(path: Path, channels: int, frames: int) -> Path:
    """A WAV file of silence at the rate of the tests."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(48_000)
        file.writeframes(bytes(2 * channels * frames))
    return path


@pytest.mark.parametrize(("content", "words"), [(b"no wave", "cannot be read"), (None, "cannot be read")])
def test_wav_when_unreadable_is_one_sentence(tmp_path: Path, content: bytes | None, words: str) -> None:
    """The file is named."""
    path = tmp_path / "bad.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AudioFailed, match=words):
        LocalSounds(NullSpeaker()).play(path)


class StuckSpeaker(ListeningSpeaker):
    """A card that is open and asks for nothing."""

    def start(self, source: Callable[[int], bytes]) -> None:
        self.opened += 1
        self.is_open = True

    def stop(self) -> None:
        self.is_open = False


def test_sound_when_closed_on_a_card_that_asks_for_nothing_ends() -> None:
    """A program that ends in the middle of a chime leaves no thread behind and no card open."""
    speaker = StuckSpeaker()
    sounds = LocalSounds(speaker)
    sounds.play()
    eventually(lambda: speaker.is_open, "the card is open")
    sounds.close()
    assert not speaker.is_open
    sounds.close()
