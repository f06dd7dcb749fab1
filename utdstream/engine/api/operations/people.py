"""The operations on participants: reading, roles, moderation, removal."""

from __future__ import annotations

from utdstream._wire import routes
from utdstream.engine.api.operations.table import ON_PERSON, ON_ROOM, Access, Operation
from utdstream.engine.api.schemas import (
    ACTOR,
    COUNT,
    FLAG,
    MAYBE_FLAG,
    MAYBE_TEXT,
    METADATA,
    OK,
    PAGE,
    REV,
    TEXT,
    Schema,
    object_of,
    page_of,
)
from utdstream.engine.rules import roles, rooms


def _decision(
    id: str, action: str, summary: str, *, request: str, answer: str = "Ok", codes: tuple[str, ...] = ()
) -> Operation:
    """What a moderator decides about one participant."""
    return Operation(
        id,
        "PUT",
        routes.PERSON_ACTIONS[action],
        summary,
        Access.USER,
        answer,
        request=request,
        codes=(*ON_PERSON, *codes),
        is_undone=action != "metadata",
    )


OPERATIONS = (
    Operation(
        "list_by_role",
        "GET",
        routes.PEOPLE_BY_ROLE,
        "List the participants of a room with their roles, newest first (whoever was admitted to the room)",
        Access.USER,
        "RolePage",
        codes=ON_ROOM,
        query=("role", *PAGE),
    ),
    Operation(
        "get_participant",
        "GET",
        routes.PERSON,
        "Read a participant (a participant of the room; a party of the call)",
        Access.USER,
        "Participant",
        codes=(*ON_ROOM, "participant_not_found"),
    ),
    Operation(
        "remove_participant",
        "DELETE",
        routes.PERSON,
        "Remove a participant, who is told and has two seconds to leave (a host or an admin)",
        Access.USER,
        "Ok",
        codes=(*ON_ROOM, "participant_not_found"),
    ),
    Operation(
        "change_role",
        "PUT",
        routes.PERSON_ACTIONS["role"],
        "Give a participant another role (the owner)",
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
        is_undone=True,
    ),
    _decision(
        "permit",
        "permissions",
        "Change a participant's rights; in an audio room can_publish true needs a seat (a host or an admin)",
        request="Permission",
        answer="Permitted",
        codes=("invalid_state", "not_seated"),
    ),
    _decision(
        "mute",
        "mute",
        "Mute a participant's audio, video or one track. The microphone stays muted until the mute is lifted with"
        " muted false; the participant unmutes then (a host or an admin)",
        request="Mute",
        answer="Muted",
        codes=("not_found",),
    ),
    _decision(
        "set_participant_metadata",
        "metadata",
        "Merge into a participant's metadata; null removes a key, the engine's keys stay (a host or an admin)",
        request="Metadata",
        answer="WrittenMetadata",
    ),
    _decision(
        "forbid_stream",
        "forbid-stream",
        "Take every right to publish from a participant until it is resumed (a host or an admin)",
        request="Moderator",
    ),
    _decision(
        "resume_stream",
        "resume-stream",
        "Give back the rights to publish that the room's rules give the participant (a host or an admin)",
        request="Moderator",
    ),
)

_TRACK = object_of(
    {"sid": TEXT, "type": TEXT, "muted": FLAG, "width": COUNT, "height": COUNT},
    ("sid", "type", "muted"),
)
PERSON = {
    "identity": TEXT,
    "name": TEXT,
    "state": TEXT,
    "joined_at": {"type": "integer", "description": "Unix seconds."},
    "tracks": {"type": "array", "items": _TRACK},
}
_PERMISSION = object_of({"canPublish": FLAG, "canSubscribe": FLAG, "canPublishData": FLAG})

SCHEMAS: dict[str, Schema] = {
    "Participant": object_of({**PERSON, "metadata": TEXT, "permission": _PERMISSION}),
    "Moderator": object_of({"identity": ACTOR}, ()),
    "Permission": object_of(
        {"can_publish": MAYBE_FLAG, "can_subscribe": MAYBE_FLAG, "can_publish_data": MAYBE_FLAG}, ()
    ),
    "Permitted": object_of({"ok": OK, "permission": _PERMISSION}),
    "Mute": object_of(
        {
            "audio": MAYBE_FLAG,
            "video": MAYBE_FLAG,
            "track_sid": MAYBE_TEXT,
            "muted": {**MAYBE_FLAG, "default": True},
        },
        (),
    ),
    "Muted": object_of({"ok": OK, "tracks": {"type": "array", "items": TEXT}}),
    "Metadata": object_of({"metadata": {**METADATA, "type": "object"}}),
    "WrittenMetadata": object_of({"ok": OK, "metadata": TEXT}),
    "RoleChange": object_of({"actor_identity": ACTOR, "role": {"enum": list(roles.CHANGEABLE)}}, ("role",)),
    "RoleChanged": object_of({"ok": OK, "identity": TEXT, "role": TEXT, "previous_role": TEXT, "rev": REV}),
    "RolePage": page_of("RoleRow"),
    "RoleRow": object_of(
        {
            "identity": TEXT,
            "name": TEXT,
            "role": {"enum": list(rooms.ROLES)},
            "attributes": object_of(dict.fromkeys(roles.ATTRIBUTES, MAYBE_TEXT)),
        }
    ),
}
