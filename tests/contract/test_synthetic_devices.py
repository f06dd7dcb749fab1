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
    def make(self) -> Microphone:
        return ToneMicrophone(440, sample_rate_hz=44_100, channels=2)


class TestFileMicrophone(MicrophoneContract):
    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> None:
        self.path = tmp_path / "sound.wav"
        with wave.open(str(self.path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes(bytes(2 * 16_000))

    def make(self) -> Microphone:
        return FileMicrophone(self.path)


class TestNullSpeaker(SpeakerContract):
    def make(self) -> Speaker:
        return NullSpeaker(channels=2)


class TestRecordingSpeaker(SpeakerContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def make(self) -> Speaker:
        return RecordingSpeaker(self.folder / "heard.wav")


class TestPatternCamera(CameraContract):
    def make(self) -> Camera:
        return PatternCamera(320, 240, 20)


class TestH264Camera(CameraContract):
    def make(self) -> Camera:
        return H264Camera(320, 240, 20)
