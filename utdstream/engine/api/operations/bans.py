"""The operations on bans."""

from __future__ import annotations

from utdstream._wire import routes
from utdstream.engine.api.operations.table import ON_BAN, Access, Operation
from utdstream.engine.api.schemas import (
    COUNT,
    IDENTITY,
    MAYBE_COUNT,
    MAYBE_OBJECT,
    MAYBE_TEXT,
    MAYBE_TIME,
    OK,
    PAGE,
    TEXT,
    TIME,
    Schema,
    object_of,
    page_of,
)
from utdstream.engine.rules import bans

OPERATIONS = (
    Operation(
        "ban",
        "POST",
        routes.BAN,
        "Ban an identity from a room (its owner, a host or an admin) or from the project (the app secret)",
        Access.USER,
        "Ban",
        request="NewBan",
        status=201,
        codes=(*ON_BAN, "invalid_state"),
    ),
    Operation(
        "lift_ban",
        "DELETE",
        routes.BAN,
        "Lift an identity's ban from a room, or without room_name every ban of the identity (the app secret)",
        Access.USER,
        "Lifted",
        request="OldBan",
        codes=ON_BAN,
    ),
    Operation(
        "list_bans",
        "GET",
        routes.BANS,
        "List the bans in force, newest first; with a user token those of the rooms its identity moderates",
        Access.USER,
        "BanPage",
        codes=ON_BAN,
        query=("room_name", *PAGE),
    ),
)

SCHEMAS: dict[str, Schema] = {
    "NewBan": object_of(
        {
            "identity": IDENTITY,
            "room_name": {**MAYBE_TEXT, "description": "Absent: the whole project (with the app secret)."},
            "reason": {**MAYBE_TEXT, "maxLength": bans.MAX_REASON},
            "duration": {
                **MAYBE_COUNT,
                "minimum": 1,
                "maximum": bans.MAX_DURATION_S,
                "description": "Seconds; absent: without an end.",
            },
        },
        ("identity",),
    ),
    "OldBan": object_of(
        {
            "identity": IDENTITY,
            "room_name": {**MAYBE_TEXT, "description": "Absent: every ban (with the app secret)."},
        },
        ("identity",),
    ),
    "Ban": object_of(
        {
            "id": COUNT,
            "identity": TEXT,
            "name": {**MAYBE_TEXT, "description": "The display name of an identity that was in the room."},
            "attributes": MAYBE_OBJECT,
            "room_name": {**MAYBE_TEXT, "description": "null: the whole project."},
            "reason": MAYBE_TEXT,
            "expires_at": {**MAYBE_TIME, "description": "null: without an end."},
            "banned_at": TIME,
        }
    ),
    "BanPage": page_of("Ban"),
    "Lifted": object_of({"ok": OK, "removed": {**COUNT, "description": "Bans that were in force."}}),
}
