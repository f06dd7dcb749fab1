"""The media server's side: rooms and their participants, through livekit-api.

Owns: every request to livekit-server and the reading of its webhooks. Runs on the loop thread.
Must not know what a call is: the flows decide. Every request is bounded, and repeated once when a
kept connection turns out to be dead (each of them may be repeated).
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import aiohttp
from livekit import api
from livekit.api.room_service import RoomService
from livekit.protocol import models as lk
from livekit.protocol import room as lk_room

from utdstream.engine.config import LiveKitSection
from utdstream.engine.rules.grants import ALL_SOURCES, Rights
from utdstream.engine.rules.rooms import CAMERA, MICROPHONE, SCREEN, SCREEN_AUDIO

REQUEST_TIMEOUT_S = 4.0
SIGNED_FOR_S = 60.0
"""How long a signed token is used again; livekit-api's are good for six hours."""
SIGNED_ROOMS = 1000

_SOURCES = {
    MICROPHONE: lk.TrackSource.MICROPHONE,
    CAMERA: lk.TrackSource.CAMERA,
    SCREEN: lk.TrackSource.SCREEN_SHARE,
    SCREEN_AUDIO: lk.TrackSource.SCREEN_SHARE_AUDIO,
}

_log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")


UNHEARD = frozenset({"room_started", "track_unpublished"})
"""The events of every call that nobody acts on: half of all webhooks."""


class SfuUnavailable(Exception):
    """The media server did not do what it was asked: down, slow, or refusing our key."""


class SfuNotFound(Exception):
    """The media server has no such room or participant."""


@dataclass(frozen=True, slots=True)
class Track:
    """One published track; `source` is microphone, camera, screen_share, screen_share_audio or unknown."""

    sid: str
    kind: str
    source: str
    muted: bool
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Participant:
    """A participant of a room; `joined_at` in unix seconds."""

    identity: str
    name: str
    state: str
    joined_at: int
    metadata: str
    rights: Rights
    tracks: tuple[Track, ...]
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SfuRoom:
    """A room on the media server; `started_at` in unix seconds."""

    name: str
    sid: str
    participant_count: int
    max_participants: int
    started_at: int
    metadata: str


@dataclass(frozen=True, slots=True)
class Webhook:
    """One event of the media server. `left_on_purpose`: the client said goodbye itself; `replaced`: the
    same identity joined again, and this is the end of its older connection.
    """

    event: str
    room: str
    identity: str = ""
    left_on_purpose: bool = False
    replaced: bool = False
    person: Participant | None = None
    track: Track | None = None


class _Rooms(RoomService):
    """livekit-api's room service, but a token is signed once for each room, not for each request.

    Signing is a third of what a request costs here. `_auth_header` is livekit-api 1.2.2's own (pinned);
    if it is renamed, every request is signed again, and all works as before.
    """

    def __init__(self, session: aiohttp.ClientSession, settings: LiveKitSection) -> None:
        super().__init__(session, settings.url, settings.api_key, settings.api_secret, failover=False)
        self._signed: OrderedDict[tuple[object, ...], tuple[float, dict[str, str]]] = OrderedDict()

    def _auth_header(
        self, grants: api.VideoGrants | None, sip: api.SIPGrants | None = None
    ) -> dict[str, str]:
        if grants is None or sip is not None:
            return super()._auth_header(grants, sip)
        key = (grants.room_create, grants.room_list, grants.room_admin, grants.room)
        now = time.monotonic()
        kept = self._signed.get(key)
        if kept is not None and now - kept[0] < SIGNED_FOR_S:
            return kept[1]
        header = super()._auth_header(grants)
        self._signed[key] = (now, header)
        while len(self._signed) > SIGNED_ROOMS:
            self._signed.popitem(last=False)
        return header


class Sfu:
    """A client of one livekit-server. Make it inside a running loop, `close()` it there."""

    def __init__(self, settings: LiveKitSection) -> None:
        self._session = aiohttp.ClientSession()
        self._rooms = _Rooms(self._session, settings)
        self._hooks = api.WebhookReceiver(api.TokenVerifier(settings.api_key, settings.api_secret))
        self.is_up: bool | None = None
        """What the newest request found; None before the first."""

    async def close(self) -> None:
        """Closes the connections."""
        await self._session.close()

    async def create_room(
        self, name: str, *, empty_timeout_s: int, max_participants: int, metadata: str = ""
    ) -> None:
        """Makes the room; one that exists keeps its people."""
        request = lk_room.CreateRoomRequest(
            name=name,
            empty_timeout=empty_timeout_s,
            departure_timeout=empty_timeout_s,
            max_participants=max_participants,
            metadata=metadata,
        )
        await self._ask(lambda: self._rooms.create_room(request))

    async def delete_room(self, name: str) -> None:
        """Ends the room; no error when there is none."""
        try:
            await self._ask(lambda: self._rooms.delete_room(lk_room.DeleteRoomRequest(room=name)))
        except SfuNotFound:
            return

    async def set_metadata(self, name: str, metadata: str) -> None:
        """Replaces the room's metadata. Raises: SfuNotFound, SfuUnavailable."""
        request = lk_room.UpdateRoomMetadataRequest(room=name, metadata=metadata)
        await self._ask(lambda: self._rooms.update_room_metadata(request))

    async def send_data(self, name: str, data: bytes, to: Sequence[str] = ()) -> None:
        """Sends a reliable data message to every participant, or to the identities in `to`."""
        request = lk_room.SendDataRequest(
            room=name, data=data, kind=lk.DataPacket.Kind.RELIABLE, destination_identities=list(to)
        )
        await self._ask(lambda: self._rooms.send_data(request))

    async def rooms(self, names: Sequence[str] | None = None) -> dict[str, SfuRoom]:
        """Which of these rooms (None: all) exist, by name."""
        if names is not None and not names:
            return {}
        request = lk_room.ListRoomsRequest(names=list(names or ()))
        answer = await self._ask(lambda: self._rooms.list_rooms(request))
        return {room.name: _room_state(room) for room in answer.rooms}

    async def participants(self, name: str) -> list[Participant]:
        """The participants of the room; none of a room that does not exist."""
        request = lk_room.ListParticipantsRequest(room=name)
        try:
            answer = await self._ask(lambda: self._rooms.list_participants(request))
        except SfuNotFound:
            return []
        gone = lk.ParticipantInfo.State.DISCONNECTED
        return [_participant(person) for person in answer.participants if person.state != gone]

    async def identities(self, name: str) -> frozenset[str]:
        """The identities of the participants."""
        return frozenset(person.identity for person in await self.participants(name))

    async def participant(self, name: str, identity: str) -> Participant | None:
        """The participant of this identity, or None."""
        request = lk_room.RoomParticipantIdentity(room=name, identity=identity)
        try:
            person = _participant(await self._ask(lambda: self._rooms.get_participant(request)))
        except SfuNotFound:
            return None
        return None if person.state == "disconnected" else person

    async def permit(
        self, name: str, identity: str, rights: Rights | None = None, *, metadata: str = ""
    ) -> bool:
        """Gives a participant exactly these rights (None: as they are) and this metadata (empty: as it is).

        The media server removes a track that may no longer be published. False: no such participant.
        """
        request = lk_room.UpdateParticipantRequest(
            room=name,
            identity=identity,
            metadata=metadata,
            permission=None if rights is None else _permission(rights),
        )
        try:
            await self._ask(lambda: self._rooms.update_participant(request))
        except SfuNotFound:
            return False
        return True

    async def mute(self, name: str, identity: str, track_sid: str, *, muted: bool = True) -> None:
        """Mutes a track on the server; no error when it is gone. Unmuting is refused by default."""
        request = lk_room.MuteRoomTrackRequest(room=name, identity=identity, track_sid=track_sid, muted=muted)
        try:
            await self._ask(lambda: self._rooms.mute_published_track(request))
        except SfuNotFound:
            return

    async def forbid_publishing(self, name: str, identity: str) -> None:
        """Takes the right to publish from a participant at once; no error for one who is gone."""
        request = lk_room.UpdateParticipantRequest(
            room=name,
            identity=identity,
            permission=lk.ParticipantPermission(can_publish=False, can_subscribe=True, can_publish_data=True),
        )
        try:
            await self._ask(lambda: self._rooms.update_participant(request))
        except SfuNotFound:
            return

    async def remove(self, name: str, identity: str) -> None:
        """Removes a participant; no error for one who is gone."""
        request = lk_room.RoomParticipantIdentity(room=name, identity=identity)
        try:
            await self._ask(lambda: self._rooms.remove_participant(request))
        except SfuNotFound:
            return

    def webhook(self, body: str, authorization: str, is_done_with: Callable[[str], bool]) -> Webhook | None:
        """The event in a webhook; None when it is not signed with our key (one nobody acts on needs not be).

        `is_done_with` says of a room that its end is no news. So whoever knows the id of a call may learn whether
        it is open, by an unsigned webhook that nobody acts on.
        """
        event, room = _named_in(body)
        if event in UNHEARD or (event == "room_finished" and is_done_with(room)):
            return Webhook(event, "")
        try:
            hook = self._hooks.receive(body, authorization)
        except Exception as error:  # noqa: BLE001  # livekit-api 1.2.2 raises bare Exception here
            _log.warning("a webhook was refused: %s", type(error).__name__)
            return None
        reason = hook.participant.disconnect_reason
        return Webhook(
            hook.event,
            hook.room.name,
            hook.participant.identity,
            reason == lk.DisconnectReason.CLIENT_INITIATED,
            reason == lk.DisconnectReason.DUPLICATE_IDENTITY,
            _participant(hook.participant) if hook.HasField("participant") else None,
            _track(hook.track) if hook.HasField("track") else None,
        )

    async def _ask(self, request: Callable[[], Awaitable[_Answer]]) -> _Answer:
        try:
            try:
                answer = await _bounded(request)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                if isinstance(error, aiohttp.ClientConnectorError):
                    raise
                answer = await _bounded(request)
        except api.TwirpError as error:
            if error.code == api.TwirpErrorCode.NOT_FOUND:
                self._set_up(True)
                raise SfuNotFound(error.message) from None
            self._set_up(False, f"{error.code}: {error.message}")
            raise SfuUnavailable(f"the media server refused: {error.code}") from error
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            self._set_up(False, type(error).__name__)
            raise SfuUnavailable("the media server cannot be reached") from error
        self._set_up(True)
        return answer

    def _set_up(self, up: bool, why: str = "") -> None:
        if up and self.is_up is False:
            _log.info("the media server answers again")
        elif not up and self.is_up is not False:
            _log.warning("the media server does not answer as it should: %s", why)
        self.is_up = up


def _room_state(room: lk.Room) -> SfuRoom:
    return SfuRoom(
        name=room.name,
        sid=room.sid,
        participant_count=room.num_participants,
        max_participants=room.max_participants,
        started_at=room.creation_time,
        metadata=room.metadata,
    )


def _participant(person: lk.ParticipantInfo) -> Participant:
    return Participant(
        identity=person.identity,
        name=person.name,
        state=lk.ParticipantInfo.State.Name(person.state).lower(),
        joined_at=person.joined_at,
        metadata=person.metadata,
        rights=_rights(person.permission),
        tracks=tuple(_track(track) for track in person.tracks),
        attributes=dict(person.attributes),
    )


def _track(track: lk.TrackInfo) -> Track:
    return Track(
        sid=track.sid,
        kind=lk.TrackType.Name(track.type).lower(),
        source=lk.TrackSource.Name(track.source).lower(),
        muted=track.muted,
        width=track.width,
        height=track.height,
    )


def _rights(permission: lk.ParticipantPermission) -> Rights:
    sources: tuple[str, ...] = ()
    if permission.can_publish:
        named = {lk.TrackSource.Name(source).lower() for source in permission.can_publish_sources}
        sources = tuple(source for source in ALL_SOURCES if not named or source in named)
    return Rights(sources, permission.can_subscribe, permission.can_publish_data)


def _permission(rights: Rights) -> lk.ParticipantPermission:
    return lk.ParticipantPermission(
        can_publish=bool(rights.sources),
        can_publish_sources=[_SOURCES[source] for source in rights.sources],
        can_subscribe=rights.can_subscribe,
        can_publish_data=rights.can_publish_data,
    )


def _named_in(body: str) -> tuple[str, str]:
    """The names of the event and of its room, as the body says them; empty when it says none."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return "", ""
    if not isinstance(said, dict):
        return "", ""
    room = said.get("room")
    return str(said.get("event", "")), str(room.get("name", "")) if isinstance(room, dict) else ""


async def _bounded(request: Callable[[], Awaitable[_Answer]]) -> _Answer:
    # Not by the session's own timeout: livekit-api 1.2.2 gives `timeout=None` with each request, which newer
    # releases of aiohttp read as "no limit".
    async with asyncio.timeout(REQUEST_TIMEOUT_S):
        return await request()
