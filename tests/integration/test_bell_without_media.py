"""The bell rings while the media server is frozen or away; sound and picture follow when it is back."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
from engine_site import people_of
from facts import eventually
from media_rooms import hear
from people import People, small_devices

from utdstream import ConnectionState, UTDCallSession, UTDCallStatus, UTDStreamType
from utdstream.testing import LocalStack

pytestmark = pytest.mark.integration

S = UTDCallStatus
DOOR_HZ, HOUSE_HZ = 700, 1900
BACK_S = 25.0
"""Within the thirty seconds of a ring."""


@contextlib.contextmanager
def frozen(stack: LocalStack) -> Iterator[None]:
    with stack.frozen("livekit"):
        yield


@contextlib.contextmanager
def killed(stack: LocalStack) -> Iterator[None]:
    stack.kill("livekit")
    try:
        yield
    finally:
        stack.start("livekit")


def is_waiting(session: UTDCallSession) -> bool:
    """It shows honestly that there is a call and no media."""
    state = session.connection.value.state
    return (session.media_ready.value, state) == (False, ConnectionState.RECONNECTING)


@pytest.mark.parametrize("away", [frozen, killed])
def test_press_when_the_media_server_is_away_rings_and_both_hear_each_other_when_it_is_back(
    own_people: People, away: Callable[[LocalStack], AbstractContextManager[None]]
) -> None:
    """The bell is not silent; the call connects by itself within its ring time."""
    door, house = own_people("door", small_devices(DOOR_HZ)), own_people("house", small_devices(HOUSE_HZ))
    inbox, calling = house.inbox(), door.call(UTDStreamType.AUDIO_CALL)
    with away(own_people.stack):
        pressed = time.monotonic()
        calling.start(callee_identity=house.identity)
        incoming = inbox.ringing.wait(timeout=10)
        assert time.monotonic() - pressed < 5.0, "a second is waited for the room"
        assert is_waiting(calling)
        answering = house.call(UTDStreamType.AUDIO_CALL)
        answering.ringing(incoming.call_id)
        assert answering.media_ready.value is False, "the house is told too"
        calling.status.wait_for(S.RINGING, timeout=10)
    calling.connected.wait_for(True, timeout=BACK_S)
    assert calling.media_ready.value
    answering.accept(incoming.call_id)
    calling.wait_for_answer(timeout=10)
    hear(calling.room, HOUSE_HZ, within_s=BACK_S)
    hear(answering.room, DOOR_HZ, within_s=BACK_S)


def test_call_when_answered_without_the_media_server_is_active_and_gets_its_sound_later(
    own_people: People,
) -> None:
    """Both sides are told the same: the call is active, and there is nothing to hear yet."""
    door, house = own_people("door", small_devices(DOOR_HZ)), own_people("house", small_devices(HOUSE_HZ))
    inbox, calling = house.inbox(), door.call(UTDStreamType.AUDIO_CALL)
    with killed(own_people.stack):
        calling.start(callee_identity=house.identity)
        answering = inbox.ringing.wait(timeout=10).accept()
        assert calling.wait_for_answer(timeout=10).status is S.ACTIVE
        assert (is_waiting(calling), is_waiting(answering)) == (True, True)
        answering.set_microphone(False)
    for session in (calling, answering):
        session.connected.wait_for(True, timeout=BACK_S)
    hear(answering.room, DOOR_HZ, within_s=BACK_S)
    assert not answering.microphone_on.value, "what was wished meanwhile stands"
    answering.set_microphone(True)
    hear(calling.room, HOUSE_HZ, within_s=BACK_S)
    calling.end()
    answering.status.wait_for(S.ENDED, timeout=10)


def test_call_when_hung_up_before_the_media_server_is_back_joins_nobody(own_people: People) -> None:
    """The ring ends at once, and no side turns up in a room later."""
    door, house = own_people("door"), own_people("house")
    inbox, calling = house.inbox(), door.call()
    with killed(own_people.stack):
        call = calling.start(callee_identity=house.identity)
        inbox.ringing.wait(timeout=10)
        calling.end()
        calling.status.wait_for(S.ENDED, timeout=5)
        calling.connection.wait_for(lambda now: now.state is ConnectionState.DISCONNECTED, timeout=5)
    again = door.call()
    again.start(callee_identity=house.identity)
    again.connected.wait_for(True, timeout=BACK_S)
    eventually(lambda: not people_of(own_people.stack, call.call_id), "nobody is in the room of the first")
    assert not calling.connected.value
