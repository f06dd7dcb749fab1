"""What the media core holds of a call goes with its end, and is not left to the garbage collector."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator

import pytest
from facts import eventually
from livekit import rtc
from livekit.rtc import _ffi_client
from media_rooms import MediaRoom, hear
from people import People, Person, small_devices

from utdstream import (
    ClientConfig,
    ConnectionState,
    Devices,
    IncomingCallInbox,
    UTDCallSession,
    UTDCallStatus,
    UTDStreamException,
    UTDStreamType,
)
from utdstream._threads.deadline import Deadline
from utdstream.synthetic import PatternCamera, ToneMicrophone
from utdstream.testing import LocalStack

pytestmark = pytest.mark.integration


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What is unreachable in a cycle stays."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def call_and_hang_up(door: Person, house: Person, inbox: IncomingCallInbox, kind: UTDStreamType) -> None:
    """Both sides hear the other one, and free their sessions."""
    calling = door.call(kind)
    calling.start(callee_identity=house.identity)
    answering = inbox.ringing.wait(timeout=10).accept()
    calling.wait_for_answer(timeout=10)
    hear(calling.room, 1000)
    hear(answering.room, 1000)
    if kind is UTDStreamType.VIDEO_CALL:
        next(calling.video_frames(timeout=10))
        next(answering.video_frames(timeout=10))
    calling.end()
    answering.status.wait_for(UTDCallStatus.ENDED, timeout=10)
    calling.dispose()
    answering.dispose()


@pytest.mark.parametrize("kind", [UTDStreamType.AUDIO_CALL, UTDStreamType.VIDEO_CALL])
def test_handles_when_a_call_is_over_are_not_left_to_the_collector(
    people: People, no_collector: None, kind: UTDStreamType
) -> None:
    """A collection may fall into any line of the program's thread, and the core's `__del__` is Python.

    An exception that is thrown into that thread just then would come out of it, and be swallowed.
    """
    door, house = people("door"), people("house")
    before = len(_ffi_client._live_handles)
    call_and_hang_up(door, house, house.inbox(), kind)
    all_freed(before)


def test_handles_when_a_call_is_ended_while_its_room_is_joined_are_not_left_to_the_collector(
    people: People, no_collector: None
) -> None:
    """The errors that its threads were told keep the lines they came through, but nothing of the core."""
    door, house = people("door"), people("house")
    before = len(_ffi_client._live_handles)
    told: list[UTDStreamException] = []
    for _ in range(5):
        calling = door.call(UTDStreamType.AUDIO_CALL)

        def start(calling: UTDCallSession = calling) -> None:
            try:
                calling.start(callee_identity=house.identity)
            except UTDStreamException as error:
                told.append(error)

        starting = threading.Thread(target=start)
        starting.start()
        calling.connection.wait_for(lambda now: now.state is not ConnectionState.DISCONNECTED, timeout=10)
        calling.end()
        starting.join(timeout=20)
        assert not starting.is_alive()
        calling.dispose()
    assert told
    all_freed(before)


@pytest.mark.parametrize("direct", [True, False], ids=["direct sound", "public sound"])
def test_handles_when_the_server_ends_a_room_are_not_left_to_the_collector(
    stack: LocalStack, no_collector: None, *, direct: bool
) -> None:
    """Nobody unpublishes, and what was on its way is never answered."""
    before = len(_ffi_client._live_handles)
    with MediaRoom(stack) as hall:
        speaking, hearing = (
            hall.join(name, small_devices(), config=ClientConfig(direct_audio=direct))
            for name in ("one", "two")
        )
        speaking.set_microphone(True)
        speaking.set_camera(True)
        hear(hearing, 1000)
        hall.delete()
        for room in (speaking, hearing):
            room.connected.wait_for(False, timeout=10)
    all_freed(before)


def all_freed(before: int) -> None:
    """Waits until there are no more handles than before."""
    eventually(
        lambda: len(_ffi_client._live_handles) <= before,
        lambda: f"{len(_ffi_client._live_handles) - before} handles of the core are freed",
        15,
    )


def test_tracks_when_a_connection_is_given_up_are_left_to_the_core(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be about to bring the room back, and publishes anew: what goes in that moment ends the process.

    Nothing of it stays: no thread, and the next room is heard.
    """
    unpublished: list[str] = []

    async def noted(participant: rtc.LocalParticipant, sid: str) -> None:
        unpublished.append(sid)

    with MediaRoom(stack) as hall:
        speaker = hall.join("speaker", Devices(ToneMicrophone(500)))
        speaker.set_microphone(True)
        talker = hall.make(Devices(ToneMicrophone(700), camera=PatternCamera(160, 120, 10)))
        threads = 0
        for number in range(4):
            talker.connect(hall.url, hall.token("talker"))
            talker.set_microphone(True)
            talker.set_camera(True)
            hear(talker, 500)
            hear(speaker, 700)
            if number == 1:
                threads = native_threads()
            life = talker._media.life
            assert life is not None
            assert life.connection is not None
            monkeypatch.setattr(rtc.LocalParticipant, "unpublish_track", noted)
            life.loop.call(life.connection._drop, deadline=Deadline(5, 5, "giving it up"))
            eventually(lambda: hall.present() == ["speaker"], "it is left", 10)
            monkeypatch.undo()
        talker.connect(hall.url, hall.token("talker"))
        talker.set_microphone(True)
        talker.set_camera(True)
        hear(talker, 500)
        eventually(
            lambda: native_threads() <= threads, lambda: f"{native_threads()} threads, {threads} before"
        )
    assert unpublished == []


def native_threads() -> int:
    """Of this process, Python's and the core's."""
    return len(os.listdir("/proc/self/task"))
