"""The machine's devices without hardware keep the promises of those that have some."""

from __future__ import annotations

from pathlib import Path

import pytest
from device_contract import SnapshotCameraContract
from media_contract import MicrophoneContract, SpeakerContract

from device.audio.synthetic import open_audio
from device.camera.synthetic import open_camera
from device.config import MachineConfig, parse
from utdstream import Camera, Microphone, Speaker


def config_of(**sections: dict[str, object]) -> MachineConfig:
    tables = {"engine": {"app_id": "x"}, "device": {"identity": "door"}, **sections}
    return parse(tables, Path("/etc/utdstream/doorbell.toml"))


class TestSyntheticMicrophone(MicrophoneContract):
    @pytest.fixture
    def microphone(self) -> Microphone:
        microphone, _ = open_audio(config_of(audio={"adapter": "synthetic"}))
        assert microphone is not None
        return microphone


class TestSyntheticSpeaker(SpeakerContract):
    @pytest.fixture
    def speaker(self) -> Speaker:
        _, speaker = open_audio(config_of(audio={"adapter": "synthetic"}))
        assert speaker is not None
        return speaker


class TestSyntheticCamera(SnapshotCameraContract):
    @pytest.fixture(params=["software", "none"])
    def camera(self, request: pytest.FixtureRequest) -> Camera:
        size = {"width": 320, "height": 240, "frames_per_second": 20}
        return open_camera(config_of(camera={"adapter": "synthetic", "encoder": request.param, **size}))
