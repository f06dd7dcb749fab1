"""Own media on its way in: a device's frames, checked, and handed to the native core.

Owns: `MicrophoneFeed`, `PumpedMicrophoneFeed`, `RawCameraFeed`, `EncodedCameraFeed`. Threads: a sink runs on its
device's thread and never blocks, never raises; the rest is the loop's. Video goes straight into the core (a plain
FFI call that copies). Sound has two ways (`audio_path`); livekit's public one, `AudioSource.capture_frame`, awaits
a callback, so a pump on the loop takes the frames from a queue of at most QUEUE_MS that drops its oldest one.

Everything is checked before it crosses the FFI: a wrong size would end the process, not the call.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Protocol

from livekit import rtc

from utdstream._livekit.feed import Feed
from utdstream._livekit.h264 import H264Gate
from utdstream._livekit.loop import LoopThread
from utdstream._livekit.properties import PictureFormat
from utdstream.errors import DeviceError, InvalidConfig
from utdstream.media import Buffer, EncodedFrame, PcmFormat, PcmFrame, PixelFormat, RawFrame
from utdstream.observe import Report

QUEUE_MS = 60
PUMP_END_S = 0.5
MIN_VIDEO_BITRATE_BPS = 250_000
VIDEO_BITS_PER_PIXEL = 0.1

_BUFFER_TYPES = {
    PixelFormat.I420: rtc.VideoBufferType.I420,
    PixelFormat.NV12: rtc.VideoBufferType.NV12,
    PixelFormat.RGB24: rtc.VideoBufferType.RGB24,
    PixelFormat.RGBA: rtc.VideoBufferType.RGBA,
    PixelFormat.BGRA: rtc.VideoBufferType.BGRA,
}
_ROTATIONS = {
    0: rtc.VideoRotation.VIDEO_ROTATION_0,
    90: rtc.VideoRotation.VIDEO_ROTATION_90,
    180: rtc.VideoRotation.VIDEO_ROTATION_180,
    270: rtc.VideoRotation.VIDEO_ROTATION_270,
}


class MicrophoneFeed(Feed[PcmFrame]):
    """A microphone's frames into one native audio source (no native buffer: 0 ms, no timer thread)."""

    def __init__(self, pcm: PcmFormat, loop: LoopThread, report: Report) -> None:
        super().__init__(loop, report, "microphone")
        self._format = pcm
        self._source = rtc.AudioSource(
            self._format.sample_rate_hz,
            self._format.channels,
            queue_size_ms=0,
            loop=loop.asyncio_loop,
        )

    def make_track(self) -> rtc.LocalTrack:
        return rtc.LocalAudioTrack.create_audio_track("microphone", self._source)

    def publish_options(self) -> rtc.TrackPublishOptions:
        return rtc.TrackPublishOptions()

    def sink(self, frame: PcmFrame) -> None:
        try:
            check_sound(frame, self._format)
            if self.open:
                self._submit(frame.data)
            else:
                self._dropped += 1
        except Exception as error:  # noqa: BLE001 - the sink never raises into a driver
            self._refuse(error)

    @abstractmethod
    def _submit(self, pcm: Buffer) -> None:
        """Brings one frame of the right size on its way. Any thread; may raise: such a frame is dropped."""

    async def close(self) -> None:
        await super().close()
        await self._source.aclose()


class PumpedMicrophoneFeed(MicrophoneFeed):
    """The public way: a short queue, and a pump on the loop that awaits each frame."""

    def __init__(self, pcm: PcmFormat, loop: LoopThread, report: Report) -> None:
        super().__init__(pcm, loop, report)
        self._frames: deque[bytes] = deque(maxlen=QUEUE_MS // 10)
        self._wake = asyncio.Event()
        self._asleep = True
        self._pump = loop.spawn(self._run())

    def _submit(self, pcm: Buffer) -> None:
        if len(self._frames) == self._frames.maxlen:
            self._dropped += 1
        self._frames.append(bytes(pcm))
        if self._asleep:
            self._asleep = False
            self._loop.post(self._wake.set)

    async def _run(self) -> None:
        rate, channels = self._format.sample_rate_hz, self._format.channels
        while not self._closed:
            try:
                pcm = self._frames.popleft()
            except IndexError:
                await self._sleep()
                continue
            try:
                await self._source.capture_frame(
                    rtc.AudioFrame(pcm, rate, channels, self._format.samples_per_frame)
                )
                self.sent += 1
            except Exception as error:  # noqa: BLE001 - livekit raises bare Exception here
                self._refuse(DeviceError(f"the microphone's sound was refused: {error}"))

    async def _sleep(self) -> None:
        """Waits until the sink has something. A frame that came before `asleep` was set is seen by the count."""
        self._asleep = True
        if len(self._frames) == 0:
            await self._wake.wait()
        self._wake.clear()

    async def close(self) -> None:
        self._closed = True
        self.open = False
        self._frames.clear()
        self._wake.set()
        await asyncio.wait({self._pump}, timeout=PUMP_END_S)
        await super().close()
        timer = self._source._join_handle
        if timer is not None:  # the source keeps the last one, and that the source (livekit 1.2.1)
            timer.cancel()


def check_sound(frame: PcmFrame, promised: PcmFormat) -> None:
    """Raises InvalidConfig when `frame` is not 10 ms of int16 in the format that its microphone promised."""
    size = memoryview(frame.data).nbytes
    if (frame.sample_rate_hz, frame.channels, size) != (
        promised.sample_rate_hz,
        promised.channels,
        promised.frame_bytes,
    ):
        raise InvalidConfig(
            f"the microphone delivered {size} bytes at {frame.sample_rate_hz} Hz with "
            f"{frame.channels} channels, its format promises {promised.frame_bytes} bytes at "
            f"{promised.sample_rate_hz} Hz with {promised.channels}: frames must be 10 ms of int16"
        )


class _CameraFeed(Feed[RawFrame | EncodedFrame]):
    """What both kinds of cameras share. Ready with the first frame: a track published before that shows black."""

    def __init__(self, picture: PictureFormat, loop: LoopThread, report: Report) -> None:
        super().__init__(loop, report, "camera")
        self._picture = picture
        self._first: asyncio.Future[None] = loop.asyncio_loop.create_future()

    def publish_options(self) -> rtc.TrackPublishOptions:
        picture = self._picture
        pixels_per_second = picture.width * picture.height * picture.frames_per_second
        return rtc.TrackPublishOptions(
            simulcast=False,  # three encoders on a small machine, and none of them possible pre-encoded
            video_encoding=rtc.VideoEncoding(
                max_bitrate=max(MIN_VIDEO_BITRATE_BPS, int(pixels_per_second * VIDEO_BITS_PER_PIXEL)),
                max_framerate=float(picture.frames_per_second),
            ),
        )

    async def wait_for_device(self, timeout_s: float) -> bool:
        done, _ = await asyncio.wait({self._first}, timeout=timeout_s)
        return bool(done)

    def on_device_ready(self, callback: Callable[[], None]) -> None:
        self._first.add_done_callback(lambda _: callback())

    def _delivered(self) -> None:
        if not self._first.done():
            self._loop.post(self._settle_first)

    def _settle_first(self) -> None:
        if not self._first.done():
            self._first.set_result(None)

    def sink(self, frame: RawFrame | EncodedFrame) -> None:
        try:
            self._submit(frame)
        except Exception as error:  # noqa: BLE001 - the sink never raises into a driver
            self._refuse(error)

    @abstractmethod
    def _submit(self, frame: RawFrame | EncodedFrame) -> None:
        """Does as `sink`, but may raise: such a frame is counted as dropped."""


class RawCameraFeed(_CameraFeed):
    """A camera's raw pictures into one native video source; the core encodes them."""

    def __init__(self, picture: PictureFormat, loop: LoopThread, report: Report) -> None:
        super().__init__(picture, loop, report)
        self._width, self._height = picture.width, picture.height
        self._source = rtc.VideoSource(picture.width, picture.height)

    def make_track(self) -> rtc.LocalTrack:
        return rtc.LocalVideoTrack.create_video_track("camera", self._source)

    def prime(self) -> None:
        self.open = True  # the core sends black until it has a first frame

    def _submit(self, frame: RawFrame | EncodedFrame) -> None:
        if isinstance(frame, EncodedFrame):
            raise InvalidConfig("the camera says encoded=False but delivered an encoded frame")
        expected = frame.pixel_format.size_bytes(frame.width, frame.height)
        data = memoryview(frame.data)
        if (frame.width, frame.height) != (self._width, self._height) or data.nbytes != expected:
            raise InvalidConfig(
                f"the camera delivered {data.nbytes} bytes as {frame.width}x{frame.height} "
                f"{frame.pixel_format.value}; it promises {self._width}x{self._height}, which takes "
                f"{frame.pixel_format.size_bytes(self._width, self._height)} bytes without padding"
            )
        if frame.rotation not in _ROTATIONS:
            raise InvalidConfig(f"RawFrame.rotation must be 0, 90, 180 or 270, not {frame.rotation}")
        self._delivered()
        if not self.open:
            self._dropped += 1
            return
        self._source.capture_frame(
            rtc.VideoFrame(frame.width, frame.height, _BUFFER_TYPES[frame.pixel_format], data.cast("B")),
            timestamp_us=frame.captured_at_us,
            rotation=_ROTATIONS[frame.rotation],
        )
        self.sent += 1

    async def close(self) -> None:
        await super().close()
        await self._source.aclose()


class Encoder(Protocol):
    """What a feed asks of an encoded camera. Any thread, no wait."""

    def request_key_frame(self) -> None: ...

    def set_bitrate(self, bitrate_bps: int) -> None: ...


class EncodedCameraFeed(_CameraFeed):
    """A camera's H.264 access units, through the gate, into one native source that sends them as they are."""

    def __init__(
        self,
        picture: PictureFormat,
        encoder: Encoder,
        loop: LoopThread,
        report: Report,
        *,
        make_source: Callable[[int, int], rtc.EncodedVideoSource] = rtc.EncodedVideoSource,
    ) -> None:
        super().__init__(picture, loop, report)
        self._encoder = encoder
        self._gate = H264Gate(picture.width, picture.height)
        self._source = make_source(picture.width, picture.height)
        self._bitrate_bps = 0

    @property
    def dropped(self) -> int:
        return self._dropped + self._gate.dropped

    def make_track(self) -> rtc.LocalTrack:
        return rtc.LocalVideoTrack.create_video_track("camera", self._source)

    def publish_options(self) -> rtc.TrackPublishOptions:
        options = super().publish_options()
        options.video_codec = rtc.VideoCodec.H264
        options.video_encoder = rtc.VideoEncoderBackend.ENCODER_BACKEND_PRE_ENCODED
        return options

    def let_pass(self) -> None:
        """Asks for a key frame, and lets nothing else pass first."""
        self._gate.restart()
        self._ask_for_key_frame()
        super().let_pass()

    def _submit(self, frame: RawFrame | EncodedFrame) -> None:
        if not isinstance(frame, EncodedFrame):
            raise InvalidConfig("the camera says encoded=True but delivered a raw frame")
        passage = self._gate.admit(frame, is_open=self.open)
        self._delivered()
        if passage.wants_key_frame:
            self._ask_for_key_frame()
        if passage.data is None:
            return
        if self._capture(frame, passage.data, is_key=passage.is_key):
            self.sent += 1
        else:
            self._gate.refused()
            self._ask_for_key_frame()
        self._obey_feedback()

    def _capture(self, frame: EncodedFrame, data: bytes, *, is_key: bool) -> bool:
        kind = rtc.EncodedFrameType
        try:
            return self._source.capture_frame(
                rtc.EncodedVideoFrame(
                    data=data,
                    width=frame.width,
                    height=frame.height,
                    codec=rtc.VideoCodec.H264,
                    frame_type=kind.ENCODED_FRAME_KEY if is_key else kind.ENCODED_FRAME_DELTA,
                    timestamp_us=frame.captured_at_us,
                )
            )
        except BaseException:
            self._gate.restart()  # counted by `sink`, as everything that raises
            raise

    def _obey_feedback(self) -> None:
        """Asks the camera, after each frame, for the key frame and the bitrate that the core asks for."""
        feedback = self._source.take_feedback()
        if feedback.keyframe_requested:
            self._ask_for_key_frame()
        rate = feedback.rate_control
        if rate is not None and rate.target_bitrate_bps > 0 and rate.target_bitrate_bps != self._bitrate_bps:
            self._bitrate_bps = bitrate_bps = rate.target_bitrate_bps
            self._ask_camera(lambda: self._encoder.set_bitrate(bitrate_bps), "change its bitrate")

    def _ask_for_key_frame(self) -> None:
        self._ask_camera(self._encoder.request_key_frame, "make a key frame")

    def _ask_camera(self, request: Callable[[], None], to_do: str) -> None:
        try:
            request()
        except Exception as error:  # noqa: BLE001 - a driver's fault must not stop the frames
            self._report_once(DeviceError(f"the camera failed to {to_do}: {error}"))

    async def close(self) -> None:
        await super().close()
        await self._source.aclose()
