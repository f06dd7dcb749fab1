"""LiveKit's own sound path: the core captures and plays by itself, no sound passes through Python.

Owns: `PlatformMicrophone`, `PlatformSpeaker`, `open_platform_audio`. Markers for `Devices`: they keep the ports'
shape, and the SDK sees what they are. The core is loaded when they are opened. Any thread.

Echo, noise, drift and jitter are the core's. There is no sound to read, mix or record here, and all that is
subscribed is played: choose it as a whole, for a small or busy machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from utdstream.media import PcmFormat, PcmFrame

if TYPE_CHECKING:
    from utdstream._livekit.platform_audio import NativeAudio

__all__ = ["PlatformMicrophone", "PlatformSpeaker", "open_platform_audio"]


class PlatformMicrophone:
    """The microphone of the core. Only a session can use it: `start` delivers no frame."""

    def __init__(self, native: NativeAudio) -> None:
        self.native = native
        self.format = PcmFormat(48_000)

    def start(self, sink: Callable[[PcmFrame], None]) -> None:
        """The core captures while its track is published."""

    def stop(self) -> None:
        """The core stops with its track."""


class PlatformSpeaker:
    """The speaker of the core. It plays what is subscribed: `start` asks for no sound."""

    def __init__(self, native: NativeAudio) -> None:
        self.native = native
        self.format = PcmFormat(48_000)

    def start(self, source: Callable[[int], bytes]) -> None:
        """The core plays by itself."""

    def stop(self) -> None:
        """The core stops with its tracks."""


def open_platform_audio(
    *,
    echo_cancellation: bool = True,
    noise_suppression: bool = True,
    gain_control: bool = True,
) -> tuple[PlatformMicrophone, PlatformSpeaker]:
    """Returns the core's microphone and speaker: the system's default ones. Before any room is joined.

    Blocks: some 20 ms. Raises: DeviceError when there is no sound.
    """
    from utdstream._livekit.platform_audio import NativeAudio

    native = NativeAudio(
        echo_cancellation=echo_cancellation,
        noise_suppression=noise_suppression,
        gain_control=gain_control,
    )
    return PlatformMicrophone(native), PlatformSpeaker(native)
