"""The operations on the project itself: health, the mints of tokens, this document."""

from __future__ import annotations

from utdstream._wire import names, routes
from utdstream.engine.api.operations.table import Access, Operation
from utdstream.engine.api.schemas import (
    COUNT,
    FLAG,
    IDENTITY,
    MAYBE_IDENTITY,
    MAYBE_NAME,
    MAYBE_TEXT,
    METADATA,
    TEXT,
    Schema,
    object_of,
)
from utdstream.engine.rules import rooms
from utdstream.engine.rules.room_state import SEAT_MODES
from utdstream.limits import MAX_MODE_ID, MAX_SEATS, RESERVED_ROOM_NAMES

OPERATIONS = (
    Operation("health", "GET", routes.HEALTH, "Whether the engine serves", Access.PUBLIC, "Health"),
    Operation("openapi", "GET", routes.OPENAPI, "This document", Access.PUBLIC, "Document"),
    Operation(
        "mint_room",
        "POST",
        routes.TOKEN,
        "Mint a media token for a live stream or an audio room, made if need be, and a user token",
        Access.MINT,
        "RoomToken",
        request="RoomTokenRequest",
        codes=(
            "banned",
            "forbidden",
            "identity_mismatch",
            "invalid_state",
            "room_limit_reached",
            "room_not_found",
            "session_takeover_cooldown",
            "unavailable",
            "validation_failed",
            "limit_reached",
        ),
    ),
    Operation(
        "mint_session",
        "POST",
        routes.AUTH_SESSION,
        "Mint a user token without a room, and a broker login for call events",
        Access.MINT,
        "Session",
        request="SessionRequest",
        codes=("banned", "identity_mismatch", "validation_failed", "limit_reached"),
    ),
    Operation("project", "GET", routes.PROJECT, "The project's settings and limits", Access.ANY, "Project"),
)

SCHEMAS: dict[str, Schema] = {
    "Health": object_of(
        {
            "status": {"const": "ok"},
            "parts": {"type": "object", "additionalProperties": {"enum": ["up", "down", "unknown"]}},
            "open_key": {**FLAG, "description": "Whether the project's own app key mints for any identity."},
        }
    ),
    "Document": {"type": "object"},
    "SessionRequest": object_of(
        {"identity": IDENTITY, "name": MAYBE_NAME, "device_id": MAYBE_TEXT, "os": MAYBE_TEXT},
        ("identity",),
    ),
    "Session": object_of(
        {
            "user_token": TEXT,
            "ws_url": {"type": "null"},
            "signaling_enabled": FLAG,
            "messaging_enabled": FLAG,
            "limits": {"type": "object"},
            "mqtt": object_of(
                {
                    "host": TEXT,
                    "port": COUNT,
                    "username": TEXT,
                    "password": TEXT,
                    "topic": TEXT,
                    "tls": FLAG,
                    "ca": TEXT,
                },
                ("host", "port", "username", "password", "topic", "tls"),
            ),
        },
        ("user_token", "ws_url", "signaling_enabled", "messaging_enabled", "limits"),
    ),
    "RoomTokenRequest": object_of(
        {
            "identity": IDENTITY,
            "room_name": {
                "type": "string",
                "pattern": f"^{names.ROOM_NAME_PATTERN}$",
                "not": {"enum": sorted(RESERVED_ROOM_NAMES)},
            },
            "type": {"enum": ["live_stream", "audio_room", None], "default": "audio_room"},
            "role": {"enum": [*rooms.ROLES, None], "default": "audience"},
            "room_owner_id": MAYBE_IDENTITY,
            "name": MAYBE_NAME,
            "seat_count": {"type": ["integer", "null"], "minimum": 1, "maximum": MAX_SEATS},
            "seat_mode": {"enum": [*SEAT_MODES, None]},
            "host_seat": {"type": ["integer", "null"], "minimum": 0, "maximum": MAX_SEATS - 1},
            "mode_id": {"type": ["string", "null"], "minLength": 1, "maxLength": MAX_MODE_ID},
            "image": {"type": ["string", "null"], "maxLength": 2048},
            "device_id": MAYBE_TEXT,
            "device_model": MAYBE_TEXT,
            "os": MAYBE_TEXT,
            "os_version": MAYBE_TEXT,
            "app_version": MAYBE_TEXT,
            "metadata": METADATA,
        },
        ("identity", "room_name"),
    ),
    "RoomToken": object_of(
        {
            "token": TEXT,
            "url": TEXT,
            "roomName": TEXT,
            "room_name": TEXT,
            "user_token": TEXT,
            "ws_url": {"type": "null"},
            "role": {"enum": list(rooms.ROLES)},
        }
    ),
    "Project": object_of(
        {
            "name": TEXT,
            "app_id": TEXT,
            "status": TEXT,
            "region": TEXT,
            "max_concurrent_rooms": COUNT,
            "max_participants_per_room": {
                **COUNT,
                "description": "Of an audio room; a live stream has no limit.",
            },
            "audio_enabled": FLAG,
            "video_enabled": FLAG,
            "max_video_quality": MAYBE_TEXT,
            "empty_room_timeout": {**COUNT, "description": "Seconds until an empty room is closed."},
            "calls_enabled": FLAG,
            "call_ring_timeout": {"type": "number", "description": "Seconds."},
            "max_call_duration": {"type": "number", "description": "Seconds."},
            "max_call_video_quality": MAYBE_TEXT,
            "active_rooms": {
                **COUNT,
                "description": "The rooms that are open; those that the engine knows of while the media server"
                " does not answer.",
            },
        }
    ),
}
