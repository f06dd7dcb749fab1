"""Every operation of the REST interface, as a table.

Owns: method, path, who may call, what is asked and answered. The server is built from this table and
so is the OpenAPI document: what is not here is not served, and what is served is described. Imports
the paths of `_wire`. Long, because it is one table: an operation is ten lines here and nothing elsewhere.
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
SEATS = f"{ROOM}/seats"
SEAT = f"{SEATS}/{{index}}"
SPEAKERS = f"{ROOM}/speakers"
INVITATION = f"{SPEAKERS}/invitations/{{invitation_id}}"
STAGE = f"{ROOM}/stage"
_PAGE = ("page", "per_page")
_ON_CALL = ("forbidden", "identity_mismatch", "call_not_found", "validation_failed")
_CHANGES = (*_ON_CALL, "invalid_state")
_ON_DECISION = ("forbidden", "identity_mismatch", "room_not_found", "validation_failed")
_ON_PERSON = (*_ON_DECISION, "participant_not_found", "unavailable")
_ON_BAN = ("forbidden", "room_not_found", "validation_failed")
_ON_ROOM = ("forbidden", "room_not_found", "validation_failed", "unavailable")
_ON_STATE = ("room_not_found", "validation_failed", "invalid_state")
_BY_SOMEBODY = (*_ON_STATE, "forbidden", "identity_mismatch")
_SEAT_NOT_FREE = ("seat_occupied", "seat_locked", "seat_reserved")

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
        codes=(
            "banned",
            "invalid_state",
            "room_limit_reached",
            "session_takeover_cooldown",
            "unavailable",
            "validation_failed",
        ),
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
    Operation(
        "get_seats",
        "GET",
        SEATS,
        "The seats of an audio room and who asks for one",
        Access.USER,
        "SeatGrid",
        codes=_ON_STATE,
    ),
    Operation(
        "set_up_seats",
        "POST",
        f"{SEATS}/setup",
        "Another number of seats, mode or layout (a host or an admin); seats that stay keep their people",
        Access.USER,
        "SeatGridDone",
        request="GridWish",
        codes=_BY_SOMEBODY,
    ),
    Operation(
        "take_seat",
        "POST",
        f"{SEAT}/take",
        "Sit down: the microphone is granted soon after",
        Access.USER,
        "SeatTaken",
        request="Actor",
        codes=(
            *_BY_SOMEBODY,
            "seat_not_found",
            "already_seated",
            *_SEAT_NOT_FREE,
            "seat_request_required",
        ),
    ),
    Operation(
        "leave_seat",
        "POST",
        f"{SEATS}/leave",
        "Stand up",
        Access.USER,
        "SeatTaken",
        request="Actor",
        codes=(*_BY_SOMEBODY, "not_seated"),
    ),
    Operation(
        "move_seat",
        "POST",
        f"{SEATS}/move",
        "Change to another seat in one step; the microphone stays granted",
        Access.USER,
        "SeatMoved",
        request="SeatMove",
        codes=(*_BY_SOMEBODY, "not_seated", "seat_not_found", *_SEAT_NOT_FREE),
    ),
    Operation(
        "swap_seats",
        "POST",
        f"{SEATS}/swap",
        "Who is on one seat is on the other afterwards (a host or an admin)",
        Access.USER,
        "SeatsSwapped",
        request="SeatSwap",
        codes=(*_BY_SOMEBODY, "seat_not_found", "not_seated", "seat_locked", "seat_reserved"),
    ),
    *(
        Operation(
            f"{action}{suffix}",
            "POST",
            f"{SEAT}/{action}",
            summary,
            Access.USER,
            "RoomChanged",
            request="Actor",
            codes=(*_BY_SOMEBODY, "seat_not_found", *more),
        )
        for action, suffix, summary, more in (
            ("kick", "_from_seat", "Who is on the seat stands up (a host or an admin)", ("not_seated",)),
            ("lock", "_seat", "Nobody takes the seat; who is on it stands up (a host or an admin)", ()),
            ("unlock", "_seat", "The seat can be taken again (a host or an admin)", ()),
            (
                "mute",
                "_seat",
                "Mute who is on the seat until it is lifted (a host or an admin)",
                ("not_seated",),
            ),
            (
                "unmute",
                "_seat",
                "Lift the mute; the client unmutes itself (a host or an admin)",
                ("not_seated",),
            ),
        )
    ),
    Operation(
        "request_to_speak",
        "POST",
        f"{SPEAKERS}/request",
        "Ask for a seat; hosts and admins are told",
        Access.USER,
        "SpeakRequested",
        request="Actor",
        codes=(*_BY_SOMEBODY, "already_seated", "request_pending"),
    ),
    Operation(
        "cancel_request_to_speak",
        "DELETE",
        f"{SPEAKERS}/request",
        "Withdraw one's request",
        Access.USER,
        "RoomChanged",
        request="Actor",
        codes=(*_BY_SOMEBODY, "request_not_found"),
    ),
    Operation(
        "list_requests_to_speak",
        "GET",
        f"{SPEAKERS}/requests",
        "Who asks for a seat, in the order of asking",
        Access.USER,
        "SpeakRequests",
        codes=_ON_STATE,
    ),
    Operation(
        "approve_speaker",
        "POST",
        f"{SPEAKERS}/requests/{{request_id}}/approve",
        "Seat who asked, on the first seat he can have (a host or an admin)",
        Access.USER,
        "SpeakerApproved",
        request="Actor",
        codes=(*_BY_SOMEBODY, "request_not_found", "seat_occupied"),
    ),
    Operation(
        "reject_speaker",
        "POST",
        f"{SPEAKERS}/requests/{{request_id}}/reject",
        "Say no to who asked (a host or an admin)",
        Access.USER,
        "SpeakerRejected",
        request="Actor",
        codes=(*_BY_SOMEBODY, "request_not_found"),
    ),
    Operation(
        "invite_to_speak",
        "POST",
        f"{SPEAKERS}/invite",
        "Ask somebody in the room to speak (a host or an admin)",
        Access.USER,
        "SpeakerInvited",
        request="SpeakerInvite",
        codes=(
            *_BY_SOMEBODY,
            "participant_not_found",
            "already_seated",
            "invitation_pending",
            "seat_not_found",
            "seat_reserved",
        ),
    ),
    Operation(
        "accept_to_speak",
        "POST",
        f"{INVITATION}/accept",
        "Sit down as asked",
        Access.USER,
        "InvitationAccepted",
        request="Actor",
        codes=(*_BY_SOMEBODY, "invitation_not_found", "seat_not_found", *_SEAT_NOT_FREE),
    ),
    Operation(
        "decline_to_speak",
        "POST",
        f"{INVITATION}/decline",
        "Say no to who asked",
        Access.USER,
        "InvitationDeclined",
        request="Actor",
        codes=(*_BY_SOMEBODY, "invitation_not_found"),
    ),
    Operation(
        "get_stage",
        "GET",
        STAGE,
        "The stage of a live stream: the host, then others by the time of joining",
        Access.USER,
        "Stage",
        codes=_ON_STATE,
    ),
    Operation(
        "invite_to_stage",
        "POST",
        f"{STAGE}/invite",
        "Bring somebody in the room on the stage (a host or an admin); no error when he is",
        Access.USER,
        "StageInvited",
        request="Target",
        codes=(*_BY_SOMEBODY, "participant_not_found"),
    ),
    Operation(
        "remove_from_stage",
        "POST",
        f"{STAGE}/remove",
        "Take somebody from the stage (a host or an admin)",
        Access.USER,
        "RoomChanged",
        request="Target",
        codes=(*_BY_SOMEBODY, "not_on_stage"),
    ),
    Operation(
        "request_stage",
        "POST",
        f"{STAGE}/request",
        "Ask for the stage; hosts and admins are told, nothing is kept",
        Access.USER,
        "RoomChanged",
        request="Actor",
        codes=_BY_SOMEBODY,
    ),
    Operation(
        "leave_stage",
        "POST",
        f"{STAGE}/leave",
        "Go back to the audience",
        Access.USER,
        "RoomChanged",
        request="Actor",
        codes=(*_BY_SOMEBODY, "not_on_stage"),
    ),
    Operation(
        "list_by_role",
        "GET",
        f"{ROOM}/participants/by-role",
        "Who is in the room, newest first, by role (for those admitted to it, and the secret)",
        Access.USER,
        "RolePage",
        codes=_ON_ROOM,
        query=("role", *_PAGE),
    ),
    Operation(
        "change_role",
        "PUT",
        f"{PERSON}/role",
        "Give somebody another role (the owner, or the secret)",
        Access.USER,
        "RoleChanged",
        request="RoleChange",
        codes=(
            "forbidden",
            "not_owner",
            "identity_mismatch",
            "room_not_found",
            "participant_not_found",
            "already_in_role",
            "validation_failed",
        ),
    ),
    Operation(
        "permit",
        "PUT",
        f"{PERSON}/permissions",
        "Change somebody's rights; in an audio room can_publish true needs a seat (host, admin, secret)",
        Access.USER,
        "Permitted",
        request="Permission",
        codes=(*_ON_PERSON, "invalid_state", "not_seated"),
    ),
    Operation(
        "mute",
        "PUT",
        f"{PERSON}/mute",
        "Mute audio, video or one track; the microphone stays muted until that is lifted with muted false,"
        " after which the person unmutes (host, admin, secret)",
        Access.USER,
        "Muted",
        request="Mute",
        codes=(*_ON_PERSON, "not_found"),
    ),
    Operation(
        "set_participant_metadata",
        "PUT",
        f"{PERSON}/metadata",
        "Merge into somebody's metadata; null takes a key away, the engine's keys stay (host, admin, secret)",
        Access.USER,
        "WrittenMetadata",
        request="Metadata",
        codes=_ON_PERSON,
    ),
    Operation(
        "forbid_stream",
        "PUT",
        f"{PERSON}/forbid-stream",
        "Take every right to publish from somebody until it is resumed (host, admin, secret)",
        Access.USER,
        "Ok",
        request="Moderator",
        codes=_ON_PERSON,
    ),
    Operation(
        "resume_stream",
        "PUT",
        f"{PERSON}/resume-stream",
        "Give back what the room's rules let somebody publish (host, admin, secret)",
        Access.USER,
        "Ok",
        request="Moderator",
        codes=_ON_PERSON,
    ),
    Operation(
        "set_room_metadata",
        "PUT",
        f"{ROOM}/metadata",
        "Replace the application's keys of the room metadata (host, secret)",
        Access.USER,
        "Ok",
        request="RoomMetadata",
        codes=_ON_DECISION,
    ),
    Operation(
        "lock_comments",
        "PUT",
        f"{ROOM}/comments/lock",
        "Lock or unlock the comments; everybody is told (host, admin, secret)",
        Access.USER,
        "CommentLock",
        request="CommentLockWish",
        codes=_ON_DECISION,
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
