"""The other side of a call: when it is shown as away, and when not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from facts import eventually
from small_engine import SmallEngine, reply

from utdstream import (
    Connection,
    ConnectionState,
    UTDCallSession,
    UTDCallStatus,
    UTDStreamClient,
    UTDStreamType,
)
from utdstream._calls import peer
from utdstream._calls.life import CallLife
from utdstream._livekit.loop import loop_thread
from utdstream._session.connect import RoomLife
from utdstream._threads.wishes import Wishes
from utdstream.models import PEER_AWAY, LocalParticipant, RemoteParticipant

UP = Connection(ConnectionState.CONNECTED)
INTERRUPTED = Connection(ConnectionState.RECONNECTING)
AWAY = Connection(ConnectionState.RECONNECTING, PEER_AWAY)
HERE = (RemoteParticipant(identity="house"),)


class Talk:
    """A call session as it is while it talks, without servers."""

    def __init__(self, session: UTDCallSession) -> None:
        self.session = session
        self.life = CallLife(UTDCallStatus.ACTIVE, "c1")
        session._present.replace(self.life)
        self.room = RoomLife(
            session._media.facts,
            loop_thread(),
            auto_subscribe=True,
            wishes=Wishes(),
            open_early=False,
            on_end=session._media.end,
        )
        self.room.on_connection(UP)
        self.others(*HERE)

    def others(self, *people: RemoteParticipant) -> None:
        self.room.on_people(LocalParticipant("door"), people)

    @property
    def shown(self) -> Connection:
        connection = self.session.connection.value
        assert self.session.connected.value is (connection == UP)
        return connection


@pytest.fixture
def talk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Talk]:
    """Both sides are there."""
    monkeypatch.setattr(peer, "MISSED_AFTER_S", 0.05)
    engine = SmallEngine()
    engine.respond = lambda request: reply({"user_token": "bearer"})
    with UTDStreamClient("app-1", "key", base_url=engine.url) as client:
        client.authenticate(identity="door")
        yield Talk(client.call_session(UTDStreamType.AUDIO_CALL))
    engine.close()


def test_peer_when_it_falls_silent_is_away_until_it_is_heard(talk: Talk) -> None:
    """The media server still believes that it is there."""
    assert talk.shown == UP
    talk.room.on_silence(True)
    assert talk.shown == AWAY
    talk.room.on_silence(False)
    assert talk.shown == UP


def test_peer_when_it_has_left_the_room_is_missed_after_a_moment(talk: Talk) -> None:
    """In which the engine would say that it has hung up."""
    talk.others()
    assert talk.shown == UP
    eventually(lambda: talk.shown == AWAY, "it is missed")
    talk.others(*HERE)
    assert talk.shown == UP


def test_peer_when_the_own_link_was_away_too_is_waited_for_in_one_interruption(talk: Talk) -> None:
    """A media server that was restarted: whoever is back first still reconnects, until both are there."""
    talk.room.on_connection(INTERRUPTED)
    talk.others()
    talk.room.on_connection(UP)
    assert talk.shown == AWAY
    talk.others(*HERE)
    assert talk.shown == UP


def test_peer_when_it_was_silent_before_the_own_link_was_cut_is_judged_anew(talk: Talk) -> None:
    """What was silent there is forgotten with the link."""
    talk.room.on_silence(True)
    talk.room.on_connection(INTERRUPTED)
    assert talk.shown == INTERRUPTED
    talk.room.on_connection(UP)
    assert talk.shown == UP


def test_peer_when_the_call_is_over_is_not_missed(talk: Talk) -> None:
    """It left because it hung up."""
    talk.session._present.close(talk.life, UTDCallStatus.ENDED)
    talk.others()
    talk.room.on_silence(True)
    assert talk.shown == UP
