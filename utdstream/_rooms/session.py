"""What live streams and audio rooms share: join by a mint, roles, removal, rejoin.

Owns: the life of a named room on this device. Threads: any may call; the loop brings news, the work
thread asks and rejoins.

1. A message that begins with an underscore and has a sender is forged, but for the host's `_live_ended`. One
   without may be: for some seconds nobody is told of a participant who may not publish. So it is a hint that the
   engine is asked about, and whoever is told to go stays until the media server removes it.
2. A room that is lost for a reason that may pass is joined again with a fresh token, until it is left (`Rejoin`).
3. What a connect of the room brought (a push, an order to go) acts on that connect alone; once the room was left,
   nothing acts any more.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from utdstream._rest.api import Actor
from utdstream._rest.rooms import RoomApi
from utdstream._rooms.place_wish import PlaceWish
from utdstream._session.base import SessionParts, UTDSession
from utdstream._session.connect import RoomLife
from utdstream._session.facts import LONG_AWAY_S
from utdstream._session.rejoin import Rejoin
from utdstream._threads.deadline import Deadline
from utdstream._threads.errands import finish_errand
from utdstream._threads.facts import Fact
from utdstream._threads.lanes import Timer
from utdstream._wire import codec, messages
from utdstream.errors import (
    InvalidConfig,
    NotFound,
    SessionClosed,
    TransportError,
    UTDStreamException,
)
from utdstream.limits import RESERVED_ROOM_NAMES
from utdstream.models import (
    Connection,
    ConnectionState,
    DataMessage,
    RemoteParticipant,
    UTDStreamType,
)
from utdstream.observe import CallbackError, Change, Watched

S = ConnectionState

_NOTICES = {messages.REMOVED: "REMOVED", messages.BANNED: "BANNED"}
END_CHECKS, END_CHECK_S = 4, 0.4
GOODBYE_S = 0.5
"""For what is said to the others, and to the engine, before leaving."""
LEAVE_S = 0.05
"""For leaving when the good-bye used the deadline up; the rest goes on in the background."""


@dataclass(frozen=True, slots=True)
class Joining:
    """The participant, the room, and what else its mints say (role, seats)."""

    actor: Actor
    room_name: str
    as_host: bool
    mint_with: Mapping[str, object]

    @classmethod
    def wanted(cls, actor: Actor, room_name: str, *, as_host: bool, **seats: object) -> Self:
        """What a program asks for. A host claims so at the mint; the engine grants it to the room's verified owner
        only. Raises: InvalidConfig for a name that no room can have.
        """
        if not isinstance(room_name, str) or not room_name:
            raise InvalidConfig("room_name must be a non-empty text")
        if room_name in RESERVED_ROOM_NAMES:
            raise InvalidConfig(
                f"room_name must not be {room_name!r}: the engine's paths give it another meaning"
            )
        role = {"role": "host", "room_owner_id": actor.identity} if as_host else {}
        return cls(actor, room_name, as_host, role | seats)


def enter(session: RoomSession, deadline: Deadline) -> None:
    """Joins the room for the first time. Blocks: to the deadline. Raises: what `join_live_stream` says."""
    session._enter(deadline)


class RoomSession(UTDSession):
    """Base of UTDLiveStreamSession and UTDAudioRoomSession; made and joined by the client."""

    def __init__(self, kind: UTDStreamType, parts: SessionParts, joining: Joining) -> None:
        super().__init__(kind, parts)
        self._actor = joining.actor
        self._room_name = joining.room_name
        self._is_host = joining.as_host
        self._mint_with = joining.mint_with
        self._rooms = RoomApi(parts.api, joining.room_name)
        self._place_wish = PlaceWish()
        self._wanted = True
        """False once it was left: nothing rejoins then."""
        self._media.rejoin = Rejoin(
            self._returning,
            f"room {self._room_name}",
            enter=self._enter,
            is_wanted=self._is_wanted,
            gave_up=self._rejoin_failed,
            knock=self._media.is_door_open,
            is_asking=lambda: self._media.life is None,
        )
        self._outage: Timer | None = None
        """Shows an interruption as an outage when it lasts."""
        self._waits: list[Deadline] = []
        """Of joins under way."""
        self._turn = threading.Lock()  # of what changes the own place in the room: errands hold it
        self._roles: Fact[dict[str, str]] = Fact({}, self._lane)
        self.roles: Watched[dict[str, str]] = self._roles
        """Role by identity, as the engine wrote it into everybody's metadata."""

    @property
    def room_name(self) -> str:
        """The room's plain name."""
        return self._room_name

    @property
    def is_host(self) -> bool:
        """Whether this participant joined as the host."""
        return self._is_host

    # -- joining ---------------------------------------------------------------------------------

    def _enter(self, deadline: Deadline) -> None:
        """Mints, connects, and learns how the room stands."""
        self._waits.append(deadline)
        try:
            if not self._is_wanted():
                raise SessionClosed("joining: the room was left meanwhile")
            self._join(deadline)
        except TransportError as error:
            if self._is_wanted():
                raise
            raise SessionClosed("joining: the room was left meanwhile") from error
        finally:
            self._waits.remove(deadline)

    def _join(self, deadline: Deadline) -> None:
        mint = self._api.mint_room(self._actor, self._room_name, self._kind, deadline, **self._mint_with)
        self._begin_life()
        self._media.join(mint.url, mint.token, deadline, wanted=lambda _: self._is_wanted())
        self._learn_all(deadline)

    def _begin_life(self) -> None:
        """Voids revs and caches: a new connection is about to begin."""
        raise NotImplementedError

    def _learn_all(self, deadline: Deadline) -> None:
        """Asks for what the room's metadata did not tell."""
        raise NotImplementedError

    # -- leaving ---------------------------------------------------------------------------------

    def leave(self, *, timeout: float | None = None) -> None:
        """Leaves the room; nothing rejoins.

        Blocks: to the deadline (default 5 s). Raises: InvalidConfig for a wrong `timeout`; what fails is reported.
        """
        deadline = Deadline(timeout, self._config.leave_timeout_s, "leave")

        def leave() -> None:
            self._say_goodbye(deadline)
            self._leave_place(deadline)
            self._media.disconnect(Deadline.after(max(LEAVE_S, deadline.remaining()), "leave"))

        try:
            finish_errand(leave, deadline, "leave", first=self._stop_wanting)
        except UTDStreamException as error:
            self._parts.report(CallbackError(error, "leave"))

    def _stop_wanting(self) -> None:
        """Lets nothing join the room from now on, and ends the waits of what was about to."""
        self._wanted = False
        for deadline in tuple(self._waits):
            deadline.cut()

    def _end_for_ever(self, deadline: Deadline) -> None:
        self._stop_wanting()
        self._say_goodbye(deadline)
        self._leave_place(deadline)

    def _leave_place(self, deadline: Deadline) -> None:
        """Gives the own place back: who leaves and comes again within the engine's grace is a listener then, not
        on a seat and on air. A session that is out of the room for good leaves it to the one that came instead.
        Never raises. Blocks: half a second at most.
        """
        if self._place_wish.index is None or self._room.connection.value.is_over:
            return
        brief = Deadline.after(min(GOODBYE_S, deadline.remaining() / 2), "giving the place back")
        with contextlib.suppress(UTDStreamException):  # an errand: a signal handler may dispose in any lock
            finish_errand(lambda: self._give_back(brief), brief, "giving the place back")

    def _give_back(self, deadline: Deadline) -> None:
        """Leaves the own place at the engine, and wants none any more; the microphone stops at once."""
        raise NotImplementedError

    def _say_goodbye(self, deadline: Deadline) -> None:
        """Says what others should hear before this participant goes. Never raises, brief."""

    def _thrown_out(self, reason: str, life: RoomLife | None) -> None:
        """Work thread: the room of this connect was ended. Leaving by ourselves frees the media core's memory."""
        if life is None or self._media.life not in (
            None,
            life,
        ):  # joined anew: the word was for the one before
            return
        self._wanted = False
        life.ends_for_all = True
        self._media.leave(life, Deadline.after(self._config.leave_timeout_s, "leaving the room"), reason)

    # -- news ------------------------------------------------------------------------------------

    def _on_message(self, message: DataMessage) -> bool:
        """True when it was the engine's (or pretends to be): the application never sees it."""
        engine = messages.parse(message.data)
        if engine is None:
            return False
        if message.sender is None or self._may_say(engine.type, message.sender):
            self._on_engine_message(engine, message.sender)
        return True

    def _may_say(self, kind: str, sender: str) -> bool:
        """Returns whether a participant may send this engine message."""
        return False

    def _on_engine_message(self, message: messages.EngineMessage, sender: str | None) -> None:
        """Loop thread. A hint; `sender` None: a server, or a participant not known yet."""
        life = self._media.life  # the one that brought it
        if message.type in _NOTICES:
            about = codec.text(message.fields.get("identity"))
            if life is not None and about in (None, self._actor.identity):
                life.notice = _NOTICES[message.type]
        elif message.type == messages.LIVE_ENDED and sender is None:
            self._work.post(lambda: self._check_end(0, life))

    def _check_end(self, attempt: int, life: RoomLife | None) -> None:
        """Work thread: a nameless message says that it is over; only the engine can say that it is true."""
        if life is None or not self._is_wanted() or self._media.life not in (None, life):
            return
        try:
            self._is_open(Deadline.after(self._config.rest_timeout_s, "asking about the room"))
        except NotFound:
            self._room_closed(life)
        except UTDStreamException:
            return
        else:
            if attempt < END_CHECKS:
                self._work.call_later(END_CHECK_S, lambda: self._check_end(attempt + 1, life))

    def _is_open(self, deadline: Deadline) -> None:
        """Asks the engine for the room. Raises: NotFound when there is none."""
        raise NotImplementedError

    def _room_closed(self, life: RoomLife) -> None:
        """Work thread: the engine closed the room of this connect."""
        self._thrown_out("ROOM_CLOSED", life)

    def _on_people(self, change: Change[tuple[RemoteParticipant, ...]]) -> None:
        roles = {}
        own = self._room.local_participant
        for person in (*change.new, *((own,) if own is not None else ())):
            told = codec.json_object(person.metadata) if person.metadata else None
            role = codec.text(told.get("role")) if told is not None else None
            if role is not None:
                roles[person.identity] = role
        self._roles.set(roles)

    # -- rejoining -------------------------------------------------------------------------------

    def _is_wanted(self) -> bool:
        return self._wanted and not self._disposed

    def _on_connection(self, change: Change[Connection]) -> None:
        super()._on_connection(change)
        outage, self._outage = self._outage, None
        if outage is not None:
            outage.cancel()
        if change.new.state is S.RECONNECTING:
            self._outage = self._work.call_later(LONG_AWAY_S, self._media.note_outage)
            self._place_wish.begin()
        elif self._is_reconnected(change):
            self._work.post(
                lambda: self._check_place(
                    Deadline.after(self._config.rest_timeout_s, "asking about the own place")
                )
            )

    def _check_place(self, deadline: Deadline) -> None:
        """Work thread: asks what became of the own place while the connection was interrupted."""
        raise NotImplementedError

    def _is_reconnected(self, change: Change[Connection]) -> bool:
        """Returns whether an interruption ended that no rejoin mended: that one looks at everything by itself."""
        is_back = change.old.is_away and change.new.state is S.CONNECTED
        return is_back and not self._media.comes_back

    def _rejoin_failed(self, error: UTDStreamException) -> None:
        """Rejoin thread: the engine does not let this participant in again."""
        self._media.stay_away(type(error).__name__)
        self._parts.report(CallbackError(error, "rejoining"))
