"""Messages that travel beside REST: the call update in a room, the call event over MQTT.

Owns: topics, message names and their payloads, written and read in one place. A message is a hint:
its reader confirms it with the room metadata (only the server writes it) or over REST.
Imports vocabulary and its neighbours in `_wire`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timezone

from utdstream._wire import codec
from utdstream._wire.routes import segment
from utdstream.limits import MAX_EVENT_BYTES
from utdstream.models import UTDCall

CALL_UPDATE = "_call_update"
"""Data message in a call room; the room metadata carries the same object under METADATA_CALL."""
METADATA_CALL = "_call"

HEARTBEAT = b'{"type":"_heartbeat"}'
"""Data message of a participant of a call, lossy, under HEARTBEAT_TOPIC: it is there."""
HEARTBEAT_TOPIC = "utd.heartbeat"

LIVE_ENDED = "_live_ended"
"""Data message to everybody in a room that its owner closes."""
REMOVED = "_removed"
"""Data message to a participant just before it is removed from a room."""

SEAT_UPDATE = "_seat_update"
"""To all: the whole grid, and `rev`; the room metadata carries the same under METADATA_SEATS."""
METADATA_SEATS = "_seats"
MODE_CHANGE = "_mode_change"
SPEAKER_REQUEST = "_speaker_request"
SPEAKER_REQUEST_APPROVED = "_speaker_request_approved"
SPEAKER_REQUEST_REJECTED = "_speaker_request_rejected"
SPEAKER_INVITATION = "_speaker_invitation"
SPEAKER_INVITATION_ACCEPTED = "_speaker_invitation_accepted"
SPEAKER_INVITATION_DECLINED = "_speaker_invitation_declined"
STAGE_REQUEST = "_stage_request"
STAGE_UPDATE = "_stage_update"
"""To all: the members, and `rev`; the room metadata carries the same under METADATA_STAGE."""
METADATA_STAGE = "_stage"
ROLE_CHANGE = "_role_change"
COMMENT_LOCK = "_comment_lock"
"""To all: `locked`, `by`, `rev`; the room metadata carries the same under METADATA_COMMENTS."""
METADATA_COMMENTS = "_comments"
BANNED = "_banned"

CALL_INITIATED = "call_initiated"
CALL_CANCELLED = "call_cancelled"
CALL_ANSWERED_ELSEWHERE = "call_answered_elsewhere"
CALL_MISSED = "call_missed"
CALL_ENDED = "call_ended"
CALL_EVENTS = frozenset({CALL_INITIATED, CALL_CANCELLED, CALL_ANSWERED_ELSEWHERE, CALL_MISSED, CALL_ENDED})

EVENT_VERSION = 1
MAX_MESSAGE_BYTES = 65_536
"""A grid of a hundred seats with long names has its place in a message."""
ONLINE, OFFLINE = b"online", b"offline"


def calls_topic(app_id: str, identity: str) -> str:
    """Returns where an identity's call events arrive. QoS 1, never retained."""
    return f"utdstream/v1/{segment(app_id)}/{segment(identity)}/calls"


def availability_topic(app_id: str, identity: str) -> str:
    """Returns where a device says online or offline (its last will). Retained."""
    return f"utdstream/v1/{segment(app_id)}/{segment(identity)}/availability"


def mqtt_username(app_id: str, identity: str, key_id: str = "") -> str:
    """Returns the broker login of one identity, by a key of its own when one is named."""
    return f"{segment(app_id)}/{segment(identity)}" + (f"/{segment(key_id)}" if key_id else "")


def call_update(call: UTDCall) -> bytes:
    """Returns the data message that tells a call room its call has changed. Never carries a token or a url."""
    return json.dumps(
        {"type": CALL_UPDATE, "rev": call.rev, "call": _without_credentials(call)},
        separators=(",", ":"),
    ).encode()


def room_metadata(call: UTDCall) -> str:
    """Returns the metadata of a call room: the same object, where only the server can write."""
    return json.dumps(
        {METADATA_CALL: {"rev": call.rev, "call": _without_credentials(call)}}, separators=(",", ":")
    )


def live_ended() -> bytes:
    """Returns the data message that a room is about to close."""
    return json.dumps({"type": LIVE_ENDED}, separators=(",", ":")).encode()


def removed(reason: str) -> bytes:
    """Returns the data message to a participant that is about to be removed."""
    return json.dumps({"type": REMOVED, "reason": reason}, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class EngineMessage:
    """A data message whose `type` begins with an underscore: the engine's, or a participant's that pretends."""

    type: str
    fields: codec.JsonObject


def encode(kind: str, fields: codec.JsonObject) -> bytes:
    """Returns a data message of the engine."""
    return json.dumps({"type": kind, **fields}, separators=(",", ":"), ensure_ascii=False).encode()


def parse(data: bytes) -> EngineMessage | None:
    """Returns the engine message in `data`, or None when it is something else."""
    if len(data) > MAX_MESSAGE_BYTES or b'"type"' not in data:
        return None
    message = codec.json_object(data)
    kind = codec.text(message.get("type")) if message is not None else None
    if message is None or kind is None or not kind.startswith("_"):
        return None
    return EngineMessage(kind, message)


def parse_metadata(metadata: str, key: str) -> codec.JsonObject | None:
    """Returns what the server wrote under `key` into a room's metadata, or None."""
    holder = codec.json_object(metadata) if metadata else None
    return codec.mapping(holder.get(key)) if holder is not None else None


def parse_call_update(data: bytes) -> UTDCall | None:
    """Returns the call in a `_call_update` data message, or None when it is something else."""
    if len(data) > MAX_EVENT_BYTES or CALL_UPDATE.encode() not in data:
        return None
    message = codec.json_object(data)
    if message is None or message.get("type") != CALL_UPDATE:
        return None
    return _call_in(message.get("call"))


def parse_room_metadata(metadata: str) -> UTDCall | None:
    """Returns the call in a room's metadata, or None."""
    holder = codec.json_object(metadata) if metadata else None
    update = codec.mapping(holder.get(METADATA_CALL)) if holder is not None else None
    return _call_in(update.get("call")) if update is not None else None


@dataclass(frozen=True, slots=True)
class CallEvent:
    """One call event as it travels over MQTT (and, later, server-sent events)."""

    event: str
    seq: int
    sent_at: datetime
    call: UTDCall


def encode_call_event(event: CallEvent) -> bytes:
    """Returns JSON of one event; the call's fields are those a waiting device may know before it asks."""
    call = event.call
    return json.dumps(
        {
            "v": EVENT_VERSION,
            "event": event.event,
            "seq": event.seq,
            "sent_at": codec.iso(event.sent_at),
            "call": {
                "call_id": call.call_id,
                "type": call.type.wire,
                "caller_identity": call.caller_identity,
                "caller_name": call.caller_name,
                "callee_identity": call.callee_identity,
                "status": call.status.wire,
                "created_at": codec.iso(call.created_at) if call.created_at else None,
                "expires_at": codec.iso(call.expires_at) if call.expires_at else None,
                "metadata": dict(call.metadata) if call.metadata is not None else None,
            },
        },
        separators=(",", ":"),
    ).encode()


def parse_call_event(payload: bytes) -> CallEvent | None:
    """Returns one event, or None when the payload is malformed, oversized or of another version."""
    if len(payload) > MAX_EVENT_BYTES:
        return None
    message = codec.json_object(payload)
    if message is None or message.get("v") != EVENT_VERSION:
        return None
    event = message.get("event")
    call = _call_in(message.get("call"))
    if not isinstance(event, str) or event not in CALL_EVENTS or call is None:
        return None
    return CallEvent(
        event=event,
        seq=codec.integer(message.get("seq")) or 0,
        sent_at=codec.time(message.get("sent_at")) or datetime.fromtimestamp(0, timezone.utc),
        call=call,
    )


def _without_credentials(call: UTDCall) -> dict[str, object]:
    answer = codec.call_to_json(call)
    answer.pop("token", None)
    answer.pop("url", None)
    return answer


def _call_in(value: object) -> UTDCall | None:
    fields = codec.mapping(value)
    if fields is None:
        return None
    if codec.text(fields.get("call_id")) is None or codec.call_status(fields.get("status")) is None:
        return None
    return codec.parse_call(fields)
