"""Arithmetic on int16 sound: the chime, WAV files, mixing, volume.

Owns: the functions of this file, pure but for the reading of a file. Any thread. Imports numpy: whoever waits
for a press loads this late.
"""

from __future__ import annotations

import wave
from pathlib import Path

import numpy

from device.errors import AudioFailed
from utdstream.media import PcmFormat

CHIME_HZ = (659.3, 523.3)
CHIME_TONE_S = 0.55


def mix(sound: bytes, other: bytes) -> bytes:
    """Adds `other`, which may be shorter, to the beginning of `sound`; what is too loud is clipped."""
    total = numpy.frombuffer(sound, dtype=numpy.int16).astype(numpy.int32)
    total[: len(other) // 2] += numpy.frombuffer(other, dtype=numpy.int16)
    return numpy.clip(total, -32768, 32767).astype(numpy.int16).tobytes()


def at_volume(sound: bytes, volume: float) -> bytes:
    """Makes `sound` as loud as `volume` (0 to 1) of itself."""
    quieter = numpy.frombuffer(sound, dtype=numpy.int16) * numpy.float32(max(0.0, volume))
    return quieter.astype(numpy.int16).tobytes()


def chime(audio_format: PcmFormat) -> bytes:
    """Makes two falling tones, about a second."""
    rate = audio_format.sample_rate_hz
    times = numpy.arange(int(rate * CHIME_TONE_S)) / rate
    fade = numpy.exp(-times * 5) * numpy.minimum(1.0, times * 200)
    tones = [numpy.sin(2 * numpy.pi * hz * times) * fade for hz in CHIME_HZ]
    sound = (numpy.concatenate(tones) * 14_000).astype(numpy.int16)
    return numpy.repeat(sound, audio_format.channels).tobytes()


def read_wav(path: Path, audio_format: PcmFormat, longest_s: float) -> bytes:
    """Reads a WAV file of int16 in this format, at most so long. Raises: AudioFailed."""
    try:
        with wave.open(str(path), "rb") as file:
            channels, rate, width = file.getnchannels(), file.getframerate(), file.getsampwidth()
            pcm = file.readframes(int(longest_s * rate))
    except (OSError, EOFError, wave.Error) as error:
        raise AudioFailed(f"the sound {path} cannot be read ({error}); give a WAV file") from error
    if width != 2:
        raise AudioFailed(f"the sound {path} has {8 * width} bits a sample; make it 16")
    pcm = pcm[: len(pcm) // (2 * channels) * 2 * channels]  # a copy that was broken off ends within a sample
    if not pcm:
        raise AudioFailed(f"the sound {path} holds no sound; give a WAV file")
    mono = numpy.frombuffer(pcm, dtype=numpy.int16).reshape(-1, channels).mean(axis=1)
    count = int(len(mono) * audio_format.sample_rate_hz / rate)
    places = numpy.arange(count) * (rate / audio_format.sample_rate_hz)
    sound = numpy.interp(places, numpy.arange(len(mono)), mono).astype(numpy.int16)
    return numpy.repeat(sound, audio_format.channels).tobytes()
