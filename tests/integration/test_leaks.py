"""Sessions that are over: what they still hold, whether they were disposed or not."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest
from facts import eventually
from people import People, Person

from utdstream import UTDCallSession, UTDCallStatus

pytestmark = pytest.mark.integration

REST_S = 20.0


def lane_threads() -> list[str]:
    """The threads that serve the lanes of call sessions."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith(("utdstream-work-video", "utdstream-events-video"))]


def call_once(door: Person, house: Person) -> list[weakref.ref[UTDCallSession]]:
    """Makes one call as README does, but never disposes a session; returns what is left of them."""
    with house.client.incoming_calls() as inbox:
        inbox.connected.wait_for(True, timeout=10)
        calling = door.call()
        calling.status.subscribe(lambda _: None)
        calling.start(callee_identity=house.identity)
        answering = inbox.ringing.wait(timeout=15).accept()
        answering.status.subscribe(lambda _: None)
        calling.wait_for_answer(timeout=15)
        calling.end()
        answering.status.wait_for(UTDCallStatus.ENDED, timeout=15)
        return [weakref.ref(calling), weakref.ref(answering)]


def test_sessions_when_over_and_never_disposed_hold_no_thread_and_go_when_they_are_forgotten(
    people: People,
) -> None:
    """As in README's callback, which keeps nothing: a device that answers for years does not grow by it."""
    door, house = people("door"), people("house")
    before = lane_threads()
    left = [each for _ in range(3) for each in call_once(door, house)]
    eventually(lambda: set(lane_threads()) <= set(before), lambda: f"threads: {lane_threads()}", REST_S)
    eventually(lambda: gc.collect() >= 0 and not any(each() for each in left), "all sessions went", REST_S)
