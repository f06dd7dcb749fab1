"""The media room under a `UTDRoom` or a session: one connect after the other, never two.

Owns: `MediaRoom`, which life is the present one, and what a session does with it. Threads: any may call; only the
loop touches what belongs to LiveKit. Must not import REST; the media core is reached late.

1. A life is over once, by what comes first: its own end, a leave, a failed join, a deadline.
2. `leave` and `begin_leaving` are told which life; a newer one is never touched by what was meant for an older.
   Only `disconnect` means the present one: it is for the program itself, and for the end of the session.
3. Wishes outlive a life. While the room is away (lost and coming back, being joined, reconnecting) a wish is made
   and stands; the call that made it returns at once. Without a room, and none that comes back, it is refused.
4. A thread of the program's that makes a wish takes no lock that the loop takes: a signal handler may dispose
   between any two of its lines, and would wait for a loop that waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from utdstream._session.connect import RoomLife
from utdstream._session.facts import RoomFacts
from utdstream._session.rejoin import Rejoin
from utdstream._threads.deadline import Deadline
from utdstream._threads.wishes import Wish, Wishes
from utdstream.errors import (
    DeadlineExceeded,
    InvalidConfig,
    PublishRefused,
    SessionClosed,
    UsageError,
    UTDStreamException,
)
from utdstream.models import Connection, ConnectionState
from utdstream.observe import CallbackError

if TYPE_CHECKING:
    from utdstream._livekit.connection import RoomConnection
    from utdstream._livekit.link import Door
    from utdstream._livekit.loop import LoopThread


KNOCK_WITHIN_S = 1.0


class MediaRoom:
    """Joins, leaves and publishes; its facts are in `facts`."""

    def __init__(self, facts: RoomFacts) -> None:
        self.facts = facts
        self.wishes = Wishes()
        self.rejoin: Rejoin | None = None
        """How the session joins a room again that was lost; None: it does not."""
        self._loop: LoopThread | None = None
        """Since the first join."""
        # Under `facts.lock`, held for reads and writes of these fields only:
        self._life: RoomLife | None = None
        self._freeing: RoomLife | None = None
        """The last life, over but perhaps still closing its devices: leaving waits for it."""
        self._disposed = False
        self._door: Door | None = None

    @property
    def life(self) -> RoomLife | None:
        """The present life, None when there is none. Any thread, takes no lock."""
        return self._life

    def require(self, doing: str) -> tuple[RoomLife, RoomConnection]:
        """Returns the present life and its connection, once it has joined. Raises: SessionClosed."""
        life = self._life
        if life is None or life.connection is None or not life.joined:
            raise SessionClosed(f"{doing}: the room is not connected; connect first")
        return life, life.connection

    # -- joining and leaving ---------------------------------------------------------------------

    def join(
        self,
        url: str,
        token: str,
        deadline: Deadline,
        *,
        auto_subscribe: bool = True,
        publish: Mapping[str, bool] | None = None,
        open_early: bool = False,
        wanted: Callable[[RoomLife], bool] = lambda _: True,
    ) -> None:
        """Joins the room that `token` names.

        `publish`: microphone and camera that go on air (True) or muted (False) as soon as it is allowed, and no
        wish of before; None: the wishes stand as they are.
        `open_early`: it will be allowed for certain, so the devices open while the room is joined.
        `wanted`: asked under the lock in the moment the life begins, so that its owner can note which life it is;
        False: the room was left meanwhile.
        Blocks: to the deadline. Raises: ConnectFailed, DeadlineExceeded, UsageError when already connected,
        SessionClosed when disposed or left meanwhile, InvalidConfig.
        """
        if not isinstance(url, str) or not url.startswith(("ws://", "wss://", "http://", "https://")):
            raise InvalidConfig(f"connect: url must begin with ws:// or wss://, not {str(url)[:40]!r}")
        if not isinstance(token, str) or not token:
            raise InvalidConfig("connect: token must be the text that the engine gave")
        from utdstream._livekit.loop import loop_thread

        loop = self._loop = loop_thread()
        with self.facts.lock:
            if self._disposed:
                raise SessionClosed("connect: the room was disposed; make a new one")
            if self._life is not None:
                raise UsageError("connect: already connected or connecting; disconnect() first")
            life = RoomLife(
                self.facts,
                loop,
                auto_subscribe=auto_subscribe,
                wishes=self.wishes,
                open_early=open_early,
                on_end=self.end,
                rejoins=self.rejoin is not None,
            )
            if not wanted(life):  # whoever leaves it from now on finds it
                raise SessionClosed("connect: the room was left meanwhile")
            self._life = life
            if publish is not None:
                self.wishes.begin(publish)
        try:
            with self.facts.lock:
                if not life.over and not self.comes_back:  # left in between: its end was shown
                    self.facts.show(Connection(ConnectionState.CONNECTING))
            loop.finish(lambda: life.join(url, token), deadline=deadline, undo=life.give_up)
        except BaseException as error:
            life.is_failed_join = True
            loop.post(life.give_up)  # KeyboardInterrupt may come anywhere, also before `finish` waits
            self.end(life, error.message if isinstance(error, UTDStreamException) else type(error).__name__)
            raise

    def come_later(self, publish: Mapping[str, bool]) -> None:
        """Has a room joined that cannot be joined yet, by `rejoin`, which meets these wishes then.

        Blocks: while the media core loads, the first time. Raises: SessionClosed when disposed.
        """
        from utdstream._livekit.loop import loop_thread

        self._loop = loop_thread()  # wishes are looked at there
        with self.facts.lock:
            if self._disposed:
                raise SessionClosed("connect: the room was disposed; make a new one")
            self.wishes.begin(publish)
            if self.rejoin is not None and self.rejoin.begins("JOIN_FAILURE"):
                self.facts.show_away("JOIN_FAILURE", comes_back=True)

    @property
    def comes_back(self) -> bool:
        """Whether the room was lost, or could not be joined yet, and is joined by the session."""
        return self.rejoin is not None and self.rejoin.is_under_way

    def end(self, life: RoomLife, reason: str) -> None:
        """Ends this life: the facts say so, unless that was said before."""
        with self.facts.lock:
            if life.over:
                return
            life.over = True
            self._life, self._freeing = None, life
            self._door = (life.connection and life.connection.door) or self._door
            was_there = life.joined and not life.is_failed_join
            lost = was_there and self.rejoin is not None and self.rejoin.begins(reason)
            self.facts.show_away(reason, comes_back=lost or self.comes_back)

    def is_door_open(self) -> bool:
        """Whether the media server of the last life takes connections; True when that is not known.

        Blocks: half a second at most. Any thread but the loop.
        """
        loop, door = self._loop, self._door
        if loop is None or door is None:
            return True
        try:
            return loop.run(door.knock, deadline=Deadline.after(KNOCK_WITHIN_S, "knocking"))
        except UTDStreamException:
            return False

    def note_outage(self) -> None:
        """Shows that a room that comes back is away for long, once it is. Any thread, does not block."""
        with self.facts.lock:
            life = self._life
            if self.comes_back if life is None else life.joined and self.rejoin is not None:
                self.facts.show_outage()

    def stay_away(self, reason: str = "CLIENT_INITIATED") -> None:
        """Shows that a room that was lost is not joined again after all. Any thread, does not block."""
        with self.facts.lock:
            if self._life is None and not self.comes_back:
                self.facts.show_away(reason, comes_back=False)

    def disconnect(self, deadline: Deadline) -> bool:
        """Leaves the present life, or waits for what the last one still frees; False when that goes on.

        Blocks: to the deadline.
        """
        with self.facts.lock:
            life = self._life or self._freeing
        if life is not None:
            return self.leave(life, deadline)
        self.stay_away()
        return True

    def leave(self, life: RoomLife, deadline: Deadline, reason: str = "CLIENT_INITIATED") -> bool:
        """Leaves this life; a newer one is not touched. What fails is reported.

        Blocks: to the deadline; the room counts as left then. False: the rest goes on in the background.
        """
        life.reason = reason
        freed = True
        try:
            life.loop.finish(life.leave, deadline=deadline, undo=lambda task: None)
        except UTDStreamException as error:
            freed = not isinstance(error, DeadlineExceeded)
            self.facts.report(CallbackError(error, "disconnect"))
        finally:
            self.end(life, reason)
            self.stay_away(reason)
            with self.facts.lock:
                if freed and self._freeing is life:
                    self._freeing = None
        return freed

    def begin_leaving(self, life: RoomLife) -> None:
        """Stops this life's devices and leaves the room in the background; a later `disconnect` waits for it.

        Any thread, does not block.
        """
        life.loop.post(life.begin_leaving)
        self.stay_away()

    def dispose(self, deadline: Deadline) -> None:
        """Leaves for ever and ends all waits. Idempotent. Blocks: to the deadline."""
        with self.facts.lock:
            self._disposed = True
        self.disconnect(deadline)
        self.facts.close()

    # -- publishing ------------------------------------------------------------------------------

    def set_device(self, kind: str, deadline: Deadline, *, enabled: bool) -> None:
        """Wants this device on or muted, and waits until it is; while the room is away the wish stands (rule 3).

        Blocks: to the deadline; then the wish is taken back. Raises: PublishRefused, DeviceError, SessionClosed.
        """
        life = self._life
        if enabled and life is not None and life.connection is not None and life.joined:
            try:
                life.loop.call(life.connection.require_permission, kind, deadline=deadline)
            except PublishRefused:
                if not self._is_away(deadline):
                    raise
        wish = {kind: Wish(True, muted=not enabled)}
        self._meet(lambda number: self.wishes.make(wish, number), [kind], deadline, f"set_{kind}")

    def publish(self, kinds: Iterable[str], deadline: Deadline, doing: str, *, unmuted: bool = False) -> None:
        """Publishes several devices and waits until each is; missing ones are left out.

        They are muted as they were wished before, unless `unmuted`.
        Blocks: to the deadline; then the wish is taken back. Raises: what the first that failed raised.
        """
        self.require(doing)
        present = [kind for kind in kinds if getattr(self.facts.devices, kind) is not None]
        for kind in present:
            self.refuse_publishing(kind, deadline, doing)

        def make(number: int) -> int:
            if unmuted:
                return self.wishes.make(dict.fromkeys(present, Wish(True)), number)
            return self.wishes.publish(present, number)

        self._meet(make, present, deadline, doing)

    def _meet(self, make: Callable[[int], int], kinds: list[str], deadline: Deadline, doing: str) -> None:
        """Makes a wish and waits until it is met, or stands because the room is away.

        The loop looks whether it is (rule 4); the wish is made here: those of one thread are in its order.
        """
        closed = SessionClosed(f"{doing}: the room is not connected; connect first")
        loop = self._loop
        if loop is None:
            raise closed

        def look() -> RoomConnection | None:
            with self.facts.lock:
                life = self._life
                if life is None and not self.comes_back:
                    raise closed
                return life.connection if life is not None and life.joined else None

        number, looked = self.wishes.number(), False
        try:
            make(number)
            connection = loop.call(look, deadline=deadline)
            looked = True
            if connection is not None:
                loop.run(lambda: connection.met(kinds), deadline=deadline)
        except BaseException as error:
            stays = (
                looked and isinstance(error, UTDStreamException) and not isinstance(error, DeadlineExceeded)
            )
            if not stays:
                self._take_back(number)
            if not stays or not self._is_away(deadline):
                raise
        self.wishes.settle(number)

    def _take_back(self, number: int) -> None:
        self.wishes.take_back(number)
        life = self._life
        if life is not None and life.connection is not None:
            life.loop.post(life.connection.reconcile)

    def _is_away(self, deadline: Deadline) -> bool:
        """The room was lost, or is being joined, and will be there again by itself. Blocks: to the deadline."""

        def look() -> bool:
            with self.facts.lock:
                return self.comes_back if self._life is None else not self._life.joined

        return self._loop is not None and self._loop.call(look, deadline=deadline)

    def refuse_publishing(self, kind: str, deadline: Deadline, doing: str) -> None:
        """Raises: PublishRefused when the media server does not allow this kind of device now."""
        life, connection = self.require(doing)
        life.loop.call(connection.require_permission, kind, deadline=deadline)

    def withdraw(self, deadline: Deadline | None = None) -> None:
        """Stops and unpublishes microphone and camera; with a deadline it waits until they are.

        Any thread, does not block, when there is no deadline.
        """
        self.wishes.withdraw()
        life = self._life
        connection = life.connection if life is not None else None
        if life is None or connection is None:
            return
        if deadline is None:
            life.loop.post(connection.reconcile)
        else:
            life.loop.run(lambda: connection.met(["microphone", "camera"]), deadline=deadline)

    def settle_publishing(self, deadline: Deadline) -> None:
        """Waits until what is wished for is published, or has failed and was reported. Blocks: to the deadline."""
        life, connection = self.require("publishing")
        life.loop.run(connection.settle_publishing, deadline=deadline)
