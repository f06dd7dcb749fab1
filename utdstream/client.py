"""UTDStreamClient: credentials in, sessions out.

Owns: the identity that is signed in, the sessions and inboxes it made. The only place that wires REST and
sessions.
Threads: any may call. Imports stay light: requests, livekit and paho are reached with the first use.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from functools import partial
from queue import Empty
from typing import Self, TypeVar

from utdstream._calls.answering import RingAnswers
from utdstream._calls.session import UTDCallSession
from utdstream._rest.api import Actor, EngineApi
from utdstream._rings.inbox import IncomingCallInbox, IncomingCalls, PollingOnly
from utdstream._rooms.audio_room import UTDAudioRoomSession
from utdstream._rooms.live_stream import UTDLiveStreamSession
from utdstream._rooms.session import Joining, enter
from utdstream._session.base import SessionParts, UTDSession
from utdstream._session.warm_up import warm_up
from utdstream._threads.deadline import Deadline
from utdstream._threads.errands import free_once, run_errand, start_thread
from utdstream._threads.facts import Occurrences
from utdstream._threads.lanes import EventsLane
from utdstream._wire import names
from utdstream.config import DEFAULT_BASE_URL, DEFAULT_TOKEN_BASE_URL, ClientConfig, read_environment
from utdstream.errors import InvalidConfig, NotAuthenticated, SessionClosed, UsageError, UTDStreamException
from utdstream.limits import MAX_IDENTITY
from utdstream.mailbox import Mailbox
from utdstream.media import Devices
from utdstream.models import MqttLogin, SessionMint, UTDStreamType
from utdstream.observe import CallbackError, Signal
from utdstream.trust import let_media_core_trust

RoomSessionT = TypeVar("RoomSessionT", UTDLiveStreamSession, UTDAudioRoomSession)

INBOX_S = 8.0
"""For making an inbox, which imports its transport and starts it."""
LOGIN_WITHIN_S = 3.0
"""For a broker login in place of one that was refused; the engine waits two seconds for the broker to know it."""

_log = logging.getLogger(__name__)


class UTDStreamClient:
    """One signed-in user of one project: makes call sessions and the inbox of incoming calls.

    `app_id` and `app_key` are the project's publishable credentials. A given `base_url` is also the
    default of `token_base_url`, so the key of a self-hosted engine never goes elsewhere. `devices` are the
    defaults of its sessions. A `config` with a `ca_file` sets what the media core of this process trusts: make
    such a client before other threads run. Any thread may call; `with` disposes, and with it its sessions and
    inboxes.
    """

    def __init__(
        self,
        app_id: str,
        app_key: str,
        *,
        base_url: str = DEFAULT_BASE_URL,
        token_base_url: str | None = None,
        devices: Devices | None = None,
        config: ClientConfig | None = None,
    ) -> None:
        if token_base_url is None:
            token_base_url = DEFAULT_TOKEN_BASE_URL if base_url == DEFAULT_BASE_URL else base_url
        self._config = config or ClientConfig()
        self._devices = devices or Devices()
        self._api = EngineApi(
            app_id=app_id,
            app_key=app_key,
            base_url=base_url,
            token_base_url=token_base_url,
            ca_file=self._config.ca_file,
        )
        if self._config.ca_file is not None:
            let_media_core_trust(self._config.ca_file)
        self._lane = EventsLane("utdstream-events-errors")
        self._errors: Occurrences[CallbackError] = Occurrences(self._lane)
        self.errors: Signal[CallbackError] = self._errors
        """Everything that went wrong in the background: raising callbacks, failing devices."""
        self._lock = threading.RLock()
        self._turn = threading.Lock()  # of signing in and of making inboxes: errands hold it
        self._mint: SessionMint | None = None
        self._sessions: weakref.WeakSet[UTDSession] = weakref.WeakSet()
        """Those that the program may still use: what has anything to free is held by what it runs on."""
        self._inboxes: set[IncomingCallInbox] = set()
        self._disposed = False

    @classmethod
    def from_environment(cls, *, devices: Devices | None = None) -> Self:
        """Makes a client of UTD_APP_ID and UTD_APP_KEY, and of UTD_BASE_URL and UTD_CA_FILE where they are set.

        Raises: InvalidConfig when a variable is missing or cannot be used.
        """
        app_id, app_key, base_url, config = read_environment()
        return cls(app_id, app_key, base_url=base_url, devices=devices, config=config)

    @property
    def identity(self) -> str | None:
        """The identity that is signed in, or None."""
        actor = self._api.actor
        return actor.identity if actor is not None else None

    def authenticate(
        self,
        *,
        identity: str,
        name: str | None = None,
        device_id: str | None = None,
        timeout: float | None = None,
    ) -> str:
        """Mints the bearer of `identity` and uses it for everything privileged; returns it.

        Needed before calls and the inbox. Again with the same identity renews it; another identity needs a
        client of its own.
        Blocks: to the deadline (default 8 s). Raises: AuthenticationFailed, UsageError, InvalidConfig,
        EngineUnreachable, DeadlineExceeded, PermissionDenied (`is_banned`), RateLimited.
        """
        deadline = Deadline(timeout, self._config.rest_timeout_s, "authenticate")
        actor = self._actor_for("authenticate", identity, name, device_id)
        before = self._mint

        def sign_in() -> str:
            self._mint = self._api.mint_session(actor, deadline)
            if self._config.preload:
                warm_up(gently=True)
            return self._mint.user_token

        def undo(_: object) -> None:
            if before is None:  # nobody was signed in, and nobody is
                self._mint = None
                self._api.sign_out()

        return run_errand(sign_in, deadline, "authenticate", turn=self._turn, undo=undo)

    def engine_time(self) -> datetime:
        """Returns the engine's clock (UTC) as its last answer told it, this machine's before. Does not block."""
        return self._api.now()

    def call_session(self, type: UTDStreamType, *, devices: Devices | None = None) -> UTDCallSession:
        """Returns a session for 1:1 calls of one type, driven by `start` or `accept`. Does not block.

        `devices` instead of the client's. Raises: NotAuthenticated, InvalidConfig when it is no call type.
        """
        if not isinstance(type, UTDStreamType):
            raise InvalidConfig(f"call_session: type must be a UTDStreamType, not {type!r}")
        self._require_open("call_session")
        if self.identity is None:
            raise NotAuthenticated("call_session: call authenticate(identity=...) first")
        given = devices or self._devices
        if not type.has_video:
            given = Devices(microphone=given.microphone, speaker=given.speaker)
        session = UTDCallSession(type, self._parts(given))
        with self._lock:
            self._sessions.add(session)
        return session

    def join_live_stream(
        self,
        *,
        identity: str,
        room_name: str,
        as_host: bool = False,
        name: str | None = None,
        device_id: str | None = None,
        devices: Devices | None = None,
        timeout: float | None = None,
    ) -> UTDLiveStreamSession:
        """Joins a live stream: as its host, which then calls `go_live()`, or as a viewer.

        Blocks: to the deadline (default 20 s). Raises: PermissionDenied (`is_banned`), InvalidRequest,
        RateLimited, UsageError for a second identity, ConnectFailed, EngineUnreachable, DeadlineExceeded.
        """
        deadline = Deadline(timeout, self._config.join_timeout_s, "join_live_stream")
        actor = self._actor_for("join_live_stream", identity, name, device_id)
        return self._enter(
            UTDLiveStreamSession(
                self._parts(devices or self._devices),
                Joining.wanted(actor, room_name, as_host=as_host),
            ),
            deadline,
        )

    def join_audio_room(
        self,
        *,
        identity: str,
        room_name: str,
        as_host: bool = False,
        name: str | None = None,
        device_id: str | None = None,
        devices: Devices | None = None,
        seat_count: int | None = None,
        seat_mode: str | None = None,
        timeout: float | None = None,
    ) -> UTDAudioRoomSession:
        """Joins an audio room as a listener; `take_seat` makes a speaker.

        A host may seed the grid: `seat_count` 1 to 100, `seat_mode` free or request; an existing one stays.
        Blocks: to the deadline (default 20 s). Raises: as `join_live_stream`.
        """
        deadline = Deadline(timeout, self._config.join_timeout_s, "join_audio_room")
        if (seat_count is not None or seat_mode is not None) and not as_host:
            raise InvalidConfig("join_audio_room: only a host may give seat_count and seat_mode")
        actor = self._actor_for("join_audio_room", identity, name, device_id)
        given = devices or self._devices
        return self._enter(
            UTDAudioRoomSession(
                self._parts(Devices(microphone=given.microphone, speaker=given.speaker)),
                Joining.wanted(actor, room_name, as_host=as_host, seat_count=seat_count, seat_mode=seat_mode),
            ),
            deadline,
        )

    def _enter(self, session: RoomSessionT, deadline: Deadline) -> RoomSessionT:
        def join() -> RoomSessionT:
            with self._lock:
                self._sessions.add(session)
            enter(session, deadline)
            return session

        end = session.dispose
        return run_errand(join, deadline, "join", turn=threading.Lock(), undo=lambda _: end(), clean=end)

    def _actor_for(self, doing: str, identity: str, name: str | None, device_id: str | None) -> Actor:
        self._require_open(doing)
        _check_identity(doing, identity)
        present = self._api.actor
        if present is not None and present.identity != identity:
            raise UsageError(
                f"{doing}: this client is signed in as {present.identity!r}; make another client for "
                f"{identity!r}"
            )
        return Actor(identity, name, device_id)

    def _parts(self, devices: Devices) -> SessionParts:
        return SessionParts(
            api=self._api,
            config=self._config,
            devices=devices,
            report=self._errors.emit,
            answering=self._answering,
            forget=self._forget,
        )

    def incoming_calls(self, transport: IncomingCalls | None = None) -> IncomingCallInbox:
        """Returns the inbox of calls to this identity, listening from now on. Does not block.

        Without a `transport` it is MQTT with the login the engine gave; an engine that gives none is asked
        every few seconds instead. Raises: NotAuthenticated, InvalidConfig when a package is missing.
        """
        self._require_open("incoming_calls")
        mint, identity = self._mint, self.identity
        if mint is None or identity is None:
            raise NotAuthenticated("incoming_calls: call authenticate(identity=...) first")
        deadline = Deadline.after(INBOX_S, "incoming_calls")

        def listen() -> IncomingCallInbox:
            inbox = IncomingCallInbox(
                app_id=self._api.app_id,
                identity=identity,
                transport=transport or self._transport(mint),
                engine=self._api,
                answers=RingAnswers(
                    self.call_session, self._api, self._answering, self._config.rest_timeout_s
                ),
                config=self._config,
                report=self._errors.emit,
            )
            with self._lock:
                self._inboxes.add(inbox)
            return inbox

        def undo(inbox: IncomingCallInbox) -> None:
            inbox.dispose()
            with self._lock:
                self._inboxes.discard(inbox)

        return run_errand(listen, deadline, "incoming_calls", turn=self._turn, undo=undo)

    def _transport(self, mint: SessionMint) -> IncomingCalls:
        """Returns the one for this engine, not started. Raises: InvalidConfig when a package is missing."""
        if mint.mqtt is None:
            _log.info("the engine gave no broker login: it is asked for calls every few seconds")
            return PollingOnly()
        from utdstream.mqtt import MqttIncomingCalls

        return MqttIncomingCalls.from_login(
            mint.mqtt, ca_file=self._config.ca_file, renewed=self._broker_login
        )

    def _broker_login(self, is_refused: bool) -> MqttLogin | None:
        """The newest broker login; when that was refused, one of a new mint. Blocks: 3 s at most."""
        actor = self._api.actor
        if is_refused and actor is not None:
            try:
                self._api.mint_session(actor, Deadline.after(LOGIN_WITHIN_S, "asking for a broker login"))
            except UTDStreamException as error:
                _log.debug("%s gets no new broker login now: %s", actor.identity, error)
        return self._api.login

    def dispose(self, *, timeout: float | None = None) -> None:
        """Disposes the inboxes and sessions it made (live calls end) and frees everything. Idempotent.

        Blocks: to the deadline (default 8 s), all of them at the same time. Raises: InvalidConfig for a wrong
        `timeout`.
        """
        deadline = Deadline(timeout, self._config.dispose_timeout_s, "dispose")
        free_once(self._close_door, self._free, deadline, self._config.dispose_timeout_s)

    def _close_door(self) -> bool:
        """Lets nothing begin any more; False when that was so."""
        with self._lock:
            was_open, self._disposed = not self._disposed, True
            return was_open

    def _free(self, deadline: Deadline) -> None:
        """Disposes what it made, all at the same time, and frees the rest; each step may be done twice."""
        self._disposed = True
        with self._lock:
            owned: list[IncomingCallInbox | UTDSession] = [*self._inboxes, *self._sessions]
        done: Mailbox[None] = Mailbox()

        def dispose(item: IncomingCallInbox | UTDSession) -> None:
            try:
                item.dispose()
            finally:
                done.put(None)

        for item in owned:
            start_thread(partial(dispose, item), "utdstream-dispose")
        with suppress(Empty):
            for _ in owned:
                deadline.get(done)
        with self._lock:
            self._inboxes.clear()
        self._api.close(deadline)
        self._errors.close()
        self._lane.close(min(1.0, deadline.remaining()))

    close = dispose

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.dispose()

    def __repr__(self) -> str:
        return f"UTDStreamClient(app_id={self._api.app_id!r}, identity={self.identity!r})"

    # -- inside ----------------------------------------------------------------------------------

    def _require_open(self, doing: str) -> None:
        if self._disposed:
            raise SessionClosed(f"{doing}: the client was disposed; make a new one")

    @contextmanager
    def _answering(self, call_id: str) -> Iterator[None]:
        with self._lock:
            inboxes = tuple(self._inboxes)
        with ExitStack() as stack:
            for inbox in inboxes:
                stack.enter_context(inbox.answering(call_id))
            yield

    def _forget(self, session: UTDSession) -> None:
        with self._lock:
            self._sessions.discard(session)


def _check_identity(doing: str, identity: str) -> None:
    if not isinstance(identity, str) or not 1 <= len(identity) <= MAX_IDENTITY:
        raise InvalidConfig(f"{doing}: identity must be a text of 1 to {MAX_IDENTITY} characters")
    fault = names.identity_fault(identity)
    if fault is not None:
        raise InvalidConfig(f"{doing}: identity {fault}")
