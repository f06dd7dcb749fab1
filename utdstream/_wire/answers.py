"""How the engine writes its answers: mints, pages, errors.

Owns: the engine's spelling of every answer that is not a call (`codec.call_to_json` writes those).
The SDK reads them with `codec`. Imports vocabulary only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from utdstream.models import MqttLogin


def token_to_json(*, token: str, url: str, room_name: str, user_token: str, role: str) -> dict[str, object]:
    """Returns a room mint, with the room's name in both known spellings."""
    return {
        "token": token,
        "url": url,
        "roomName": room_name,
        "room_name": room_name,
        "user_token": user_token,
        "ws_url": None,
        "role": role,
    }


def session_to_json(*, user_token: str, mqtt: MqttLogin | None) -> dict[str, object]:
    """Returns a room-less mint; `mqtt` only when the engine has a broker."""
    answer: dict[str, object] = {
        "user_token": user_token,
        "ws_url": None,
        "signaling_enabled": mqtt is not None,
        "messaging_enabled": False,
        "limits": {},
    }
    if mqtt is not None:
        login: dict[str, object] = {
            "host": mqtt.host,
            "port": mqtt.port,
            "username": mqtt.username,
            "password": mqtt.password,
            "topic": mqtt.topic,
            "tls": mqtt.tls,
        }
        answer["mqtt"] = login | ({} if mqtt.ca is None else {"ca": mqtt.ca})
    return answer


def page_to_json(
    rows: Sequence[Mapping[str, object]], *, page: int, per_page: int, total: int
) -> dict[str, object]:
    """Returns the page envelope."""
    return {
        "data": list(rows),
        "pagination": {
            "page": page,
            "per_page": per_page,
            "total": total,
            "total_pages": math.ceil(total / per_page),
        },
    }


def error_to_json(
    message: str,
    code: str,
    *,
    retry_after_s: float | None = None,
    details: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """Returns an error body."""
    answer: dict[str, object] = {"message": message, "code": code}
    if retry_after_s is not None:
        answer["retry_after"] = math.ceil(retry_after_s)
    if details is not None:
        answer["details"] = dict(details)
    return answer
