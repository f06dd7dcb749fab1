"""The media room under a `UTDRoom` or a session: one connect after the other, never two.

Owns: `MediaRoom`, which life is the present one, and what a session does with it. Threads: any may call; only the
loop touches what belongs to LiveKit. Must not import REST; the media core is reached late.

1. A life is over once, by what comes first: its own end, a leave, a failed join, a deadline.
2. `leave` and `begin_leaving` are told which life; a newer one is never touched by what was meant for an older.
   Only `disconnect` means the present one: it is for the program itself, and for the end of the session.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from utdstream._session.connect import RoomLife
from utdstream._session.facts import RoomFacts
from utdstream._threads.deadline import Deadline
from utdstream.errors import DeadlineExceeded, InvalidConfig, SessionClosed, UsageError, UTDStreamException
from utdstream.models import Connection, ConnectionState
from utdstream.observe import CallbackError

if TYPE_CHECKING:
    from utdstream._livekit.connection import RoomConnection


class MediaRoom:
    """Joins, leaves and publishes; its facts are in `facts`."""

    def __init__(self, facts: RoomFacts) -> None:
        self.facts = facts
        # Under `facts.lock`, held for reads and writes of these fields only:
        self._life: RoomLife | None = None
        self._freeing: RoomLife | None = None
        """The last life, over but perhaps still closing its devices: leaving waits for it."""
        self._disposed = False

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

        `publish`: microphone and camera that go on air (True) or muted (False) as soon as it is allowed.
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

        loop = loop_thread()
        with self.facts.lock:
            if self._disposed:
                raise SessionClosed("connect: the room was disposed; make a new one")
            if self._life is not None:
                raise UsageError("connect: already connected or connecting; disconnect() first")
            life = RoomLife(
                self.facts,
                loop,
                auto_subscribe=auto_subscribe,
                publish=publish or {},
                open_early=open_early,
                on_end=self.end,
            )
            if not wanted(life):  # whoever leaves it from now on finds it
                raise SessionClosed("connect: the room was left meanwhile")
            self._life = life
        try:
            with self.facts.lock:
                if not life.over:  # left in between: the end was shown, and nothing shows it again
                    self.facts.connection.set(Connection(ConnectionState.CONNECTING))
            loop.finish(lambda: life.join(url, token), deadline=deadline, undo=life.give_up)
        except BaseException as error:
            loop.post(life.give_up)  # KeyboardInterrupt may come anywhere, also before `finish` waits
            self.end(life, error.message if isinstance(error, UTDStreamException) else type(error).__name__)
            raise

    def end(self, life: RoomLife, reason: str) -> None:
        """Ends this life: the facts say so, unless that was said before."""
        with self.facts.lock:
            if life.over:
                return
            life.over = True
            self._life, self._freeing = None, life
            self.facts.show_disconnected(reason)

    def disconnect(self, deadline: Deadline) -> bool:
        """Leaves the present life, or waits for what the last one still frees; False when that goes on.

        Blocks: to the deadline.
        """
        with self.facts.lock:
            life = self._life or self._freeing
        return life is None or self.leave(life, deadline)

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
            with self.facts.lock:
                if freed and self._freeing is life:
                    self._freeing = None
        return freed

    def begin_leaving(self, life: RoomLife) -> None:
        """Stops this life's devices and leaves the room in the background; a later `disconnect` waits for it.

        Any thread, does not block.
        """
        life.loop.post(life.begin_leaving)

    def dispose(self, deadline: Deadline) -> bool:
        """Leaves for ever and ends all waits; False when that was done before. Blocks: to the deadline."""
        with self.facts.lock:
            if self._disposed:
                return False
            self._disposed = True
        self.disconnect(deadline)
        self.facts.close()
        return True

    # -- publishing ------------------------------------------------------------------------------

    def publish(self, wanted: Mapping[str, Callable[[], bool]], deadline: Deadline, doing: str) -> None:
        """Publishes several devices, on or muted, and waits until each is so; missing ones are left out.

        Each is asked on the loop, in the turn in which its wish counts: a mute that came meanwhile counts.
        Blocks: to the deadline. Raises: what the first that failed raised.
        """
        from utdstream._livekit.publishing import Wish

        life, connection = self.require(doing)
        present = {kind: is_on for kind, is_on in wanted.items() if self._has(kind)}
        for kind in present:
            self.refuse_publishing(kind, deadline, doing)
        life.loop.run(
            lambda: connection.set_wishes(
                {kind: Wish.ON if is_on() else Wish.MUTED for kind, is_on in present.items()}
            ),
            deadline=deadline,
        )

    def _has(self, kind: str) -> bool:
        return getattr(self.facts.devices, kind) is not None

    def refuse_publishing(self, kind: str, deadline: Deadline, doing: str) -> None:
        """Raises: PublishRefused when the media server does not allow this kind of device now."""
        life, connection = self.require(doing)
        life.loop.call(connection.require_permission, kind, deadline=deadline)

    def withdraw(self, deadline: Deadline | None = None) -> None:
        """Stops and unpublishes microphone and camera; with a deadline it waits until they are.

        Any thread, does not block, when there is no deadline.
        """
        life = self._life
        connection = life.connection if life is not None else None
        if life is None or connection is None:
            return
        from utdstream._livekit.publishing import Wish

        wishes = {"microphone": Wish.OFF, "camera": Wish.OFF}
        if deadline is None:
            life.loop.post(lambda: life.loop.spawn(connection.set_wishes(wishes)))
        else:
            life.loop.run(lambda: connection.set_wishes(wishes), deadline=deadline)

    def wishes(self, deadline: Deadline) -> Mapping[str, bool]:
        """Returns what the present or last life wished to publish, for a life that follows it. Blocks: briefly."""
        with self.facts.lock:
            life = self._life or self._freeing
        return life.loop.call(life.wishes, deadline=deadline) if life is not None else {}

    def settle_publishing(self, deadline: Deadline) -> None:
        """Waits until what is wished for is published, or has failed and was reported. Blocks: to the deadline."""
        life, connection = self.require("publishing")
        life.loop.run(connection.settle_publishing, deadline=deadline)
