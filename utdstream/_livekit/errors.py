"""Every exception of the `livekit` package, mapped to one of ours. Nothing else reaches the user.

Owns: the table; a test fails when the library grows a class nobody mapped. Any thread.
"""

from __future__ import annotations

import asyncio
import re
import traceback
from typing import Any

from livekit import rtc
from livekit.rtc.data_track import PushFrameError, SubscribeDataTrackError
from livekit.rtc.participant import (
    PublishDataError,
    PublishDataTrackError,
    PublishDTMFError,
    PublishTrackError,
    PublishTranscriptionError,
    UnpublishTrackError,
)

from utdstream import trust
from utdstream.errors import (
    ConnectFailed,
    MediaError,
    PublishRefused,
    RoomLost,
    SessionClosed,
    UTDStreamException,
)

TABLE: dict[type[Exception], type[MediaError]] = {
    rtc.ConnectError: ConnectFailed,
    PublishTrackError: PublishRefused,
    UnpublishTrackError: MediaError,
    PublishDataError: MediaError,
    PublishDTMFError: MediaError,
    PublishTranscriptionError: MediaError,
    PublishDataTrackError: MediaError,
    SubscribeDataTrackError: MediaError,
    PushFrameError: MediaError,
    rtc.RpcError: MediaError,
    rtc.StreamError: MediaError,
    rtc.PlatformAudioError: MediaError,
}

_SECRET = re.compile(r"(access_token=[^&\s\"')]+|eyJ[A-Za-z0-9._-]+)")

_HINTS = (
    # rustls' words; first, because a refused certificate is told with times in seconds that may hold any number
    ("unknownissuer", f"{trust.UNKNOWN_AUTHORITY}: {trust.GIVE_CA_FILE}"),
    ("causedasendentity", f"{trust.UNKNOWN_AUTHORITY}: {trust.GIVE_CA_FILE}"),
    ("certificate expired", trust.EXPIRED),
    ("certificate not valid yet", trust.NOT_YET_VALID),
    ("certificate not valid for name", trust.OTHER_NAME),
    ("invalid peer certificate", "the server's certificate was refused"),
    ("invalidcontenttype", "nothing there speaks TLS: the url must begin with ws://, not wss://"),
    ("handshake not finished", "the server broke off: if it speaks TLS, the url must begin with wss://"),
    ("401", "the token is not valid for this server: check that url and token come from the same engine"),
    ("403", "the server refuses this token"),
    ("404", "there is no such room: it has ended, or the url is not a LiveKit server"),
    ("timed out", "the server did not answer: check the url and that its UDP port is reachable"),
    ("refused", "nothing listens there: check the url and that the server runs"),
    ("dns", "the host name is not known: check the url"),
    ("resolve", "the host name is not known: check the url"),
)


def translate(error: BaseException, doing: str) -> UTDStreamException:
    """Makes the SDK's error for `error`, with one sentence: what was attempted, what was found, what to do."""
    if isinstance(error, UTDStreamException):
        return error
    found = _SECRET.sub("***", str(getattr(error, "message", "") or error) or type(error).__name__)
    hint = next((text for mark, text in _HINTS if mark in found.lower()), "")
    kind = next((ours for theirs, ours in TABLE.items() if isinstance(error, theirs)), MediaError)
    return kind(f"{doing}: {found}" + (f"; {hint}" if hint else ""))


def room_lost(doing: str, reason: str | None) -> RoomLost | SessionClosed:
    """Makes the error for a room that ended, or was left from here, while `doing` was under way."""
    if reason == "CLIENT_INITIATED":
        return SessionClosed(f"{doing}: the room was left meanwhile")
    return RoomLost(f"{doing}: the room ended meanwhile ({reason or 'no reason given'})")


def clear_frames(task: asyncio.Task[Any]) -> None:
    """Has the error of a task hold nothing but its words: whoever keeps it would keep the core's room with it."""
    error = None if task.cancelled() else task.exception()
    seen: set[int] = set()
    while error is not None and id(error) not in seen:  # one may be its own cause
        seen.add(id(error))
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
