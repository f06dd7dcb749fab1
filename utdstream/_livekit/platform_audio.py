"""The core's own audio device module, and a feed that hands its microphone to a track.

Owns: `NativeAudio` (reference-counted by the core, one a process), `PlatformFeed`. `NativeAudio` is made on any
thread, before a room is joined; the feed lives on the loop.
"""

from __future__ import annotations

from livekit import rtc
from livekit.rtc.platform_audio import (
    PlatformAudio,
    PlatformAudioError,
    PlatformAudioOptions,
)

from utdstream._livekit.feed import Feed
from utdstream._livekit.loop import LoopThread
from utdstream.errors import DeviceError
from utdstream.media import PcmFrame
from utdstream.observe import Report


class NativeAudio:
    """The core's sound, on the system's default devices: it uses those whatever is chosen (livekit 1.2.1,
    Linux). Raises: DeviceError.
    """

    def __init__(
        self,
        *,
        echo_cancellation: bool,
        noise_suppression: bool,
        gain_control: bool,
    ) -> None:
        try:
            self._audio = PlatformAudio()
        except PlatformAudioError as error:
            raise DeviceError(
                "LiveKit's own sound path cannot be used: there is no sound card or sound server; plug one in, "
                'or set the adapter to "alsa" or "none"'
            ) from error
        self._options = PlatformAudioOptions(
            echo_cancellation=echo_cancellation,
            noise_suppression=noise_suppression,
            auto_gain_control=gain_control,
        )

    def make_source(self) -> rtc.AudioSource:
        """Opens the microphone as a source for one track."""
        try:
            source = self._audio.create_audio_source(self._options)
        except PlatformAudioError as error:
            raise DeviceError(f"the microphone could not be opened: {error}") from error
        return source  # type: ignore[return-value]  # `create_audio_track` takes either


class PlatformFeed(Feed[PcmFrame]):
    """A feed without frames: the core captures while the track is published, and muting is the track's."""

    def __init__(self, native: NativeAudio, loop: LoopThread, report: Report) -> None:
        super().__init__(loop, report, "microphone")
        self._source = native.make_source()

    def make_track(self) -> rtc.LocalTrack:
        return rtc.LocalAudioTrack.create_audio_track("microphone", self._source)

    def publish_options(self) -> rtc.TrackPublishOptions:
        return rtc.TrackPublishOptions()

    def sink(self, frame: PcmFrame) -> None:
        """Takes nothing: no frame comes this way."""

    async def close(self) -> None:
        await super().close()
        close = getattr(self._source, "close", None)
        if close is not None:
            close()
