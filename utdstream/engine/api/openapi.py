"""The OpenAPI document, made from the table of operations.

Owns: the schemas of requests and answers. Pure. What the server refuses, with which status and code,
comes from the same tables the server uses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from utdstream._wire import messages, routes
from utdstream.engine.api.fields import LARGEST_NUMBER
from utdstream.engine.api.operations import OPERATIONS, Access, Operation, codes_of
from utdstream.engine.rules import bans, moderation, roles, rooms
from utdstream.engine.rules.calls import GROUP_PATTERN
from utdstream.engine.rules.refusals import STATUS_OF_CODE
from utdstream.engine.rules.room_state import MAX_MODE_ID, MAX_SEATS, SEAT_MODES
from utdstream.models import UTDCallStatus

Schema = dict[str, object]

_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_FLAG: Schema = {"type": "boolean"}
_MAYBE_FLAG: Schema = {"type": ["boolean", "null"]}
_MAYBE_TEXT: Schema = {"type": ["string", "null"]}
_MAYBE_COUNT: Schema = {"type": ["integer", "null"]}
_MAYBE_TIME: Schema = {"type": ["string", "null"], "format": "date-time"}
_MAYBE_OBJECT: Schema = {"type": ["object", "null"]}
_IDENTITY: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": 128,
    "description": "No control characters, at most 256 bytes in UTF-8.",
}
_MAYBE_IDENTITY: Schema = {**_IDENTITY, "type": ["string", "null"]}
_METADATA: Schema = {"type": ["object", "null"], "description": "At most 4096 bytes of JSON."}
_CALL_TYPES = ["audio_call", "video_call"]
_SPELLINGS = [*_CALL_TYPES, "voice", "video", "audio", None]


def _object(properties: Mapping[str, object], required: tuple[str, ...] | None = None) -> Schema:
    needed = tuple(properties) if required is None else required
    schema: Schema = {"type": "object", "properties": dict(properties)}
    if needed:
        schema["required"] = list(needed)
    return schema


def _page(row: str) -> Schema:
    return _object(
        {
            "data": {"type": "array", "items": _ref(row)},
            "pagination": _object(
                {"page": _COUNT, "per_page": _COUNT, "total": _COUNT, "total_pages": _COUNT}
            ),
        }
    )


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_CALL = {
    "call_id": {"type": "string", "pattern": "^call_[0-9a-f]{24}$"},
    "status": {"type": "string", "enum": [status.wire for status in UTDCallStatus]},
    "type": {"type": "string", "enum": _CALL_TYPES},
    "room_name": _TEXT,
    "caller_identity": _TEXT,
    "callee_identity": _TEXT,
    "caller_name": _MAYBE_TEXT,
    "callee_name": _MAYBE_TEXT,
    "created_at": {"type": "string", "format": "date-time"},
    "expires_at": {"type": "string", "format": "date-time"},
    "answered_at": _MAYBE_TIME,
    "ended_at": _MAYBE_TIME,
    "duration_seconds": _MAYBE_COUNT,
    "end_reason": _MAYBE_TEXT,
    "metadata": _MAYBE_OBJECT,
    "rev": _COUNT,
    "group": _MAYBE_TEXT,
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
_ROOM = {
    "id": _TEXT,
    "room_name": _TEXT,
    "participant_count": _COUNT,
    "max_participants": _COUNT,
    "started_at": {"type": "string", "format": "date-time"},
    "metadata": _TEXT,
}
_TRACK = _object(
    {"sid": _TEXT, "type": _TEXT, "muted": _FLAG, "width": _COUNT, "height": _COUNT},
    ("sid", "type", "muted"),
)
_PERSON = {
    "identity": _TEXT,
    "name": _TEXT,
    "state": _TEXT,
    "joined_at": {"type": "integer", "description": "Unix seconds."},
    "tracks": {"type": "array", "items": _TRACK},
}
_PERMISSION = _object({"canPublish": _FLAG, "canSubscribe": _FLAG, "canPublishData": _FLAG})
_BAN = {
    "id": _COUNT,
    "identity": _TEXT,
    "name": {**_MAYBE_TEXT, "description": "Of somebody who was in the room."},
    "attributes": _MAYBE_OBJECT,
    "room_name": {**_MAYBE_TEXT, "description": "None: the whole project."},
    "reason": _MAYBE_TEXT,
    "expires_at": {**_MAYBE_TIME, "description": "None: for ever."},
    "banned_at": {"type": "string", "format": "date-time"},
}
_SEAT_INDEX: Schema = {"type": "integer", "minimum": 0, "maximum": MAX_SEATS - 1}
_NUMBER: Schema = {"type": "integer", "minimum": 0, "maximum": LARGEST_NUMBER}
_MODE_ID: Schema = {"type": ["string", "null"], "minLength": 1, "maxLength": MAX_MODE_ID}
_ASKED = {"request_id": _COUNT, "identity": _TEXT}
_REV: Schema = {**_COUNT, "description": "Of the room's state after this; grows by one with every change."}
_GRID = {
    "seat_count": _COUNT,
    "seat_mode": {"enum": list(SEAT_MODES)},
    "mode_id": _MAYBE_TEXT,
    "seats": {
        "type": "array",
        "items": _object(
            {
                "seat_index": _COUNT,
                "occupant_identity": _MAYBE_TEXT,
                "locked": {"enum": [0, 1]},
                "reserved_for": _MAYBE_TEXT,
                "name": _MAYBE_TEXT,
            }
        ),
    },
    "requests": {"type": "array", "items": _ref("SpeakRequest")},
    "rev": _REV,
}
_ACTOR: Schema = {**_MAYBE_IDENTITY, "description": "Needed with the secret, to act as somebody."}
_OK: Schema = {"const": True}
_MQTT = _object({"host": _TEXT, "port": _COUNT, "username": _TEXT, "password": _TEXT, "topic": _TEXT})

_SCHEMAS: dict[str, Schema] = {
    "Error": _object(
        {
            "message": _TEXT,
            "code": {"type": "string", "enum": sorted(STATUS_OF_CODE)},
            "retry_after": {"type": "integer", "description": "Seconds."},
            "details": {"type": "object"},
        },
        ("message", "code"),
    ),
    "Health": _object(
        {
            "status": {"const": "ok"},
            "parts": {"type": "object", "additionalProperties": {"enum": ["up", "down", "unknown"]}},
        }
    ),
    "Document": {"type": "object"},
    "Ok": _object({"ok": {"const": True}}),
    "Closed": _object({"ok": {"const": True}, "message": _TEXT}),
    "Actor": _object(
        {"identity": {**_MAYBE_IDENTITY, "description": "Needed with the secret."}, "os": _MAYBE_TEXT}, ()
    ),
    "NewCall": _object(
        {
            "caller_identity": {**_MAYBE_IDENTITY, "description": "Needed with the secret."},
            "callee_identity": _IDENTITY,
            "caller_name": _MAYBE_IDENTITY,
            "callee_name": _MAYBE_IDENTITY,
            "type": {"enum": _SPELLINGS, "default": "audio_call"},
            "metadata": _METADATA,
            "group": {
                "anyOf": [{"type": "string", "pattern": GROUP_PATTERN}, {"type": "null"}],
                "description": "Calls of one caller with the same group ring at once; the first answered ends the "
                "others (answered_elsewhere).",
            },
            "os": _MAYBE_TEXT,
        },
        ("callee_identity",),
    ),
    "Call": _object(_CALL),
    "CallWithToken": _object({**_CALL, "token": _TEXT, "url": _TEXT}, tuple(_CALL)),
    "CallPage": _page("Call"),
    "CallEvent": _object(
        {
            "v": {"const": messages.EVENT_VERSION},
            "event": {"type": "string", "enum": sorted(messages.CALL_EVENTS)},
            "seq": {**_COUNT, "description": "Only grows; the id of the event in a stream."},
            "sent_at": {"type": "string", "format": "date-time"},
            "call": _object({name: _CALL[name] for name in _CALL_IN_EVENT}),
        }
    ),
    "SessionRequest": _object(
        {
            "identity": _IDENTITY,
            "name": _MAYBE_IDENTITY,
            "device_id": _MAYBE_TEXT,
            "os": _MAYBE_TEXT,
        },
        ("identity",),
    ),
    "Session": _object(
        {
            "user_token": _TEXT,
            "ws_url": {"type": "null"},
            "signaling_enabled": _FLAG,
            "messaging_enabled": _FLAG,
            "limits": {"type": "object"},
            "mqtt": _MQTT,
        },
        ("user_token", "ws_url", "signaling_enabled", "messaging_enabled", "limits"),
    ),
    "RoomTokenRequest": _object(
        {
            "identity": _IDENTITY,
            "room_name": {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,128}$"},
            "type": {"enum": ["live_stream", "audio_room", None], "default": "audio_room"},
            "role": {"enum": [*rooms.ROLES, None], "default": "audience"},
            "room_owner_id": _MAYBE_IDENTITY,
            "name": _MAYBE_IDENTITY,
            "seat_count": {"type": ["integer", "null"], "minimum": 1, "maximum": 100},
            "seat_mode": {"enum": ["free", "request", None]},
            "host_seat": {"type": ["integer", "null"], "minimum": 0, "maximum": 99},
            "mode_id": _MODE_ID,
            "image": {"type": ["string", "null"], "maxLength": 2048},
            "device_id": _MAYBE_TEXT,
            "device_model": _MAYBE_TEXT,
            "os": _MAYBE_TEXT,
            "os_version": _MAYBE_TEXT,
            "app_version": _MAYBE_TEXT,
            "metadata": _METADATA,
        },
        ("identity", "room_name"),
    ),
    "RoomToken": _object(
        {
            "token": _TEXT,
            "url": _TEXT,
            "roomName": _TEXT,
            "room_name": _TEXT,
            "user_token": _TEXT,
            "ws_url": {"type": "null"},
            "role": {"enum": list(rooms.ROLES)},
        }
    ),
    "Project": _object(
        {
            "name": _TEXT,
            "app_id": _TEXT,
            "status": _TEXT,
            "region": _TEXT,
            "max_concurrent_rooms": _COUNT,
            "max_participants_per_room": {
                **_COUNT,
                "description": "Of an audio room; a live stream has no limit.",
            },
            "audio_enabled": _FLAG,
            "video_enabled": _FLAG,
            "max_video_quality": _MAYBE_TEXT,
            "empty_room_timeout": _COUNT,
            "calls_enabled": _FLAG,
            "call_ring_timeout": {"type": "number"},
            "max_call_duration": {"type": "number"},
            "max_call_video_quality": _MAYBE_TEXT,
            "active_rooms": _COUNT,
        }
    ),
    "Room": _object(_ROOM),
    "RoomPage": _page("Room"),
    "RoomWithPeople": _object({**_ROOM, "participants": {"type": "array", "items": _object(_PERSON)}}),
    "Participant": _object({**_PERSON, "metadata": _TEXT, "permission": _PERMISSION}),
    "Moderator": _object({"identity": {**_MAYBE_IDENTITY, "description": "Who acts, for a server."}}, ()),
    "Permission": _object(
        {"can_publish": _MAYBE_FLAG, "can_subscribe": _MAYBE_FLAG, "can_publish_data": _MAYBE_FLAG}, ()
    ),
    "Permitted": _object({"ok": {"const": True}, "permission": _PERMISSION}),
    "Mute": _object(
        {
            "audio": _MAYBE_FLAG,
            "video": _MAYBE_FLAG,
            "track_sid": _MAYBE_TEXT,
            "muted": {**_MAYBE_FLAG, "default": True},
        },
        (),
    ),
    "Muted": _object({"ok": {"const": True}, "tracks": {"type": "array", "items": _TEXT}}),
    "Metadata": _object({"metadata": {**_METADATA, "type": "object"}}),
    "WrittenMetadata": _object({"ok": {"const": True}, "metadata": _TEXT}),
    "RoomMetadata": _object(
        {
            "metadata": {
                "type": "object",
                "description": f"At most {moderation.MAX_METADATA_BYTES} bytes; no key begins with '_'.",
            }
        }
    ),
    "CommentLockWish": _object({"locked": _FLAG}),
    "CommentLock": _object({"ok": {"const": True}, "locked": _FLAG}),
    "NewBan": _object(
        {
            "identity": _IDENTITY,
            "room_name": {**_MAYBE_TEXT, "description": "None: the whole project (the secret)."},
            "reason": {**_MAYBE_TEXT, "maxLength": bans.MAX_REASON},
            "duration": {
                **_MAYBE_COUNT,
                "minimum": 1,
                "maximum": bans.MAX_DURATION_S,
                "description": "Seconds; none: for ever.",
            },
        },
        ("identity",),
    ),
    "OldBan": _object(
        {"identity": _IDENTITY, "room_name": {**_MAYBE_TEXT, "description": "None: every ban (the secret)."}},
        ("identity",),
    ),
    "Ban": _object(_BAN),
    "BanPage": _page("Ban"),
    "Lifted": _object({"ok": {"const": True}, "removed": _COUNT}),
    "SeatGrid": _object(_GRID),
    "SeatGridDone": _object({"ok": _OK, **_GRID}),
    "GridWish": _object(
        {
            "identity": _ACTOR,
            "seat_count": {"type": ["integer", "null"], "minimum": 1, "maximum": MAX_SEATS},
            "seat_mode": {"enum": [*SEAT_MODES, None]},
            "mode_id": _MODE_ID,
        },
        (),
    ),
    "RoomChanged": _object({"ok": _OK, "rev": _REV}),
    "SeatTaken": _object({"ok": _OK, "seat_index": _COUNT, "rev": _REV}),
    "SeatMove": _object({"identity": _ACTOR, "target_seat": _NUMBER}, ("target_seat",)),
    "SeatMoved": _object({"ok": _OK, "from": _COUNT, "to": _COUNT, "rev": _REV}),
    "SeatSwap": _object({"identity": _ACTOR, "seat_a": _NUMBER, "seat_b": _NUMBER}, ("seat_a", "seat_b")),
    "SeatsSwapped": _object({"ok": _OK, "seat_a": _COUNT, "seat_b": _COUNT, "rev": _REV}),
    "SpeakRequest": _object(
        {"id": _COUNT, "identity": _TEXT, "created_at": {"type": "string", "format": "date-time"}}
    ),
    "SpeakRequests": _object({"requests": {"type": "array", "items": _ref("SpeakRequest")}}),
    "SpeakRequested": _object({"ok": _OK, "request_id": _COUNT, "rev": _REV}),
    "SpeakerApproved": _object({"ok": _OK, **_ASKED, "seat_index": _COUNT, "rev": _REV}),
    "SpeakerRejected": _object({"ok": _OK, **_ASKED, "rev": _REV}),
    "SpeakerInvite": _object(
        {
            "identity": _ACTOR,
            "target_identity": _IDENTITY,
            "seat_index": {**_SEAT_INDEX, "type": ["integer", "null"]},
        },
        ("target_identity",),
    ),
    "SpeakerInvited": _object({"ok": _OK, "invitation_id": _COUNT, "rev": _REV}),
    "InvitationAccepted": _object({"ok": _OK, "invitation_id": _COUNT, "seat_index": _COUNT, "rev": _REV}),
    "InvitationDeclined": _object({"ok": _OK, "invitation_id": _COUNT, "rev": _REV}),
    "StageMember": _object({"identity": _TEXT, "name": _MAYBE_TEXT, "role": _TEXT}),
    "Stage": _object({"members": {"type": "array", "items": _ref("StageMember")}, "rev": _REV}),
    "Target": _object({"identity": _ACTOR, "target_identity": _IDENTITY}, ("target_identity",)),
    "StageInvited": _object({"ok": _OK, "member": _ref("StageMember"), "rev": _REV}),
    "RoleChange": _object({"actor_identity": _ACTOR, "role": {"enum": list(roles.CHANGEABLE)}}, ("role",)),
    "RoleChanged": _object(
        {"ok": _OK, "identity": _TEXT, "role": _TEXT, "previous_role": _TEXT, "rev": _REV}
    ),
    "RolePage": _page("RoleRow"),
    "RoleRow": _object(
        {
            "identity": _TEXT,
            "name": _TEXT,
            "role": {"enum": list(rooms.ROLES)},
            "attributes": _object(dict.fromkeys(roles.ATTRIBUTES, _MAYBE_TEXT)),
        }
    ),
    "SendData": _object(
        {
            "data": {"type": ["string", "object"], "description": "At most 15000 bytes."},
            "destination_identities": {"type": ["array", "null"], "items": _IDENTITY, "maxItems": 1000},
        },
        ("data",),
    ),
}
_QUERY: dict[str, Schema] = {
    "status": {"type": "string", "description": "A comma list of call states."},
    "type": {"type": "string", "enum": [*_CALL_TYPES, "voice", "video", "audio"]},
    "identity": _TEXT,
    "app_id": {"type": "string", "description": "Where the header cannot be set."},
    "access_token": {"type": "string", "description": "The user token, where the header cannot be set."},
    "start_date": {"type": "string", "description": "ISO-8601 time or date."},
    "end_date": {"type": "string", "description": "ISO-8601 time or date (then its end)."},
    "room_name": _TEXT,
    "role": {"type": "string", "enum": list(rooms.ROLES)},
    "page": {"type": "integer", "minimum": 1, "maximum": 1_000_000, "default": 1},
    "per_page": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
}
_PATH: dict[str, Schema] = {"index": _NUMBER, "request_id": _NUMBER, "invitation_id": _NUMBER}
_APP_ID, _KEY, _SECRET, _BEARER = "appId", "appKey", "appSecret", "userToken"
_SECURITY: dict[Access, list[dict[str, list[str]]]] = {
    Access.PUBLIC: [],
    Access.MINT: [{_APP_ID: [], _KEY: []}, {_APP_ID: [], _SECRET: []}],
    Access.ANY: [{_APP_ID: [], name: []} for name in (_KEY, _BEARER, _SECRET)],
    Access.USER: [{_APP_ID: [], name: []} for name in (_BEARER, _SECRET)],
    Access.SECRET: [{_APP_ID: [], _SECRET: []}],
}


@cache
def document() -> dict[str, object]:
    """The OpenAPI 3.1 document. Shared: do not change it."""
    from utdstream import __version__

    paths: dict[str, dict[str, object]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "UTD Stream engine, self-hosted",
            "version": __version__,
            "description": "Calls and rooms on LiveKit.",
        },
        "paths": paths,
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {
                _APP_ID: {"type": "apiKey", "in": "header", "name": routes.HEADER_APP_ID},
                _KEY: {"type": "apiKey", "in": "header", "name": routes.HEADER_APP_KEY},
                _SECRET: {"type": "apiKey", "in": "header", "name": routes.HEADER_APP_SECRET},
                _BEARER: {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _operation(operation: Operation) -> dict[str, object]:
    described: dict[str, object] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "responses": _responses(operation),
        "security": _SECURITY[operation.access],
    }
    parameters = [
        _parameter(name, "path", _PATH.get(name, _TEXT)) for name in re.findall(r"{(\w+)}", operation.path)
    ]
    parameters += [_parameter(name, "query", _QUERY[name]) for name in operation.query]
    if operation.idempotent_by_key:
        parameters.append(_parameter(routes.HEADER_IDEMPOTENCY_KEY, "header", {**_TEXT, "maxLength": 255}))
    if operation.is_stream:
        parameters.append(_parameter("Last-Event-ID", "header", _TEXT))
    if parameters:
        described["parameters"] = parameters
    if operation.request is not None:
        schema = _SCHEMAS[operation.request]
        described["requestBody"] = {
            "required": "required" in schema,
            "content": {"application/json": {"schema": _ref(operation.request)}},
        }
    return described


def _parameter(name: str, where: str, schema: Schema) -> dict[str, object]:
    return {"name": name, "in": where, "required": where == "path", "schema": schema}


def _responses(operation: Operation) -> dict[str, object]:
    done = _response("Done", operation.answer)
    if operation.is_stream:
        done = _response("Events, each an object of this schema", operation.answer, "text/event-stream")
    responses: dict[str, object] = {str(operation.status): done}
    if operation.replay_status is not None:
        responses[str(operation.replay_status)] = _response(
            "The call that this Idempotency-Key made", operation.answer
        )
    by_status: dict[int, list[str]] = {}
    for code in codes_of(operation):
        by_status.setdefault(STATUS_OF_CODE[code], []).append(code)
    for status, codes in sorted(by_status.items()):
        response = _response(", ".join(sorted(codes)), "Error")
        if status in (429, 503):
            response["headers"] = {"Retry-After": {"schema": {"type": "integer"}}}
        responses[str(status)] = response
    return responses


def _response(description: str, schema: str, media: str = "application/json") -> dict[str, object]:
    return {"description": description, "content": {media: {"schema": _ref(schema)}}}
