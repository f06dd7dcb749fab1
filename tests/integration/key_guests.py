"""The guests of a history of keys: connected by a key to the broker or to a media room, and back with the newest.

Owns: how each connects. Each has a thread of its own while it lives; what is right is in the test.
"""

from __future__ import annotations

import threading

from engine_site import EventReader
from history import Wire
from key_history import Key, Keyring

from utdstream._session.room import UTDRoom
from utdstream._wire import routes
from utdstream.errors import UTDStreamException

HALL = "hall"
_LOOKS_EVERY_S = 0.1


class Guest:
    """Somebody who is connected by `key`, or was, until it ended. Subclasses connect."""

    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.key: Key | None = None

    def is_in(self) -> bool:
        """As it sees it itself."""
        raise NotImplementedError

    def enter(self, wire: Wire, ring: Keyring, key: Key) -> None:
        """Signs in with this key and connects, unless the key is refused."""
        raise NotImplementedError

    def leave(self) -> None:
        """Is connected no more. Idempotent."""
        raise NotImplementedError

    def live(self, wire: Wire, ring: Keyring, stop: threading.Event) -> None:
        """Comes back again and again."""
        while not stop.wait(_LOOKS_EVERY_S):
            self.come_back(wire, ring)

    def come_back(self, wire: Wire, ring: Keyring) -> None:
        """Is there with the newest key, if there is one."""
        keys = ring.live(self.identity)
        if self.is_in() or not keys:
            return
        self.leave()
        self.key = keys[-1]
        try:
            self.enter(wire, ring, self.key)
        except (UTDStreamException, AssertionError, OSError):
            self.leave()  # the key was revoked, or the engine died, in this very moment


class Reader(Guest):
    """A device at the broker."""

    def __init__(self, identity: str) -> None:
        super().__init__(identity)
        self._reader: EventReader | None = None

    def is_in(self) -> bool:
        return self._reader is not None and self._reader.is_connected

    def enter(self, wire: Wire, ring: Keyring, key: Key) -> None:
        given, _ = ring.sign_in(wire, key)
        if given is not None and given.login is not None:
            self._reader = EventReader(given.login)

    def leave(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.__exit__(None, None, None)


class Listener(Guest):
    """A participant of the hall."""

    def __init__(self, identity: str) -> None:
        super().__init__(identity)
        self._room: UTDRoom | None = None

    def is_in(self) -> bool:
        return self._room is not None and self._room.connected.value

    def enter(self, wire: Wire, ring: Keyring, key: Key) -> None:
        given, _ = ring.sign_in(wire, key, routes.TOKEN, room_name=HALL, type="live_stream")
        if given is not None:
            self._room = UTDRoom()
            self._room.connect(str(given.answer["url"]), str(given.answer["token"]))

    def leave(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            room.dispose()
