"""What belongs to one life of a call or a room touches that life alone, whatever comes late."""

from __future__ import annotations

import threading

import pytest
from between import Between
from people import People

from utdstream import UTDCallStatus, UTDStreamType

pytestmark = pytest.mark.integration

S = UTDCallStatus


def test_end_when_it_is_slow_and_the_next_call_has_begun_leaves_that_one_alone(
    people: People, between: Between
) -> None:
    """A program that redials as soon as it is told: the old hang-up, still under way, ends the old call."""
    door = people("door", base_url=between.url)
    house, garden = people("house"), people("garden")
    first_inbox, second_inbox = house.inbox(), garden.inbox()
    calling = door.call(UTDStreamType.AUDIO_CALL)
    first = calling.start(callee_identity=house.identity)
    first_inbox.ringing.wait(timeout=10).accept()
    calling.wait_for_answer(timeout=10)
    held = between.hold_answers(f"{first.call_id}/end")
    ender = threading.Thread(target=calling.end)
    ender.start()
    assert held.came.wait(10)
    second = calling.start(callee_identity=garden.identity)
    second_inbox.ringing.wait(timeout=10).accept()
    calling.wait_for_answer(timeout=10)
    held.let_go()
    ender.join(10)
    assert not ender.is_alive()
    assert (calling.call_id.value, calling.status.value) == (second.call_id, S.ACTIVE)
    assert calling.connected.value
    calling.end()
