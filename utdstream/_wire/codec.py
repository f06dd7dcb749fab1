"""Answers and messages to values, tolerantly: a wrong type never raises a cast error.

Owns: field names and their two spellings. Text or JSON objects in, models out. Imports vocabulary only.
What must be there and is not (a call without an id, a token answer without a token) raises
`EngineUnreachable`: what answered is not an engine. Everything optional becomes None.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from types import MappingProxyType

from utdstream.errors import EngineUnreachable
from utdstream.limits import MAX_SEATS
from utdstream.models import (
    MqttLogin,
    Seat,
    SeatGrid,
    SeatInvitation,
    SessionMint,
    SpeakRequest,
    UTDCall,
    UTDCallStatus,
    UTDStageMember,
    UTDStreamType,
    UTDTokenResponse,
)

JsonObject = Mapping[str, object]

_TYPES = {
    "audio_call": UTDStreamType.AUDIO_CALL,
    "voice": UTDStreamType.AUDIO_CALL,
    "audio": UTDStreamType.AUDIO_CALL,
    "video_call": UTDStreamType.VIDEO_CALL,
    "video": UTDStreamType.VIDEO_CALL,
    "live_stream": UTDStreamType.LIVE_STREAM,
    "audio_room": UTDStreamType.AUDIO_ROOM,
}
_LONGEST_S = 1e9
_STATUSES = {status.value: status for status in UTDCallStatus}


def text(value: object) -> str | None:
    """Returns a non-empty string that can be sent on (no lone surrogates, which JSON allows), or None."""
    if not isinstance(value, str) or not value:
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        return None
    return value


def integer(value: object) -> int | None:
    """Returns an int (bool is none), or None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def flag(value: object) -> bool | None:
    """Returns True or False, or None for anything else."""
    return value if isinstance(value, bool) else None


def seconds(value: object) -> float | None:
    """Returns a finite number of seconds, not negative, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0 <= value <= _LONGEST_S else None


def mapping(value: object) -> JsonObject | None:
    """Returns a JSON object, or None."""
    return value if isinstance(value, dict) else None


def time(value: object) -> datetime | None:
    """Returns an ISO-8601 time in UTC, or None; without a zone it is UTC, one past the calendar is its end."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        return None
    if moment.tzinfo is None:
        return moment.replace(tzinfo=timezone.utc)
    try:
        return moment.astimezone(timezone.utc)
    except OverflowError:
        return (datetime.min if moment.year == 1 else datetime.max).replace(tzinfo=timezone.utc)


def iso(moment: datetime) -> str:
    """Returns ISO-8601 UTC with milliseconds and Z."""
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def stream_type(value: object) -> UTDStreamType | None:
    """Reads a type in all spellings of both generations; None for an unknown one."""
    return _TYPES.get(value) if isinstance(value, str) else None


def call_status(value: object) -> UTDCallStatus | None:
    """Returns one of the seven states, or None for an unknown word."""
    return _STATUSES.get(value) if isinstance(value, str) else None


def json_object(raw: bytes | str) -> JsonObject | None:
    """Returns the JSON object in `raw`, or None when it is anything else (also absurdly deep or not UTF-8)."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return mapping(value)


def error_message(body: object) -> tuple[str | None, str | None, float | None]:
    """`(message, code, retry_after_s)` of an error answer in any known spelling."""
    if isinstance(body, str):
        return text(body.strip()), None, None
    answer = mapping(body)
    if answer is None:
        return None, None, None
    message = text(answer.get("message")) or text(answer.get("error")) or text(answer.get("detail"))
    return message, text(answer.get("code")), seconds(answer.get("retry_after"))


def parse_call(answer: JsonObject) -> UTDCall:
    """Returns one call. Raises: EngineUnreachable when id, status or type are missing or unknown."""
    call_id = text(answer.get("call_id"))
    status = call_status(answer.get("status"))
    if call_id is None or status is None:
        raise EngineUnreachable(
            f"the engine's answer holds no call: call_id {answer.get('call_id')!r}, status "
            f"{answer.get('status')!r}; check that base_url points to a UTD Stream engine"
        )
    metadata = mapping(answer.get("metadata"))
    return UTDCall(
        call_id=call_id,
        status=status,
        type=stream_type(answer.get("type")) or UTDStreamType.AUDIO_CALL,
        room_name=text(answer.get("room_name")) or text(answer.get("roomName")),
        token=text(answer.get("token")),
        url=text(answer.get("url")),
        caller_identity=text(answer.get("caller_identity")),
        callee_identity=text(answer.get("callee_identity")),
        caller_name=text(answer.get("caller_name")),
        callee_name=text(answer.get("callee_name")),
        created_at=time(answer.get("created_at")),
        expires_at=time(answer.get("expires_at")),
        answered_at=time(answer.get("answered_at")),
        ended_at=time(answer.get("ended_at")),
        duration_seconds=integer(answer.get("duration_seconds")),
        end_reason=text(answer.get("end_reason")),
        metadata=MappingProxyType(dict(metadata)) if metadata is not None else None,
        rev=integer(answer.get("rev")),
        group=text(answer.get("group")),
        media_ready=flag(answer.get("media_ready")),
    )


def call_to_json(call: UTDCall) -> dict[str, object]:
    """Returns the engine's spelling of a call; token and url only when the call carries them."""
    answer: dict[str, object] = {
        "call_id": call.call_id,
        "status": call.status.wire,
        "type": call.type.wire,
        "room_name": call.room_name,
        "caller_identity": call.caller_identity,
        "callee_identity": call.callee_identity,
        "caller_name": call.caller_name,
        "callee_name": call.callee_name,
        "created_at": iso(call.created_at) if call.created_at else None,
        "expires_at": iso(call.expires_at) if call.expires_at else None,
        "answered_at": iso(call.answered_at) if call.answered_at else None,
        "ended_at": iso(call.ended_at) if call.ended_at else None,
        "duration_seconds": call.duration_seconds,
        "end_reason": call.end_reason,
        "metadata": dict(call.metadata) if call.metadata is not None else None,
        "rev": call.rev,
        "group": call.group,
    }
    if call.token is not None:
        answer["token"] = call.token
    if call.url is not None:
        answer["url"] = call.url
    if call.media_ready is not None:
        answer["media_ready"] = call.media_ready
    return answer


def parse_calls(answer: JsonObject) -> list[UTDCall]:
    """Returns the calls of a page; rows that hold none are left out."""
    rows = answer.get("data")
    if not isinstance(rows, list):
        rows = answer.get("calls")
    calls: list[UTDCall] = []
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, dict):
            try:
                calls.append(parse_call(row))
            except EngineUnreachable:
                continue
    return calls


def parse_token(answer: JsonObject) -> UTDTokenResponse:
    """Returns a room mint, both spellings. Raises: EngineUnreachable when token or url are missing."""
    token, url = text(answer.get("token")), text(answer.get("url"))
    if token is None or url is None:
        raise EngineUnreachable(
            "the engine's token answer is malformed: token or url is missing; check that "
            "token_base_url points to a UTD Stream engine"
        )
    return UTDTokenResponse(
        token=token,
        url=url,
        room_name=text(answer.get("room_name")) or text(answer.get("roomName")) or "",
        user_token=text(answer.get("user_token")) or text(answer.get("userToken")) or "",
        ws_url=text(answer.get("ws_url")) or text(answer.get("wsUrl")),
    )


def parse_session(answer: JsonObject) -> SessionMint:
    """Returns a room-less mint. Raises: EngineUnreachable when the bearer is missing."""
    bearer = text(answer.get("user_token")) or text(answer.get("userToken"))
    if bearer is None:
        raise EngineUnreachable(
            "the engine's session answer is malformed: user_token is missing; check that "
            "token_base_url points to a UTD Stream engine"
        )
    return SessionMint(
        user_token=bearer,
        ws_url=text(answer.get("ws_url")) or text(answer.get("wsUrl")),
        mqtt=_parse_mqtt(mapping(answer.get("mqtt"))),
    )


def _parse_mqtt(answer: JsonObject | None) -> MqttLogin | None:
    if answer is None:
        return None
    host, port = text(answer.get("host")), integer(answer.get("port"))
    username, password = text(answer.get("username")), text(answer.get("password"))
    topic = text(answer.get("topic"))
    if host is None or port is None or username is None or password is None or topic is None:
        return None
    return MqttLogin(
        host=host,
        port=port,
        username=username,
        password=password,
        topic=topic,
        tls=answer.get("tls") is True,
        ca=text(answer.get("ca")),
    )


# -- seats and stage: two spellings of one thing -----------------------------------------------------


def _either(fields: JsonObject, *names: str) -> object:
    """Returns the first of these fields that is there."""
    return next((fields[name] for name in names if name in fields), None)


def _objects(value: object) -> list[JsonObject]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def parse_seat_grid(fields: JsonObject) -> SeatGrid | None:
    """Returns a grid in the spelling of a message or of `GET /seats`; None when it holds none."""
    count = integer(_either(fields, "count", "seat_count"))
    rows = _objects(fields.get("seats"))
    if count is None and not rows:
        return None
    seats: dict[int, Seat] = {}
    for row in rows:
        index = integer(_either(row, "index", "seat_index"))
        if index is None or index < 0:
            continue
        seats[index] = Seat(
            index=index,
            identity=text(_either(row, "identity", "occupant_identity")),
            locked=row.get("locked") in (True, 1),
            reserved_for=text(row.get("reserved_for")),
            name=text(row.get("name")),
        )
    count = count if count is not None and count >= 0 else len(seats)
    return SeatGrid(
        count=count,
        mode=text(_either(fields, "mode", "seat_mode")) or "free",
        mode_id=text(fields.get("mode_id")),
        seats=tuple(seats.get(index, Seat(index)) for index in range(min(count, MAX_SEATS))),
        requests=tuple(parse_speak_requests(fields.get("requests"))),
        rev=integer(fields.get("rev")),
    )


def parse_speak_requests(rows: object) -> list[SpeakRequest]:
    """Returns the requests of a grid or of `GET /speakers/requests`; rows that hold none are left out."""
    found = []
    for row in _objects(rows):
        number = integer(_either(row, "id", "request_id"))
        identity = text(row.get("identity"))
        if number is not None and identity is not None:
            found.append(SpeakRequest(number, identity, time(row.get("created_at"))))
    return found


def seat_grid_to_message(grid: SeatGrid) -> dict[str, object]:
    """Writes a grid as `_seat_update` and the room metadata spell it."""
    return {
        "count": grid.count,
        "mode": grid.mode,
        "mode_id": grid.mode_id,
        "seats": [
            {
                "index": seat.index,
                "identity": seat.identity,
                "locked": seat.locked,
                "reserved_for": seat.reserved_for,
                "name": seat.name,
            }
            for seat in grid.seats
        ],
        "requests": _requests_to_json(grid),
        "rev": grid.rev,
    }


def seat_grid_to_answer(grid: SeatGrid) -> dict[str, object]:
    """Writes a grid as `GET /seats` and the set-up's answer spell it."""
    return {
        "seat_count": grid.count,
        "seat_mode": grid.mode,
        "mode_id": grid.mode_id,
        "seats": [
            {
                "seat_index": seat.index,
                "occupant_identity": seat.identity,
                "locked": int(seat.locked),
                "reserved_for": seat.reserved_for,
                "name": seat.name,
            }
            for seat in grid.seats
        ],
        "requests": _requests_to_json(grid),
        "rev": grid.rev,
    }


def _requests_to_json(grid: SeatGrid) -> list[dict[str, object]]:
    return [
        {
            "id": request.id,
            "identity": request.identity,
            "created_at": iso(request.created_at) if request.created_at else None,
        }
        for request in grid.requests
    ]


def parse_invitation(fields: JsonObject) -> SeatInvitation | None:
    """Returns a `_speaker_invitation`; None when it holds none."""
    number = integer(_either(fields, "invitation_id", "id"))
    target = text(fields.get("target_identity"))
    if number is None or target is None:
        return None
    return SeatInvitation(
        id=number,
        inviter_identity=text(fields.get("inviter_identity")) or "",
        target_identity=target,
        seat_index=integer(fields.get("seat_index")),
    )


def parse_stage(fields: JsonObject) -> tuple[UTDStageMember, ...] | None:
    """Returns the members of a stage, in order; None when the object tells none."""
    rows = _either(fields, "members", "stage", "data")
    if not isinstance(rows, list):
        return None
    members = []
    for row in _objects(rows):
        identity = text(row.get("identity"))
        if identity is not None:
            members.append(UTDStageMember(identity, text(row.get("name")), text(row.get("role"))))
    return tuple(members)


def stage_to_json(members: Sequence[UTDStageMember]) -> list[dict[str, object]]:
    """Returns the engine's spelling of a stage."""
    return [{"identity": member.identity, "name": member.name, "role": member.role} for member in members]
