"""What the broker finds when it starts: its logins, and what it kept for devices that were away.

Owns: the first `dynsec.json`, and what is done about a damaged one or a damaged `mosquitto.db`. Any thread; blocks
for as long as the disk does. Imports the stack's settings and files. `mend` runs before each start of the broker,
not of the stack alone: mosquitto 2.0 writes both itself, `dynsec.json` cut off on a full disk, and does not start
then.

1. Neither holds what would be lost with it: a login's password is made of the stack's secrets and the engine makes
   each login again, and a device that was away asks the engine which calls ring. So neither has a good copy.
2. What is damaged is put aside, and the log says which.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import secrets
import struct
from collections.abc import Mapping
from pathlib import Path

from utdstream.engine.stack.private_files import write_private, writing
from utdstream.engine.stack.settings import ENGINE_LOGIN, StackSettings
from utdstream.whole_files import put_aside

_log = logging.getLogger(__name__)

CANNOT_READ = "Couldn't open database"
"""What mosquitto 2.0 and 2.1 say last when they end because of their database."""
_HASH_ROUNDS = 10_000
_MAGIC = b"\x00\xb5\x00mosquitto db"
_HEAD = len(_MAGIC) + 8
_KNOWN_VERSION = 6


def logins_file(settings: StackSettings) -> Path:
    """The logins, which the broker writes."""
    return settings.file("mqtt") / "dynsec.json"


def mend(settings: StackSettings, *, could_not_read: bool = False) -> None:
    """Sees that the broker can start; `could_not_read`: it has just said that it cannot read its database.

    Raises: InvalidConfig when there is no room.
    """
    logins, password = logins_file(settings), settings.secrets.mqtt_password
    stored = _engines_password(logins)
    if stored is None and logins.exists():
        _put_aside(logins, "the engine makes its logins again")
    if stored is None or not _is_password(password, *stored):
        # Those that were made with other keys are of no use to a device either: its password comes from the keys.
        write_private(logins, json.dumps(dynsec_config(password), indent=1))
        user = settings.users.get("mqtt")
        if user is not None:
            os.chown(logins, user.uid, user.gid, follow_symlinks=False)
    kept = settings.file("mqtt") / "mosquitto.db"
    if kept.exists() and (could_not_read or not _can_be_read(kept)):
        _put_aside(kept, "the broker begins without messages for devices that are away")


def _put_aside(file: Path, then: str) -> None:
    with writing(file):
        aside = put_aside(file)
    _log.warning("%s is damaged: it was put aside as %s, %s", file, aside and aside.name, then)


def _can_be_read(kept: Path) -> bool:
    """Whether this is a whole database of mosquitto: a head, and pieces that each say their length, to the end."""
    try:
        content = kept.read_bytes()
    except OSError:
        return False
    if not content.startswith(_MAGIC) or len(content) < _HEAD:
        return False
    if struct.unpack_from(">I", content, len(_MAGIC) + 4)[0] > _KNOWN_VERSION:
        return True  # of a newer mosquitto, which may know better
    at = _HEAD
    while at + 8 <= len(content):
        kind, length = struct.unpack_from(">II", content, at)
        if not 0 < kind < 256:
            return False
        at += 8 + length
    return at == len(content)


def dynsec_config(password: str) -> dict[str, object]:
    """The first file of mosquitto's dynamic-security plugin: one login, the engine's; all else is denied."""
    salt = secrets.token_bytes(12)
    topics = ("$CONTROL/dynamic-security/#", "utdstream/#")
    kinds = ("publishClientSend", "publishClientReceive", "subscribePattern")
    acls = [{"acltype": kind, "topic": topic, "allow": True} for topic in topics for kind in kinds]
    acls.append({"acltype": "unsubscribePattern", "topic": "#", "allow": True})
    return {
        "clients": [
            {
                "username": ENGINE_LOGIN,
                "textName": "the engine",
                "password": _digest(password, salt, _HASH_ROUNDS),
                "salt": base64.b64encode(salt).decode(),
                "iterations": _HASH_ROUNDS,
                "roles": [{"rolename": ENGINE_LOGIN}],
            }
        ],
        "roles": [{"rolename": ENGINE_LOGIN, "acls": acls}],
        "defaultACLAccess": {
            "publishClientSend": False,
            "publishClientReceive": False,
            "subscribe": False,
            "unsubscribe": True,
        },
    }


def _engines_password(logins: Path) -> tuple[int, str, str] | None:
    """What is stored of the engine's own password; None: the file is not there, or holds no logins."""
    try:
        clients = json.loads(logins.read_text(encoding="utf-8"))["clients"]
        return _stored(next(client for client in clients if client["username"] == ENGINE_LOGIN))
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return None


def _is_password(password: str, rounds: int, salt: str, digest: str) -> bool:
    try:
        return _digest(password, base64.b64decode(salt), rounds) == digest
    except ValueError:
        return False


def _stored(client: Mapping[str, str]) -> tuple[int, str, str]:
    """The rounds, the salt and the digest of a login's password: mosquitto 2.0 has a field for each, 2.1 writes
    `$7$rounds$salt$digest`. Raises: KeyError, ValueError for anything else.
    """
    if "encoded_password" not in client:
        return int(client["iterations"]), client["salt"], client["password"]
    kind, rounds, salt, digest = client["encoded_password"].removeprefix("$").split("$")
    if kind != "7":
        raise ValueError(f"a password of mosquitto's kind {kind}")
    return int(rounds), salt, digest


def _digest(password: str, salt: bytes, rounds: int) -> str:
    return base64.b64encode(hashlib.pbkdf2_hmac("sha512", password.encode(), salt, rounds)).decode()
