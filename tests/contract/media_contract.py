"""What every microphone, speaker and camera promises. Twins and drivers inherit and give the device as a fixture.

    class TestFileCamera(CameraContract):
        @pytest.fixture
        def camera(self, tmp_path: Path) -> Camera:
            return PyAvCamera(str(film(tmp_path / "film.mp4")), 320, 240, 20)

The fixture takes what it needs: a folder, a server, a card. What must be shut after the test, it yields.
"""

from __future__ import annotations

import queue
import threading
import time

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


class MicrophoneContract:
    """Inherit, and give the fixture `microphone`: a new one, not started."""

    @pytest.fixture
    def microphone(self) -> Microphone:
        raise NotImplementedError(f"{type(self).__name__}: give the fixture `microphone`")

    def test_microphone_when_made_is_one(self, microphone: Microphone) -> None:
        """It has the members of the port."""
        assert isinstance(microphone, Microphone)

    def test_frames_when_started_have_the_format_it_names(self, microphone: Microphone) -> None:
        """Each frame is 10 ms in the microphone's own format, with times that grow."""
        frames = _Frames()
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

    def test_frames_when_started_come_in_real_time(self, microphone: Microphone) -> None:
        """50 frames take about half a second."""
        frames = _Frames()
        begun = time.monotonic()
        microphone.start(frames.take)
        for _ in range(50):
            frames.get(timeout=PATIENCE_S)
        took_s = time.monotonic() - begun
        microphone.stop()
        assert 0.5 / PACE_MARGIN < took_s < 0.5 * PACE_MARGIN

    def test_sink_when_stopped_is_called_no_more(self, microphone: Microphone) -> None:
        """After stop() returned, nothing comes; and it can be started again."""
        frames = _Frames()
        for _ in range(2):
            microphone.start(frames.take)
            frames.get(timeout=PATIENCE_S)
            microphone.stop()
            while not frames.empty():
                frames.get_nowait()
            with pytest.raises(queue.Empty):
                frames.get(timeout=0.05)

    def test_start_when_started_is_a_device_error(self, microphone: Microphone) -> None:
        """Two users of one device go through the SDK's sharing, not through the device."""
        microphone.start(lambda _frame: None)
        try:
            with pytest.raises(DeviceError):
                microphone.start(lambda _frame: None)
        finally:
            microphone.stop()

    def test_stop_when_called_twice_or_early_is_fine(self, microphone: Microphone) -> None:
        """Idempotent, also before the first start."""
        microphone.stop()
        microphone.start(lambda _frame: None)
        microphone.stop()
        microphone.stop()

    def test_stop_when_called_by_the_sink_ends(self, microphone: Microphone) -> None:
        """A sink may stop the device that calls it."""
        stopped = threading.Event()

        def sink(_frame: PcmFrame) -> None:
            microphone.stop()
            stopped.set()

        microphone.start(sink)
        assert stopped.wait(PATIENCE_S)


class SpeakerContract:
    """Inherit, and give the fixture `speaker`: a new one, not started."""

    @pytest.fixture
    def speaker(self) -> Speaker:
        raise NotImplementedError(f"{type(self).__name__}: give the fixture `speaker`")

    def test_speaker_when_made_is_one(self, speaker: Speaker) -> None:
        """It has the members of the port."""
        assert isinstance(speaker, Speaker)

    def test_source_when_started_is_asked_in_real_time(self, speaker: Speaker) -> None:
        """Half a second of samples is asked for in about half a second."""
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

    def test_source_when_stopped_is_asked_no_more(self, speaker: Speaker) -> None:
        """After stop() returned, nobody asks; and it can be started again."""
        asked = threading.Event()

        def source(samples: int) -> bytes:
            asked.set()
            return bytes(samples * speaker.format.channels * 2)

        for _ in range(2):
            speaker.start(source)
            assert asked.wait(PATIENCE_S)
            speaker.stop()
            asked.clear()
            assert not asked.wait(0.05)

    def test_start_when_started_is_a_device_error(self, speaker: Speaker) -> None:
        """Sharing is the SDK's business."""
        size = speaker.format.channels * 2
        speaker.start(lambda samples: bytes(samples * size))
        try:
            with pytest.raises(DeviceError):
                speaker.start(lambda samples: bytes(samples * size))
        finally:
            speaker.stop()

    def test_stop_when_called_twice_or_early_is_fine(self, speaker: Speaker) -> None:
        """Idempotent, also before the first start."""
        size = speaker.format.channels * 2
        speaker.stop()
        speaker.start(lambda samples: bytes(samples * size))
        speaker.stop()
        speaker.stop()


class CameraContract:
    """Inherit, and give the fixture `camera`: a new one, not started."""

    @pytest.fixture
    def camera(self) -> Camera:
        raise NotImplementedError(f"{type(self).__name__}: give the fixture `camera`")

    def test_camera_when_made_is_one(self, camera: Camera) -> None:
        """It has the members of the port."""
        assert isinstance(camera, Camera)

    def test_frames_when_started_are_of_the_kind_and_size_it_names(self, camera: Camera) -> None:
        """Raw pictures are tightly packed; access units are Annex B and begin with a key frame."""
        frames = _Frames()
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

    def test_frames_when_started_come_at_the_frame_rate(self, camera: Camera) -> None:
        """Half a second of frames takes about half a second."""
        frames = _Frames()
        count = camera.frames_per_second // 2
        begun = time.monotonic()
        camera.start(frames.take)
        for _ in range(count + 1):
            frames.get(timeout=PATIENCE_S)
        took_s = time.monotonic() - begun
        camera.stop()
        assert 0.5 / PACE_MARGIN < took_s < 0.5 * PACE_MARGIN

    def test_sink_when_stopped_is_called_no_more(self, camera: Camera) -> None:
        """After stop() returned, nothing comes; and it can be started again."""
        frames = _Frames()
        for _ in range(2):
            camera.start(frames.take)
            frames.get(timeout=PATIENCE_S)
            camera.stop()
            while not frames.empty():
                frames.get_nowait()
            with pytest.raises(queue.Empty):
                frames.get(timeout=0.1)

    def test_start_when_started_is_a_device_error(self, camera: Camera) -> None:
        """Sharing is the SDK's business."""
        camera.start(lambda _frame: None)
        try:
            with pytest.raises(DeviceError):
                camera.start(lambda _frame: None)
        finally:
            camera.stop()

    def test_stop_when_called_twice_or_early_is_fine(self, camera: Camera) -> None:
        """Idempotent, also before the first start."""
        camera.stop()
        camera.start(lambda _frame: None)
        camera.stop()
        camera.stop()

    def test_wishes_when_not_started_are_accepted(self, camera: Camera) -> None:
        """A key frame and a bitrate may be wished for at any time, from any thread."""
        camera.request_key_frame()
        camera.set_bitrate(500_000)
