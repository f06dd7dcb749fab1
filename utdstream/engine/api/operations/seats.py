"""The operations on the seats and speakers of an audio room."""

from __future__ import annotations

from utdstream._wire import routes
from utdstream.engine.api.operations.table import BY_SOMEBODY, ON_STATE, Access, Operation
from utdstream.engine.api.schemas import (
    ACTOR,
    COUNT,
    IDENTITY,
    MAYBE_TEXT,
    NUMBER,
    OK,
    REV,
    TEXT,
    TIME,
    Schema,
    list_of,
    object_of,
)
from utdstream.engine.rules.room_state import SEAT_MODES
from utdstream.limits import MAX_MODE_ID, MAX_SEATS

_NOT_FREE = ("seat_occupied", "seat_locked", "seat_reserved")


def _change(
    id: str,
    path: str,
    summary: str,
    *codes: str,
    method: str = "POST",
    request: str = "Actor",
    answer: str = "RoomChanged",
) -> Operation:
    """A change of seats or speakers, by a participant or a moderator."""
    return Operation(
        id,
        method,
        path,
        summary,
        Access.USER,
        answer,
        request=request,
        codes=(*BY_SOMEBODY, *codes),
        is_undone=True,
    )


OPERATIONS = (
    Operation(
        "get_seats",
        "GET",
        routes.SEATS,
        "Read the seats of an audio room and the pending requests to speak",
        Access.USER,
        "SeatGrid",
        codes=ON_STATE,
    ),
    _change(
        "set_up_seats",
        routes.SEATS_ACTIONS["setup"],
        "Change the number of seats, the mode or the layout; seats that stay keep their speakers (a host or an"
        " admin)",
        request="GridWish",
        answer="SeatGridDone",
    ),
    _change(
        "take_seat",
        routes.SEAT_ACTIONS["take"],
        "Take a seat; the right to publish the microphone follows",
        "seat_not_found",
        "already_seated",
        *_NOT_FREE,
        "seat_request_required",
        answer="SeatTaken",
    ),
    _change("leave_seat", routes.SEATS_ACTIONS["leave"], "Leave the seat", "not_seated", answer="SeatTaken"),
    _change(
        "move_seat",
        routes.SEATS_ACTIONS["move"],
        "Move to another seat in one step; the right to publish stays",
        "not_seated",
        "seat_not_found",
        *_NOT_FREE,
        request="SeatMove",
        answer="SeatMoved",
    ),
    _change(
        "swap_seats",
        routes.SEATS_ACTIONS["swap"],
        "Exchange the speakers of two seats (a host or an admin)",
        "seat_not_found",
        "not_seated",
        "seat_locked",
        "seat_reserved",
        request="SeatSwap",
        answer="SeatsSwapped",
    ),
    *(
        _change(id, routes.SEAT_ACTIONS[action], f"{summary} (a host or an admin)", "seat_not_found", *codes)
        for id, action, summary, codes in (
            ("kick_from_seat", "kick", "Empty the seat", ("not_seated",)),
            ("lock_seat", "lock", "Empty the seat and lock it", ()),
            ("unlock_seat", "unlock", "Unlock the seat", ()),
            ("mute_seat", "mute", "Mute the speaker on the seat until the mute is lifted", ("not_seated",)),
            ("unmute_seat", "unmute", "Lift the mute; the speaker's client unmutes itself", ("not_seated",)),
        )
    ),
    _change(
        "request_to_speak",
        routes.SPEAKERS_ACTIONS["request"],
        "Ask for a seat; hosts and admins are told",
        "already_seated",
        "request_pending",
        answer="SpeakRequested",
    ),
    _change(
        "cancel_request_to_speak",
        routes.SPEAKERS_ACTIONS["request"],
        "Withdraw the request to speak",
        "request_not_found",
        method="DELETE",
    ),
    Operation(
        "list_requests_to_speak",
        "GET",
        routes.SPEAKERS_ACTIONS["requests"],
        "List the pending requests to speak, in the order of asking",
        Access.USER,
        "SpeakRequests",
        codes=ON_STATE,
    ),
    _change(
        "approve_speaker",
        routes.SPEAK_REQUEST_ACTIONS["approve"],
        "Seat the requester on the first seat that is free for them (a host or an admin)",
        "request_not_found",
        "seat_occupied",
        answer="SpeakerApproved",
    ),
    _change(
        "reject_speaker",
        routes.SPEAK_REQUEST_ACTIONS["reject"],
        "Refuse a request to speak (a host or an admin)",
        "request_not_found",
        answer="SpeakerRejected",
    ),
    _change(
        "invite_to_speak",
        routes.SPEAKERS_ACTIONS["invite"],
        "Invite a participant to speak (a host or an admin)",
        "participant_not_found",
        "already_seated",
        "invitation_pending",
        "seat_not_found",
        "seat_reserved",
        request="SpeakerInvite",
        answer="SpeakerInvited",
    ),
    _change(
        "accept_to_speak",
        routes.INVITATION_ACTIONS["accept"],
        "Accept an invitation to speak: the invited participant is seated",
        "invitation_not_found",
        "seat_not_found",
        *_NOT_FREE,
        answer="InvitationAccepted",
    ),
    _change(
        "decline_to_speak",
        routes.INVITATION_ACTIONS["decline"],
        "Decline an invitation to speak",
        "invitation_not_found",
        answer="InvitationDeclined",
    ),
)

_ASKED = {"request_id": COUNT, "identity": TEXT}
_GRID = {
    "seat_count": COUNT,
    "seat_mode": {"enum": list(SEAT_MODES)},
    "mode_id": MAYBE_TEXT,
    "seats": {
        "type": "array",
        "items": object_of(
            {
                "seat_index": COUNT,
                "occupant_identity": MAYBE_TEXT,
                "locked": {"enum": [0, 1]},
                "reserved_for": MAYBE_TEXT,
                "name": MAYBE_TEXT,
            }
        ),
    },
    "requests": list_of("SpeakRequest"),
    "rev": REV,
}

SCHEMAS: dict[str, Schema] = {
    "SeatGrid": object_of(_GRID),
    "SeatGridDone": object_of({"ok": OK, **_GRID}),
    "GridWish": object_of(
        {
            "identity": ACTOR,
            "seat_count": {"type": ["integer", "null"], "minimum": 1, "maximum": MAX_SEATS},
            "seat_mode": {"enum": [*SEAT_MODES, None]},
            "mode_id": {"type": ["string", "null"], "minLength": 1, "maxLength": MAX_MODE_ID},
        },
        (),
    ),
    "SeatTaken": object_of({"ok": OK, "seat_index": COUNT, "rev": REV}),
    "SeatMove": object_of({"identity": ACTOR, "target_seat": NUMBER}, ("target_seat",)),
    "SeatMoved": object_of({"ok": OK, "from": COUNT, "to": COUNT, "rev": REV}),
    "SeatSwap": object_of({"identity": ACTOR, "seat_a": NUMBER, "seat_b": NUMBER}, ("seat_a", "seat_b")),
    "SeatsSwapped": object_of({"ok": OK, "seat_a": COUNT, "seat_b": COUNT, "rev": REV}),
    "SpeakRequest": object_of({"id": COUNT, "identity": TEXT, "created_at": TIME}),
    "SpeakRequests": object_of({"requests": list_of("SpeakRequest")}),
    "SpeakRequested": object_of({"ok": OK, "request_id": COUNT, "rev": REV}),
    "SpeakerApproved": object_of({"ok": OK, **_ASKED, "seat_index": COUNT, "rev": REV}),
    "SpeakerRejected": object_of({"ok": OK, **_ASKED, "rev": REV}),
    "SpeakerInvite": object_of(
        {
            "identity": ACTOR,
            "target_identity": IDENTITY,
            "seat_index": {"type": ["integer", "null"], "minimum": 0, "maximum": MAX_SEATS - 1},
        },
        ("target_identity",),
    ),
    "SpeakerInvited": object_of({"ok": OK, "invitation_id": COUNT, "rev": REV}),
    "InvitationAccepted": object_of({"ok": OK, "invitation_id": COUNT, "seat_index": COUNT, "rev": REV}),
    "InvitationDeclined": object_of({"ok": OK, "invitation_id": COUNT, "rev": REV}),
}
