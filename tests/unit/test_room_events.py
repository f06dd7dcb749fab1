"""The table of a room's events: it fits its reactions, and nothing is told of a room that is over."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from utdstream import CallbackError, Connection, DataMessage, Devices, LocalParticipant, RoomEvent
from utdstream._livekit.events import EVENTS, RoomEvents
from utdstream._livekit.loop import loop_thread
from utdstream._livekit.publishing import Publisher
from utdstream._livekit.room_end import RoomEnd
from utdstream._livekit.subscribing import Subscriber
from utdstream._threads.deadline import Deadline
from utdstream._threads.wishes import Wishes
from utdstream.models import RemoteParticipant


class Listener:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.fails = False

    def on_connection(self, connection: Connection) -> None:
        self.told.append(connection)

    def on_permission(self, can_publish: bool) -> None:
        self.told.append(can_publish)

    def on_people(self, local: LocalParticipant, remote: tuple[RemoteParticipant, ...]) -> None:
        self.told.append(local)

    def on_publishing(self, microphone_on: bool, camera_on: bool) -> None:
        self.told.append((microphone_on, camera_on))

    def on_metadata(self, metadata: str) -> None:
        if self.fails:
            raise ValueError("no")
        self.told.append(metadata)

    def on_data(self, message: DataMessage) -> None:
        self.told.append(message)

    def on_silence(self, silent: bool) -> None:
        self.told.append(silent)

    def wants_events(self) -> bool:
        return True

    def on_event(self, event: RoomEvent) -> None:
        self.told.append(event.name)


class CoreRoom:
    """What `listen` needs of the core's room: the handlers, which the test calls."""

    def __init__(self) -> None:
        self.handlers: dict[str, Callable[..., None]] = {}

    def on(self, name: str, handler: Callable[..., None]) -> None:
        self.handlers[name] = handler


class Site:
    """A room that is not joined, or over: `current_room` is None."""

    def __init__(self) -> None:
        self.listener, self.core, self.reports = Listener(), CoreRoom(), list[CallbackError]()
        self.ends: list[str] = []
        self._loop = loop_thread()
        self._loop.call(self._make, deadline=Deadline(5, 5, "making"))

    def _make(self) -> None:
        publisher = Publisher(
            self._loop, Devices(), Wishes(), RoomEnd(self._loop), self.reports.append, lambda: None
        )
        subscriber = Subscriber(self._loop, adaptive=True, auto_subscribe=True, linger_s=1.0)
        events = RoomEvents(
            lambda: None,
            publisher,
            subscriber,
            self.listener,
            self.reports.append,
            disconnected=self.ends.append,
        )
        events.listen(self.core)  # type: ignore[arg-type]  # a twin

    def happen(self, name: str, *arguments: object) -> None:
        """The core emits an event."""
        self._loop.call(self.core.handlers[name], *arguments, deadline=Deadline(5, 5, "handling"))


@pytest.fixture
def site() -> Site:
    """Nothing has happened."""
    return Site()


@pytest.mark.parametrize("name", EVENTS)
def test_event_when_it_has_a_reaction_fits_it(name: str) -> None:
    """It takes the arguments that the table names."""
    event = EVENTS[name]
    if event.reaction is not None:
        inspect.signature(event.reaction).bind(None, *event.arguments)


ANYBODY: Any = SimpleNamespace(identity="somebody", sid="TR_1")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("reconnecting", ()),
        ("reconnected", ()),
        ("participant_permissions_changed", (ANYBODY, None)),
        ("track_muted", (ANYBODY, ANYBODY)),
        ("participant_connected", (ANYBODY,)),
    ],
)
def test_events_when_the_room_is_over_change_no_fact(
    site: Site, name: str, arguments: tuple[object, ...]
) -> None:
    """A late event of the core would say that a room which has ended is connected, or may be published in."""
    site.happen(name, *arguments)
    assert site.listener.told == [name]
    assert site.reports == []


def test_events_when_the_core_disconnects_tell_livekits_reason(site: Site) -> None:
    """By name, as the documentation of LiveKit has it."""
    from livekit import rtc

    site.happen("disconnected", rtc.DisconnectReason.ROOM_DELETED)
    assert site.ends == ["ROOM_DELETED"]


def test_events_when_a_listener_raises_report_it(site: Site) -> None:
    """The core would skip its other handlers; the error is reported with the event's name instead."""
    site.listener.fails = True
    site.happen("room_metadata_changed", "old", "new")
    (report,) = site.reports
    assert report.source == "room event room_metadata_changed"
