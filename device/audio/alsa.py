"""Microphone and speaker on a sound card, through PyAudio in callback mode, 10 ms at a time.

Owns: `AlsaMicrophone`, `AlsaSpeaker`, the choice of their rate. The card's own thread calls the sink and the
source; `utd-cards` (`cards.py`) opens, watches and reopens. PyAudio is imported late.

1. A card that is missing or vanishes ends no call: `start` succeeds, `problem` says what is wrong, silence
   stands in, and the card is opened again within a second of its return.
2. Nothing is queued here: a captured frame is handed over at once, playback is pulled when the card asks. So
   the delay is the card's own buffer; when that grows past its limit the stream is opened anew, once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from device.audio.cards import CardStream, cards
from device.audio.portaudio import list_devices, offered_rate
from device.config import MachineConfig
from device.errors import AudioFailed, DeviceNotFound, PackageMissing
from utdstream import DeviceError, Microphone, Speaker
from utdstream.media import PcmFormat, PcmFrame

__all__ = ["AlsaMicrophone", "AlsaSpeaker", "list_devices", "open_audio"]

_log = logging.getLogger(__name__)

INPUT_OVERFLOW, OUTPUT_UNDERFLOW = 2, 4  # PortAudio's paInputOverflow, paOutputUnderflow
USUAL_RATE_HZ = 48_000


def open_audio(config: MachineConfig) -> tuple[Microphone | None, Speaker | None]:
    """Opens the configured microphone and speaker, None where the configuration says `none`.

    A card that is not there (yet) is no error: it is used once it is plugged in. Raises: PackageMissing.
    """
    audio = config.audio
    microphone: Microphone | None = None
    speaker: Speaker | None = None
    if audio.microphone != "none":
        rate = _rate(audio.microphone, audio.sample_rate_hz, capture=True)
        microphone = AlsaMicrophone(audio.microphone, sample_rate_hz=rate)
    if audio.speaker != "none":
        rate = _rate(audio.speaker, audio.sample_rate_hz, capture=False)
        speaker = AlsaSpeaker(
            audio.speaker, sample_rate_hz=rate, latency_ms=audio.output_latency_ms, volume=audio.volume
        )
    from device.audio.echo import with_processing

    return with_processing(microphone, speaker, audio)


def _rate(name: str, wished: int | None, *, capture: bool) -> int:
    """Returns the configured rate, else one that the card offers; a missing card gets the usual one."""
    if wished is not None:
        return wished
    try:
        return offered_rate(name, capture=capture)
    except PackageMissing:
        raise
    except (DeviceNotFound, AudioFailed) as error:
        _log.warning("%s", error)
        return USUAL_RATE_HZ


class AlsaMicrophone(CardStream):
    """A `utdstream.Microphone` on the card called `name` (`default`: the system's).

    `overruns` counts what the card reported lost. `problem` is a sentence while it does not record.
    """

    capture = True

    def __init__(
        self, name: str = "default", *, sample_rate_hz: int = USUAL_RATE_HZ, channels: int = 1
    ) -> None:
        super().__init__(name, PcmFormat(sample_rate_hz, channels))
        self.overruns = 0
        self._sink: Callable[[PcmFrame], None] | None = None

    def start(self, sink: Callable[[PcmFrame], None]) -> None:
        """Records from now on. Blocks: to 3 s. Raises: DeviceError when started, PackageMissing."""
        if self._sink is not None:
            raise DeviceError("the microphone is started already; stop it first")
        self._sink = sink
        cards().add(self)

    def stop(self) -> None:
        """Stops: no call of the sink begins after this returns. Idempotent; the sink may call it."""
        if self._sink is None:
            return
        self._sink = None
        cards().remove(self)

    def callback(self, pcm: bytes | None, frames: int, times: Any, flags: int) -> tuple[bytes | None, int]:
        if flags & INPUT_OVERFLOW:
            self.overruns += 1
        sink = self._sink
        if sink is not None and pcm is not None and len(pcm) == self.format.frame_bytes:
            now_us = time.monotonic_ns() // 1000
            sink(PcmFrame(pcm, self.format.sample_rate_hz, self.format.channels, now_us))
        return None, 0


class AlsaSpeaker(CardStream):
    """A `utdstream.Speaker` on the card called `name` (`default`: the system's).

    `underruns` counts what the card reported missing, `delays_cut` how often its buffer had grown past
    `latency_ms` and was thrown away. `volume` (0 to 1) may be set at any time.
    """

    capture = False

    def __init__(
        self,
        name: str = "default",
        *,
        sample_rate_hz: int = USUAL_RATE_HZ,
        channels: int = 1,
        latency_ms: int = 60,
        volume: float = 1.0,
    ) -> None:
        super().__init__(name, PcmFormat(sample_rate_hz, channels))
        self.volume = volume
        self.underruns = 0
        self.delays_cut = 0
        self.delay_ms = 0.0
        """How far ahead of the ear the card's buffer is now, as PortAudio tells it."""
        self._limit_ms = float(latency_ms)
        self._late = 0
        self._source: Callable[[int], bytes] | None = None

    def start(self, source: Callable[[int], bytes]) -> None:
        """Plays from now on. Blocks: to 3 s. Raises: DeviceError when started, PackageMissing."""
        if self._source is not None:
            raise DeviceError("the speaker is started already; stop it first")
        from device.audio import pcm  # noqa: F401 - it takes its time: not in the card's thread, not at rest

        self._source = source
        self._late = 0
        cards().add(self)

    def stop(self) -> None:
        """Stops: no call of the source begins after this returns. Idempotent."""
        if self._source is None:
            return
        self._source = None
        cards().remove(self)

    def callback(self, pcm: bytes | None, frames: int, times: Any, flags: int) -> tuple[bytes | None, int]:
        if flags & OUTPUT_UNDERFLOW:
            self.underruns += 1
        size = frames * self.format.channels * 2
        source = self._source
        sound = bytes(size) if source is None else source(frames)
        self._watch_delay(times)
        return self._at_volume(sound), 0

    def _at_volume(self, sound: bytes) -> bytes:
        volume = self.volume
        if volume >= 1.0:
            return sound
        from device.audio import pcm  # loaded since `start`: 3 us

        return pcm.at_volume(sound, volume)

    def _watch_delay(self, times: Any) -> None:
        """Throws away a buffer that stays too long for a second, by opening anew; once a start."""
        self.delay_ms = max(0.0, (times["output_buffer_dac_time"] - times["current_time"]) * 1000)
        self._late = self._late + 1 if self.delay_ms > self._limit_ms else 0
        if self._late == 100 and self.delays_cut == 0:
            self.delays_cut += 1
            self.last_callback_s = 0.0  # `utd-cards` takes it for dead
