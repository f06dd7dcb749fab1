"""Sessions that are over: what they still hold, whether they were disposed or not."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest
import requests
from facts import eventually
from people import People, Person

from utdstream import UTDAudioRoomSession, UTDCallSession, UTDCallStatus

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


def test_end_when_the_other_side_is_there_leaves_after_its_last_track(people: People) -> None:
    """On either side: a room that is left while others publish in it costs the core 500 KiB for ever."""
    door, house = people("door"), people("house")
    inbox = house.inbox()
    calling = door.call()
    calling.start(callee_identity=house.identity)
    answering = inbox.ringing.wait(timeout=15).accept()
    calling.wait_for_answer(timeout=15)
    gone: dict[str, list[str]] = {"caller": [], "callee": []}
    for side, session in (("caller", calling), ("callee", answering)):
        eventually(lambda session=session: len(tracks(session)) == 2, f"the {side} knows two tracks", 15)
        session.events.subscribe(
            lambda event, side=side: event.name == "track_unpublished" and gone[side].append(event.name)
        )
    answering.end()
    calling.dispose()
    eventually(lambda: all(len(each) == 2 for each in gone.values()), lambda: f"heard of: {gone}")


def test_audio_room_when_closed_by_the_server_is_left_after_its_last_track(people: People) -> None:
    """By a listener too, who has nothing to unpublish and hears of the end before the speaker is silent."""
    host, listener, stack = people("host"), people("listener"), people.stack
    name = f"closed-{host.identity}"
    speaking = host.client.join_audio_room(identity=host.identity, room_name=name, as_host=True, seat_count=2)
    speaking.take_seat(1)
    listening = listener.client.join_audio_room(identity=listener.identity, room_name=name)
    eventually(lambda: len(tracks(listening)) == 1, "the listener knows the track", 15)
    gone: list[str] = []
    listening.events.subscribe(lambda event: event.name == "track_unpublished" and gone.append(event.name))
    requests.delete(
        f"{stack.base_url}/api/v1/rooms/{name}",
        headers={"X-App-Id": stack.app_id, "X-App-Secret": stack.app_secret},
        timeout=15,
    ).raise_for_status()
    listening.connected.wait_for(False, timeout=10)
    eventually(lambda: gone, "the listener heard of the last track's end", 5)


def tracks(session: UTDCallSession | UTDAudioRoomSession) -> list[object]:
    """What the others publish."""
    return [each for person in session.remote_participants.value for each in person.publications]
