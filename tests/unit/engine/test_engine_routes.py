"""The paths the SDK asks for are the paths the engine serves: every one of them."""

from __future__ import annotations

import re

import pytest

from utdstream._wire import routes
from utdstream.engine.api.operations import OPERATIONS

IDENTITY = "Frau Müller/🚪"
ON_CALL = ("ringing", "accept", "reject", "busy", "end")
ON_SEAT = ("take", "kick", "lock", "unlock", "mute", "unmute")

ASKED = {
    ("GET", routes.HEALTH),
    ("POST", routes.TOKEN),
    ("POST", routes.AUTH_SESSION),
    ("GET", routes.PROJECT),
    ("POST", routes.CALLS),
    ("GET", routes.CALLS),
    ("GET", routes.CALL_EVENTS),
    ("GET", routes.call("call_1")),
    *(
        ("POST", routes.call_action("call_1", action))
        for action in ["ringing", "accept", "reject", "busy", "end"]
    ),
    ("GET", routes.ROOMS),
    ("GET", routes.room("r")),
    ("DELETE", routes.room("r")),
    ("PUT", routes.room_metadata("r")),
    ("PUT", routes.comments_lock("r")),
    ("POST", routes.send_data("r")),
    ("GET", routes.participant("r", IDENTITY)),
    ("DELETE", routes.participant("r", IDENTITY)),
    *(
        ("PUT", routes.participant_action("r", IDENTITY, action))
        for action in ["permissions", "mute", "metadata", "forbid-stream", "resume-stream", "role"]
    ),
    ("GET", routes.participants_by_role("r")),
    ("GET", routes.seats("r")),
    *(("POST", routes.seats_action("r", action)) for action in ["setup", "leave", "move", "swap"]),
    *(
        ("POST", routes.seat_action("r", 3, action))
        for action in ["take", "kick", "lock", "unlock", "mute", "unmute"]
    ),
    ("POST", routes.speakers("r", "request")),
    ("DELETE", routes.speakers("r", "request")),
    ("GET", routes.speakers("r", "requests")),
    ("POST", routes.speakers("r", "invite")),
    *(("POST", routes.speaker_request("r", 7, action)) for action in ("approve", "reject")),
    *(("POST", routes.speaker_invitation("r", 7, action)) for action in ("accept", "decline")),
    ("GET", routes.stage("r")),
    *(("POST", routes.stage_action("r", action)) for action in ["invite", "remove", "request", "leave"]),
    ("POST", routes.BAN),
    ("DELETE", routes.BAN),
    ("GET", routes.BANS),
    ("POST", routes.KEYS),
    ("GET", routes.KEYS),
    ("DELETE", routes.key("key_1")),
}


def pattern(path: str) -> re.Pattern[str]:
    """An operation's path, its parameters standing for one segment each."""
    return re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)) + r"\Z")


@pytest.mark.parametrize(("method", "path"), sorted(ASKED))
def test_path_when_the_sdk_asks_for_it_is_served(method: str, path: str) -> None:
    """By at least one operation of this method."""
    assert any(row.method == method and pattern(row.path).match(path) for row in OPERATIONS)


@pytest.mark.parametrize("row", [row for row in OPERATIONS if row.id != "openapi"], ids=lambda row: row.id)
def test_operation_when_the_engine_serves_it_has_its_path_in_the_wire(row) -> None:  # type: ignore[no-untyped-def]
    """No path is written down in the engine alone."""
    assert any(method == row.method and pattern(row.path).match(path) for method, path in ASKED)
