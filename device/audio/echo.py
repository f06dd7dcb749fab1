"""The echo canceller around a microphone and a speaker: what is played is taken out of what is heard.

Owns: the two wrapped devices that share one `AudioProcessing`. Runs on the devices' own threads: capture on
the microphone's, playback on the speaker's. Imports no driver.

1. The processing is told exactly what is played, every 10 ms of it, silence and underruns included: with one
   frame in twenty lost the canceller finds 6 dB instead of 38 (measured on livekit 1.2.1).
2. Both directions run at the microphone's rate; a speaker at another rate is told resampled.
3. A piece that is no whole number of frames waits here for the rest, so nothing is dropped.
4. The processing is the media core's, and made when the first device starts: one that waits has not loaded it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from device.config import AudioSection
from utdstream import Microphone, Speaker
from utdstream.media import PcmFormat, PcmFrame
from utdstream.processing import AudioProcessing

DELAY_HINT_MS = 40


def with_processing(
    microphone: Microphone | None, speaker: Speaker | None, audio: AudioSection
) -> tuple[Microphone | None, Speaker | None]:
    """Returns the devices behind what `[audio]` switches on; unchanged when that is nothing."""
    echo = audio.echo_cancellation and speaker is not None
    if microphone is None or not (echo or audio.noise_suppression or audio.gain_control or audio.high_pass):
        return microphone, speaker
    pcm_format = microphone.format

    def make() -> AudioProcessing:
        processing = AudioProcessing(
            pcm_format,
            echo_cancellation=echo,
            noise_suppression=audio.noise_suppression,
            gain_control=audio.gain_control,
            high_pass=audio.high_pass,
        )
        if echo:
            processing.set_delay(DELAY_HINT_MS)
        return processing

    shared = SharedProcessing(make)
    heard = ProcessedMicrophone(microphone, shared)
    return heard, TellingSpeaker(speaker, shared) if speaker is not None and echo else speaker


class SharedProcessing:
    """The processing of two devices, made when the first of them starts (rule 4)."""

    def __init__(self, make: Callable[[], AudioProcessing]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: AudioProcessing | None = None

    def get(self) -> AudioProcessing:
        """Blocks: some tenths of a second the first time in a process."""
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made


class ProcessedMicrophone:
    """A microphone whose sound is cleaned before it is handed on."""

    def __init__(self, microphone: Microphone, shared: SharedProcessing) -> None:
        self.device = microphone
        self._shared = shared

    @property
    def format(self) -> PcmFormat:
        return self.device.format

    @property
    def problem(self) -> str | None:
        """What is wrong with the device now."""
        return getattr(self.device, "problem", None)

    def start(self, sink: Callable[[PcmFrame], None]) -> None:
        processing = self._shared.get()

        def clean(frame: PcmFrame) -> None:
            pcm = processing.process_capture(bytes(frame.data))
            sink(PcmFrame(pcm, frame.sample_rate_hz, frame.channels, frame.captured_at_us))

        self.device.start(clean)

    def stop(self) -> None:
        self.device.stop()


class TellingSpeaker:
    """A speaker that tells the processing what it plays, when it plays it."""

    def __init__(self, speaker: Speaker, shared: SharedProcessing) -> None:
        self.device = speaker
        self._shared = shared
        self._untold = bytearray()
        self._convert: Callable[[bytes], bytes] | None = None

    @property
    def format(self) -> PcmFormat:
        return self.device.format

    @property
    def problem(self) -> str | None:
        """What is wrong with the device now."""
        return getattr(self.device, "problem", None)

    def start(self, source: Callable[[int], bytes]) -> None:
        processing = self._shared.get()
        convert = self._convert = self._convert or converter(self.device.format, processing.format)
        untold, frame_bytes = self._untold, processing.format.frame_bytes

        def tell(samples: int) -> bytes:
            pcm = source(samples)
            untold.extend(convert(pcm))
            whole = len(untold) - len(untold) % frame_bytes
            if whole:
                processing.process_playback(bytes(untold[:whole]))
                del untold[:whole]
            return pcm

        self.device.start(tell)

    def stop(self) -> None:
        self.device.stop()


def converter(given: PcmFormat, wanted: PcmFormat) -> Callable[[bytes], bytes]:
    """Makes sound of one format from another's, piece by piece, for the canceller's ear (linear)."""
    if given == wanted:
        return lambda pcm: pcm
    import numpy  # late, as all that only a call needs

    step = given.sample_rate_hz / wanted.sample_rate_hz
    last = numpy.zeros(1, dtype=numpy.float32)
    at = 1.0  # where the next sample is, counted from `last`

    def convert(pcm: bytes) -> bytes:
        nonlocal last, at
        sound = numpy.frombuffer(pcm, dtype=numpy.int16).astype(numpy.float32)
        mono = sound.reshape(-1, given.channels).mean(axis=1)
        if not len(mono):
            return b""
        line = numpy.concatenate((last, mono))
        count = max(0, int((len(line) - 1 - at) // step) + 1)
        places = at + step * numpy.arange(count)
        made = numpy.interp(places, numpy.arange(len(line)), line).astype(numpy.int16)
        at = at + step * count - (len(line) - 1)
        last = line[-1:]
        return numpy.repeat(made, wanted.channels).tobytes()

    return convert
