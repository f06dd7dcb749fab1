"""The operations on live streams and audio rooms as a whole."""

from __future__ import annotations

from utdstream._wire import routes
from utdstream.engine.api.operations.people import PERSON
from utdstream.engine.api.operations.table import ON_DECISION, ON_ROOM, Access, Operation
from utdstream.engine.api.schemas import (
    COUNT,
    FLAG,
    IDENTITY,
    OK,
    PAGE,
    TEXT,
    TIME,
    Schema,
    object_of,
    page_of,
)
from utdstream.limits import MAX_RECIPIENTS, MAX_RELIABLE_BYTES, MAX_ROOM_METADATA_BYTES

OPERATIONS = (
    Operation(
        "list_rooms",
        "GET",
        routes.ROOMS,
        "List the rooms that are open, newest first",
        Access.SECRET,
        "RoomPage",
        codes=("forbidden", "unavailable", "validation_failed"),
        query=PAGE,
    ),
    Operation(
        "get_room",
        "GET",
        routes.ROOM,
        "Read a room and its participants (a host or an admin of the room; a party of the call)",
        Access.USER,
        "RoomWithPeople",
        codes=ON_ROOM,
    ),
    Operation(
        "close_room",
        "DELETE",
        routes.ROOM,
        "Close a room: its participants are told, have two seconds to leave, and the room ends (the owner)",
        Access.USER,
        "Closed",
        codes=(*ON_ROOM, "not_owner", "invalid_state"),
    ),
    Operation(
        "send_data",
        "POST",
        routes.SEND_DATA,
        "Send a data message into a room (a host or an admin)",
        Access.USER,
        "Ok",
        request="SendData",
        codes=ON_ROOM,
    ),
    Operation(
        "set_room_metadata",
        "PUT",
        routes.ROOM_METADATA,
        "Replace the application's keys of the room metadata (a host)",
        Access.USER,
        "Ok",
        request="RoomMetadata",
        codes=ON_DECISION,
        is_undone=True,
    ),
    Operation(
        "lock_comments",
        "PUT",
        routes.COMMENTS_LOCK,
        "Lock or unlock the comments; every participant is told (a host or an admin)",
        Access.USER,
        "CommentLock",
        request="CommentLockWish",
        codes=ON_DECISION,
        is_undone=True,
    ),
)

_ROOM = {
    "id": TEXT,
    "room_name": TEXT,
    "participant_count": COUNT,
    "max_participants": COUNT,
    "started_at": TIME,
    "metadata": TEXT,
}

SCHEMAS: dict[str, Schema] = {
    "Room": object_of(_ROOM),
    "RoomPage": page_of("Room"),
    "RoomWithPeople": object_of({**_ROOM, "participants": {"type": "array", "items": object_of(PERSON)}}),
    "Closed": object_of({"ok": OK, "message": TEXT}),
    "SendData": object_of(
        {
            "data": {"type": ["string", "object"], "description": f"At most {MAX_RELIABLE_BYTES} bytes."},
            "destination_identities": {
                "type": ["array", "null"],
                "items": IDENTITY,
                "maxItems": MAX_RECIPIENTS,
                "description": "The participants who get the message; empty or absent: every participant.",
            },
        },
        ("data",),
    ),
    "RoomMetadata": object_of(
        {
            "metadata": {
                "type": "object",
                "description": f"At most {MAX_ROOM_METADATA_BYTES} bytes; no key begins with '_'.",
            }
        }
    ),
    "CommentLockWish": object_of({"locked": FLAG}),
    "CommentLock": object_of({"ok": OK, "locked": FLAG}),
}
