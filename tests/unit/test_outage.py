"""A room that is away: an interruption at first, an outage when it lasts, and over when nothing brings it back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from utdstream import ClientConfig, Connection, ConnectionState, Devices
from utdstream._session import facts as session_facts
from utdstream._session.facts import RoomFacts
from utdstream._threads.lanes import EventsLane

AWAY = Connection(ConnectionState.RECONNECTING)
OUTAGE = Connection(ConnectionState.DISCONNECTED, "SIGNAL_CLOSE", comes_back=True)
LEFT = Connection(ConnectionState.DISCONNECTED, "CLIENT_INITIATED")
UP = Connection(ConnectionState.CONNECTED)


@pytest.fixture
def facts() -> Iterator[RoomFacts]:
    """Of a room that was connected and is lost."""
    lane = EventsLane("test-outage")
    made = RoomFacts(devices=Devices(), config=ClientConfig(), lane=lane, report=lambda _: None)
    with made.lock:
        made.show(UP)
        made.show_away("SIGNAL_CLOSE", comes_back=True)
    yield made
    lane.close()


@pytest.fixture
def long_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any absence is a long one."""
    monkeypatch.setattr(session_facts, "LONG_AWAY_S", 0.0)


def test_room_when_away_for_a_moment_is_reconnecting_whatever_is_asked(facts: RoomFacts) -> None:
    """A cut of some seconds is one interruption."""
    facts.show_outage()
    assert facts.connection.value == AWAY


@pytest.mark.usefixtures("long_away")
def test_room_when_away_for_long_is_disconnected_and_comes_back_whatever_attempts_fail(
    facts: RoomFacts,
) -> None:
    """An attempt that fails does not make it an interruption again."""
    facts.show_outage()
    assert facts.connection.value == OUTAGE
    facts.show_away("JOIN_FAILURE", comes_back=True)
    assert facts.connection.value == OUTAGE
    facts.show(UP)
    assert (facts.connection.value, facts.connected.value) == (UP, True)


@pytest.mark.usefixtures("long_away")
def test_room_when_left_in_an_outage_is_over_with_its_own_reason(facts: RoomFacts) -> None:
    """And stays so: the first reason is the one that counts."""
    facts.show_outage()
    facts.show_away("CLIENT_INITIATED", comes_back=False)
    assert facts.connection.value == LEFT
    facts.show_away("ROOM_DELETED", comes_back=False)
    facts.show_outage()
    assert facts.connection.value == LEFT


@pytest.mark.usefixtures("long_away")
def test_room_when_connected_again_is_no_outage(facts: RoomFacts) -> None:
    """The word of the lane may come a moment too late."""
    facts.show(UP)
    facts.show_outage()
    assert facts.connection.value == UP


@pytest.mark.usefixtures("long_away")
def test_room_when_only_interrupted_for_long_is_an_outage_without_a_loss(facts: RoomFacts) -> None:
    """A pulled cable: the core tries on for a minute, and says nothing."""
    facts.show(UP)
    facts.show(AWAY)
    facts.show_outage()
    assert facts.connection.value == Connection(
        ConnectionState.DISCONNECTED, "CONNECTION_TIMEOUT", comes_back=True
    )
    facts.show(AWAY)
    assert facts.connection.value.comes_back, "that the core tries on makes it no interruption again"
