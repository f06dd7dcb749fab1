"""Every operation of the REST interface, as a table.

Owns: method, path, who may call, what is asked and answered. The server is built from this table and
so is the OpenAPI document: what is not here is not served, and what is served is described. Imports
the paths of `_wire`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from utdstream._wire import routes


class Access(Enum):
    """Which credential an operation wants (the app id always comes with it)."""

    PUBLIC = "nothing"
    MINT = "app key or app secret"
    ANY = "app key, app secret or user token"
    USER = "user token or app secret"
    SECRET = "app secret"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. `request` and `answer` name schemas of the document; `codes` are the refusals
    beyond those that every operation of its kind can give.
    """

    id: str
    method: str
    path: str
    summary: str
    access: Access
    answer: str
    request: str | None = None
    status: int = 200
    replay_status: int | None = None
    codes: tuple[str, ...] = ()
    query: tuple[str, ...] = ()
    idempotent_by_key: bool = False
    is_stream: bool = False
    """Answers with server-sent events, and takes app id and user token from the query too."""


CALL = f"{routes.CALLS}/{{call_id}}"
ROOM = f"{routes.ROOMS}/{{room}}"
PERSON = f"{ROOM}/participants/{{identity}}"
_PAGE = ("page", "per_page")
_ON_CALL = ("forbidden", "identity_mismatch", "call_not_found", "validation_failed")
_CHANGES = (*_ON_CALL, "invalid_state")
_ON_BAN = ("forbidden", "room_not_found", "validation_failed")
_ON_ROOM = ("forbidden", "room_not_found", "validation_failed", "unavailable")

OPERATIONS: tuple[Operation, ...] = (
    Operation("health", "GET", routes.HEALTH, "Whether the engine serves", Access.PUBLIC, "Health"),
    Operation(
        "mint_room",
        "POST",
        routes.TOKEN,
        "A token for a live stream or an audio room, and a user token",
        Access.MINT,
        "RoomToken",
        request="RoomTokenRequest",
        codes=("banned", "invalid_state", "unavailable", "validation_failed"),
    ),
    Operation(
        "mint_session",
        "POST",
        routes.AUTH_SESSION,
        "A user token without a room, and the broker login for call events",
        Access.MINT,
        "Session",
        request="SessionRequest",
        codes=("banned", "validation_failed"),
    ),
    Operation("project", "GET", routes.PROJECT, "What the project may do", Access.ANY, "Project"),
    Operation(
        "create_call",
        "POST",
        routes.CALLS,
        "Call somebody",
        Access.USER,
        "CallWithToken",
        request="NewCall",
        status=201,
        replay_status=200,
        codes=(
            "feature_disabled",
            "identity_mismatch",
            "callee_busy",
            "invalid_state",
            "validation_failed",
            "unavailable",
        ),
        idempotent_by_key=True,
    ),
    Operation(
        "list_calls",
        "GET",
        routes.CALLS,
        "Calls, newest first; with a user token one's own",
        Access.USER,
        "CallPage",
        codes=("validation_failed",),
        query=("status", "type", "identity", "start_date", "end_date", *_PAGE),
    ),
    Operation(
        "call_events",
        "GET",
        routes.CALL_EVENTS,
        "One's call events as server-sent events; Last-Event-ID brings what was missed. The query may hold"
        " app_id and access_token for an EventSource: keep such addresses out of logs",
        Access.USER,
        "CallEvent",
        codes=("identity_mismatch", "method_not_allowed", "validation_failed"),
        query=("identity", "app_id", "access_token"),
        is_stream=True,
    ),
    Operation(
        "get_call",
        "GET",
        CALL,
        "One call; for a party that may join now with a fresh media token",
        Access.USER,
        "CallWithToken",
        codes=("forbidden", "call_not_found"),
    ),
    Operation(
        "ringing",
        "POST",
        f"{CALL}/ringing",
        "The callee's device rings",
        Access.USER,
        "Call",
        request="Actor",
        codes=_CHANGES,
    ),
    Operation(
        "accept",
        "POST",
        f"{CALL}/accept",
        "The callee answers",
        Access.USER,
        "CallWithToken",
        request="Actor",
        codes=(*_CHANGES, "unavailable"),
        idempotent_by_key=True,
    ),
    Operation(
        "reject",
        "POST",
        f"{CALL}/reject",
        "The callee refuses",
        Access.USER,
        "Call",
        request="Actor",
        codes=_CHANGES,
    ),
    Operation(
        "busy",
        "POST",
        f"{CALL}/busy",
        "The callee is on another call",
        Access.USER,
        "Call",
        request="Actor",
        codes=_CHANGES,
    ),
    Operation(
        "end",
        "POST",
        f"{CALL}/end",
        "Either side hangs up; no error when the call is over",
        Access.USER,
        "Call",
        request="Actor",
        codes=_ON_CALL,
    ),
    Operation(
        "list_rooms",
        "GET",
        routes.ROOMS,
        "The rooms that exist, newest first",
        Access.SECRET,
        "RoomPage",
        codes=("forbidden", "unavailable", "validation_failed"),
        query=_PAGE,
    ),
    Operation(
        "get_room",
        "GET",
        ROOM,
        "One room and who is in it (the owner, or the secret)",
        Access.USER,
        "RoomWithPeople",
        codes=_ON_ROOM,
    ),
    Operation(
        "close_room",
        "DELETE",
        ROOM,
        "Close a room: notice, two seconds, end (the owner, or the secret)",
        Access.USER,
        "Closed",
        codes=(*_ON_ROOM, "not_owner", "invalid_state"),
    ),
    Operation(
        "send_data",
        "POST",
        f"{ROOM}/send-data",
        "Send a data message into a room (the owner, or the secret)",
        Access.USER,
        "Ok",
        request="SendData",
        codes=_ON_ROOM,
    ),
    Operation(
        "get_participant",
        "GET",
        PERSON,
        "Somebody in a room (for those who are in it, and the secret)",
        Access.USER,
        "Participant",
        codes=(*_ON_ROOM, "participant_not_found"),
    ),
    Operation(
        "remove_participant",
        "DELETE",
        PERSON,
        "Remove somebody: notice, two seconds, removal (the owner, or the secret)",
        Access.USER,
        "Ok",
        codes=(*_ON_ROOM, "participant_not_found"),
    ),
    Operation(
        "ban",
        "POST",
        routes.BAN,
        "Keep somebody out of a room (its owner, a host, an admin) or of the project (the secret)",
        Access.USER,
        "Ban",
        request="NewBan",
        status=201,
        codes=(*_ON_BAN, "invalid_state"),
    ),
    Operation(
        "lift_ban",
        "DELETE",
        routes.BAN,
        "Lift the ban of a room, or without room_name (the secret) every ban of somebody",
        Access.USER,
        "Lifted",
        request="OldBan",
        codes=_ON_BAN,
    ),
    Operation(
        "list_bans",
        "GET",
        routes.BANS,
        "The bans in force, newest first; with a user token those of the rooms one moderates",
        Access.USER,
        "BanPage",
        codes=_ON_BAN,
        query=("room_name", *_PAGE),
    ),
    Operation("openapi", "GET", "/openapi.json", "This document", Access.PUBLIC, "Document"),
)

ALWAYS = ("internal",)
BY_ACCESS: dict[Access, tuple[str, ...]] = {
    Access.PUBLIC: (),
    Access.MINT: ("missing_credentials", "invalid_credentials", "rate_limited"),
    Access.ANY: (
        "banned",
        "missing_credentials",
        "invalid_credentials",
        "invalid_token",
        "token_expired",
        "rate_limited",
    ),
    Access.USER: (
        "banned",
        "missing_credentials",
        "invalid_credentials",
        "invalid_token",
        "token_expired",
        "rate_limited",
    ),
    Access.SECRET: (
        "missing_credentials",
        "invalid_credentials",
        "invalid_token",
        "token_expired",
        "rate_limited",
    ),
}
WITH_BODY = ("payload_too_large", "request_timeout", "validation_failed")


def codes_of(operation: Operation) -> tuple[str, ...]:
    """Every code this operation can refuse with."""
    codes = [*operation.codes, *BY_ACCESS[operation.access], *ALWAYS]
    if operation.access is not Access.PUBLIC:
        codes += [*WITH_BODY, "unavailable"]
    return tuple(dict.fromkeys(codes))
