"""Signal and media (16), and the media server (8)."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta

import requests
from kinds import NO_ROOM, Fault, except_in, only_in
from livekit import api, rtc
from scene import RESTART_S, Scene, Side

from utdstream import UTDRoom
from utdstream._livekit.loop import loop_thread
from utdstream._threads.deadline import Deadline
from utdstream.testing._conditions import Link
from utdstream.testing.gate import RequestAnswer

WAITING = except_in("idle", "ringing in", why=NO_ROOM)
K = rtc.SimulateScenarioKind
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 9\r\nConnection: close\r\n\r\nnode full"


@contextmanager
def reset(scene: Scene, victim: Side) -> Iterator[None]:
    scene.faults.reset("signal", only=victim.identity)
    yield


@contextmanager
def half_open(scene: Scene, victim: Side) -> Iterator[None]:
    with scene.faults.half_open("signal", only=victim.identity):
        yield


@contextmanager
def trickle(scene: Scene, victim: Side) -> Iterator[None]:
    with scene.faults.slow("signal", bytes_per_s=1.0, only=victim.identity):
        yield


def cut(*links: Link) -> Callable[[Scene, Side], ExitStack]:
    """The device's link, or a part of it."""

    def strike(scene: Scene, victim: Side) -> ExitStack:
        parts = ExitStack()
        parts.enter_context(scene.faults.cut(*links, only=victim.identity))
        return parts

    return strike


@contextmanager
def loss(scene: Scene, victim: Side) -> Iterator[None]:
    """5 %, and from the middle on 20 %."""
    with scene.faults.slow("media", loss=0.05, only=victim.identity):
        time.sleep(0.4)
    with scene.faults.slow("media", loss=0.20, only=victim.identity):
        yield


@contextmanager
def jitter(scene: Scene, victim: Side) -> Iterator[None]:
    with scene.faults.slow("media", delay_ms=300, jitter_ms=200, only=victim.identity):
        yield


@contextmanager
def new_address(scene: Scene, victim: Side) -> Iterator[None]:
    """What the servers see of it: every connection of before is dead, packets come from elsewhere."""
    with scene.faults.half_open(only=victim.identity):
        scene.faults.move(only=victim.identity)
        yield


def simulated(kind: object) -> Callable[[Scene, Side], ExitStack]:
    """One of livekit's own scenarios, asked for by the device, or by the caller where the callee is in no room."""

    def strike(scene: Scene, victim: Side) -> ExitStack:
        side = victim if victim.is_in_room else scene.door
        assert side.session is not None
        _simulate(side.session.room, kind)
        return ExitStack()

    return strike


def _simulate(room: UTDRoom, kind: object) -> None:
    async def ask() -> None:
        native = room.room
        if native is not None:
            await asyncio.wait({asyncio.ensure_future(native.simulate_scenario(kind))}, timeout=5.0)  # type: ignore[arg-type]

    loop_thread().run(ask, deadline=Deadline(10.0, 10.0, "simulate"))


# -- the media server ------------------------------------------------------------------------------


def away(how: str) -> Callable[[Scene, Side], ExitStack]:
    """livekit-server killed or stopped, and there again behind it."""

    def strike(scene: Scene, _victim: Side) -> ExitStack:
        parts = ExitStack()
        parts.enter_context(getattr(scene.faults, how)("livekit", timeout=RESTART_S))
        return parts

    return strike


@contextmanager
def changed_keys(scene: Scene, _victim: Side) -> Iterator[None]:
    """The supervisor gives engine and media server a new key, and starts them again with it."""
    supervisor = scene.faults.stack._running()
    before = supervisor.settings
    renewed = dataclasses.replace(before.secrets, livekit_api_secret=secrets.token_hex(32))
    supervisor.renew(dataclasses.replace(before, secrets=renewed), timeout=RESTART_S)
    yield


@contextmanager
def node_full(scene: Scene, victim: Side) -> Iterator[None]:
    """Joins are refused with 503."""
    with scene.faults.turn_away("signal", answer=BUSY, only=victim.identity):
        yield


def asked(scene: Scene, method: str, **body: object) -> None:
    """One request to livekit-server's own interface, past the relay."""
    stack = scene.faults.stack
    grants = api.VideoGrants(
        room_create=True, room_list=True, room_admin=True, room=str(body.get("room", ""))
    )
    token = api.AccessToken(stack.livekit_api_key, stack.livekit_api_secret).with_grants(grants)
    requests.post(
        f"http://127.0.0.1:{stack._settings.ports.livekit}/twirp/livekit.RoomService/{method}",
        json=body,
        headers={"Authorization": f"Bearer {token.with_ttl(timedelta(minutes=1)).to_jwt()}"},
        timeout=10,
    )


@contextmanager
def room_deleted(scene: Scene, _victim: Side) -> Iterator[None]:
    asked(scene, "DeleteRoom", room=scene.call_id)
    yield


@contextmanager
def removed(scene: Scene, victim: Side) -> Iterator[None]:
    side = victim if victim.is_in_room else scene.door
    asked(scene, "RemoveParticipant", room=scene.call_id, identity=side.identity)
    yield


@contextmanager
def second_join(scene: Scene, victim: Side) -> Iterator[None]:
    """Somebody with the same identity joins the call's room, and leaves."""
    stack = scene.faults.stack
    side = victim if victim.is_in_room else scene.door
    grants = api.VideoGrants(room_join=True, room=str(scene.call_id))
    token = (
        api.AccessToken(stack.livekit_api_key, stack.livekit_api_secret)
        .with_identity(side.identity)
        .with_grants(grants)
        .to_jwt()
    )
    with UTDRoom() as intruder:
        intruder.connect(scene.faults.livekit_url, token)
        yield


@contextmanager
def expired_token(scene: Scene, victim: Side) -> Iterator[None]:
    """What the engine hands out has run out before it is used."""
    stack = scene.faults.stack

    def expire(answer: RequestAnswer) -> RequestAnswer:
        said = json.loads(answer.body)
        if isinstance(said, dict) and said.get("token"):
            grants = api.VideoGrants(room_join=True, room=str(said.get("call_id", "")))
            made = api.AccessToken(stack.livekit_api_key, stack.livekit_api_secret)
            old = made.with_identity(victim.identity).with_grants(grants).with_ttl(timedelta(seconds=-120))
            said["token"] = old.to_jwt()
        return dataclasses.replace(answer, body=json.dumps(said).encode())

    with scene.faults.requests.change("", expire, only=victim.identity):
        yield


@contextmanager
def revoked(scene: Scene, victim: Side) -> Iterator[None]:
    """The right to publish goes, and comes again."""
    side = victim if victim.is_in_room else scene.door
    rights = {"can_subscribe": True, "can_publish_data": True}

    def grant(*, can_publish: bool) -> None:
        permission = {**rights, "can_publish": can_publish}
        asked(scene, "UpdateParticipant", room=scene.call_id, identity=side.identity, permission=permission)

    grant(can_publish=False)
    try:
        yield
    finally:
        grant(can_publish=True)


STANDS = "the connection stands already, or is not made yet"
FAULTS = (
    Fault("signal connection reset", reset, meets=True, needs_join=True, not_in=WAITING),
    Fault("signal connection half-open", half_open, meets=True, needs_join=True, not_in=WAITING),
    Fault("signal at 1 byte a second", trickle, meets=True, not_in=WAITING),
    Fault("UDP blocked alone", cut("media"), meets=True, not_in=WAITING),
    Fault("UDP loss 5 %, then 20 %", loss, meets=True, not_in=WAITING),
    Fault("the whole link stalls for 2 s", cut(), meets=True, lasts_s=(2.0, 2.0)),
    Fault("jitter of 300 ± 200 ms with reordering", jitter, meets=True, not_in=WAITING),
    Fault("the device's address changes", new_address, meets=True),
    Fault(
        "ICE fails at the start",
        cut("media"),
        meets=True,
        not_in=only_in("connecting", why=STANDS),
        lasts_s=(3.0, 4.0),
    ),
    Fault("the server asks to leave and resume", simulated(K.SIMULATE_SIGNAL_RECONNECT), not_in=WAITING),
    Fault("the server asks to leave and reconnect", simulated(K.SIMULATE_MIGRATION), not_in=WAITING),
    Fault("the server asks to leave", simulated(K.SIMULATE_SERVER_LEAVE), not_in=WAITING),
    Fault("node failure", simulated(K.SIMULATE_NODE_FAILURE), not_in=WAITING),
    Fault(
        "migration to another node",
        not_in=except_in(
            "idle", "ringing out", "ringing in", "connecting", "active", why="a stack has one node"
        ),
    ),
    Fault("full reconnect", simulated(K.SIMULATE_FULL_RECONNECT), not_in=WAITING),
    Fault("a resume whose signal dies", simulated(K.SIMULATE_DISCONNECT_SIGNAL_ON_RESUME), not_in=WAITING),
    # the media server
    Fault("the media server restarts", away("killed")),
    Fault("the media server restarts with other keys", changed_keys),
    Fault("503: the node is full", node_full, meets=True, not_in=only_in("connecting", why=STANDS)),
    Fault(
        "the room is deleted", room_deleted, not_in=except_in("idle", why="there is no room"), may_end=True
    ),
    Fault("the participant is removed", removed, not_in=WAITING, may_end=True),
    Fault("two joins with one identity", second_join, not_in=WAITING, may_end=True),
    Fault(
        "the token has run out before the connect",
        expired_token,
        meets=True,
        not_in=only_in("connecting", why=STANDS),
    ),
    Fault("the right to publish is revoked and given back", revoked, not_in=WAITING),
)
