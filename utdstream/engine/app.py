"""The engine put together: store, media server, broker, services, HTTP.

Owns: what is made in which order, and taken down in the reverse. The only place that knows all parts.
Runs on the loop thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.types import ASGIApp

from utdstream.engine.api.acting import FrontDesk
from utdstream.engine.api.bans import BanHandlers
from utdstream.engine.api.calls import CallHandlers
from utdstream.engine.api.events import EventHandlers
from utdstream.engine.api.first_answers import FirstAnswers
from utdstream.engine.api.gate import Gate
from utdstream.engine.api.keys import KeyHandlers
from utdstream.engine.api.openapi import document
from utdstream.engine.api.operations import OPERATIONS
from utdstream.engine.api.pairings import PairingHandlers
from utdstream.engine.api.people import PeopleHandlers
from utdstream.engine.api.quotas import Quotas
from utdstream.engine.api.request import Answer, Ask, Handler
from utdstream.engine.api.rooms import RoomHandlers
from utdstream.engine.api.seats import SeatHandlers
from utdstream.engine.api.server import make_app
from utdstream.engine.api.stage import StageHandlers
from utdstream.engine.api.takeovers import Takeovers
from utdstream.engine.background import Lanes, Occasion, Timers
from utdstream.engine.config import EngineConfig
from utdstream.engine.flows.bans import BanService
from utdstream.engine.flows.call_watch import CallWatch
from utdstream.engine.flows.calls import CallService
from utdstream.engine.flows.good_copies import GoodCopies
from utdstream.engine.flows.keep_out import KeepOut
from utdstream.engine.flows.keys import KeyService
from utdstream.engine.flows.old_logins import OldLogins
from utdstream.engine.flows.pairing import PairingService
from utdstream.engine.flows.room_states import RoomDesk
from utdstream.engine.flows.room_watch import RoomWatch
from utdstream.engine.flows.rooms import RoomService
from utdstream.engine.flows.steady_clock import SteadyClock
from utdstream.engine.media.call_rooms import CallRooms
from utdstream.engine.media.room_follower import RoomFollower
from utdstream.engine.media.sfu import Participant, Sfu
from utdstream.engine.media.tokens import Tokens
from utdstream.engine.push.call_events import CallEvents
from utdstream.engine.push.notifier import Notifier
from utdstream.engine.rules.keys import AppKey, Login
from utdstream.engine.rules.ringing import Patience
from utdstream.engine.rules.rooms import own_name
from utdstream.engine.store.sqlite.database import open_store

CLOSE_WITHIN_S = 0.8

_log = logging.getLogger(__name__)


class Engine:
    """One engine of one project. `open()` inside a running loop, `close()` there."""

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        project, app_id = config.project, config.project.app_id
        answered: Occasion[[str]] = Occasion()
        broker_up: Occasion[[]] = Occasion()
        self.lanes = Lanes()
        self.timers = Timers()
        self.tokens = Tokens(config)
        self.store = open_store(config.engine.database)
        self.steady = SteadyClock(self.store, self.timers)
        self.sfu = Sfu(config.livekit)
        self.notifier: Notifier | None = None
        if config.mqtt is not None:
            self.notifier = Notifier(
                config.mqtt, app_id, self.tokens.mqtt_password, self.store.logins, broker_up
            )
        self.events = CallEvents(self.store, self.notifier)
        call_rooms = CallRooms(self.store, self.sfu, self.lanes, self.timers)
        self.calls = CallService(
            project,
            self.store,
            call_rooms,
            self.timers,
            self.events,
            answered=answered,
            broker_up=broker_up,
            steady=self.steady,
            patience=Patience(config.limits.unanswered_calls, project.call_ring_timeout_s)
            if config.limits.enabled
            else None,
        )
        self.watch = CallWatch(
            self.calls,
            self.store,
            self.sfu,
            call_rooms,
            self.timers,
            answered,
            away_s=config.project.call_away_s,
        )
        self.follower = RoomFollower(app_id, self.store, self.sfu, self.lanes, self.timers)
        self.desk = RoomDesk(app_id, self.store, self.follower)
        self.rooms = RoomService(
            app_id,
            self.store,
            self.sfu,
            self.desk,
            self.follower,
            max_rooms=project.max_concurrent_rooms,
            max_people=project.max_participants_per_room,
        )
        self.room_watch = RoomWatch(app_id, self.store, self.desk, self.follower, self.sfu, self.timers)
        self.bans = BanService(
            app_id,
            self.store,
            self.sfu,
            self.rooms,
            self.calls,
            self.lanes,
            self.timers,
            self.desk,
            self.steady,
            on_banned=self._banned,
        )
        self.keys = KeyService(
            app_id,
            self.store,
            self.sfu,
            self.calls,
            self.lanes,
            self.timers,
            is_key_open=config.is_key_open,
            on_revoked=self._revoked,
        )
        self.pairing = PairingService(
            config, self.tokens.secrets_mark, self.store, self.keys, self.timers, self.steady
        )
        self.old_logins = OldLogins(self.store.logins, self.timers, now=self.steady.now, end=self._end_logins)
        self.keep_out = KeepOut(self.sfu, self.lanes, self._is_kept_out)
        self.gate = Gate(
            self.tokens,
            config.limits,
            self.store.keys,
            is_key_open=config.is_key_open,
            check_ban=self.bans.check,
        )

    def _is_kept_out(self, room: str, person: Participant) -> bool:
        return self.keys.is_revoked(person) or self.bans.keeps_out(room, person.identity)

    def _banned(self, identity: str) -> None:
        self.events.close_all(identity)
        self._end_logins(self.store.logins.of(identity=identity))

    def _revoked(self, key: AppKey) -> None:
        self.events.close_all(key_id=key.id)
        self._end_logins(self.store.logins.of(key_id=key.id))

    def _end_logins(self, ended: list[Login]) -> None:
        if self.notifier is not None:
            self.notifier.end(ended)

    def open(self) -> None:
        """Takes up the calls of the database, connects to the broker, begins to poll."""
        if self.config.is_key_open and not self.config.is_loopback:
            _log.warning(
                "open_key is on and this engine serves a network: whoever reads app_key there, or in one device, "
                "may be any identity; make keys with `utdstream engine key add`, then take open_key away"
            )
        if self.notifier is not None:
            self.notifier.start()
        self.steady.start()
        self.calls.start()
        self.watch.start()
        self.room_watch.start()
        self.bans.start()
        self.keys.start()
        self.pairing.start()
        self.old_logins.start()
        GoodCopies(self.store, self.timers).start()
        self.timers.start()

    async def close(self) -> None:
        """Stops everything; what is not done yet is in the database."""
        try:
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await self.timers.stop()
                await self.lanes.stop()
                if self.notifier is not None:
                    await self.notifier.stop()
                await self.sfu.close()
        except TimeoutError:
            _log.warning("the engine did not close in good order")
        self.store.close()

    def handlers(self) -> dict[str, Handler]:
        """Operation id to handler."""
        config, desk = self.config, FrontDesk(self.desk)
        quotas = Quotas(config.limits, self.store)
        media_url = config.livekit.public_url
        rooms = RoomHandlers(
            self.rooms,
            self.desk,
            self.tokens,
            config.project,
            media_url,
            bans=self.bans,
            takeovers=Takeovers(config.limits, self.rooms.is_present),
            notifier=self.notifier,
            quotas=quotas,
        )
        first_answers = FirstAnswers()
        families = (
            CallHandlers(self.calls, self.tokens, media_url, quotas),
            rooms,
            SeatHandlers(desk),
            StageHandlers(desk, self.rooms),
            PeopleHandlers(desk, self.rooms),
            BanHandlers(self.bans, self.rooms, config.project.app_id),
            KeyHandlers(self.keys),
            PairingHandlers(self.pairing),
            EventHandlers(self.events, quotas),
            first_answers,
        )
        found: dict[str, Handler] = {"health": self.health, "openapi": _openapi}
        for family in families:
            found.update(family.handlers())
        _must_be_complete(found)
        return {row.id: first_answers.once(row, found[row.id]) for row in OPERATIONS}

    async def health(self, ask: Ask) -> Answer:
        """GET /health: at once, whatever the other parts do."""
        parts: dict[str, object] = {"livekit": _word(self.sfu.is_up)}
        if self.notifier is not None:
            parts["mqtt"] = _word(self.notifier.is_up)
        return Answer({"status": "ok", "parts": parts, "open_key": self.config.is_key_open})

    def webhook(self, body: str, authorization: str) -> bool:
        """Takes a webhook of the media server; False when it is not signed with our key."""
        hook = self.sfu.webhook(body, authorization, self._is_call_over)
        if hook is None:
            return False
        self.keep_out.webhook(hook)
        if own_name(hook.room, self.config.project.app_id) is None:
            self.watch.webhook(hook)
            return True
        if hook.event == "room_finished":
            self.lanes.put(hook.room, lambda: self.rooms.webhook(hook))
        self.room_watch.webhook(hook)
        return True

    def _is_call_over(self, media_room: str) -> bool:
        is_room = not media_room or own_name(media_room, self.config.project.app_id) is not None
        return not is_room and not self.store.calls.is_open(media_room)


def make(config: EngineConfig) -> ASGIApp:
    """The ASGI application of an engine; it lives from lifespan startup to shutdown."""
    return make_stoppable(config)[0]


def make_stoppable(config: EngineConfig) -> tuple[ASGIApp, Callable[[], None]]:
    """The same, and what to call when the server begins to stop: it ends the answers that go on for ever,
    which the server would wait for before the lifespan's shutdown.
    """
    running: list[Engine] = []
    handlers: dict[str, Handler] = {}

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        engine = Engine(config)
        running.append(engine)
        handlers.update(engine.handlers())
        engine.open()
        try:
            yield
        finally:
            await engine.close()
            running.clear()

    app = make_app(
        handlers,
        lambda: running[0].gate,
        lambda body, authorization: running[0].webhook(body, authorization),
        lifespan,
    )

    def stop_streams() -> None:
        for engine in running:
            engine.events.close_all()

    return app, stop_streams


def _must_be_complete(handlers: Mapping[str, Handler]) -> None:
    """Raises: RuntimeError: an operation nobody handles would answer 500, and only when it is asked for."""
    served = {operation.id for operation in OPERATIONS}
    if without := served - handlers.keys():
        raise RuntimeError(f"no handler for {', '.join(sorted(without))}: name it in its family's handlers()")
    if unknown := handlers.keys() - served:
        raise RuntimeError(
            f"no operation has the id {', '.join(sorted(unknown))}: add its row to api/operations/"
        )


async def _openapi(ask: Ask) -> Answer:
    return Answer(document())


def _word(up: bool | None) -> str:
    return "unknown" if up is None else "up" if up else "down"
