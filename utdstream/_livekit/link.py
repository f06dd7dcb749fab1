"""Whether the media server is heard: a watch of our own, for the core says that it is not after 15 s only.

Owns: `LinkWatch`, one a connection, and the knock at the media server's door. What the figures of a connection say
is in `hearing`. Thread: the loop. Must not import sessions.

1. Any packet is heard, media or not: whoever publishes gets the media server's feedback once a second, and a room
   in which nobody speaks still has its STUN checks, every 2 s.
2. Silence beyond what is usual is a question: the media server's door is knocked at. Nobody there: the link is
   lost. Somebody there: silence is borne for a while longer, then it is a loss too (media alone may be blocked).
   Figures that are late are no silence: a process that is short of time would give up all that it has.
3. A short loss mends itself: the same connection is heard again. After a longer one the core needs seconds to
   notice that the link is back: the connection is given up when the door opens, and a new one is joined.
4. The others may be silent though the media server is heard: a party that is frozen, or whose link is lost.
5. Before a join is done nothing can be heard. What the core then misses for 15 s is that its signal connection is
   gone: it has none any more, though the media server's door is open. Any other new connection of this process to
   that port counts as one, and where none can be seen (not Linux) nothing is said.
6. Media may be heard while the signal connection is half-open, and all that is said is lost: the core is made to
   connect it again as soon as the door opens (`signal_socket`).
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

from livekit import rtc

from utdstream._livekit.hearing import LOOK_S, QUICK_S, Hearing, figures
from utdstream._livekit.loop import LoopThread
from utdstream._livekit.signal_socket import SignalSocket

_log = logging.getLogger(__name__)

FIRST_LOOK_S = 0.03
"""After a join has begun, and then twice as long each time: its signal connection is there, or will be before the
join is done, which takes some round trips more; and the loop is idle while media is negotiated."""
FIGURES_S = 0.5
LOST_S = 3.0
"""Figures that are so late may not come (the core loses some that are asked for while it reconnects): they are
asked for again, and waited for twice as long, since this machine may be slow."""
KNOCK_S = 0.5
MENDS_ITSELF_S = 4.0
"""A loss that was shorter than this is left to the connection: ICE finds the link again within a second. Not when
the media server was gone meanwhile: it knows nothing of the connection any more."""
LONG_SHUT_S = 150.0
"""A door that was shut for so long is knocked at less."""
AGAIN_S = 0.1
"""Between two knocks at a door that is closed, or has just opened."""
PEER_SILENT_S = 5.0
"""More than three heartbeats (`heartbeat`): two of them may be lost."""
ASKED_AGAIN = 2
SIGNAL_AGAIN_S = 1.2
"""So soon after a silence the signal connection is not called lost: the kernel tries it again once a second."""
GONE, NEVER_SEEN = 4, 15
"""So many looks in a row: the core connects again within some milliseconds, if it does, but may take its time to
look up a name. A connection that lived for less than a look was not seen."""
REFRESH_S = 2.5
REFRESHES = 3
"""So often, and so many times, a key frame is asked for: of some pictures nothing can be made here."""


class Door:
    """The port of the media server that this connection was joined by."""

    def __init__(self, loop: LoopThread, url: str) -> None:
        parts = urlsplit(url)
        self._loop = loop
        self._is_plain = parts.scheme in ("ws", "http")
        self._host = parts.hostname or ""
        self.port = parts.port or (80 if self._is_plain else 443)
        self._address: str | None = None
        self._shut_since = float("inf")
        self.was_refused = False
        """The machine answered, and nobody listened: whoever did is gone, with all that it knew of its rooms."""

    async def look_up(self) -> None:
        """Resolves the name once, while it can be: in a loss of the link names cannot."""
        with contextlib.suppress(ValueError):
            self._address = str(ipaddress.ip_address(self._host))
            return
        with contextlib.suppress(OSError):
            found = await self._loop.in_thread(
                lambda: socket.getaddrinfo(self._host, self.port, type=socket.SOCK_STREAM), "utdstream-name"
            )
            self._address = str(found[0][4][0])

    async def knock(self) -> bool:
        """Whether somebody is there; False within `KNOCK_S` when not.

        It is knocked at again and again meanwhile: what was said before a link came back is lost, and the kernel
        would repeat it a second later. Once only while its address is not known, and after minutes: a router
        remembers each knock for two.
        """
        now = self._loop.asyncio_loop.time()
        is_quick = self._address is not None and now < self._shut_since + LONG_SHUT_S
        over, again_s = now + KNOCK_S, AGAIN_S if is_quick else KNOCK_S
        knocks: set[asyncio.Task[bool]] = set()
        answered: set[asyncio.Task[bool]] = set()
        try:
            while (left_s := over - self._loop.asyncio_loop.time()) > 0:
                knocks.add(self._loop.spawn(self._knock_once()))
                answered, knocks = await asyncio.wait(
                    knocks, timeout=min(again_s, left_s), return_when=asyncio.FIRST_COMPLETED
                )
                if answered:
                    break
            is_open = any(task.result() for task in answered)
            self._shut_since = float("inf") if is_open else min(self._shut_since, now)
            return is_open
        finally:
            for task in knocks:
                task.cancel()

    async def _knock_once(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection(self._address or self._host, self.port)
            try:
                if not self._is_plain:
                    return True
                writer.write(b"GET / HTTP/1.0\r\n\r\n")  # a process that is frozen accepts, and says nothing
                return bool(await reader.read(1))
            finally:
                writer.close()
        except OSError as error:
            self.was_refused = self.was_refused or isinstance(error, ConnectionRefusedError)
            return False


class LinkWatch:
    """Watches one connection from `start` to `stop`.

    `tell(heard)` is called when the link is lost (False) and when it is there again (True); `give_up` when the
    connection will not hear it soon (None: it is left alone); `others(silent)` when they fall silent, and speak;
    `refresh` when a picture waits for a key frame.
    """

    def __init__(
        self,
        loop: LoopThread,
        *,
        tell: Callable[[bool], None],
        others: Callable[[bool], None],
        publishes: Callable[[], bool],
        expects_others: Callable[[], bool],
        refresh: Callable[[], None],
        give_up: Callable[[], None] | None,
    ) -> None:
        self._loop = loop
        self._tell = tell
        self._others = others
        self._publishes = publishes
        self._expects_others = expects_others
        self._refresh = refresh
        self._give_up = give_up
        self._is_lost = False
        self._are_silent = False
        self._was_open = False
        self._refreshed_at = float("-inf")
        self._refreshes = 0
        self._task: asyncio.Task[None] | None = None
        self._core_reconnects = False
        """The core itself has noticed, and tells the end of it too."""
        self._asking: asyncio.Task[rtc.RtcStats] | None = None
        self._asked_at, self._patience_s = 0.0, LOST_S
        self._looked_at = 0.0
        self._hearing = Hearing(self._now())
        self._signal = SignalSocket()
        self.door: Door | None = None
        self._silent_at = float("-inf")

    def start(self, room: rtc.Room, url: str) -> None:
        """Begins: the room is connected."""
        self.door = Door(self._loop, url)
        if not self._signal.is_open:  # as a rule it was found while the core was still joining
            self._signal.find(self.door.port)
        self._task = self._loop.spawn(self._watch(room, self.door))

    async def join_broke(self, url: str) -> None:
        """Returns when the signal connection of a join that is under way is gone, and the core makes no other."""
        door = Door(self._loop, url)
        await door.look_up()
        was_there, gone = False, 0
        while not self._signal.can_see:
            await asyncio.sleep(LOOK_S)
        pause_s = FIRST_LOOK_S
        while gone < (GONE if was_there else NEVER_SEEN):
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, QUICK_S)
            self._signal.find(door.port)
            was_there = was_there or self._signal.is_there
            is_gone = not self._signal.is_there and await door.knock()
            gone = gone + 1 if is_gone else 0

    def stop(self) -> None:
        """Ends. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        self._forget_asking()

    def core_reconnects(self, reconnects: bool) -> None:
        """Hears that the core reconnects by itself, and that it has: nothing is lost any more then."""
        self._core_reconnects = reconnects
        self._is_lost = self._is_lost and reconnects
        if self.door is not None and not reconnects:
            self._signal.find(self.door.port)

    def others_heard(self) -> None:
        """Hears that another participant has said that it is there."""
        self._hearing.excuse_others(self._now())

    async def _watch(self, room: rtc.Room, door: Door) -> None:
        """Watches on, whatever fails: without a watch a loss is left to the core, which takes 15 s for it."""
        level = logging.WARNING
        while True:
            try:
                return await self._run(room, door)
            except Exception as error:  # noqa: BLE001 - the outermost frame of this task
                _log.log(level, "the watch over the link begins anew: %r", error)
                level = logging.DEBUG  # it may fail each second from now on
                await asyncio.sleep(LOOK_S)

    async def _run(self, room: rtc.Room, door: Door) -> None:
        await door.look_up()
        self._looked_at = self._now()
        hearing = self._hearing = Hearing(self._looked_at)
        pause_s = LOOK_S
        while True:
            await self._pause(pause_s)
            knock = self._loop.spawn(door.knock()) if self._is_lost else None
            await self._look(room, hearing)
            publishes = self._publishes()
            if hearing.left_s(self._now(), publishes=publishes) > 0:
                self._was_open = door.was_refused = False
                is_deaf = await self._is_signal_lost(door)
                self._found(heard=not is_deaf)
                self._listen_for_others(hearing)
                pause_s = hearing.next_look_s(self._now(), publishes=publishes)
                continue
            pause_s = AGAIN_S if self._is_lost else QUICK_S
            self._silent_at = self._now()
            hearing.excuse_others(self._now())
            if not await (knock or door.knock()):
                self._was_open = False
                self._found(heard=False)
            elif (
                self._is_lost or self._core_reconnects or hearing.is_blocked(self._now(), publishes=publishes)
            ):
                self._found(heard=False)
                if self._is_too_late(hearing, door):
                    return

    async def _pause(self, pause_s: float) -> None:
        """Waits; no longer than until the signal connection is a question, which costs microseconds to know."""
        over = self._now() + pause_s
        while (left_s := over - self._now()) > 0:
            await asyncio.sleep(min(left_s, max(QUICK_S, -self._signal.silent_s())))
            if self._signal.silent_s() > 0:
                return

    async def _look(self, room: rtc.Room, hearing: Hearing) -> None:
        """Takes the figures, if the core has any now."""
        last, is_late = self._looked_at, self._asking is not None
        if is_late and self._now() >= self._asked_at + self._patience_s:
            self._patience_s *= 2
            self._forget_asking()
        if self._asking is None:
            self._asking, self._asked_at = self._loop.spawn(room.get_rtc_stats()), self._now()
        asking = self._asking
        await asyncio.wait({asking}, timeout=FIGURES_S)
        now = self._looked_at = self._now()
        if (is_late or not asking.done()) and not self._core_reconnects:
            hearing.pass_over(now - last)
        if asking.done():
            self._asking, self._patience_s = None, LOST_S
            if not asking.cancelled() and asking.exception() is None:
                hearing.take(figures(asking.result()), now)
        elif self._core_reconnects:
            self._forget_asking()

    def _forget_asking(self) -> None:
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.cancel()

    async def _is_signal_lost(self, door: Door) -> bool:
        """Whether what is said is lost though media is heard; has the core connect again, once that can work."""
        if self._core_reconnects or self._now() < self._silent_at + SIGNAL_AGAIN_S:
            return False
        for _ in range(ASKED_AGAIN):  # a probe may be lost by itself
            if self._signal.silent_s() <= 0:
                return False
            self._signal.probe()
            if not await door.knock():
                return True
        _log.info("the signal connection is half-open: the core connects it again")
        self._found(heard=False)
        self._signal.hang_up()
        return True

    def _found(self, *, heard: bool) -> None:
        if self._is_lost is heard:
            self._is_lost = not heard
            if not self._core_reconnects:
                self._tell(heard)

    def _look_at_pictures(self, hearing: Hearing) -> None:
        """Has a key frame asked for, when a picture waits for one: the core would wait for 3 s first."""
        now = self._now()
        if not hearing.is_picture_stuck:
            self._refreshes = 0
        elif self._refreshes < REFRESHES and now - self._refreshed_at > REFRESH_S:
            self._refreshes += 1
            self._refreshed_at = now
            self._refresh()

    def _listen_for_others(self, hearing: Hearing) -> None:
        self._look_at_pictures(hearing)
        if not self._expects_others():
            hearing.excuse_others(self._now())
        silent = hearing.others_silent_s(self._now()) >= PEER_SILENT_S
        if silent is not self._are_silent:
            self._are_silent = silent
            self._others(silent)

    def _is_too_late(self, hearing: Hearing, door: Door) -> bool:
        """Gives the connection up, when a new one comes sooner than it would hear anything again."""
        was_open, self._was_open = self._was_open, True  # in between something might have been heard
        now = self._now()
        mends_itself = hearing.silent_s(now) < MENDS_ITSELF_S and not door.was_refused
        if self._give_up is None or not was_open or mends_itself:
            return False
        _log.info("nothing was heard for %.1f s and the media server can be reached", hearing.silent_s(now))
        self._give_up()
        return True

    def _now(self) -> float:
        return self._loop.asyncio_loop.time()
