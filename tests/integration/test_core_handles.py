"""What the media core holds of a call goes with its end, and is not left to the garbage collector."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import pytest
from facts import eventually
from livekit.rtc import _ffi_client
from media_rooms import MediaRoom, hear
from people import People, Person, small_devices

from utdstream import (
    ClientConfig,
    ConnectionState,
    IncomingCallInbox,
    UTDCallSession,
    UTDCallStatus,
    UTDStreamException,
    UTDStreamType,
)
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
