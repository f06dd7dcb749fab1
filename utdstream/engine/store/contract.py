"""What the engine must not forget, as a contract: which database keeps it is no affair of the engine's.

Owns: the ports `Store`, `CallStore`, `RoomStore`, `StateStore`, `PeopleStore`, `BanStore`, `KeyStore`,
`PairingStore`, `LoginStore`, `MomentStore`, and the values that are asked with and answered. Loop thread. No
database and no I/O here; `store/sqlite` is one implementation, and `tests/contract/store_contract.py` holds for
each.

1. Atomic. What is written inside `transaction()` is kept as a whole; when the block raises, nothing of it is,
   neither on the disk nor in any memory. A write outside of a transaction is one of its own.
2. Isolated. One engine writes one database. Inside a transaction nothing changes but by its own writes, which its
   reads see. It is not nested and not held across an `await`.
3. Ordered. Transactions take effect in the order in which they end. Pages are newest first, by creation and then
   by insertion; the numbers of bans only grow.
4. Durable. When `transaction()` has ended, what it wrote outlives the death of the engine's process. A loss of
   power may take the last transactions, as a whole and in order, and never the database.
5. Honest. When the database does not do its part, every method raises `StoreFailed`, and rule 1 holds.

The methods are plain, not awaited: read, rule and write are one step that no other request can come into, and a
seat is taken in a tenth of a millisecond. A database behind an asynchronous driver keeps the contract as SQLite
does here for calls, room states and keys: when it is opened it reads what may still change (open calls, rooms,
their states and people, bans, keys) and the calls of the last ring time (for `by_key`); it answers from memory and
sends the writes of each transaction as one batch, in order. Then two things become awaitable: the wait for rule 4,
before an answer or a message goes out, and the two `page`s, which coroutines ask for outside of any transaction.
`get` of a call that was over before the opening is the one read inside a transaction that is left: `flows/calls`
loads such a call first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol

from utdstream.engine.rules.bans import Ban
from utdstream.engine.rules.calls import CallRecord
from utdstream.engine.rules.keys import AppKey, Login
from utdstream.engine.rules.pairing import Pairing
from utdstream.engine.rules.room_state import RoomState
from utdstream.engine.rules.rooms import Room
from utdstream.models import UTDCallStatus, UTDStreamType

KEEP_CALLS_S = 90 * 24 * 3600
"""Calls older than this are forgotten."""


class StoreFailed(Exception):
    """The database did not do its part: a full disk, a locked or a foreign file."""


@dataclass(frozen=True, slots=True)
class CallFilter:
    """What `GET /calls` may ask for; None: any."""

    statuses: tuple[UTDCallStatus, ...] | None = None
    type: UTDStreamType | None = None
    identity: str | None = None
    peer: str | None = None
    """A second identity that must be a party too."""
    created_from: datetime | None = None
    created_until: datetime | None = None

    def holds(self, record: CallRecord) -> bool:
        """Whether this call is among those asked for."""
        call, created_at = record.call, record.call.created_at
        return (
            (self.statuses is None or call.status in self.statuses)
            and (self.type is None or call.type is self.type)
            and all(one is None or record.has_party(one) for one in (self.identity, self.peer))
            and (created_at is None or self.created_from is None or created_at >= self.created_from)
            and (created_at is None or self.created_until is None or created_at <= self.created_until)
        )


class Presence(Enum):
    """Where a participant stands who was admitted to a room by a mint."""

    ADMITTED = "admitted"
    HERE = "here"
    LEFT = "left"


class CallStore(Protocol):
    """All calls of the last ninety days. A call is open until it is over, and has a room until that is closed."""

    def insert(self, record: CallRecord, idempotency_key: str | None = None) -> None:
        """Writes a new call."""

    def save(self, record: CallRecord) -> None:
        """Overwrites what may change of a call: status, moments, `rev`, seen parties, room, accept key."""

    def room_closed(self, call_id: str) -> None:
        """Writes down that the media server closed the room of this call."""

    def forget_old(self, now: datetime) -> None:
        """Forgets the calls that are over, have no room, and are older than `KEEP_CALLS_S`."""

    def get(self, call_id: str) -> CallRecord | None:
        """The call of this id, or None."""

    def by_key(self, caller: str, idempotency_key: str) -> CallRecord | None:
        """The newest call that this caller made with this Idempotency-Key, or None."""

    def is_open(self, call_id: str) -> bool:
        """Whether there is a call of this id that is not over. Touches no disk."""

    def open(self) -> list[CallRecord]:
        """Every call that is not over."""

    def open_of(self, identity: str) -> list[CallRecord]:
        """The calls of this identity, on either side, that are not over."""

    def have_talked(self, one: str, other: str) -> bool:
        """Whether one of these two has answered a call of the other that is not forgotten."""

    def with_room(self) -> list[CallRecord]:
        """Every call whose room may still exist on the media server: the open and the closing ones."""

    def page(self, wanted: CallFilter, *, page: int, per_page: int) -> tuple[list[CallRecord], int]:
        """One page of calls, newest first, and how many there are in all."""


class RoomStore(Protocol):
    """The live streams and audio rooms that the engine made, by their plain name."""

    def get(self, name: str) -> Room | None:
        """The room of this name, or None."""

    def all(self) -> list[Room]:
        """Every room, newest first."""

    def claim(self, room: Room) -> Room:
        """Makes the room unless it exists; gives it `room.owner` unless it has one. The room as it is."""

    def delete(self, name: str) -> None:
        """Forgets a room: its owner, its state and its people too."""


class StateStore(Protocol):
    """The state of each room. A room that is made again, later, begins anew."""

    def get(self, room: Room) -> RoomState:
        """The newest state; that of a new room when none was written."""

    def put(self, room: Room, state: RoomState) -> None:
        """Makes this the state of the room."""

    def watched(self) -> list[str]:
        """The names of the rooms with a participant who holds something that is lost by leaving."""


class PeopleStore(Protocol):
    """The participants admitted to a room by a mint, by the room's plain name."""

    def admit(self, room: str, identity: str, name: str | None) -> None:
        """Writes down a participant who got a token; a display name that is not given stays as it was."""

    def arrived(self, room: str, identity: str, name: str | None) -> None:
        """Writes down that a participant is in the room's media; the name counts for a new participant alone."""

    def departed(self, room: str, identity: str) -> None:
        """Writes down that a participant was in the room and has left; nothing for one who was never admitted."""

    def presence(self, room: str, identity: str) -> Presence | None:
        """Where a participant stands; None: never admitted."""

    def is_anybody_here(self, room: str) -> bool:
        """Whether any participant is known to be in the room's media."""

    def here(self, room: str) -> list[str]:
        """Every participant who was last known to be in the room's media."""

    def name(self, room: str, identity: str) -> str | None:
        """The display name of a participant, or None."""

    def names(self, room: str, identities: Iterable[str]) -> dict[str, str]:
        """The display names of these participants, as far as they have one."""


class BanStore(Protocol):
    """Bans, one for each identity and room (None: the project). One that has expired is in no answer."""

    def put(self, ban: Ban) -> Ban:
        """Writes a ban in the place of the old one; the ban with its number."""

    def lift(self, identity: str, room: str | None, now: datetime, *, everywhere: bool = False) -> int:
        """Deletes the ban of `room` (None: of the project), or every ban; how many were in force."""

    def is_known(self, identity: str) -> bool:
        """False when no ban of this identity is written down. Answered from memory: every request asks."""

    def of(self, identity: str, now: datetime, *, room: str | None = None) -> list[Ban]:
        """The bans in force that keep this identity out of `room`; None: out of the project."""

    def since(self, moment: datetime, now: datetime) -> list[Ban]:
        """The bans in force that were pronounced at `moment` or later."""

    def page(
        self, now: datetime, *, rooms: Sequence[str] | None, page: int, per_page: int
    ) -> tuple[list[Ban], int]:
        """One page of the bans in force, newest first, and their number; `rooms` None: all, else those of
        these rooms alone.
        """


class KeyStore(Protocol):
    """App keys, the revoked ones too. Answered from memory: every request asks."""

    def insert(self, key: AppKey) -> None:
        """Writes a new key."""

    def revoke(self, key_id: str, now: datetime) -> AppKey | None:
        """Writes down that a key is of no use any more; the key, or None. The first moment stays."""

    def get(self, key_id: str) -> AppKey | None:
        """The key of this id, or None."""

    def by_digest(self, digest: str) -> AppKey | None:
        """The key with this digest, or None."""

    def all(self) -> list[AppKey]:
        """Every key, newest first."""


class PairingStore(Protocol):
    """Pairing codes, those that are over too, for a day. Answered from memory."""

    def put(self, pairing: Pairing) -> None:
        """Writes a pairing, in the place of the one of this id."""

    def get(self, pairing_id: str) -> Pairing | None:
        """The pairing of this id, or None."""

    def all(self) -> list[Pairing]:
        """Every pairing, newest first."""

    def forget_old(self, now: datetime) -> None:
        """Deletes the pairings that nobody asks for any more."""


class LoginStore(Protocol):
    """Broker logins: when each was minted last, which password the broker has, which are to end. From memory."""

    def see(self, login: Login, now: datetime) -> None:
        """Writes down that a login was minted; one that was to end lives on."""

    def tell(self, login: Login, digest: str) -> None:
        """Writes down the password, as a digest, that the broker has."""

    def told(self, login: Login) -> str | None:
        """The digest of the password that the broker has; None: it may have any, or none."""

    def end(self, logins: Iterable[Login]) -> None:
        """Writes down that the broker is to forget these logins."""

    def forget(self, login: Login) -> None:
        """Deletes a login that the broker has forgotten, unless it was minted again."""

    def ending(self) -> list[Login]:
        """The logins that the broker is to forget."""

    def of(self, *, identity: str | None = None, key_id: str | None = None) -> list[Login]:
        """The logins of this identity, or by this key."""

    def unseen_since(self, moment: datetime) -> list[Login]:
        """The logins that were minted before this moment alone; it may be a day late."""


class MomentStore(Protocol):
    """When the engine last ran, by the time it believed: a clock that has jumped meanwhile is held against it."""

    def last_seen(self) -> datetime | None:
        """The moment that was written down last, or None."""

    def saw(self, moment: datetime) -> None:
        """Writes down that the engine runs at this moment."""


class Copy(Protocol):
    """A good copy of a database, for the day on which the database is damaged."""

    def is_due(self) -> bool:
        """Whether it is time to take it. Does not block."""

    def take(self) -> None:
        """Takes it. Any thread. Blocks: as long as the disk does. Raises: StoreFailed, and the older one stays."""


class Store(Protocol):
    """An open database. Every method of it and of its parts may raise `StoreFailed`."""

    @property
    def calls(self) -> CallStore: ...

    @property
    def rooms(self) -> RoomStore: ...

    @property
    def states(self) -> StateStore: ...

    @property
    def people(self) -> PeopleStore: ...

    @property
    def bans(self) -> BanStore: ...

    @property
    def keys(self) -> KeyStore: ...

    @property
    def pairings(self) -> PairingStore: ...

    @property
    def logins(self) -> LoginStore: ...

    @property
    def moments(self) -> MomentStore: ...

    @property
    def is_damaged(self) -> bool:
        """Whether it was found damaged since it was opened: another opening mends it."""

    @property
    def copy(self) -> Copy | None:
        """The good copy that can be taken of it; None for one that has none."""

    def transaction(self, *, lasts: bool = False) -> AbstractContextManager[None]:
        """All or nothing, and no other write in between; what `lasts` outlives a power cut from its end on."""

    def close(self) -> None:
        """Closes the database; the store is of no use afterwards."""
