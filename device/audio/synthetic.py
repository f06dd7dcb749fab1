"""Sound without a card, for trying and testing: a tone as the microphone, a speaker that plays nowhere."""

from __future__ import annotations

from device.config import MachineConfig
from utdstream import Microphone, Speaker
from utdstream.synthetic import NullSpeaker, ToneMicrophone


def open_audio(config: MachineConfig) -> tuple[Microphone | None, Speaker | None]:
    """Opens a quiet tone and a silent speaker, None where the configuration says `none`."""
    audio = config.audio
    rate = audio.sample_rate_hz or 48_000
    return (
        None if audio.microphone == "none" else ToneMicrophone(1000.0, sample_rate_hz=rate),
        None if audio.speaker == "none" else NullSpeaker(sample_rate_hz=rate),
    )
