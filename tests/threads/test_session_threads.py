"""Threads and the objects a program holds: who may call what from where, and how everything closes."""

from __future__ import annotations

import inspect
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from facts import eventually
from small_engine import Answer, Hangup, Request, SmallEngine, reply
from thrown import Thrown, thrown_at

from utdstream import (
    CallNotAnswered,
    Connection,
    ConnectionState,
    DeadlineExceeded,
    Devices,
    EngineUnreachable,
    IncomingCallInbox,
    InvalidConfig,
    PermissionDenied,
    SessionClosed,
    UTDAudioRoomSession,
    UTDCallSession,
    UTDCallStatus,
    UTDRoom,
    UTDStreamClient,
    UTDStreamType,
    WrongThread,
)
from utdstream._livekit.loop import loop_thread
from utdstream._rest.api import Actor
from utdstream._rings.inbox import PollingOnly
from utdstream._rooms.session import Joining
from utdstream._session.base import UTDSession
from utdstream._session.connect import RoomLife
from utdstream._threads.deadline import Deadline
from utdstream._threads.facts import Fact, Occurrences
from utdstream._threads.lanes import EventsLane
from utdstream._threads.wishes import Wishes
from utdstream._wire import routes
from utdstream.synthetic import ToneMicrophone

CALL = {"call_id": "c1", "status": "ringing", "type": "audio_call", "caller_identity": "house"}


@pytest.fixture
def engine() -> Iterator[SmallEngine]:
    """An engine that signs everybody in and knows one call."""
    server = SmallEngine()

    def respond(request: Request) -> Answer:
        if request.path.endswith("/auth/session"):
            return reply({"user_token": "bearer"})
        if "?" in request.path:
            return reply({"data": []})
        return reply(CALL)

    server.respond = respond
    yield server
    server.close()


@pytest.fixture
def client(engine: SmallEngine) -> Iterator[UTDStreamClient]:
    """Signed in."""
    with UTDStreamClient("app-1", "key", base_url=engine.url) as made:
        made.authenticate(identity="door")
        yield made


def on_the_loop(action: Callable[[], object]) -> BaseException | None:
    """What `action` raises on the loop thread."""
    outcome: list[BaseException | None] = []

    def step() -> None:
        try:
            action()
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            outcome.append(error)
        else:
            outcome.append(None)

    loop_thread().call(step, deadline=Deadline(10, 10, "asking"))
    return outcome[0]


def blocking_methods(thing: object) -> list[str]:
    """The public methods that take a `timeout`."""
    return [
        name
        for name, method in inspect.getmembers(thing, callable)
        if not name.startswith("_") and "timeout" in inspect.signature(method).parameters
    ]


def test_blocking_methods_when_called_on_the_loop_thread_are_all_refused(client: UTDStreamClient) -> None:
    """Every public method with a `timeout`, of every object: WrongThread, at once, nothing begun."""
    lane = EventsLane("utdstream-events-test")
    things = [
        client,
        client.call_session(UTDStreamType.AUDIO_CALL),
        client.incoming_calls(PollingOnly()),
        UTDRoom(),
        Fact(1, lane),
        Occurrences[int](lane),
    ]
    checked = 0
    for thing in things:
        for name in blocking_methods(thing):
            method = getattr(thing, name)
            needed = {
                parameter.name: "x"
                for parameter in inspect.signature(method).parameters.values()
                if parameter.default is parameter.empty
            }
            positional = [
                needed.pop(parameter.name)
                for parameter in inspect.signature(method).parameters.values()
                if parameter.name in needed and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
            ]
            error = on_the_loop(lambda method=method, p=positional, n=needed: method(*p, **n))
            assert isinstance(error, WrongThread), f"{type(thing).__name__}.{name}: {error!r}"
            assert "subscribe" in str(error)
            checked += 1
    assert checked >= 25
    things[3].dispose()  # type: ignore[attr-defined]
    lane.close()


def test_facts_when_read_and_subscribed_on_the_loop_thread_are_fine(client: UTDStreamClient) -> None:
    """What does not wait may be done anywhere."""
    session = client.call_session(UTDStreamType.AUDIO_CALL)

    def look() -> None:
        assert session.status.value is None
        assert session.connected.value is False
        session.status.subscribe(lambda change: None).close()
        repr(session), repr(client), repr(session.room)

    assert on_the_loop(look) is None


def test_new_value_when_a_callback_runs_is_visible_everywhere(client: UTDStreamClient) -> None:
    """A callback that asks the object sees at least what it is told."""
    session = client.call_session(UTDStreamType.AUDIO_CALL)
    told: list[tuple[object, object]] = []
    session.status.subscribe(lambda change: told.append((change.new, session.status.value)))
    session.ringing("c1")
    eventually(lambda: told, "the callback ran")
    assert all(new is seen for new, seen in told)


def test_callback_when_it_calls_a_blocking_method_gets_its_answer(client: UTDStreamClient) -> None:
    """Also a wait for a fact that another thread changes."""
    session = client.call_session(UTDStreamType.AUDIO_CALL)
    fact = Fact(0, EventsLane("utdstream-events-test"))
    got: list[object] = []

    def react(_: object) -> None:
        got.append(fact.wait_for(1, timeout=5))
        session.end()
        got.append(session.status.value)

    session.status.subscribe(react)
    session.ringing("c1")
    fact.set(1)
    eventually(lambda: len(got) >= 2, "the callback ended the call")


def test_locks_when_the_engine_is_asked_are_free(client: UTDStreamClient, engine: SmallEngine) -> None:
    """A slow engine blocks the one who asked and nobody else."""
    session = client.call_session(UTDStreamType.AUDIO_CALL)
    free: list[bool] = []
    respond = engine.respond

    def look(request: Request) -> Answer:
        for lock in (session._lock, session._media.facts.lock, client._lock, client._api._lock):
            free.append(lock.acquire(blocking=False))
            if free[-1]:
                lock.release()
        return respond(request)

    engine.respond = look
    session.ringing("c1")
    session.end()
    assert len(free) >= 8
    assert all(free)


def test_facts_when_an_operation_hangs_can_be_read(client: UTDStreamClient, engine: SmallEngine) -> None:
    """And `end` does not queue behind it: that one is told at once, whatever it waits for."""
    session = client.call_session(UTDStreamType.AUDIO_CALL)
    asked, go_on = threading.Event(), threading.Event()
    respond = engine.respond

    def hang(request: Request) -> Answer:
        if request.path.endswith("/ringing"):
            asked.set()
            go_on.wait(5)
        return respond(request)

    engine.respond = hang
    told: list[str] = []

    def ring() -> None:
        with pytest.raises(SessionClosed) as closed:
            session.ringing("c1")
        told.append(closed.value.message)

    ringing = threading.Thread(target=ring)
    ringing.start()
    assert asked.wait(5)
    began = time.monotonic()
    assert session.status.value is None
    assert "UTDCallSession" in repr(session)
    session.end()
    assert time.monotonic() - began < 2.5
    ringing.join(5)
    assert not ringing.is_alive()
    assert "ended" in told[0]
    go_on.set()


@pytest.fixture
def sigusr1() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Sets what SIGUSR1 does; the old handler is back afterwards."""
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda action: signal.signal(signal.SIGUSR1, lambda number, frame: action())
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize(
    "held",
    ["client", "api", "session", "room", "status", "connected", "events", "errors", "inbox", "keeper"],
)
def test_dispose_when_called_by_a_signal_handler_inside_a_lock_does_not_deadlock(
    client: UTDStreamClient, sigusr1: Callable[[Callable[[], object]], None], held: str
) -> None:
    """A handler runs between any two lines of the main thread, also those that hold a lock."""
    session = client.call_session(UTDStreamType.AUDIO_CALL)
    inbox = client.incoming_calls(PollingOnly())
    lock = {
        "client": client._lock,
        "api": client._api._lock,
        "session": session._lock,
        "room": session._media.facts.lock,
        "status": session._status._lock,
        "connected": session._media.facts.connected._lock,
        "events": session._media.facts.events._lock,
        "errors": client._errors._lock,
        "inbox": inbox._lock,
        "keeper": inbox._keeper._lock,
    }[held]

    def close() -> None:
        for thing in (session.room, inbox, session, client):
            thing.dispose(timeout=0.3)

    sigusr1(close)
    began = time.monotonic()
    with lock:
        signal.raise_signal(signal.SIGUSR1)
    assert time.monotonic() - began < 10.0
    with pytest.raises(SessionClosed):
        client.call_session(UTDStreamType.AUDIO_CALL)


def test_wait_when_a_signal_handler_disposes_ends(
    client: UTDStreamClient, sigusr1: Callable[[Callable[[], object]], None]
) -> None:
    """The usual main program: it waits for a fact, SIGTERM closes everything, the wait ends."""
    session = client.call_session(UTDStreamType.AUDIO_CALL)
    sigusr1(client.dispose)
    ident = threading.main_thread().ident
    assert ident is not None
    timer = threading.Timer(0.1, signal.pthread_kill, (ident, signal.SIGUSR1))
    timer.start()
    began = time.monotonic()
    with pytest.raises(SessionClosed):
        session.connected.wait_for(True, timeout=20)
    assert time.monotonic() - began < 10
    timer.join()


def test_close_when_it_comes_twice_late_and_in_any_order_is_fine(client: UTDStreamClient) -> None:
    """Client before session, session before room, room again; nothing raises and nothing is left."""
    session = client.call_session(UTDStreamType.VIDEO_CALL)
    inbox = client.incoming_calls(PollingOnly())
    room = session.room
    client.dispose()
    for thing in (inbox, session, room, client, room, session, inbox):
        thing.dispose()
        thing.close()
    with pytest.raises(SessionClosed):
        session.start(callee_identity="house")
    with pytest.raises(SessionClosed):
        room.connect("ws://127.0.0.1:9", "token")
    with pytest.raises(SessionClosed):
        client.authenticate(identity="door")


def test_close_when_many_threads_close_everything_at_once_is_fine(client: UTDStreamClient) -> None:
    """No deadlock in any order."""
    things: list[UTDStreamClient | UTDCallSession | IncomingCallInbox | UTDRoom] = [client]
    for _ in range(4):
        session = client.call_session(UTDStreamType.AUDIO_CALL)
        things += [session, session.room, client.incoming_calls(PollingOnly())]
    errors: list[BaseException] = []

    def close(thing: UTDStreamClient | UTDCallSession | IncomingCallInbox | UTDRoom) -> None:
        try:
            thing.dispose()
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            errors.append(error)

    closers = [threading.Thread(target=close, args=(thing,)) for thing in things * 2]
    for closer in closers:
        closer.start()
    for closer in closers:
        closer.join(20)
    assert not any(closer.is_alive() for closer in closers)
    assert errors == []


def test_close_when_called_by_a_callback_does_not_wait_for_itself(client: UTDStreamClient) -> None:
    """The client, from a callback of one of its sessions."""
    session = client.call_session(UTDStreamType.AUDIO_CALL)
    took: list[float] = []

    def end(_: object) -> None:
        began = time.monotonic()
        client.dispose()
        took.append(time.monotonic() - began)

    session.status.subscribe(end)
    session.ringing("c1")
    eventually(lambda: took, "the callback disposed the client", within_s=15)
    assert took[0] < 8.0


def made_room(session: UTDSession) -> RoomLife:
    """A connect of the session's room, without a media server."""
    return RoomLife(
        session._media.facts,
        loop_thread(),
        auto_subscribe=True,
        wishes=Wishes(),
        open_early=False,
        on_end=session._media.end,
    )


def test_wish_when_the_room_is_being_joined_stands() -> None:
    """A mute in the moment of joining is no error and no word in the wind: the track begins muted."""
    with UTDRoom(devices=Devices(microphone=ToneMicrophone())) as room:
        media = room._media
        with pytest.raises(SessionClosed):
            room.set_microphone(False)
        assert not media.wishes.of("microphone").published
        media._loop = loop_thread()
        media._life = RoomLife(
            media.facts,
            media._loop,
            auto_subscribe=True,
            wishes=media.wishes,
            open_early=True,
            on_end=media.end,
        )
        room.set_microphone(True, timeout=1)
        room.set_microphone(False, timeout=1)
        assert media.wishes.of("microphone").muted
        media.end(media._life, "CLIENT_INITIATED")


def test_life_when_it_is_over_changes_no_fact_of_the_next() -> None:
    """A stale epoch is thrown away: what the room of an earlier connect still says is not heard."""
    with UTDRoom() as room:
        media = room._media
        old = RoomLife(
            media.facts,
            loop_thread(),
            auto_subscribe=True,
            wishes=Wishes(),
            open_early=False,
            on_end=media.end,
        )
        old.over = True
        old.on_connection(Connection(ConnectionState.CONNECTED))
        old.on_permission(True)
        old.on_publishing(True, True)
        old.on_metadata("late")
        old.on_connection(Connection(ConnectionState.DISCONNECTED, "ROOM_DELETED"))
        assert room.connection.value.state is ConnectionState.DISCONNECTED
        assert room.connection.value.reason is None
        for fact in (room.connected, room.can_publish, room.microphone_on):
            assert not fact.value


def test_work_when_the_room_is_lost_and_the_engine_answers_nothing_goes_on(
    client: UTDStreamClient, engine: SmallEngine
) -> None:
    """Telling a deaf engine that the call is over takes many tries: none holds up the session's own work."""
    session = client.call_session(UTDStreamType.AUDIO_CALL)
    session.ringing("c1")
    life = session._present.life
    assert life is not None
    life.room = made_room(session)
    life.room.over = True
    tries: list[float] = []

    def deaf(request: Request) -> Answer:
        if request.path.endswith("/end"):
            tries.append(time.monotonic())
        raise Hangup

    engine.respond = deaf
    connection = session._media.facts.connection
    connection.set(Connection(ConnectionState.CONNECTED))
    connection.set(Connection(ConnectionState.DISCONNECTED, "SIGNAL_CLOSE"))
    session.status.wait_for(UTDCallStatus.ENDED, timeout=10)
    done = threading.Event()
    session._work.post(done.set)
    assert done.wait(1.0), "the next work waits until the engine was told"
    eventually(lambda: len(tries) >= 2, "the engine is told again", within_s=10)


def test_interrupt_when_a_request_is_under_way_undoes_its_answer(
    client: UTDStreamClient, engine: SmallEngine
) -> None:
    """Control-C in `start`: the call that is created a moment later is ended."""
    respond = engine.respond
    interrupted = threading.Event()
    ident = threading.main_thread().ident
    assert ident is not None

    def interrupt(request: Request) -> Answer:
        if request.path.endswith("/calls"):
            signal.pthread_kill(ident, signal.SIGINT)
            interrupted.wait(5)
        return respond(request)

    engine.respond = interrupt
    session = client.call_session(UTDStreamType.AUDIO_CALL)
    with pytest.raises(KeyboardInterrupt):
        session.start(callee_identity="house")
    interrupted.set()
    eventually(
        lambda: any(request.path.endswith("/c1/end") for request in engine.requests),
        "the engine is told that it is over",
    )
    assert session.status.value is None


@pytest.mark.parametrize("name", [".", "..", "ban", "bans"])
def test_join_when_the_room_has_a_name_that_paths_cannot_hold_is_refused(
    client: UTDStreamClient, engine: SmallEngine, name: str
) -> None:
    """Nobody is asked: the engine's paths give such a name another meaning."""
    asked = len(engine.requests)
    for join in (client.join_audio_room, client.join_live_stream):
        with pytest.raises(InvalidConfig, match="room_name"):
            join(identity="door", room_name=name)
    assert len(engine.requests) == asked


def test_rejoin_when_the_room_is_left_while_it_asks_joins_nothing(
    client: UTDStreamClient, engine: SmallEngine
) -> None:
    """The token that the rejoin asked for comes after `leave()`: the participant stays away."""
    respond = engine.respond
    asked, left = threading.Event(), threading.Event()

    def late(request: Request) -> Answer:
        if not request.path.endswith("/token"):
            return respond(request)
        asked.set()
        left.wait(5)
        return reply({"token": "t", "url": "ws://127.0.0.1:1", "room_name": "lobby", "user_token": "u"})

    engine.respond = late
    joining = Joining(Actor("door", None, None), "lobby", False, {})
    session = UTDAudioRoomSession(client._parts(Devices()), joining)
    seen: list[ConnectionState] = []
    session.connection.subscribe(lambda change: seen.append(change.new.state))
    room = made_room(session)
    room.on_connection(Connection(ConnectionState.CONNECTED))
    room.on_connection(Connection(ConnectionState.DISCONNECTED, "SIGNAL_CLOSE"))
    assert asked.wait(5)
    session.leave()
    left.set()
    done = threading.Event()
    session._returning.post(done.set)
    assert done.wait(10), "the rejoin goes on"
    session.dispose()
    assert seen == [ConnectionState.CONNECTED, ConnectionState.RECONNECTING, ConnectionState.DISCONNECTED]


def test_start_when_the_call_is_over_before_the_room_is_joined_joins_nothing(
    client: UTDStreamClient, engine: SmallEngine
) -> None:
    """The callee refused in the moment between: `start` says so, and dials no room."""
    engine.respond = lambda request: reply(
        {"call_id": "c1", "status": "rejected", "type": "audio_call"}
        | {"token": "t", "url": "ws://127.0.0.1:1", "room_name": "call-c1"}
    )
    with client.call_session(UTDStreamType.AUDIO_CALL) as session:
        seen: list[ConnectionState] = []
        session.connection.subscribe(lambda change: seen.append(change.new.state))
        with pytest.raises(CallNotAnswered) as refusal:
            session.start(callee_identity="house")
    assert refusal.value.status is UTDCallStatus.REJECTED
    assert seen == []


def test_end_when_an_exception_is_thrown_at_any_line_tells_the_engine_once(
    client: UTDStreamClient, engine: SmallEngine
) -> None:
    """An interrupted hang-up goes on, also one that was interrupted in the middle of the state it writes."""
    session = client.call_session(UTDStreamType.AUDIO_CALL)

    def told() -> int:
        return sum(request.path.endswith("/c1/reject") for request in engine.requests)

    line = LINES_BEFORE_IT_BEGINS
    while True:
        line += 1
        session.ringing("c1")
        before = told()
        got, thrown = thrown_at(line, session.end)
        eventually(lambda before=before: told() == before + 1, f"line {line}: the engine is told")
        assert session.status.value is UTDCallStatus.ENDED, f"line {line}"
        if not thrown:
            break
        assert isinstance(got, Thrown)
    assert line > LINES_BEFORE_IT_BEGINS + 30


LINES_BEFORE_IT_BEGINS = 25
"""Of `end` itself and of making its deadline: an exception in these comes as if before the call."""


def test_dispose_when_a_lost_call_is_still_searched_for_waits_for_that(
    client: UTDStreamClient, engine: SmallEngine
) -> None:
    """A script that ends with its failed `start` leaves no call that rings."""
    respond = engine.respond

    def lose(request: Request) -> Answer:
        if request.path.endswith("/calls"):
            raise Hangup
        if request.path.endswith(routes.WITHDRAWAL):  # an engine that knows no withdrawal
            return reply({"code": "not_found", "message": "no such path"}, 404)
        if "?" in request.path:
            return reply({"data": [CALL | {"call_id": "lost", "caller_identity": "door"}]})
        return respond(request)

    engine.respond = lose
    with pytest.raises(EngineUnreachable):
        client.call_session(UTDStreamType.AUDIO_CALL).start(callee_identity="house")
    client.dispose()
    assert any(request.path.endswith("/lost/end") for request in engine.requests)


def test_start_when_it_is_asked_again_is_not_overtaken_by_the_one_that_was_given_up(
    client: UTDStreamClient, engine: SmallEngine
) -> None:
    """The engine ends an older call with a newer one: the request that was given up must not become the newer."""
    respond = engine.respond
    came, may_go = threading.Event(), threading.Event()
    answered: list[int] = []

    def hold_the_first(request: Request) -> Answer:
        if not request.path.endswith("/calls"):
            return respond(request)
        if not came.is_set():
            came.set()
            may_go.wait(5)
            answered.append(1)
            return reply(CALL)
        answered.append(2)
        return reply({"error": {"code": "forbidden", "message": "no"}}, 403)

    engine.respond = hold_the_first
    session = client.call_session(UTDStreamType.AUDIO_CALL)
    with pytest.raises(DeadlineExceeded):
        session.start(callee_identity="house", timeout=0.2)
    assert came.is_set()
    timer = threading.Timer(0.3, may_go.set)
    timer.start()
    with pytest.raises(PermissionDenied):
        session.start(callee_identity="house")
    assert answered == [1, 2]
    timer.join()
