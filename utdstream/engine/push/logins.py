"""Broker logins, one for each identity and key, as commands for mosquitto's dynamic-security plugin.

Owns: what one login may read and write, and the plugin's JSON. Pure. Imports the topics of `_wire`.

A login may read its own call events and write its own availability, nothing else. Wildcards are of no
use to it: a subscription is compared letter by letter.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from utdstream._wire import codec, messages
from utdstream.engine.rules.keys import Login

CONTROL_TOPIC = "$CONTROL/dynamic-security/v1"
ANSWER_TOPIC = f"{CONTROL_TOPIC}/response"
EVERY_TOPIC = "utdstream/v1/#"


@dataclass(frozen=True, slots=True)
class CommandAnswer:
    """What the plugin said to one command; `error` None: done. What is made already, or gone already, counts as
    done; `existed`: it was there before.
    """

    command: str
    correlation: str
    error: str | None
    existed: bool = False


def username(app_id: str, login: Login) -> str:
    """The name of a login, and of its role."""
    return messages.mqtt_username(app_id, login.identity, login.key_id)


def digest_of(password: str) -> str:
    """What the store has of a password."""
    return hashlib.sha256(password.encode()).hexdigest()


def login_commands(app_id: str, login: Login, password: str, correlation: str) -> list[dict[str, object]]:
    """The commands that make a login; harmless when it exists."""
    name = username(app_id, login)
    return [
        {
            "command": "createRole",
            "rolename": name,
            "acls": _acls(app_id, login.identity),
            "correlationData": correlation,
        },
        {
            "command": "createClient",
            "username": name,
            "password": password,
            "roles": [{"rolename": name, "priority": 0}],
            "correlationData": correlation,
        },
    ]


def set_commands(app_id: str, login: Login, password: str, correlation: str) -> list[dict[str, object]]:
    """The commands that make a login that exists what it should be; whoever uses it is disconnected."""
    name = username(app_id, login)
    return [
        {"command": "modifyRole", "rolename": name, "acls": _acls(app_id, login.identity)},
        {
            "command": "setClientPassword",
            "username": name,
            "password": password,
            "correlationData": correlation,
        },
    ]


def delete_commands(app_id: str, login: Login, correlation: str) -> list[dict[str, object]]:
    """The commands that end a login; whoever uses it is disconnected."""
    name = username(app_id, login)
    return [
        {"command": "deleteClient", "username": name, "correlationData": correlation},
        {"command": "deleteRole", "rolename": name},
    ]


def _acls(app_id: str, identity: str) -> list[dict[str, object]]:
    calls = messages.calls_topic(app_id, identity)
    availability = messages.availability_topic(app_id, identity)
    acls = [("subscribeLiteral", calls), ("publishClientReceive", calls), ("publishClientSend", availability)]
    return [{"acltype": kind, "topic": topic, "priority": 0, "allow": True} for kind, topic in acls]


def engine_commands(engine: str) -> list[dict[str, object]]:
    """The commands by which the engine's own login, an administrator, may also send call events."""
    role = "utdstream-engine"
    acls = [{"acltype": "publishClientSend", "topic": EVERY_TOPIC, "priority": 0, "allow": True}]
    return [
        {"command": "createRole", "rolename": role, "acls": acls},
        {"command": "addClientRole", "username": engine, "rolename": role, "priority": 0},
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
            said = (error or "").lower()
            existed = "already exists" in said
            if existed or "not found" in said:
                error = None
            answers.append(
                CommandAnswer(
                    command=codec.text(row.get("command")) or "",
                    correlation=codec.text(row.get("correlationData")) or "",
                    error=error,
                    existed=existed,
                )
            )
    return answers
