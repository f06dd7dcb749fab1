"""The operations on calls and call events."""

from __future__ import annotations

from utdstream._wire import messages, routes
from utdstream.engine.api.operations.table import ON_CALL, Access, Operation
from utdstream.engine.api.schemas import (
    ACTOR,
    COUNT,
    FLAG,
    IDENTITY,
    MAYBE_COUNT,
    MAYBE_NAME,
    MAYBE_OBJECT,
    MAYBE_TEXT,
    MAYBE_TIME,
    METADATA,
    PAGE,
    TEXT,
    TIME,
    Schema,
    object_of,
    page_of,
)
from utdstream.engine.rules.calls import GROUP_PATTERN
from utdstream.models import UTDCallStatus

CALL_TYPES = ["audio_call", "video_call"]
SPELLINGS = [*CALL_TYPES, "voice", "video", "audio"]
"""Of a call's type, in a request."""
_CHANGES = (*ON_CALL, "invalid_state")


def _step(action: str, summary: str, *, answer: str = "Call", codes: tuple[str, ...] = _CHANGES) -> Operation:
    """One step in the life of a call, by one of its parties."""
    return Operation(
        action,
        "POST",
        routes.CALL_ACTIONS[action],
        summary,
        Access.USER,
        answer,
        request="Actor",
        codes=codes,
        keeps_key=action == "accept",
        is_undone=action == "accept",
    )


OPERATIONS = (
    Operation(
        "create_call",
        "POST",
        routes.CALLS,
        "Call an identity: the callee's devices ring",
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
            "limit_reached",
        ),
        keeps_key=True,
        is_kept=True,
        is_undone=True,
    ),
    Operation(
        "list_calls",
        "GET",
        routes.CALLS,
        "List calls, newest first; with a user token the calls of its identity",
        Access.USER,
        "CallPage",
        codes=("validation_failed",),
        query=("status", "type", "identity", "start_date", "end_date", *PAGE),
    ),
    Operation(
        "call_events",
        "GET",
        routes.CALL_EVENTS,
        "Stream an identity's call events as server-sent events; Last-Event-ID brings the events since then. The"
        " query may hold app_id and access_token for an EventSource: keep such addresses out of logs",
        Access.USER,
        "CallEvent",
        codes=("identity_mismatch", "method_not_allowed", "validation_failed", "limit_reached"),
        query=("identity", "app_id", "access_token"),
        is_stream=True,
    ),
    Operation(
        "get_call",
        "GET",
        routes.CALL,
        "Read one call; a party that may join now gets a fresh media token",
        Access.USER,
        "CallWithToken",
        codes=("forbidden", "call_not_found"),
    ),
    _step("ringing", "Say that a device of the callee rings"),
    _step("accept", "Answer as the callee", answer="CallWithToken", codes=(*_CHANGES, "unavailable")),
    _step("reject", "Refuse as the callee"),
    _step("busy", "Refuse as a callee who is in another call"),
    _step("end", "Hang up as either party; a call that is over is the answer too", codes=ON_CALL),
)

_CALL = {
    "call_id": {"type": "string", "pattern": "^call_[0-9a-f]{24}$"},
    "status": {"type": "string", "enum": [status.wire for status in UTDCallStatus]},
    "type": {"type": "string", "enum": CALL_TYPES},
    "room_name": TEXT,
    "caller_identity": TEXT,
    "callee_identity": TEXT,
    "caller_name": MAYBE_TEXT,
    "callee_name": MAYBE_TEXT,
    "created_at": TIME,
    "expires_at": TIME,
    "answered_at": MAYBE_TIME,
    "ended_at": MAYBE_TIME,
    "duration_seconds": MAYBE_COUNT,
    "end_reason": MAYBE_TEXT,
    "metadata": MAYBE_OBJECT,
    "rev": COUNT,
    "group": MAYBE_TEXT,
}
_SHOWN = {
    **_CALL,
    "media_ready": {
        **FLAG,
        "description": "Whether sound and picture can flow in an open call; false: the media server is away, and"
        " the room follows when it is back. Left out when that is not known.",
    },
}
_CALL_IN_EVENT = (
    "call_id",
    "type",
    "caller_identity",
    "caller_name",
    "callee_identity",
    "status",
    "created_at",
    "expires_at",
    "metadata",
)

SCHEMAS: dict[str, Schema] = {
    "NewCall": object_of(
        {
            "caller_identity": ACTOR,
            "callee_identity": IDENTITY,
            "caller_name": MAYBE_NAME,
            "callee_name": MAYBE_NAME,
            "type": {"enum": [*SPELLINGS, None], "default": "audio_call"},
            "metadata": METADATA,
            "group": {
                "anyOf": [{"type": "string", "pattern": GROUP_PATTERN}, {"type": "null"}],
                "description": "Calls of one caller with the same group ring at once; the first that is answered"
                " ends the others (answered_elsewhere).",
            },
            "os": MAYBE_TEXT,
        },
        ("callee_identity",),
    ),
    "Call": object_of(_SHOWN, tuple(_CALL)),
    "CallWithToken": object_of({**_SHOWN, "token": TEXT, "url": TEXT}, tuple(_CALL)),
    "CallPage": page_of("Call"),
    "CallEvent": object_of(
        {
            "v": {"const": messages.EVENT_VERSION},
            "event": {"type": "string", "enum": sorted(messages.CALL_EVENTS)},
            "seq": {**COUNT, "description": "Only grows; the id of the event in a stream."},
            "sent_at": TIME,
            "call": object_of({name: _CALL[name] for name in _CALL_IN_EVENT}),
        }
    ),
}
