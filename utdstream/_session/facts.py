"""What a media room and each of its connects both hold.

Owns: `RoomFacts`, the writable side of all that a `UTDRoom` shows, and the settings that no connect changes.
Threads: any may read; writers hold `lock`, so that what a connect says never lands after its end was shown.
Imports no other file of this room.

1. Under `lock` nothing is called that blocks. The watchers of a fact run under it: they may take the session's
   state lock, and nothing that holds that one calls the room.
2. A room that is away is `RECONNECTING`; one that is away for long is `DISCONNECTED`, and comes back all the same.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from utdstream._threads.facts import Fact, Occurrences, set_together
from utdstream._threads.lanes import EventsLane
from utdstream.config import ClientConfig
from utdstream.media import Devices
from utdstream.models import (
    PEER_AWAY,
    Connection,
    ConnectionState,
    DataMessage,
    LocalParticipant,
    RemoteParticipant,
    RoomEvent,
)
from utdstream.observe import Report

INTERRUPTED = "CONNECTION_TIMEOUT"
"""LiveKit's name of the reason, while there is only an interruption."""
LONG_AWAY_S = 45.0
"""An outage, no interruption: longer than a media server takes to start, or a router."""


class RoomFacts:
    """The facts of one room, its devices and settings, and the session that hears metadata and messages."""

    def __init__(
        self,
        *,
        devices: Devices,
        config: ClientConfig,
        lane: EventsLane,
        report: Report,
        adaptive_stream: bool = True,
        dynacast: bool = True,
        is_call: bool = False,
        on_metadata: Callable[[str], None] | None = None,
        on_message: Callable[[DataMessage], bool] | None = None,
    ) -> None:
        """`is_call`: whoever leaves the room ends it for everybody, and each side says that it is there.

        `on_metadata` hears the room's metadata, `on_message` each message; True: it was not the program's.
        Both are called on the loop thread and must not block.
        """
        self.devices = devices
        self.config = config
        self.lane = lane
        self.report = report
        self.adaptive_stream = adaptive_stream
        self.dynacast = dynacast
        self.is_call = is_call
        self.on_metadata = on_metadata
        self.on_message = on_message
        self.on_silence: Callable[[bool], None] = lambda _: None
        """Hears that what others publish does not come any more, and that it does. Loop thread, must not block."""
        self.is_peer_missing: Callable[[], bool] = lambda: False
        """Whether the other side of a call was in the room and is not. Asked under `lock`; must not block."""
        # Re-entrant, as all locks on the way of `dispose`: a signal handler may dispose in the middle of any line
        # of the main thread.
        self.lock = threading.RLock()
        self.local: LocalParticipant | None = None
        self.connected = Fact(False, lane)
        self.connection = Fact(Connection(ConnectionState.DISCONNECTED), lane)
        self._own = self.connection.value
        self._peer_away = False
        self._away_since = 0.0
        self._away_reason: str | None = None
        self.can_publish = Fact(False, lane)
        self.microphone_on = Fact(False, lane)
        self.camera_on = Fact(False, lane)
        self.remote_participants: Fact[tuple[RemoteParticipant, ...]] = Fact((), lane)
        self.events: Occurrences[RoomEvent] = Occurrences(lane)
        self.messages: Occurrences[DataMessage] = Occurrences(lane)

    def show(self, connection: Connection, *also: tuple[Fact[Any], Any]) -> None:
        """Shows how the own connection stands, and at once what else is so. The caller holds `lock`."""
        is_up = connection.state is ConnectionState.CONNECTED
        was_away = self._own.state is ConnectionState.RECONNECTING
        if connection.state is ConnectionState.RECONNECTING and self._own.comes_back:
            connection = self._own
        elif connection.state is ConnectionState.RECONNECTING and not was_away:
            self._away_since, self._away_reason = time.monotonic(), None
        self._peer_away = is_up and (self.is_peer_missing() if was_away else self._peer_away)
        self._own = connection
        self._show(*also)

    def show_peer(self, *, away: bool) -> None:
        """Shows whether the other side of a call is away, while this one stands. The caller holds `lock`."""
        self._peer_away = away and self._own.state is ConnectionState.CONNECTED
        self._show()

    def _show(self, *also: tuple[Fact[Any], Any]) -> None:
        shown = Connection(ConnectionState.RECONNECTING, PEER_AWAY) if self._peer_away else self._own
        is_up = shown.state is ConnectionState.CONNECTED
        state, up = (self.connection, shown), (self.connected, is_up)
        # A wait that begins in between reads the second as it was: nobody is to find it connected too early.
        set_together(*also, *((state, up) if is_up else (up, state)))

    def show_away(self, reason: str, *, comes_back: bool) -> None:
        """Shows that all that needs a connection is over, or away for a while. The caller holds `lock`."""
        gone = (
            (self.remote_participants, ()),
            (self.microphone_on, False),
            (self.camera_on, False),
            (self.can_publish, False),
        )
        if comes_back:
            self.show(Connection(ConnectionState.RECONNECTING), *gone)
            self._away_reason = self._away_reason or reason
        elif not self.connection.value.is_over:
            self.show(Connection(ConnectionState.DISCONNECTED, reason), *gone)
        else:
            self._show(*gone)

    def show_outage(self) -> None:
        """Shows that a room that comes back is away for long (rule 2), if it is. The caller holds `lock`."""
        is_away = self._own.state is ConnectionState.RECONNECTING
        if is_away and time.monotonic() - self._away_since >= LONG_AWAY_S:
            reason = self._away_reason or INTERRUPTED
            self.show(Connection(ConnectionState.DISCONNECTED, reason, comes_back=True))

    def close(self) -> None:
        """Ends all waits: nothing will change any more."""
        for fact in (
            self.connected,
            self.connection,
            self.can_publish,
            self.microphone_on,
            self.camera_on,
            self.remote_participants,
            self.events,
            self.messages,
        ):
            fact.close()
