"""Own media on its way in: a device's frames, checked, and handed to the native core.

Owns: `SharedCapture` (one device, several sessions), `MicrophoneFeed`, `CameraFeed`. Threads: a feed's
sink runs on the device's own thread and never blocks, never raises. Video goes straight into the core
(a plain FFI call that copies). Sound is the exception: `AudioSource.capture_frame` awaits a callback,
so a pump on the loop takes it from a queue of at most QUEUE_MS that drops its oldest frame.

Everything is checked before it crosses the FFI: a wrong size would end the process, not the call.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from livekit import rtc

from utdstream._livekit.h264 import H264Gate, Passage
from utdstream._livekit.loop import LoopThread
from utdstream.errors import DeviceError, InvalidConfig
from utdstream.media import Camera, EncodedFrame, Microphone, PcmFrame, PixelFormat, RawFrame
from utdstream.observe import CallbackError, Report

_log = logging.getLogger(__name__)

QUEUE_MS = 60

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


class _Feed:
    """What both feeds share: the gate, the counters, one report a fault."""

    def __init__(self, loop: LoopThread, report: Report, source_name: str) -> None:
        self._loop = loop
        self._report = report
        self._name = source_name
        self._reported = False
        self.open = False
        """Frames pass. False while muted, refused or not connected: they are dropped and counted."""
        self.sent = 0
        self._dropped = 0
        self._closed = False
        self._first: asyncio.Future[None] = loop.asyncio_loop.create_future()

    @property
    def dropped(self) -> int:
        """Frames that were not sent, whatever the reason. Any thread."""
        return self._dropped

    async def wait_for_first_frame(self, seconds: float) -> bool:
        """True when the device delivered within `seconds`. Loop thread."""
        done, _ = await asyncio.wait({self._first}, timeout=seconds)
        return bool(done)

    def on_first_frame(self, callback: Callable[[], None]) -> None:
        """Calls back on the loop when the device delivers for the first time."""
        self._first.add_done_callback(lambda _: callback())

    def _delivered(self) -> None:
        if not self._first.done():
            self._loop.post(self._settle_first)

    def _settle_first(self) -> None:
        if not self._first.done():
            self._first.set_result(None)

    def _refuse(self, error: Exception) -> None:
        """A frame that must not reach the core: dropped, counted, reported the first time."""
        self._dropped += 1
        if not self._closed:  # else the device's last frame met a source that is gone
            self._report_once(error)

    def _report_once(self, error: Exception) -> None:
        if not self._reported:
            self._reported = True
            _log.warning("%s: %s", self._name, error)
            self._report(CallbackError(error, self._name))


class MicrophoneFeed(_Feed):
    """A microphone's frames into one native audio source (no native buffer: 0 ms, no timer thread)."""

    def __init__(
        self, microphone: Microphone, loop: LoopThread, report: Report, source: rtc.AudioSource | None = None
    ) -> None:
        super().__init__(loop, report, "microphone")
        self._format = microphone.format
        self.source = source or rtc.AudioSource(
            self._format.sample_rate_hz,
            self._format.channels,
            queue_size_ms=0,
            loop=loop.asyncio_loop,
        )
        self._frames: deque[bytes] = deque(maxlen=QUEUE_MS // 10)
        self._pump: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._asleep = True

    def sink(self, frame: PcmFrame) -> None:
        """Device thread. Copies the frame and returns; budget: microseconds."""
        expected = self._format
        try:
            size = memoryview(frame.data).nbytes
            if (frame.sample_rate_hz, frame.channels, size) != (
                expected.sample_rate_hz,
                expected.channels,
                expected.frame_bytes,
            ):
                raise InvalidConfig(
                    f"the microphone delivered {size} bytes at {frame.sample_rate_hz} Hz with "
                    f"{frame.channels} channels, its format promises {expected.frame_bytes} bytes at "
                    f"{expected.sample_rate_hz} Hz with {expected.channels}: frames must be 10 ms of int16"
                )
            if not self.open:
                self._dropped += 1
                return
            if len(self._frames) == self._frames.maxlen:
                self._dropped += 1
            self._frames.append(bytes(frame.data))
        except Exception as error:  # noqa: BLE001 - the sink never raises into a driver
            self._refuse(error)
            return
        if self._asleep:
            self._asleep = False
            self._loop.post(self._wake.set)

    def start(self) -> None:
        """Loop thread."""
        self._pump = self._loop.spawn(self._run())

    async def _run(self) -> None:
        rate, channels = self._format.sample_rate_hz, self._format.channels
        while not self._closed:
            try:
                pcm = self._frames.popleft()
            except IndexError:
                await self._sleep()
                continue
            try:
                await self.source.capture_frame(
                    rtc.AudioFrame(pcm, rate, channels, self._format.samples_per_frame)
                )
                self.sent += 1
            except Exception as error:  # noqa: BLE001 - livekit raises bare Exception here
                self._refuse(DeviceError(f"the microphone's sound was refused: {error}"))

    async def _sleep(self) -> None:
        """Until the sink has something. A frame that came before `asleep` was set is seen by the count."""
        self._asleep = True
        if len(self._frames) == 0:
            await self._wake.wait()
        self._wake.clear()

    async def close(self) -> None:
        """Loop thread; never waits for the device."""
        self._closed = True
        self.open = False
        self._frames.clear()
        self._wake.set()
        if self._pump is not None:
            await asyncio.wait({self._pump}, timeout=0.5)
        await self.source.aclose()


class CameraFeed(_Feed):
    """A camera's frames into one native video source, raw or as H.264 access units."""

    def __init__(self, camera: Camera, loop: LoopThread, report: Report) -> None:
        super().__init__(loop, report, "camera")
        self._camera = camera
        self.width, self.height = camera.width, camera.height
        self.encoded = camera.encoded
        self._gate = H264Gate(camera.width, camera.height)
        self._bitrate_bps = 0
        self.raw_source: rtc.VideoSource | None = None
        self.encoded_source: rtc.EncodedVideoSource | None = None
        if self.encoded:
            self.encoded_source = rtc.EncodedVideoSource(self.width, self.height)
        else:
            self.raw_source = rtc.VideoSource(self.width, self.height)

    @property
    def dropped(self) -> int:
        return self._dropped + self._gate.dropped

    def make_track(self) -> rtc.LocalVideoTrack:
        source = self.encoded_source if self.encoded else self.raw_source
        assert source is not None
        return rtc.LocalVideoTrack.create_video_track("camera", source)

    def restart_from_key_frame(self) -> None:
        """After publish and unmute: nothing but a key frame goes first, and one is asked for. Any thread."""
        if self.encoded:
            self._gate.restart()
            self._ask_for_key_frame()

    def sink(self, frame: RawFrame | EncodedFrame) -> None:
        """Device thread. The core has copied the frame when this returns; never blocks, never raises."""
        try:
            if isinstance(frame, EncodedFrame):
                self._submit_encoded(frame)
            else:
                self._submit_raw(frame)
        except Exception as error:  # noqa: BLE001 - the sink never raises into a driver
            self._refuse(error)

    def _submit_raw(self, frame: RawFrame) -> None:
        if self.raw_source is None:
            raise InvalidConfig("the camera says encoded=True but delivered a raw frame")
        expected = frame.pixel_format.size_bytes(frame.width, frame.height)
        data = memoryview(frame.data)
        if (frame.width, frame.height) != (self.width, self.height) or data.nbytes != expected:
            raise InvalidConfig(
                f"the camera delivered {data.nbytes} bytes as {frame.width}x{frame.height} "
                f"{frame.pixel_format.value}; it promises {self.width}x{self.height}, which takes "
                f"{frame.pixel_format.size_bytes(self.width, self.height)} bytes without padding"
            )
        if frame.rotation not in _ROTATIONS:
            raise InvalidConfig(f"RawFrame.rotation must be 0, 90, 180 or 270, not {frame.rotation}")
        self._delivered()
        if not self.open:
            self._dropped += 1
            return
        self.raw_source.capture_frame(
            rtc.VideoFrame(frame.width, frame.height, _BUFFER_TYPES[frame.pixel_format], data.cast("B")),
            timestamp_us=frame.captured_at_us,
            rotation=_ROTATIONS[frame.rotation],
        )
        self.sent += 1

    def _submit_encoded(self, frame: EncodedFrame) -> None:
        if self.encoded_source is None:
            raise InvalidConfig("the camera says encoded=False but delivered an encoded frame")
        passage = self._gate.admit(frame, is_open=self.open)
        self._delivered()
        if passage.wants_key_frame:
            self._ask_for_key_frame()
        if passage.data is None:
            return
        if self._capture_encoded(self.encoded_source, frame, passage):
            self.sent += 1
        else:
            self._gate.refused()
            self._ask_for_key_frame()
        feedback = self.encoded_source.take_feedback()
        if feedback.keyframe_requested:
            self._ask_for_key_frame()
        rate = feedback.rate_control
        if rate is not None and rate.target_bitrate_bps > 0 and rate.target_bitrate_bps != self._bitrate_bps:
            self._bitrate_bps = rate.target_bitrate_bps
            self._camera.set_bitrate(rate.target_bitrate_bps)

    def _capture_encoded(self, source: rtc.EncodedVideoSource, frame: EncodedFrame, passage: Passage) -> bool:
        assert passage.data is not None
        kind = rtc.EncodedFrameType
        try:
            return source.capture_frame(
                rtc.EncodedVideoFrame(
                    data=passage.data,
                    width=frame.width,
                    height=frame.height,
                    codec=rtc.VideoCodec.H264,
                    frame_type=kind.ENCODED_FRAME_KEY if passage.is_key else kind.ENCODED_FRAME_DELTA,
                    timestamp_us=frame.captured_at_us,
                )
            )
        except BaseException:
            self._gate.restart()  # counted by `sink`, as everything that raises
            raise

    def _ask_for_key_frame(self) -> None:
        try:
            self._camera.request_key_frame()
        except Exception as error:  # noqa: BLE001 - a driver's fault must not stop the frames
            self._report_once(DeviceError(f"the camera failed to make a key frame: {error}"))

    async def close(self) -> None:
        """Loop thread; never waits for the device."""
        self._closed = True
        self.open = False
        if self.raw_source is not None:
            await self.raw_source.aclose()
        if self.encoded_source is not None:
            await self.encoded_source.aclose()
