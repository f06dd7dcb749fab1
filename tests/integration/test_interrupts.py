"""An exception thrown into the caller's thread, at any line: it comes out, nothing rings on, nothing stays."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

import pytest
import requests
from facts import eventually
from media_rooms import MediaRoom
from people import People, Person
from thrown import Thrown, done_at, thrown_at

from utdstream import (
    ConnectionState,
    Devices,
    UTDCallSession,
    UTDCallStatus,
    UTDRoom,
    UTDStreamClient,
    UTDStreamException,
    UTDStreamType,
)
from utdstream.synthetic import ToneMicrophone
from utdstream.testing import LocalStack

pytestmark = pytest.mark.integration

S = UTDCallStatus
SETTLED_S = 40.0
"""Within two seconds on a machine that has time; this one may have other work, and leaving has 8 s then."""
DISPOSE_S = 8.0
STEPS = {"mute": 6, "wait": 11, "subscribe": 4}
"""From one line that is tried to the next."""


def open_calls(people: People, person: Person) -> list[str]:
    """The calls that the engine takes for open."""
    stack = people.stack
    answer = requests.get(
        f"{stack.base_url}/api/v1/calls",
        params={"identity": person.identity, "status": "initiating,ringing,active"},
        headers={"X-App-Id": stack.app_id, "X-App-Secret": stack.app_secret},
        timeout=10,
    ).json()
    return [call["call_id"] for call in answer["data"]]


def is_over(session: UTDCallSession) -> bool:
    return session.connection.value.state is ConnectionState.DISCONNECTED and session.status.value not in (
        S.INITIATING,
        S.RINGING,
        S.ACTIVE,
    )


def at_every_line(
    begin: Callable[[], Callable[[], object]], settle: Callable[[int], object], *, step: int = 1
) -> int:
    """Throws at each line, or each `step`th, of what `begin()` returns; the number of lines."""
    for line in range(1, 1000, step):
        got, thrown = thrown_at(line, begin())
        if not thrown:
            return line - 1
        assert isinstance(got, Thrown), f"line {line}: {got!r} came out"
        settle(line)
    raise AssertionError("it has no end")


def test_start_when_an_exception_is_thrown_at_any_line_leaves_no_call(people: People) -> None:
    """The engine has no open call, the room is left, and the same session calls again."""
    door, house = people("door", Devices()), people("house", Devices())
    calling = door.call(UTDStreamType.AUDIO_CALL)

    def settle(line: int) -> None:
        eventually(
            lambda: is_over(calling) and not open_calls(people, door), f"line {line} left nothing", SETTLED_S
        )

    lines = at_every_line(lambda: lambda: calling.start(callee_identity=house.identity), settle)
    assert lines >= 15
    assert calling.connected.value
    calling.end()
    assert open_calls(people, door) == []


def test_accept_when_an_exception_is_thrown_at_any_line_leaves_nobody_in_the_room(people: People) -> None:
    """Whether the engine was told already or not: this side is in no call, and holds none up."""
    door, house = people("door", Devices()), people("house", Devices())
    inbox = house.inbox()
    calling = door.call(UTDStreamType.AUDIO_CALL)
    answering: list[UTDCallSession] = []

    def begin() -> Callable[[], object]:
        calling.end()
        calling.start(callee_identity=house.identity)
        incoming = inbox.ringing.wait(timeout=10)
        session = house.call(UTDStreamType.AUDIO_CALL)
        answering.append(session)
        return lambda: session.accept(incoming.call_id)

    def settle(line: int) -> None:
        session = answering[-1]
        eventually(lambda: is_over(session), f"line {line} left nobody in the room", SETTLED_S)
        eventually(
            lambda: calling.status.value is not S.ACTIVE, f"line {line} left no active call", SETTLED_S
        )
        session.dispose()

    assert at_every_line(begin, settle, step=4) >= 15
    assert answering[-1].connected.value
    calling.end()


def test_end_when_an_exception_is_thrown_at_any_line_ends(people: People) -> None:
    """A hang-up that is interrupted hangs up all the same, once it has begun."""
    door, house = people("door", Devices()), people("house", Devices())
    calling = door.call(UTDStreamType.AUDIO_CALL)

    def begin() -> Callable[[], object]:
        calling.end()
        calling.start(callee_identity=house.identity)
        return calling.end

    def settle(line: int) -> None:
        if line <= LINES_BEFORE_IT_BEGINS:
            return
        eventually(
            lambda: is_over(calling) and not open_calls(people, door), f"line {line} ended it", SETTLED_S
        )

    assert at_every_line(begin, settle, step=7) >= LINES_BEFORE_IT_BEGINS + 15


LINES_BEFORE_IT_BEGINS = 25
"""Of `end` itself and of making its deadline: an exception in these comes as if before the call."""


def test_join_when_an_exception_is_thrown_at_any_line_leaves_nobody_in_the_room(people: People) -> None:
    """The client's session is gone with it."""
    host = people("host", Devices())
    client = host.client

    def settle(line: int) -> None:
        eventually(lambda: not client._sessions, f"line {line} left no session", SETTLED_S)

    lines = at_every_line(
        lambda: lambda: client.join_audio_room(identity=host.identity, room_name="interrupted", as_host=True),
        settle,
        step=7,
    )
    assert lines >= 30
    (session,) = client._sessions
    assert session.connected.value


def test_take_seat_when_an_exception_is_thrown_at_any_line_leaves_the_seat_free(people: People) -> None:
    """The engine has nobody on it, nothing is on air, and it can be taken."""
    host = people("host", Devices(microphone=ToneMicrophone()))
    room = host.client.join_audio_room(
        identity=host.identity, room_name=host.identity, as_host=True, seat_count=2
    )

    def is_free() -> bool:
        room.get_seats()
        return room.seat.value is None and not room.microphone_on.value and not room._turn.locked()

    def settle(line: int) -> None:
        eventually(is_free, f"line {line} left the seat free", SETTLED_S)

    assert at_every_line(lambda: lambda: room.take_seat(1), settle, step=2) >= 30
    assert room.seat.value == 1
    assert room.microphone_on.value


def test_authenticate_when_an_exception_is_thrown_at_any_line_leaves_nobody_signed_in(people: People) -> None:
    """Another identity may sign in at once: the first one was never told that it had."""
    made: list[UTDStreamClient] = []

    def begin() -> Callable[[], object]:
        client = UTDStreamClient(people.stack.app_id, people.stack.app_key, base_url=people.stack.base_url)
        people.keep(client)
        made.append(client)
        return lambda: client.authenticate(identity="interrupted-first")

    def settle(line: int) -> None:
        eventually(lambda: not made[-1]._turn.locked(), f"line {line} left no errand", SETTLED_S)
        assert made[-1].identity is None, f"line {line}"
        if line % 9 == 0:
            made[-1].authenticate(identity="interrupted-second")

    assert at_every_line(begin, settle, step=2) >= 20
    assert made[-1].identity == "interrupted-first"


def test_incoming_calls_when_an_exception_is_thrown_at_any_line_leaves_no_inbox(people: People) -> None:
    """Nothing listens or asks on for an inbox that nobody has."""
    client = people("house", Devices()).client

    def listeners() -> list[str]:
        return [
            thread.name
            for thread in threading.enumerate()
            if thread.name.startswith(("utdstream-mqtt", "utdstream-work-inbox"))
        ]

    def settle(line: int) -> None:
        eventually(
            lambda: not client._inboxes and not listeners(), f"line {line} left {listeners()}", SETTLED_S
        )

    assert at_every_line(lambda: client.incoming_calls, settle, step=2) >= 15
    (inbox,) = client._inboxes
    inbox.connected.wait_for(True, timeout=10)


def test_dispose_when_a_signal_handler_calls_it_in_the_middle_of_end_does_not_wait_for_it(
    people: People,
) -> None:
    """The program's own thread takes no lock to hang up."""
    door, house = people("door", Devices()), people("house", Devices())
    for line in range(1, 400, 9):
        calling = door.call(UTDStreamType.AUDIO_CALL)
        calling.start(callee_identity=house.identity)
        took: list[float] = []

        def dispose(calling: UTDCallSession = calling, took: list[float] = took) -> None:
            began = time.monotonic()
            calling.dispose(timeout=DISPOSE_S)
            took.append(time.monotonic() - began)

        with contextlib.suppress(UTDStreamException):
            done_at(line, calling.end, dispose)
        if not took:
            return
        assert took[0] < DISPOSE_S, f"line {line}: it waited for what it had interrupted"
        assert is_over(calling)
    raise AssertionError("it has no end")


@pytest.mark.parametrize("act", STEPS)
def test_dispose_when_a_signal_handler_calls_it_at_any_line_does_not_wait_for_the_loop_that_waits(
    stack: LocalStack, act: str
) -> None:
    """No thread of the program's holds a lock that the loop needs; 3 s before, for as long as it may take."""
    acts: dict[str, Callable[[UTDRoom], object]] = {
        "mute": lambda room: room.set_microphone(False, timeout=2),
        "wait": lambda room: room.microphone_on.wait_for(False, timeout=0.02),
        "subscribe": lambda room: room.microphone_on.subscribe(print),
    }
    with MediaRoom(stack) as hall:
        for line in range(1, 200, STEPS[act]):
            room = hall.join("talker", Devices(microphone=ToneMicrophone()))
            room.set_microphone(True)
            took: list[float] = []

            def dispose(room: UTDRoom = room, took: list[float] = took) -> None:
                began = time.monotonic()
                room.dispose(timeout=DISPOSE_S)
                took.append(time.monotonic() - began)

            with contextlib.suppress(UTDStreamException):
                done_at(line, lambda room=room: acts[act](room), dispose)
            if not took:
                return
            assert took[0] < DISPOSE_S, f"line {line}: it waited for what it had interrupted"
    raise AssertionError("it has no end")
