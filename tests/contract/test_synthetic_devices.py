"""The synthetic devices keep the ports' promises."""

from __future__ import annotations

import wave
from pathlib import Path

import pytest
from h264_camera import H264Camera
from media_contract import CameraContract, MicrophoneContract, SpeakerContract

from utdstream.media import Camera, Microphone, Speaker
from utdstream.synthetic import FileMicrophone, NullSpeaker, PatternCamera, RecordingSpeaker, ToneMicrophone


class TestToneMicrophone(MicrophoneContract):
    @pytest.fixture
    def microphone(self) -> Microphone:
        return ToneMicrophone(440, sample_rate_hz=44_100, channels=2)


class TestFileMicrophone(MicrophoneContract):
    @pytest.fixture
    def microphone(self, tmp_path: Path) -> Microphone:
        with wave.open(str(tmp_path / "sound.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes(bytes(2 * 16_000))
        return FileMicrophone(tmp_path / "sound.wav")


class TestNullSpeaker(SpeakerContract):
    @pytest.fixture
    def speaker(self) -> Speaker:
        return NullSpeaker(channels=2)


class TestRecordingSpeaker(SpeakerContract):
    @pytest.fixture
    def speaker(self, tmp_path: Path) -> Speaker:
        return RecordingSpeaker(tmp_path / "heard.wav")


class TestPatternCamera(CameraContract):
    @pytest.fixture
    def camera(self) -> Camera:
        return PatternCamera(320, 240, 20)


class TestH264Camera(CameraContract):
    @pytest.fixture
    def camera(self) -> Camera:
        return H264Camera(320, 240, 20)
