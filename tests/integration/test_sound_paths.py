"""Both ways of sound on the real livekit-server, through a room's life: the same is heard, muted, and ended."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from facts import eventually
from livekit import rtc
from media_rooms import PATIENCE_S, CountedMicrophone, MediaRoom, hear

from utdstream import ClientConfig, Devices
from utdstream._livekit.direct_audio import DirectFlow
from utdstream._livekit.loop import loop_thread
from utdstream._livekit.streams import Stream
from utdstream.synthetic import RecordingSpeaker, ToneMicrophone
from utdstream.testing import LocalStack

pytestmark = pytest.mark.integration


@pytest.fixture
def hall(stack: LocalStack) -> Iterator[MediaRoom]:
    """A room on the SFU."""
    with MediaRoom(stack) as room:
        yield room


@pytest.fixture(params=["direct", "public"])
def config(request: pytest.FixtureRequest) -> ClientConfig:
    """Each of the two ways."""
    return ClientConfig(direct_audio=request.param == "direct")


def plays_something(speaker: RecordingSpeaker) -> bool:
    return any(speaker.pcm[-9_600:])


def test_sound_when_its_way_is_chosen_is_heard_muted_and_ended_all_the_same(
    hall: MediaRoom, config: ClientConfig
) -> None:
    """Both sides hear each other; a mute is silence, a full reconnect is survived, the server's end stops all."""
    microphone, speaker = CountedMicrophone(700), RecordingSpeaker()
    door = hall.join("door", Devices(microphone, speaker), config=config)
    house = hall.join("house", Devices(ToneMicrophone(1500)), config=config)
    door.set_microphone(True)
    house.set_microphone(True)
    hear(house, 700)
    eventually(lambda: plays_something(speaker), "the door's speaker plays", PATIENCE_S)
    door.set_microphone(False)
    hear(house)
    door.set_microphone(True)
    hear(house, 700)

    native = house.room
    assert native is not None
    full = rtc.SimulateScenarioKind.SIMULATE_FULL_RECONNECT
    loop_thread().post(lambda: loop_thread().spawn(native.simulate_scenario(full)))
    house.connected.wait_for(False, timeout=PATIENCE_S)
    house.connected.wait_for(True, timeout=PATIENCE_S)
    hear(house, 700)
    played = len(speaker.pcm)
    eventually(
        lambda: len(speaker.pcm) > played + 48_000 and plays_something(speaker), "the door hears", PATIENCE_S
    )

    sent = door.stats().audio_frames_sent
    assert sent > 50
    hall.delete()
    door.connected.wait_for(False, timeout=PATIENCE_S)
    eventually(lambda: not microphone.running, "the microphone is closed", PATIENCE_S)
    assert [error for errors in hall.errors.values() for error in errors] == []


def test_readers_when_there_are_ten_share_one_stream_out_of_the_core(
    hall: MediaRoom, config: ClientConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each hears all of it; the core resamples and calls back for one."""
    opened: list[object] = []
    kind: Any = DirectFlow if config.direct_audio else Stream
    make = kind.__init__

    def counted(self: object, *arguments: object) -> None:
        opened.append(self)
        make(self, *arguments)

    monkeypatch.setattr(kind, "__init__", counted)
    talker, listener = hall.join("talker", Devices(ToneMicrophone(700))), hall.join("listener", config=config)
    talker.set_microphone(True)
    hear(listener, 700)
    readers = [threading.Thread(target=hear, args=(listener, 700)) for _ in range(10)]
    opened.clear()
    frames = listener.audio_frames()
    next(frames)
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(PATIENCE_S)
        assert not reader.is_alive(), "all of them have heard it"
    frames.close()  # type: ignore[attr-defined]  # it is a generator
    assert len(opened) == 1


def test_switch_interval_when_a_room_is_joined_is_lowered_until_the_last_is_left(hall: MediaRoom) -> None:
    """A program that computes hands the interpreter on in time for sound; after the call it is as before."""
    before = sys.getswitchinterval()
    first = hall.join("first", config=ClientConfig(switch_interval_s=0.001))
    assert sys.getswitchinterval() == pytest.approx(0.001)
    second = hall.join("second")
    assert sys.getswitchinterval() == pytest.approx(0.0005)
    hall.join("third", config=ClientConfig(switch_interval_s=None)).dispose()
    second.dispose()
    assert sys.getswitchinterval() == pytest.approx(0.001)
    first.dispose()
    assert sys.getswitchinterval() == pytest.approx(before)
