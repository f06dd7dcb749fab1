"""What every microphone, speaker and camera promises. Twins and drivers inherit and say how to make one."""

from __future__ import annotations

import queue
import threading
import time
from abc import ABC, abstractmethod

import pytest

from utdstream.errors import DeviceError
from utdstream.media import Camera, EncodedFrame, Microphone, PcmFrame, RawFrame, Speaker

PATIENCE_S = 10.0
PACE_MARGIN = 5.0
"""A busy machine may be this much slower; a device that is not paced is hundreds of times faster."""


class _Frames(queue.Queue):  # type: ignore[type-arg]
    """A sink that keeps the first frames."""

    def take(self, frame: object) -> None:
        if self.qsize() < 10_000:
            self.put(frame)


class MicrophoneContract(ABC):
    """Inherit, and return a new microphone from `make`."""

    @abstractmethod
    def make(self) -> Microphone: ...

    def test_microphone_when_made_is_one(self) -> None:
        """It has the members of the port."""
        assert isinstance(self.make(), Microphone)

    def test_frames_when_started_have_the_format_it_names(self) -> None:
        """Each frame is 10 ms in the microphone's own format, with times that grow."""
        microphone, frames = self.make(), _Frames()
        microphone.start(frames.take)
        taken: list[PcmFrame] = [frames.get(timeout=PATIENCE_S) for _ in range(5)]
        microphone.stop()
        for frame in taken:
            assert len(frame.data) == microphone.format.frame_bytes
            assert (frame.sample_rate_hz, frame.channels) == (
                microphone.format.sample_rate_hz,
                microphone.format.channels,
            )
        times = [frame.captured_at_us for frame in taken]
        assert times == sorted(times)
        assert abs(times[-1] - time.monotonic_ns() // 1000) < 10_000_000

    def test_frames_when_started_come_in_real_time(self) -> None:
        """50 frames take about half a second."""
        microphone, frames = self.make(), _Frames()
        begun = time.monotonic()
        microphone.start(frames.take)
        for _ in range(50):
            frames.get(timeout=PATIENCE_S)
        took_s = time.monotonic() - begun
        microphone.stop()
        assert 0.5 / PACE_MARGIN < took_s < 0.5 * PACE_MARGIN

    def test_sink_when_stopped_is_called_no_more(self) -> None:
        """After stop() returned, nothing comes; and it can be started again."""
        microphone, frames = self.make(), _Frames()
        for _ in range(2):
            microphone.start(frames.take)
            frames.get(timeout=PATIENCE_S)
            microphone.stop()
            while not frames.empty():
                frames.get_nowait()
            with pytest.raises(queue.Empty):
                frames.get(timeout=0.05)

    def test_start_when_started_is_a_device_error(self) -> None:
        """Two users of one device go through the SDK's sharing, not through the device."""
        microphone = self.make()
        microphone.start(lambda _frame: None)
        try:
            with pytest.raises(DeviceError):
                microphone.start(lambda _frame: None)
        finally:
            microphone.stop()

    def test_stop_when_called_twice_or_early_is_fine(self) -> None:
        """Idempotent, also before the first start."""
        microphone = self.make()
        microphone.stop()
        microphone.start(lambda _frame: None)
        microphone.stop()
        microphone.stop()

    def test_stop_when_called_by_the_sink_ends(self) -> None:
        """A sink may stop the device that calls it."""
        microphone, stopped = self.make(), threading.Event()

        def sink(_frame: PcmFrame) -> None:
            microphone.stop()
            stopped.set()

        microphone.start(sink)
        assert stopped.wait(PATIENCE_S)


class SpeakerContract(ABC):
    """Inherit, and return a new speaker from `make`."""

    @abstractmethod
    def make(self) -> Speaker: ...

    def test_speaker_when_made_is_one(self) -> None:
        """It has the members of the port."""
        assert isinstance(self.make(), Speaker)

    def test_source_when_started_is_asked_in_real_time(self) -> None:
        """Half a second of samples is asked for in about half a second."""
        speaker = self.make()
        asked, enough = [0], threading.Event()

        def source(samples: int) -> bytes:
            asked[0] += samples
            if asked[0] >= speaker.format.sample_rate_hz // 2:
                enough.set()
            return bytes(samples * speaker.format.channels * 2)

        begun = time.monotonic()
        speaker.start(source)
        assert enough.wait(PATIENCE_S)
        took_s = time.monotonic() - begun
        speaker.stop()
        assert 0.5 / PACE_MARGIN < took_s < 0.5 * PACE_MARGIN

    def test_source_when_stopped_is_asked_no_more(self) -> None:
        """After stop() returned, nobody asks; and it can be started again."""
        speaker, asked = self.make(), threading.Event()

        def source(samples: int) -> bytes:
            asked.set()
            return bytes(samples * speaker.format.channels * 2)

        for _ in range(2):
            speaker.start(source)
            assert asked.wait(PATIENCE_S)
            speaker.stop()
            asked.clear()
            assert not asked.wait(0.05)

    def test_start_when_started_is_a_device_error(self) -> None:
        """Sharing is the SDK's business."""
        speaker = self.make()
        size = speaker.format.channels * 2
        speaker.start(lambda samples: bytes(samples * size))
        try:
            with pytest.raises(DeviceError):
                speaker.start(lambda samples: bytes(samples * size))
        finally:
            speaker.stop()

    def test_stop_when_called_twice_or_early_is_fine(self) -> None:
        """Idempotent, also before the first start."""
        speaker = self.make()
        size = speaker.format.channels * 2
        speaker.stop()
        speaker.start(lambda samples: bytes(samples * size))
        speaker.stop()
        speaker.stop()


class CameraContract(ABC):
    """Inherit, and return a new camera from `make`."""

    @abstractmethod
    def make(self) -> Camera: ...

    def test_camera_when_made_is_one(self) -> None:
        """It has the members of the port."""
        assert isinstance(self.make(), Camera)

    def test_frames_when_started_are_of_the_kind_and_size_it_names(self) -> None:
        """Raw pictures are tightly packed; access units are Annex B and begin with a key frame."""
        camera, frames = self.make(), _Frames()
        camera.start(frames.take)
        taken = [frames.get(timeout=PATIENCE_S) for _ in range(3)]
        camera.stop()
        for frame in taken:
            assert (frame.width, frame.height) == (camera.width, camera.height)
            if camera.encoded:
                assert isinstance(frame, EncodedFrame)
                assert bytes(frame.data[:4]) in (b"\0\0\0\1", b"\0\0\1" + bytes(frame.data[3:4]))
            else:
                assert isinstance(frame, RawFrame)
                assert len(frame.data) == frame.pixel_format.size_bytes(frame.width, frame.height)
        if camera.encoded:
            assert taken[0].is_key_frame

    def test_frames_when_started_come_at_the_frame_rate(self) -> None:
        """Half a second of frames takes about half a second."""
        camera, frames = self.make(), _Frames()
        count = camera.frames_per_second // 2
        begun = time.monotonic()
        camera.start(frames.take)
        for _ in range(count + 1):
            frames.get(timeout=PATIENCE_S)
        took_s = time.monotonic() - begun
        camera.stop()
        assert 0.5 / PACE_MARGIN < took_s < 0.5 * PACE_MARGIN

    def test_sink_when_stopped_is_called_no_more(self) -> None:
        """After stop() returned, nothing comes; and it can be started again."""
        camera, frames = self.make(), _Frames()
        for _ in range(2):
            camera.start(frames.take)
            frames.get(timeout=PATIENCE_S)
            camera.stop()
            while not frames.empty():
                frames.get_nowait()
            with pytest.raises(queue.Empty):
                frames.get(timeout=0.1)

    def test_start_when_started_is_a_device_error(self) -> None:
        """Sharing is the SDK's business."""
        camera = self.make()
        camera.start(lambda _frame: None)
        try:
            with pytest.raises(DeviceError):
                camera.start(lambda _frame: None)
        finally:
            camera.stop()

    def test_stop_when_called_twice_or_early_is_fine(self) -> None:
        """Idempotent, also before the first start."""
        camera = self.make()
        camera.stop()
        camera.start(lambda _frame: None)
        camera.stop()
        camera.stop()

    def test_wishes_when_not_started_are_accepted(self) -> None:
        """A key frame and a bitrate may be wished for at any time, from any thread."""
        camera = self.make()
        camera.request_key_frame()
        camera.set_bitrate(500_000)
