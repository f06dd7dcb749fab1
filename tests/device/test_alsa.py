"""The sound card adapters, on real PyAudio over a private sound server."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import numpy
import pytest
from facts import eventually
from media_contract import MicrophoneContract, SpeakerContract
from pulse import PulseCards

from device.audio.alsa import AlsaMicrophone, AlsaSpeaker, open_audio
from device.audio.portaudio import SoundDevice, choose, import_pyaudio, list_devices, offered_rate, real_error
from device.config import parse
from device.errors import DeviceNotFound, PackageMissing
from utdstream import Microphone, Speaker
from utdstream.media import PcmFrame

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))

RATE = 48_000


@pytest.mark.usefixtures("cards")
class TestAlsaMicrophone(MicrophoneContract):
    @pytest.fixture
    def microphone(self) -> Microphone:
        return AlsaMicrophone("door-microphone")


@pytest.mark.usefixtures("cards")
class TestAlsaSpeaker(SpeakerContract):
    @pytest.fixture
    def speaker(self) -> Speaker:
        return AlsaSpeaker("door-speaker")


class Tone:
    """A sine as a speaker's source, without a break."""

    def __init__(self, frequency_hz: float, rate_hz: int = RATE) -> None:
        self._step = 2 * numpy.pi * frequency_hz / rate_hz
        self._at = 0

    def __call__(self, samples: int) -> bytes:
        times = numpy.arange(self._at, self._at + samples)
        self._at += samples
        return (9000 * numpy.sin(self._step * times)).astype(numpy.int16).tobytes()


class Ear:
    """A microphone's sink that keeps the sound."""

    def __init__(self) -> None:
        self.pcm = bytearray()
        self.came = threading.Event()

    def __call__(self, frame: PcmFrame) -> None:
        self.pcm += frame.data
        self.came.set()

    def pitch_hz(self, rate_hz: int = RATE) -> float:
        sound = numpy.frombuffer(bytes(self.pcm[-rate_hz * 2 :]), dtype=numpy.int16)
        spectrum = numpy.abs(numpy.fft.rfft(sound * numpy.hanning(len(sound))))
        return float(numpy.argmax(spectrum)) * rate_hz / len(sound)


@pytest.mark.parametrize("rate_hz", [16_000, 44_100, 48_000])
def test_tone_when_played_is_heard_at_every_rate(cards: PulseCards, rate_hz: int) -> None:
    """What goes into the speaker comes out of the card, at the pitch it had."""
    ear, speaker = Ear(), AlsaSpeaker("house-speaker", sample_rate_hz=rate_hz)
    microphone = AlsaMicrophone("house-ear", sample_rate_hz=rate_hz)
    speaker.start(Tone(1000, rate_hz))
    microphone.start(ear)
    eventually(lambda: len(ear.pcm) > 5 * rate_hz, "two and a half seconds of sound", within_s=15)
    microphone.stop()
    speaker.stop()
    assert abs(ear.pitch_hz(rate_hz) - 1000) < 5
    assert (microphone.problem, speaker.problem) == (None, None)


def test_volume_when_lowered_makes_it_quieter(cards: PulseCards) -> None:
    """Half the volume is half the amplitude."""
    speaker = AlsaSpeaker("house-speaker", volume=0.5)
    loud, times = Tone(1000)(480), {"output_buffer_dac_time": 0.0, "current_time": 0.0}
    speaker._source = lambda _samples: loud
    quiet, _ = speaker.callback(None, 480, times, 0)
    assert quiet is not None
    peak = numpy.abs(numpy.frombuffer(quiet, dtype=numpy.int16)).max()
    assert abs(int(peak) - 4500) < 50


def test_card_when_it_hangs_is_noticed_within_a_second_and_heals(cards: PulseCards) -> None:
    """A suspended card gives no error at all; the time of the last callback does."""
    microphone, ear = AlsaMicrophone("door-microphone"), Ear()
    microphone.start(ear)
    assert ear.came.wait(5)
    cards.suspend(on=True)
    eventually(lambda: microphone.problem, "the hang is noticed", within_s=5)
    assert microphone.problem is not None
    assert "door-microphone" in microphone.problem
    cards.suspend(on=False)
    eventually(lambda: microphone.problem is None, "it works again", within_s=10)
    ear.came.clear()
    assert ear.came.wait(5)
    microphone.stop()


def test_card_when_unplugged_is_noticed_and_used_when_it_is_back(cards: PulseCards) -> None:
    """The sound server dies: nothing raises, both sides say so, and both work again afterwards."""
    microphone, ear, speaker = AlsaMicrophone("door-microphone"), Ear(), AlsaSpeaker("door-speaker")
    microphone.start(ear)
    speaker.start(lambda samples: bytes(2 * samples))
    assert ear.came.wait(5)
    cards.kill()
    eventually(lambda: microphone.problem and speaker.problem, "both are missed", within_s=5)
    cards.start()
    eventually(lambda: not microphone.problem and not speaker.problem, "both are back", within_s=15)
    ear.came.clear()
    assert ear.came.wait(5)
    assert microphone.opened >= 2
    microphone.stop()
    speaker.stop()


def test_start_when_the_card_is_missing_succeeds_and_says_what_there_is(cards: PulseCards) -> None:
    """A call goes on without it; the sentence lists the names that would work."""
    microphone = AlsaMicrophone("No such card")
    microphone.start(lambda _frame: None)
    assert microphone.problem is not None
    assert '"No such card"' in microphone.problem
    assert "door-microphone" in microphone.problem
    microphone.stop()
    assert microphone.problem is None


def test_devices_when_listed_have_names_without_numbers(cards: PulseCards) -> None:
    """The list has our cards, their directions and the default."""
    found = {device.name: device for device in list_devices()}
    assert found["door-speaker"].outputs > 0
    assert found["door-microphone"].inputs > 0
    assert any(device.default_output for device in found.values())
    assert offered_rate("door-speaker", capture=False) == 48_000


def card(name: str, index: int, *, inputs: int = 1) -> SoundDevice:
    return SoundDevice(name, index, inputs, 2, False, False, 48_000)


def test_choice_when_two_cards_fit_a_part_of_a_name_is_refused() -> None:
    """Which one would be meant changes with the next plug; so both are named."""
    cards_there = [card("USB One", 0), card("USB Two", 1), card("Three", 2, inputs=0)]
    assert choose(cards_there, "usb one", capture=True).index == 0
    with pytest.raises(DeviceNotFound, match=r'more than one fits.*"USB One", "USB Two"'):
        choose(cards_there, "usb", capture=True)
    with pytest.raises(DeviceNotFound, match="there is no microphone"):
        choose([card("Three", 2, inputs=0)], "default", capture=True)
    with pytest.raises(DeviceNotFound, match="those there are: none"):
        choose([card("Three", 2, inputs=0)], "Three", capture=True)


def test_alsas_noise_when_there_was_an_error_is_cut_to_it() -> None:
    """One real error out of the pages that ALSA prints."""
    said = [
        "ALSA lib conf.c:1(x) bad",
        "ALSA lib pcm_hw.c:1829:(_snd_pcm_hw_open) Invalid value for card",
        "jack",
    ]
    assert real_error(said) == "Invalid value for card"
    assert real_error(["nothing"]) == ""


def test_pyaudio_when_missing_is_said_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence, not an ImportError."""
    monkeypatch.setitem(sys.modules, "pyaudio", None)
    with pytest.raises(PackageMissing, match="apt install python3-pyaudio"):
        import_pyaudio()


def test_stderr_when_portaudio_starts_stays_clean(
    cards: PulseCards, capfd: pytest.CaptureFixture[str]
) -> None:
    """What ALSA and JACK say at every start reaches nobody."""
    list_devices()
    assert capfd.readouterr().err == ""


def test_audio_when_configured_is_made_of_two_processed_devices(cards: PulseCards) -> None:
    """`none` leaves one out; the rest is wrapped by the processing that is switched on."""
    base = {"engine": {"app_id": "x"}, "device": {"identity": "door"}}
    sound = {"microphone": "door-microphone", "speaker": "none"}
    microphone, speaker = open_audio(parse({**base, "audio": sound}, Path("/etc/doorbell.toml")))
    assert speaker is None
    assert isinstance(microphone, Microphone)
    assert microphone.format.sample_rate_hz == 48_000
