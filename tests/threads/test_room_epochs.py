"""A named room that was left, or joined anew: nothing that came for it before acts on it any more."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import fields

import pytest
from small_engine import Answer, Request, SmallEngine, reply

from utdstream import (
    Connection,
    ConnectionState,
    DataMessage,
    Devices,
    UTDAudioRoomSession,
    UTDLiveStreamSession,
    UTDStreamClient,
)
from utdstream._livekit.loop import loop_thread
from utdstream._rest.api import Actor
from utdstream._rooms import live_stream
from utdstream._rooms.session import Joining
from utdstream._session.connect import RoomLife
from utdstream._threads.deadline import Deadline
from utdstream._threads.wishes import Wishes
from utdstream.engine.config import ProjectSection
from utdstream.errors import NotFound
from utdstream.models import RemoteParticipant, UTDStageMember


@pytest.fixture
def engine() -> Iterator[SmallEngine]:
    """An engine that signs everybody in and knows no room."""
    server = SmallEngine()

    def respond(request: Request) -> Answer:
        if request.path.endswith("/auth/session"):
            return reply({"user_token": "bearer"})
        return reply({"error": {"code": "room_not_found", "message": "no room"}}, 404)

    server.respond = respond
    yield server
    server.close()


@pytest.fixture
def client(engine: SmallEngine) -> Iterator[UTDStreamClient]:
    """Signed in."""
    with UTDStreamClient("app-1", "key", base_url=engine.url) as made:
        made.authenticate(identity="viewer")
        yield made


class Watching:
    """A viewer's session as it is while connected, without a media server; and what it is told of the end."""

    def __init__(self, client: UTDStreamClient) -> None:
        self.session = UTDLiveStreamSession(
            client._parts(Devices()), Joining(Actor("viewer", None, None), "show", False, {})
        )
        self.told: list[str] = []
        self.session.ended.subscribe(lambda end: self.told.append(end.reason))
        self.life = self.join()

    def join(self) -> RoomLife:
        """Makes a new connect the present one."""
        media = self.session._media
        life = RoomLife(
            media.facts,
            loop_thread(),
            auto_subscribe=True,
            wishes=Wishes(),
            open_early=False,
            on_end=media.end,
        )
        media._life = life
        media.facts.connection.set(Connection(ConnectionState.CONNECTED))
        media.facts.connected.set(True)
        return life

    def host_comes(self) -> None:
        """The host is seen."""
        self.session._stage.set((UTDStageMember(identity="host", role="host"),))
        self.session._media.facts.remote_participants.set((RemoteParticipant(identity="host"),))

    def host_vanishes(self) -> None:
        """The host is seen, and is gone."""
        self.host_comes()
        self.session._media.facts.remote_participants.set(())

    def hears(self, kind: str) -> None:
        """A server's message in the room."""
        self.session._on_message(DataMessage(json.dumps({"type": kind}).encode(), None, None, True))

    def work_is_done(self) -> None:
        """Returns when the session's own work has no job left that was due."""
        done = threading.Event()
        self.session._work.call_later(0.1, done.set)
        assert done.wait(5)


@pytest.fixture
def watching(client: UTDStreamClient) -> Iterator[Watching]:
    """One viewer, disposed at the end."""
    made = Watching(client)
    yield made
    made.session.dispose()


def test_ended_when_the_viewer_has_left_before_is_not_told(
    watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two minutes of grace for a host who vanished ends after `leave()`: the stream may well go on."""
    monkeypatch.setattr(live_stream, "HOST_RETURN_S", 0.05)
    busy, go_on = threading.Event(), threading.Event()
    watching.session._work.post(lambda: (busy.set(), go_on.wait(5)))
    assert busy.wait(5)
    watching.host_vanishes()
    watching.session.leave()
    go_on.set()
    watching.work_is_done()
    assert watching.told == []


def test_host_when_the_link_is_cut_is_waited_for_as_long_as_a_party_of_a_call() -> None:
    """A cut of two minutes ends neither."""
    defaults = {setting.name: setting.default for setting in fields(ProjectSection)}
    assert defaults["call_away_s"] == live_stream.HOST_RETURN_S


def test_ended_when_the_host_does_not_return_is_told(
    watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same, without the leave."""
    monkeypatch.setattr(live_stream, "HOST_RETURN_S", 0.05)
    watching.host_vanishes()
    watching.work_is_done()
    assert watching.told == ["host_gone"]


@pytest.mark.parametrize("state", [ConnectionState.DISCONNECTED, ConnectionState.RECONNECTING])
def test_ended_when_the_viewers_own_link_is_away_is_not_told(
    watching: Watching, monkeypatch: pytest.MonkeyPatch, state: ConnectionState
) -> None:
    """Whoever is out of the room sees nobody: the host's absence counts again once the viewer is back."""
    monkeypatch.setattr(live_stream, "HOST_RETURN_S", 0.05)
    facts = watching.session._media.facts
    watching.host_comes()
    facts.show_away("SIGNAL_CLOSE", comes_back=state is ConnectionState.RECONNECTING)
    watching.work_is_done()
    assert watching.told == []
    watching.join()
    watching.work_is_done()
    assert watching.told == ["host_gone"]


@pytest.mark.parametrize("kind", ["_removed", "_banned", "_live_ended"])
def test_order_to_go_when_the_room_was_joined_anew_is_for_the_one_before(
    watching: Watching, kind: str
) -> None:
    """A push that waited behind other work meets a newer connect: that one stays."""
    busy, go_on = threading.Event(), threading.Event()
    watching.session._work.post(lambda: (busy.set(), go_on.wait(5)))
    assert busy.wait(5)
    watching.hears(kind)
    watching.life.over = True
    newer = watching.join()
    go_on.set()
    watching.work_is_done()
    assert not newer.over
    assert watching.session._is_wanted()
    assert watching.told == []


def test_seat_when_it_is_gone_before_its_grant_came_keeps_the_work_thread_no_longer(
    client: UTDStreamClient,
) -> None:
    """A host gives a seat and takes it, or it is given back: polls and rejoins do not wait for a grant."""
    session = UTDAudioRoomSession(
        client._parts(Devices()), Joining(Actor("viewer", None, None), "lobby", False, {})
    )
    session._media.facts.connected.set(True)
    busy, done = threading.Event(), threading.Event()
    session._grid.metadata(one_seat("viewer", rev=1))
    session._work.post(busy.set)
    assert not busy.wait(0.2), "it waits for the grant"
    session._grid.metadata(one_seat(None, rev=2))
    session._work.post(done.set)
    assert done.wait(3)
    session.dispose()


def test_seat_when_it_is_given_back_in_an_interruption_is_not_asked_for_again(
    client: UTDStreamClient,
) -> None:
    """What the caller was told has failed is not wanted, though news of its end came while the link was away."""
    session = UTDAudioRoomSession(
        client._parts(Devices()), Joining(Actor("viewer", None, None), "lobby", False, {})
    )
    session._media.facts.connected.set(True)
    session._grid.metadata(one_seat("viewer", rev=1))
    session._place_wish.begin()
    with pytest.raises(NotFound):
        session._give_back(Deadline.after(5, "giving back"))
    session._grid.metadata(one_seat(None, rev=2))
    assert not session._place_wish.is_lost(None)
    session.dispose()


def one_seat(identity: str | None, rev: int) -> dict[str, object]:
    """A grid as a message tells it."""
    return {"count": 1, "mode": "free", "seats": [{"index": 0, "identity": identity}], "rev": rev}
