"""WebRTC's audio processing module, one frame of 10 ms at a time.

Owns: `Processor`. Any thread: these are plain FFI calls, no loop. Sizes were checked by the caller
(`utdstream.processing`): a wrong one would abort the process, not the call.
"""

from __future__ import annotations

from livekit import rtc

from utdstream.media import PcmFormat


class Processor:
    """One processing module for both directions."""

    def __init__(
        self,
        audio_format: PcmFormat,
        *,
        echo_cancellation: bool,
        noise_suppression: bool,
        gain_control: bool,
        high_pass: bool,
    ) -> None:
        self._format = audio_format
        self._module = rtc.AudioProcessingModule(
            echo_cancellation=echo_cancellation,
            noise_suppression=noise_suppression,
            auto_gain_control=gain_control,
            high_pass_filter=high_pass,
        )

    def capture(self, pcm: bytes) -> bytes:
        """Cleans what the microphone heard; the length stays the same."""
        cleaned = bytearray()
        for frame in self._frames(pcm):
            self._module.process_stream(frame)
            cleaned += bytes(frame.data.cast("B"))
        return bytes(cleaned)

    def playback(self, pcm: bytes) -> None:
        """Hears what the speaker plays: the echo to be taken out."""
        for frame in self._frames(pcm):
            self._module.process_reverse_stream(frame)

    def set_delay(self, delay_ms: int) -> None:
        """Says how long sound takes from `playback` to the microphone, 0 to 500 ms."""
        self._module.set_stream_delay_ms(delay_ms)

    def _frames(self, pcm: bytes) -> list[rtc.AudioFrame]:
        size, samples = self._format.frame_bytes, self._format.samples_per_frame
        return [
            rtc.AudioFrame(
                bytearray(pcm[at : at + size]), self._format.sample_rate_hz, self._format.channels, samples
            )
            for at in range(0, len(pcm), size)
        ]
