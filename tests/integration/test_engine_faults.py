"""The engine when a part dies: killed, stopped, started again."""

from __future__ import annotations

import contextlib
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from engine_site import Asker, EventReader, Site, fresh, rooms_of
from facts import eventually

from utdstream._session.room import UTDRoom
from utdstream._wire import messages, routes
from utdstream.models import UTDCallStatus
from utdstream.testing import LocalStack

pytestmark = pytest.mark.integration

S = UTDCallStatus


@pytest.fixture(scope="module")
def fragile(programs: None) -> Iterator[LocalStack]:
    """A stack whose parts are killed; each test leaves all of them running."""
    with LocalStack(project={"call_ring_timeout_s": 6.0}) as running:
        yield running


@pytest.fixture
def site(fragile: LocalStack) -> Iterator[Site]:
    site = Site(fragile)
    yield site
    site.close()


def test_engine_when_killed_forgets_nothing(fragile: LocalStack, site: Site) -> None:
    """A killed engine forgets nothing."""
    people = [site.person(fresh(name)) for name in ("door", "house", "bell", "flat", "a", "b")]
    door, house, bell, flat, a, b = people
    active = door.call(house.identity)
    house.act(active.call_id, "accept")
    ringing = bell.call(flat.identity)
    flat.act(ringing.call_id, "ringing")
    over = a.call(b.identity)
    b.act(over.call_id, "reject")
    fragile.kill("engine")
    fragile.start("engine")
    assert door.get(active.call_id).status is S.ACTIVE
    assert flat.get(ringing.call_id).status is S.RINGING
    assert a.get(over.call_id).status is S.REJECTED
    busy = a.ask("POST", routes.CALLS, {"callee_identity": house.identity})
    assert busy.json()["code"] == "callee_busy"
    eventually(lambda: not rooms_of(fragile, over.call_id), "the room of the ended call is closed", 8.0)
    eventually(lambda: bell.get(ringing.call_id).status is S.MISSED, "its ring ran out all the same", 8.0)
    door.act(active.call_id, "end")


def test_ring_when_it_ran_out_while_the_engine_was_down_is_missed_at_once(
    fragile: LocalStack, site: Site
) -> None:
    """A ring that ran out while the engine was down is missed at once."""
    door, house = site.person(fresh("door")), site.person(fresh("house"))
    call = door.call(house.identity)
    assert call.expires_at is not None
    fragile.kill("engine")
    eventually(lambda: time.time() > call.expires_at.timestamp(), "the ring time is over", 8.0)  # type: ignore[union-attr]
    fragile.start("engine")
    eventually(lambda: door.get(call.call_id).status is S.MISSED, "the call is missed", 2.0)


def test_engine_when_stopped_ends_in_good_order_and_soon(fragile: LocalStack, site: Site) -> None:
    """The engine stops in good order and soon."""
    site.person(fresh("door"))
    before = time.monotonic()
    fragile.stop("engine")
    assert time.monotonic() - before < 2.5
    fragile.start("engine")


def test_call_when_the_media_server_is_away_rings_and_its_room_follows(
    fragile: LocalStack, site: Site
) -> None:
    """The bell rings at once; who asks is told that there is no sound yet, and later that there is."""
    door, house = site.person(fresh("door")), site.person(fresh("house"))
    with EventReader(fragile.mqtt_login(house.identity)) as device:
        fragile.kill("livekit")
        call = door.call(house.identity)
        device.wait_for(messages.CALL_INITIATED, call.call_id)
    assert call.media_ready is False
    assert (call.token is not None, house.get(call.call_id).media_ready) == (True, False)
    health = door.ask("GET", routes.HEALTH).json()
    assert health["status"] == "ok"
    assert health["parts"]["livekit"] == "down"
    house.act(call.call_id, "accept")  # a ring could run out meanwhile, on a slow machine
    fragile.start("livekit")
    eventually(lambda: door.get(call.call_id).media_ready, "there is a room", 8.0)
    assert rooms_of(fragile, call.call_id)
    assert door.get(call.call_id).status is S.ACTIVE
    ended = door.act(call.call_id, "end")
    assert ended.media_ready is None


def test_call_when_answered_without_the_media_server_waits_for_both_to_come(
    fragile: LocalStack, site: Site
) -> None:
    """The answer counts, and the time in which both must come begins with the room."""
    door, house = site.person(fresh("door")), site.person(fresh("house"))
    with fragile.frozen("livekit"):
        call = door.call(house.identity)
        began = time.monotonic()
        accepted = house.act(call.call_id, "accept")
        assert time.monotonic() - began < 5.0
        assert (accepted.status, accepted.media_ready) == (S.ACTIVE, False)
    eventually(lambda: house.get(call.call_id).media_ready, "there is a room", 8.0)
    with UTDRoom() as at_door, UTDRoom() as at_house:
        at_door.connect(call.url or "", door.get(call.call_id).token or "")
        at_house.connect(call.url or "", house.get(call.call_id).token or "")
        assert door.get(call.call_id).status is S.ACTIVE
        door.act(call.call_id, "end")


def test_call_when_the_engine_restarts_without_the_media_server_gets_its_room_all_the_same(
    fragile: LocalStack, site: Site
) -> None:
    """What the engine did not write down it finds out again: there is no room, and then there is one."""
    door, house = site.person(fresh("door")), site.person(fresh("house"))
    fragile.kill("livekit")
    call = door.call(house.identity)
    house.act(call.call_id, "accept")  # a ring would run out meanwhile
    fragile.kill("engine")
    fragile.start("engine")
    eventually(lambda: house.get(call.call_id).media_ready is False, "it says that there is none", 8.0)
    fragile.start("livekit")
    eventually(lambda: house.get(call.call_id).media_ready, "there is a room", 8.0)
    door.act(call.call_id, "end")


def two_after_a_call(fragile: LocalStack, site: Site) -> tuple[Asker, Asker]:
    """Two people whose call is over: the engine's last request to the media server was answered."""
    door, house = site.person(fresh("door")), site.person(fresh("house"))
    before = door.call(house.identity)
    door.act(before.call_id, "end")
    eventually(lambda: not rooms_of(fragile, before.call_id), "the room is gone")
    return door, house


def test_call_when_refused_before_there_is_a_room_leaves_none_behind(fragile: LocalStack, site: Site) -> None:
    """The media server stands still while the callee hears the ring and says no."""
    door, house = two_after_a_call(fragile, site)
    with (
        EventReader(fragile.mqtt_login(house.identity)) as device,
        ThreadPoolExecutor(1) as caller,
        fragile.frozen("livekit"),
    ):
        asked = caller.submit(door.ask, "POST", routes.CALLS, {"callee_identity": house.identity})
        rung = device.wait_for(messages.CALL_INITIATED)
        refused = house.act(rung.call.call_id, "reject")
    assert refused.status is S.REJECTED
    assert asked.result().status_code == 201
    assert door.get(rung.call.call_id).status is S.REJECTED
    eventually(lambda: not rooms_of(fragile, rung.call.call_id), "the room is gone")


def test_call_when_the_media_server_restarts_survives(fragile: LocalStack, site: Site) -> None:
    """A call survives a restart of the media server."""
    door, house = site.person(fresh("door")), site.person(fresh("house"))
    call = door.call(house.identity)
    with UTDRoom() as at_door, UTDRoom() as at_house:
        at_door.connect(call.url or "", call.token or "")
        accepted = house.act(call.call_id, "accept")
        at_house.connect(accepted.url or "", accepted.token or "")
        fragile.kill("livekit")
        fragile.start("livekit")
        eventually(lambda: rooms_of(fragile, call.call_id), "the room is made again", 8.0)
    with UTDRoom() as at_door, UTDRoom() as at_house:
        at_door.connect(call.url or "", door.get(call.call_id).token or "")
        at_house.connect(call.url or "", house.get(call.call_id).token or "")
        assert door.get(call.call_id).status is S.ACTIVE
        door.act(call.call_id, "end")


def test_without_the_broker_mints_answer_and_a_ring_comes_when_it_is_back(
    fragile: LocalStack, site: Site
) -> None:
    """Without the broker mints answer and a ring comes when it is back."""
    door, house = site.person(fresh("door")), site.person(fresh("house"))
    login = fragile.mqtt_login(house.identity)
    fragile.kill("mqtt")
    before = time.monotonic()
    new = site.person(fresh("newcomer"))
    assert time.monotonic() - before < 4
    call = door.call(house.identity)
    fragile.start("mqtt")
    with EventReader(login) as device:
        device.wait_for(messages.CALL_INITIATED, call.call_id)
    house.act(call.call_id, "reject")
    eventually(lambda: _can_log_in(fragile, new.identity), "the newcomer's login exists")


def _can_log_in(stack: LocalStack, identity: str) -> bool:
    with EventReader(stack.mqtt_login(identity)) as device:
        return device.granted == [True]


@pytest.fixture
def impatient(programs: None) -> Iterator[Site]:
    """Askers of a stack whose engine does not wait long for a party that vanished."""
    with LocalStack(project={"call_away_s": 2.0}) as running:
        asking = Site(running)
        yield asking
        asking.close()


@pytest.mark.parametrize("parties", [1, 2])
def test_webhook_when_lost_is_repaired_by_the_poll(impatient: Site, parties: int) -> None:
    """The engine is down while one party leaves, or both: nobody tells it, it finds out, and waits for them."""
    door, house = impatient.person(fresh("door")), impatient.person(fresh("house"))
    call = door.call(house.identity)
    accepted = house.act(call.call_id, "accept")
    with UTDRoom() as at_door, UTDRoom() as at_house:
        at_door.connect(call.url or "", call.token or "")
        at_house.connect(accepted.url or "", accepted.token or "")
        impatient.stack.kill("engine")
        for room in (at_house, at_door)[:parties]:
            room.disconnect()
        impatient.stack.start("engine")
        eventually(lambda: door.get(call.call_id).status is S.ENDED, "the poll found the lost leg", 15.0)
        assert door.get(call.call_id).end_reason == "participant_left"


def test_project_when_the_media_server_is_away_counts_the_rooms_the_engine_knows(
    fragile: LocalStack, site: Site
) -> None:
    """An engine that cannot look does not say that there is nothing."""
    mint = {"room_name": "counted-while-away", "type": "live_stream", "identity": fresh("ann")}
    assert site.app().ask("POST", routes.TOKEN, mint).status_code == 200
    open_rooms = site.app().ask("GET", routes.PROJECT).json()["active_rooms"]
    assert open_rooms >= 1
    fragile.stop("livekit")
    while_away = site.app().ask("GET", routes.PROJECT)
    fragile.start("livekit")
    assert while_away.status_code == 200
    assert while_away.json()["active_rooms"] >= open_rooms


def test_ban_when_the_media_server_is_away_holds_and_over_a_restart(fragile: LocalStack, site: Site) -> None:
    """A ban holds without the media server and over a restart."""
    ann, viewer = site.person(fresh("ann")), fresh("viewer")
    room = {"room_name": "banned-over-restart", "type": "live_stream"}
    mint = site.app().ask("POST", routes.TOKEN, {**room, "identity": ann.identity, "role": "host"})
    assert mint.status_code == 200
    held = site.app().ask("POST", routes.TOKEN, {**room, "identity": viewer}).json()
    fragile.stop("livekit")
    before = time.monotonic()
    ban = {"identity": viewer, "room_name": room["room_name"]}
    assert ann.ask("POST", routes.BAN, ban).status_code == 201
    assert time.monotonic() - before < 1.0
    fragile.start("livekit")
    fragile.kill("engine")
    fragile.start("engine")
    refused = site.app().ask("POST", routes.TOKEN, {**room, "identity": viewer})
    assert (refused.status_code, refused.json()["code"]) == (403, "banned")
    site.app().ask("POST", routes.TOKEN, {**room, "identity": ann.identity, "role": "host"})
    with UTDRoom() as at_viewer:  # with a token from before
        at_viewer.connect(held["url"], held["token"])
        at_viewer.connected.wait_for(False, timeout=8)


_STRANGERS = """
import contextlib, resource, select, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
def opened():
    return socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=5)
for _ in range(500):
    with opened() as line, contextlib.suppress(OSError):
        line.sendall(b"GET /health HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
        line.recv(1)
held = [opened() for _ in range(1500)]
print("full", flush=True)
while not select.select([sys.stdin], [], [], 0.01)[0]:
    held.append(opened())
"""


@contextlib.contextmanager
def with_customary_descriptors() -> Iterator[LocalStack]:
    """A stack that was started where a process has 1,024 descriptors, unless it asks for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    try:
        stack = LocalStack().__enter__()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with contextlib.closing(stack):
        yield stack


def test_broker_when_strangers_fill_it_lets_the_engine_in() -> None:
    """Silent ones, and some that speak HTTP: an engine that starts anew has a place, and rings its devices."""
    with contextlib.ExitStack() as parts:
        stack = parts.enter_context(with_customary_descriptors())
        site = parts.enter_context(contextlib.closing(Site(stack)))
        house, door = site.person(fresh("house")), site.person(fresh("door"))
        device = parts.enter_context(EventReader(stack.mqtt_login(house.identity)))
        command = [sys.executable, "-c", _STRANGERS, str(stack.mqtt_port)]
        strangers = parts.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        )
        parts.callback(strangers.communicate)
        assert strangers.stdout is not None
        assert strangers.stdout.readline() == b"full\n"
        stack.kill("engine")
        stack.start("engine")

        def is_up() -> bool:
            return site.app().ask("GET", routes.HEALTH).json()["parts"]["mqtt"] == "up"

        eventually(is_up, "the engine is connected to the broker", 10.0)
        device.wait_for(messages.CALL_INITIATED, door.call(house.identity).call_id)


_HOLDER = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


def database_of(stack: LocalStack) -> Path:
    """The file that the engine writes: it lies beside its settings."""
    command = Path(f"/proc/{stack.pid('engine')}/cmdline").read_text().split("\0")
    return Path(command[command.index("--config") + 1]).with_name("engine.db")


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Another program has the whole database to itself."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        try:
            yield
        finally:
            holder.communicate()


def test_engine_when_another_program_holds_the_database_answers_and_loses_no_deadline(
    fragile: LocalStack, site: Site
) -> None:
    """Writes are refused as `unavailable`, nothing stands still; a ring that ran out meanwhile is missed after."""
    door, house, gate = (site.person(fresh(name)) for name in ("door", "house", "gate"))
    call = door.call(house.identity)
    rings = f"{routes.CALLS}?identity={house.identity}&status=ringing,initiating"
    assert call.expires_at is not None
    with held(database_of(fragile)):
        refused = gate.ask("POST", routes.CALLS, {"callee_identity": house.identity})
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert refused.headers["Retry-After"] == "1"
        began = time.monotonic()
        for _ in range(20):
            assert gate.ask("POST", routes.CALLS, {"callee_identity": house.identity}).status_code == 503
            assert [row["call_id"] for row in house.ask("GET", rings).json()["data"]] == [call.call_id]
        assert time.monotonic() - began < 10.0, "each refusal waited for the lock"
        eventually(lambda: time.time() > call.expires_at.timestamp() + 0.5, "the ring time is over", 8.0)  # type: ignore[union-attr]
        assert door.get(call.call_id).status is S.INITIATING
    eventually(lambda: door.get(call.call_id).status is S.MISSED, "it is missed all the same", 4.0)
    assert gate.call(house.identity).status is S.INITIATING
