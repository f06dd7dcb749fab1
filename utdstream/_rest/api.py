"""The engine's REST interface as typed, blocking calls.

Owns: which header goes where, the bearer and its renewal. Any thread. Must not know sessions or media.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from utdstream._rest.decisions import Decisions
from utdstream._rest.http import Http, check_base_url
from utdstream._rest.lost import LostAnswers
from utdstream._threads.deadline import Deadline
from utdstream._wire import codec, routes
from utdstream.errors import (
    AuthenticationFailed,
    Conflict,
    EngineError,
    EngineUnreachable,
    InvalidConfig,
    NotAuthenticated,
    RateLimited,
    TransportError,
)
from utdstream.models import (
    MqttLogin,
    SessionMint,
    UTDCall,
    UTDCallStatus,
    UTDStreamType,
    UTDTokenResponse,
)

UNDO_S = 2.0
_REFUSED_AS = {"reject": UTDCallStatus.REJECTED, "busy": UTDCallStatus.BUSY}


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: the identity, and what is needed to mint its bearer again."""

    identity: str
    name: str | None = None
    device_id: str | None = None


@dataclass(slots=True)
class _Bearer:
    actor: Actor
    token: str = field(repr=False)


class EngineApi:
    """Blocking calls to one engine with one project's publishable key."""

    def __init__(
        self,
        *,
        app_id: str,
        app_key: str,
        base_url: str,
        token_base_url: str,
        ca_file: str | Path | None = None,
    ) -> None:
        for name, value in (("app_id", app_id), ("app_key", app_key)):
            if (
                not isinstance(value, str)
                or not value.strip()
                or not value.isascii()
                or not value.isprintable()
            ):
                raise InvalidConfig(f"{name} must be the project's non-empty text from the engine")
        self.app_id = app_id
        self._app_key = app_key
        self._base_url = check_base_url("base_url", base_url)
        self._token_base_url = check_base_url("token_base_url", token_base_url)
        self._http = Http(ca_file)
        self._lost = LostAnswers(self)
        self.decisions = Decisions(self)
        self._lock = threading.RLock()
        self._bearer: _Bearer | None = None
        self.login: MqttLogin | None = None
        """The broker login that the newest mint of a session gave."""

    def close(self, deadline: Deadline) -> None:
        """Ends it, once what failed for its callers is taken back. Blocks: to the deadline, `UNDO_S` at most."""
        self._http.wait_for_undos(Deadline.after(min(UNDO_S, deadline.remaining()), "closing"))
        self._http.close()

    def now(self) -> datetime:
        """Returns the engine's clock as far as it is known, aware, UTC."""
        return self._http.clock.now()

    def told_time(self) -> datetime | None:
        """Returns the engine's clock by its own word, aware, UTC; None when it never said it."""
        return self._http.clock.told()

    @property
    def actor(self) -> Actor | None:
        bearer = self._bearer
        return bearer.actor if bearer is not None else None

    def sign_out(self) -> None:
        """Forgets who is signed in."""
        with self._lock:
            self._bearer, self.login = None, None

    # -- mints -----------------------------------------------------------------------------------

    def mint_session(self, actor: Actor, deadline: Deadline) -> SessionMint:
        """Mints the room-less bearer of `actor` and uses it from now on."""
        body = {"identity": actor.identity, "name": actor.name, "device_id": actor.device_id}
        answer = self._http.request(
            "POST",
            self._token_base_url + routes.AUTH_SESSION,
            headers=self._headers(None),
            body={key: value for key, value in body.items() if value is not None},
            deadline=deadline,
            retry=True,
        )
        mint = codec.parse_session(answer)
        with self._lock:
            self._bearer = _Bearer(actor, mint.user_token)
            self.login = mint.mqtt
        return mint

    def mint_room(
        self, actor: Actor, room_name: str, kind: UTDStreamType, deadline: Deadline, **extra: object
    ) -> UTDTokenResponse:
        """Mints a room token; its bearer is used from now on when the engine sends one."""
        body: dict[str, object] = {
            "identity": actor.identity,
            "room_name": room_name,
            "type": kind.wire,
            "name": actor.name,
            "device_id": actor.device_id,
            **extra,
        }
        answer = self._http.request(
            "POST",
            self._token_base_url + routes.TOKEN,
            headers=self._headers(None),
            body={key: value for key, value in body.items() if value is not None},
            deadline=deadline,
            retry=True,
        )
        mint = codec.parse_token(answer)
        if mint.user_token:
            with self._lock:
                self._bearer = _Bearer(actor, mint.user_token)
        return mint

    # -- calls -----------------------------------------------------------------------------------

    def create_call(
        self,
        *,
        callee_identity: str,
        callee_name: str | None,
        kind: UTDStreamType,
        metadata: Mapping[str, object] | None,
        deadline: Deadline,
        undo: Callable[[UTDCall], None],
        group: str | None = None,
    ) -> UTDCall:
        """Creates a call; `undo` gets one that was created after the caller had gone."""
        actor = self._require_actor("starting a call")
        body: dict[str, object] = {
            "caller_identity": actor.identity,
            "caller_name": actor.name,
            "callee_identity": callee_identity,
            "callee_name": callee_name,
            "type": kind.wire,
            "metadata": dict(metadata) if metadata is not None else None,
            "group": group,
        }
        number, key = self._lost.create_begins(), uuid.uuid4().hex
        try:
            answer = self.privileged(
                "POST",
                routes.CALLS,
                body={key: value for key, value in body.items() if value is not None},
                deadline=deadline,
                retry=True,
                headers={routes.HEADER_IDEMPOTENCY_KEY: key},
                undo=lambda late: undo(codec.parse_call(late)),
            )
            call = codec.parse_call(answer)
        except TransportError:
            self.decisions.withdraw(
                key, otherwise=lambda: self._lost.find_created(number, callee_identity, group, undo)
            )
            raise
        self._lost.created(call.call_id)
        return call

    def accept_call(self, call_id: str, deadline: Deadline, undo: Callable[[UTDCall], None]) -> UTDCall:
        """Answers a call. Again, it is the same accept.

        `undo` gets a call that was answered for nobody: late, or with an answer that was lost (or was no call, or
        said 429, which tells nothing of the accept) and not asked for again.
        """
        accept = self._lost.accept_begins(call_id)

        def undo_unless_newer(call: UTDCall) -> None:
            if self._lost.is_newest(call_id, accept):
                undo(call)

        try:
            call = self.say(call_id, "accept", deadline, key=accept.key, undo=undo_unless_newer)
            if call is None:
                raise EngineUnreachable("accept: the engine's answer holds no call to join")
        except (TransportError, RateLimited):
            self._lost.settle_accept(call_id, accept, undo)
            raise
        except EngineError:
            self._lost.accept_settled(call_id, accept)
            raise
        self._lost.accept_settled(call_id, accept)
        return call

    def refuse_call(self, call_id: str, action: str, deadline: Deadline) -> UTDCall | None:
        """Says reject or busy; when that was said before, unheard, it is no error."""
        try:
            return self._refuse(call_id, action, deadline)
        except EngineUnreachable:  # asked once more, as every request that may be
            return self._refuse(call_id, action, deadline)

    def _refuse(self, call_id: str, action: str, deadline: Deadline) -> UTDCall | None:
        try:
            return self.say(call_id, action, deadline)
        except TransportError:
            self._lost.refusal_lost(call_id, action)
            raise
        except Conflict:
            if not self._lost.may_be_refused(call_id, action):
                raise
            call = self.get_call(call_id, deadline)
            if call.status is not _REFUSED_AS[action]:
                raise
            return call

    def say(
        self,
        call_id: str,
        action: str,
        deadline: Deadline,
        *,
        key: str | None = None,
        undo: Callable[[UTDCall], None] | None = None,
    ) -> UTDCall | None:
        """Says ringing, accept, reject, busy or end; None when the engine's answer holds no call (vendor)."""
        actor = self._require_actor(action)
        answer = self.privileged(
            "POST",
            routes.call_action(call_id, action),
            body={"identity": actor.identity},
            deadline=deadline,
            retry=action not in _REFUSED_AS,
            headers={routes.HEADER_IDEMPOTENCY_KEY: key} if key is not None else None,
            undo=(lambda late: undo(codec.parse_call(late))) if undo is not None else None,
        )
        if codec.text(answer.get("call_id")) is None or codec.call_status(answer.get("status")) is None:
            return None
        return codec.parse_call(answer)

    def get_call(self, call_id: str, deadline: Deadline) -> UTDCall:
        """Returns the call as the engine sees it now."""
        return codec.parse_call(self.privileged("GET", routes.call(call_id), deadline=deadline, retry=True))

    def list_calls(
        self, *, identity: str, statuses: Sequence[UTDCallStatus], deadline: Deadline
    ) -> list[UTDCall]:
        """Returns the newest calls of `identity` in one of these states."""
        query = f"?identity={routes.segment(identity)}&status={','.join(status.wire for status in statuses)}"
        return codec.parse_calls(self.privileged("GET", routes.CALLS + query, deadline=deadline, retry=True))

    def pause(self, seconds: float) -> None:
        """Waits between two attempts in the background; not any longer when it is closed."""
        self._http.is_closed.wait(seconds)

    def settle_late(self) -> None:
        """Waits for what was asked for and given up: it must not overtake a retry. Blocks: `UNDO_S` at most."""
        self._http.wait_for_late(Deadline.after(UNDO_S, "waiting for a late answer"))

    def detached(self, work: Callable[[], None]) -> None:
        """Runs an undo that needs requests of its own in the background."""
        self._http.run_detached(work)

    # -- how -------------------------------------------------------------------------------------

    def _require_actor(self, doing: str) -> Actor:
        actor = self.actor
        if actor is None:
            raise NotAuthenticated(
                f"{doing}: nobody is signed in; call client.authenticate(identity=...) first"
            )
        return actor

    def _headers(self, bearer: str | None) -> dict[str, str]:
        headers = {
            routes.HEADER_APP_ID: self.app_id,
            routes.HEADER_APP_KEY: self._app_key,
            "Accept": "application/json",
            "Content-Type": "application/json; charset=utf-8",
        }
        if bearer is not None:
            headers["Authorization"] = f"Bearer {bearer}"
        return headers

    def privileged(
        self,
        method: str,
        path: str,
        *,
        deadline: Deadline,
        body: Mapping[str, object] | None = None,
        retry: bool = False,
        headers: Mapping[str, str] | None = None,
        undo: Callable[[codec.JsonObject], None] | None = None,
    ) -> codec.JsonObject:
        """Asks with the bearer; minted again once when the engine refuses it with a 401."""
        for second_try in (False, True):
            with self._lock:
                bearer = self._bearer
            if bearer is None:
                raise NotAuthenticated("nobody is signed in; call client.authenticate(identity=...) first")
            try:
                return self._http.request(
                    method,
                    self._base_url + path,
                    headers={**self._headers(bearer.token), **(headers or {})},
                    body=body,
                    deadline=deadline,
                    retry=retry,
                    undo=undo,
                )
            except AuthenticationFailed:
                if second_try:
                    raise
                self.mint_session(bearer.actor, deadline)
        raise AssertionError("unreachable")
