"""The echo canceller: a far talker comes back through the air, and the other side must not hear it."""

from __future__ import annotations

from collections.abc import Callable

import numpy
import pytest

from device.audio.echo import SharedProcessing, TellingSpeaker, converter, with_processing
from device.config import AudioSection
from utdstream import InvalidConfig, Microphone, SessionClosed, Speaker
from utdstream.media import PcmFormat, PcmFrame
from utdstream.processing import AudioProcessing

RATE = 48_000
FRAME = 480
ECHO_MS = 60
ECHO_LEVEL = 0.5


class Air:
    """A speaker and a microphone in one room: what is played comes back 60 ms later."""

    def __init__(self, rate_hz: int = RATE) -> None:
        self.format = PcmFormat(rate_hz)
        self._source: Callable[[int], bytes] | None = None
        self._sink: Callable[[PcmFrame], None] | None = None
        delay = rate_hz * ECHO_MS // 1000
        self._path = numpy.zeros(delay, dtype=numpy.float64)

    def speaker(self) -> Speaker:
        air = self

        class Half:
            format = air.format

            def start(self, source: Callable[[int], bytes]) -> None:
                air._source = source

            def stop(self) -> None:
                air._source = None

        return Half()

    def microphone(self) -> Microphone:
        air = self

        class Half:
            format = air.format

            def start(self, sink: Callable[[PcmFrame], None]) -> None:
                air._sink = sink

            def stop(self) -> None:
                air._sink = None

        return Half()

    def tick(self, near: numpy.ndarray) -> None:
        """10 ms: play, let it travel, record."""
        samples = self.format.samples_per_frame
        assert self._source is not None
        assert self._sink is not None
        played = numpy.frombuffer(self._source(samples), dtype=numpy.int16)
        self._path = numpy.concatenate((self._path, played * ECHO_LEVEL))
        heard, self._path = self._path[:samples] + near, self._path[samples:]
        pcm = numpy.clip(heard, -32768, 32767).astype(numpy.int16).tobytes()
        self._sink(PcmFrame(pcm, self.format.sample_rate_hz, 1, 0))


def speech(seconds: float, seed: int) -> numpy.ndarray:
    """Noise shaped like talk: syllables, pauses, more low than high."""
    random = numpy.random.default_rng(seed)
    count = int(seconds * RATE)
    spectrum = numpy.fft.rfft(random.standard_normal(count))
    frequencies = numpy.fft.rfftfreq(count, 1 / RATE)
    shape = (frequencies > 120) * (frequencies < 6000) / (1 + (frequencies / 900) ** 2) ** 0.5
    sound = numpy.fft.irfft(spectrum * shape, count)
    syllables = numpy.repeat(random.uniform(0.0, 1.0, count // 9600 + 1) > 0.25, 9600)[:count]
    envelope = numpy.convolve(syllables, numpy.ones(960) / 960, "same")
    return sound / numpy.abs(sound).max() * 12_000 * envelope


def run(audio: AudioSection, far: numpy.ndarray, near: numpy.ndarray) -> numpy.ndarray:
    """What the other side hears of this room."""
    air = Air()
    microphone, speaker = with_processing(air.microphone(), air.speaker(), audio)
    assert microphone is not None
    assert speaker is not None
    sent = bytearray()
    place = 0

    def play(samples: int) -> bytes:
        nonlocal place
        piece = far[place : place + samples]
        place += samples
        return piece.astype(numpy.int16).tobytes()

    speaker.start(play)
    microphone.start(lambda frame: sent.extend(frame.data))
    for at in range(0, len(far) - FRAME + 1, FRAME):
        air.tick(near[at : at + FRAME])
    speaker.stop()
    microphone.stop()
    return numpy.frombuffer(bytes(sent), dtype=numpy.int16).astype(numpy.float64)


def level_db(sound: numpy.ndarray) -> float:
    return float(10 * numpy.log10(numpy.mean(sound**2) + 1e-3))


PLAIN = AudioSection(echo_cancellation=False, noise_suppression=False, gain_control=False, high_pass=False)
ECHO = AudioSection(echo_cancellation=True, noise_suppression=False, gain_control=False, high_pass=True)


def test_echo_when_the_far_end_talks_is_30_db_less(record_property: Callable[[str, object], None]) -> None:
    """A 60 ms echo path, somebody talking at the other side, nobody here: the last five seconds."""
    far = speech(15, 1)
    silence = numpy.zeros(len(far))
    without, with_it = run(PLAIN, far, silence), run(ECHO, far, silence)
    less_db = level_db(without[-5 * RATE :]) - level_db(with_it[-5 * RATE :])
    record_property("echo_reduction_db", less_db)
    print(f"echo reduction {less_db:.1f} dB")
    assert less_db >= 30


def test_near_talker_when_alone_keeps_his_level(record_property: Callable[[str, object], None]) -> None:
    """Single talk at the near end, gain control and noise suppression off: within 3 dB."""
    near = speech(10, 2)
    heard = run(ECHO, numpy.zeros(len(near)), near)
    change_db = level_db(heard[-5 * RATE :]) - level_db(near[-5 * RATE :])
    record_property("near_level_change_db", change_db)
    print(f"near-end level changed by {change_db:.2f} dB")
    assert abs(change_db) <= 3


def test_devices_when_nothing_is_switched_on_stay_as_they_are() -> None:
    """No processing, no wrapper."""
    air = Air()
    microphone, speaker = air.microphone(), air.speaker()
    assert with_processing(microphone, speaker, PLAIN) == (microphone, speaker)
    assert with_processing(None, speaker, ECHO) == (None, speaker)


def test_playback_when_pulled_in_odd_pieces_is_told_whole() -> None:
    """Not a sample is lost between the card's pieces and the canceller's frames."""
    told = bytearray()

    class Listening(AudioProcessing):
        def process_playback(self, pcm: bytes) -> None:
            told.extend(pcm)
            super().process_playback(pcm)

    air = Air()
    speaker = TellingSpeaker(air.speaker(), SharedProcessing(lambda: Listening(air.format)))
    sound = numpy.arange(4800, dtype=numpy.int16).tobytes()
    place = 0

    def source(samples: int) -> bytes:
        nonlocal place
        place += samples * 2
        return sound[place - samples * 2 : place]

    speaker.start(source)
    assert air._source is not None
    for samples in (100, 480, 333, 1000, 480, 7, 2400):
        air._source(samples)
    assert bytes(told) == sound


def test_speaker_when_at_another_rate_is_told_at_the_microphones() -> None:
    """A second stays a second, a tone stays a tone."""
    convert = converter(PcmFormat(44_100), PcmFormat(48_000))
    times = numpy.arange(44_100) / 44_100
    tone = (9000 * numpy.sin(2 * numpy.pi * 1000 * times)).astype(numpy.int16).tobytes()
    made = b"".join(convert(tone[at : at + 882]) for at in range(0, len(tone), 882))
    sound = numpy.frombuffer(made, dtype=numpy.int16)
    assert abs(len(sound) - 48_000) <= 2
    spectrum = numpy.abs(numpy.fft.rfft(sound))
    assert abs(numpy.argmax(spectrum) * 48_000 / len(sound) - 1000) < 2


def test_processing_when_given_a_wrong_size_refuses_it() -> None:
    """A wrong size would abort the process inside the core."""
    processing = AudioProcessing(PcmFormat(16_000))
    with pytest.raises(InvalidConfig, match="10 ms"):
        processing.process_capture(b"x")
    with pytest.raises(InvalidConfig, match="0 to 500"):
        processing.set_delay(5000)
    with pytest.raises(InvalidConfig, match="48000"):
        AudioProcessing(PcmFormat(96_000))
    processing.close()
    with pytest.raises(SessionClosed):
        processing.process_playback(bytes(320))
