"""The operations on the stage of a live stream."""

from __future__ import annotations

from utdstream._wire import routes
from utdstream.engine.api.operations.table import BY_SOMEBODY, ON_STATE, Access, Operation
from utdstream.engine.api.schemas import MAYBE_TEXT, OK, REV, TEXT, Schema, list_of, object_of, ref


def _change(
    id: str, action: str, summary: str, *codes: str, request: str = "Actor", answer: str = "RoomChanged"
) -> Operation:
    """A change of the stage, by a participant or a moderator."""
    return Operation(
        id,
        "POST",
        routes.STAGE_ACTIONS[action],
        summary,
        Access.USER,
        answer,
        request=request,
        codes=(*BY_SOMEBODY, *codes),
        is_undone=action != "request",
    )


OPERATIONS = (
    Operation(
        "get_stage",
        "GET",
        routes.STAGE,
        "Read the stage of a live stream: the host, then the others in the order of joining",
        Access.USER,
        "Stage",
        codes=ON_STATE,
    ),
    _change(
        "invite_to_stage",
        "invite",
        "Bring a participant onto the stage; a member of the stage stays one (a host or an admin)",
        "participant_not_found",
        request="Target",
        answer="StageInvited",
    ),
    _change(
        "remove_from_stage",
        "remove",
        "Remove a member from the stage (a host or an admin)",
        "not_on_stage",
        request="Target",
    ),
    _change(
        "request_stage", "request", "Ask to come on stage; hosts and admins are told, no request is stored"
    ),
    _change("leave_stage", "leave", "Go back to the audience", "not_on_stage"),
)

SCHEMAS: dict[str, Schema] = {
    "StageMember": object_of({"identity": TEXT, "name": MAYBE_TEXT, "role": TEXT}),
    "Stage": object_of({"members": list_of("StageMember"), "rev": REV}),
    "StageInvited": object_of({"ok": OK, "member": ref("StageMember"), "rev": REV}),
}
