"""Microphone and speaker of the core itself (`[audio] adapter = "platform"`): no sound passes through Python.

Owns: the way from the configuration to `utdstream.platform_audio`. There is no chime: it would need
the card too.
"""

from __future__ import annotations

from device.config import MachineConfig
from device.errors import AudioFailed
from utdstream import Microphone, Speaker
from utdstream.platform_audio import open_platform_audio


def open_audio(config: MachineConfig) -> tuple[Microphone | None, Speaker | None]:
    """Opens the media core's devices, None where the configuration says `none`. Raises: DeviceError."""
    audio = config.audio
    for key, name in (("microphone", audio.microphone), ("speaker", audio.speaker)):
        if name not in ("default", "none"):
            raise AudioFailed(
                f'[audio] {key} = "{name}": the adapter "platform" uses the default card alone; make this '
                'one the default (/etc/asound.conf), or set adapter = "alsa"'
            )
    microphone, speaker = open_platform_audio(
        echo_cancellation=audio.echo_cancellation,
        noise_suppression=audio.noise_suppression,
        gain_control=audio.gain_control,
    )
    return (None if audio.microphone == "none" else microphone, None if audio.speaker == "none" else speaker)
