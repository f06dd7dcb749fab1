"""Sound processing for a device's own microphone and speaker: echo, noise, gain, rumble.

Owns: `AudioProcessing`, the public face of WebRTC's audio processing. The core is loaded when one is made.
Any thread; capture and playback may be processed on two threads at once (the core serialises them).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from utdstream.errors import InvalidConfig, SessionClosed
from utdstream.media import PcmFormat

if TYPE_CHECKING:
    from utdstream._livekit.processing import Processor

__all__ = ["AudioProcessing"]

MAX_DELAY_MS = 500


class AudioProcessing:
    """WebRTC's audio processing for one microphone and what is played beside it.

    `audio_format`: 8 to 48 kHz, one channel or two, the same for both directions. Every piece of sound is a
    whole number of 10 ms frames of it. About 50 us a frame on a PC.
    Raises: InvalidConfig.
    """

    def __init__(
        self,
        audio_format: PcmFormat,
        *,
        echo_cancellation: bool = True,
        noise_suppression: bool = True,
        gain_control: bool = True,
        high_pass: bool = True,
    ) -> None:
        if audio_format.sample_rate_hz > 48_000:
            raise InvalidConfig(
                f"AudioProcessing works at 8000 to 48000 Hz, not at {audio_format.sample_rate_hz}"
            )
        from utdstream._livekit.processing import Processor

        self.format = audio_format
        self._processor: Processor | None = Processor(
            audio_format,
            echo_cancellation=echo_cancellation,
            noise_suppression=noise_suppression,
            gain_control=gain_control,
            high_pass=high_pass,
        )

    def process_capture(self, pcm: bytes) -> bytes:
        """Returns what the microphone heard, cleaned. Raises: InvalidConfig for a wrong size, SessionClosed."""
        return self._open("process_capture", pcm).capture(pcm)

    def process_playback(self, pcm: bytes) -> None:
        """Tells what is played now: all of it, every 10 ms, silence too. Raises: as above."""
        self._open("process_playback", pcm).playback(pcm)

    def set_delay(self, delay_ms: int) -> None:
        """Tells how long sound takes from `process_playback` to the microphone, 0 to 500 ms; a hint, no more."""
        if not 0 <= delay_ms <= MAX_DELAY_MS:
            raise InvalidConfig(f"set_delay: delay_ms must be 0 to {MAX_DELAY_MS}, not {delay_ms}")
        self._open("set_delay", b"").set_delay(delay_ms)

    def close(self) -> None:
        """Frees the core's part. Idempotent."""
        self._processor = None

    def _open(self, doing: str, pcm: bytes) -> Processor:
        """Returns the processor; a wrong size would abort the process, so it is refused here."""
        processor = self._processor
        if processor is None:
            raise SessionClosed(f"{doing}: the processing was closed; make a new one")
        if len(pcm) % self.format.frame_bytes:
            raise InvalidConfig(
                f"{doing}: {len(pcm)} bytes are no whole number of 10 ms frames "
                f"of {self.format.frame_bytes} bytes"
            )
        return processor
