"""Broker logins, one for each identity, as commands for mosquitto's dynamic-security plugin.

Owns: what one identity may read and write, and the plugin's JSON. Pure. Imports the topics of `_wire`.

A login may read its own call events and write its own availability, nothing else. Wildcards are of no
use to it: a subscription is compared letter by letter.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from utdstream._wire import codec, messages

CONTROL_TOPIC = "$CONTROL/dynamic-security/v1"
ANSWER_TOPIC = f"{CONTROL_TOPIC}/response"
EVERY_TOPIC = "utdstream/v1/#"


@dataclass(frozen=True, slots=True)
class CommandAnswer:
    """What the plugin said to one command; `error` None: done. "Already exists" counts as done."""

    command: str
    correlation: str
    error: str | None


def login_commands(app_id: str, identity: str, password: str, correlation: str) -> list[dict[str, object]]:
    """The commands that make the login of one identity; harmless when it exists."""
    username = messages.mqtt_username(app_id, identity)
    calls = messages.calls_topic(app_id, identity)
    availability = messages.availability_topic(app_id, identity)
    acls = [("subscribeLiteral", calls), ("publishClientReceive", calls), ("publishClientSend", availability)]
    return [
        {
            "command": "createRole",
            "rolename": username,
            "acls": [{"acltype": kind, "topic": topic, "priority": 0, "allow": True} for kind, topic in acls],
            "correlationData": correlation,
        },
        {
            "command": "createClient",
            "username": username,
            "password": password,
            "roles": [{"rolename": username, "priority": 0}],
            "correlationData": correlation,
        },
    ]


def engine_commands(username: str) -> list[dict[str, object]]:
    """The commands by which the engine's own login, an administrator, may also send call events."""
    role = "utdstream-engine"
    acls = [{"acltype": "publishClientSend", "topic": EVERY_TOPIC, "priority": 0, "allow": True}]
    return [
        {"command": "createRole", "rolename": role, "acls": acls},
        {"command": "addClientRole", "username": username, "rolename": role, "priority": 0},
    ]


def encode(commands: Iterable[Mapping[str, object]]) -> bytes:
    """One message that carries these commands."""
    return json.dumps({"commands": list(commands)}, separators=(",", ":")).encode()


def parse_answers(payload: bytes) -> list[CommandAnswer]:
    """What the plugin answered; nothing for a message that is none of its answers."""
    message = codec.json_object(payload)
    rows = message.get("responses") if message is not None else None
    answers = []
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, dict):
            error = codec.text(row.get("error"))
            if error is not None and "already exists" in error.lower():
                error = None
            answers.append(
                CommandAnswer(
                    command=codec.text(row.get("command")) or "",
                    correlation=codec.text(row.get("correlationData")) or "",
                    error=error,
                )
            )
    return answers
