"""The handlers of mints, rooms and their participants.

Owns: which credentials a request about a room needs, and the spelling of the answers. Runs on the loop thread. The
rules are in `rules/rooms`, the effects in `flows/rooms`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone

from utdstream._wire import answers, codec
from utdstream.engine.api.fields import Fields
from utdstream.engine.api.quotas import Quotas
from utdstream.engine.api.request import Answer, Ask, Handler
from utdstream.engine.api.seats import grid_wish
from utdstream.engine.api.takeovers import Takeovers
from utdstream.engine.config import ProjectSection
from utdstream.engine.flows.bans import BanService
from utdstream.engine.flows.room_states import RoomDesk
from utdstream.engine.flows.rooms import Entrance, Place, RoomService, RoomWish
from utdstream.engine.media.sfu import Participant, SfuRoom
from utdstream.engine.media.tokens import Tokens
from utdstream.engine.push.notifier import Notifier
from utdstream.engine.rules import keys, roles, rooms
from utdstream.engine.rules.grants import is_host
from utdstream.engine.rules.keys import Login
from utdstream.engine.rules.refusals import Refusal, invalid, no_participant, not_moderator
from utdstream.limits import MAX_RELIABLE_BYTES, MAX_SEATS
from utdstream.models import UTDStreamType

_DEVICE_FACTS = {"device_model": 100, "os": 50, "os_version": 20, "app_version": 20}


class RoomHandlers:
    """Handlers of the operations on rooms, and of the two mints."""

    def __init__(
        self,
        service: RoomService,
        desk: RoomDesk,
        tokens: Tokens,
        project: ProjectSection,
        media_url: str,
        *,
        bans: BanService,
        takeovers: Takeovers,
        notifier: Notifier | None,
        quotas: Quotas,
    ) -> None:
        self._service = service
        self._desk = desk
        self._tokens = tokens
        self._project = project
        self._media_url = media_url
        self._bans = bans
        self._takeovers = takeovers
        self._notifier = notifier
        self._quotas = quotas

    def handlers(self) -> Mapping[str, Handler]:
        """Operation id to handler."""
        return {
            "mint_room": self.mint_room,
            "mint_session": self.mint_session,
            "project": self.project,
            "list_rooms": self.list_rooms,
            "get_room": self.get_room,
            "close_room": self.close_room,
            "send_data": self.send_data,
            "get_participant": self.get_participant,
            "remove_participant": self.remove_participant,
        }

    async def mint_session(self, ask: Ask) -> Answer:
        """POST /auth/session."""
        identity = _required_identity(ask)
        ask.fields.name("name")
        self._bans.check(identity)
        login = None
        if self._notifier is not None:
            wanted = Login(identity, ask.asker.own_key_id)
            self._quotas.check_login(ask, wanted)
            login = await self._notifier.login(wanted)
        return Answer(
            answers.session_to_json(user_token=self._tokens.bearer(identity, ask.asker.key_id), mqtt=login)
        )

    async def mint_room(self, ask: Ask) -> Answer:
        """POST /token."""
        fields, key = ask.fields, ask.asker.key
        identity = _required_identity(ask)
        type = self._room_type(fields)
        name = fields.raw("room_name")
        if not isinstance(name, str):
            raise invalid("room_name must be a string")
        host_seat = fields.integer("host_seat", least=0, most=MAX_SEATS - 1)
        grid = replace(grid_wish(ask), host_seat=host_seat)
        if host_seat is not None and grid.count is not None and host_seat >= grid.count:
            raise invalid("host_seat must be one of the seats")
        wish = RoomWish(
            name=rooms.room_name(name, self._project.app_id),
            type=type,
            identity=identity,
            role=fields.one_of("role", rooms.ROLES),
            room_owner_id=fields.identity("room_owner_id"),
            trusted=ask.asker.trusted,
            may_host=key is None or key.may_host,
            display_name=ask.asker.display_name or fields.name("name"),
            grid=grid,
        )
        if key is not None:
            keys.check_room(key.rooms, wish.name)
        metadata = self._participant_metadata(fields)
        self._bans.check(identity, wish.name)
        await self._takeovers.claim(wish.name, identity, fields.device_fact("device_id", longest=256))
        entrance = await self._enter(ask, wish)
        token = self._tokens.media(
            room=entrance.place.livekit_name,
            identity=identity,
            name=wish.display_name,
            sources=entrance.rights.sources,
            metadata=json.dumps({**metadata, "role": entrance.role}, separators=(",", ":")),
            can_subscribe=entrance.rights.can_subscribe,
            can_publish_data=entrance.rights.can_publish_data,
            key_id=ask.asker.own_key_id,
        )
        return Answer(
            answers.token_to_json(
                token=token,
                url=self._media_url,
                room_name=entrance.place.name,
                user_token=self._tokens.bearer(identity, ask.asker.key_id),
                role=entrance.role,
            )
        )

    async def _enter(self, ask: Ask, wish: RoomWish) -> Entrance:
        if not self._service.is_new(wish.name):
            return await self._service.enter(wish)
        with self._quotas.rooms.one_more(ask.counted_as) as keep:
            entrance = await self._service.enter(wish)
            keep(wish.name)
        return entrance

    async def project(self, ask: Ask) -> Answer:
        """GET /project."""
        project = self._project
        return Answer(
            {
                "name": project.name,
                "app_id": project.app_id,
                "status": "active",
                "region": "self-hosted",
                "max_concurrent_rooms": project.max_concurrent_rooms,
                "max_participants_per_room": project.max_participants_per_room,
                "audio_enabled": True,
                "video_enabled": project.video_enabled,
                "max_video_quality": None,
                "empty_room_timeout": rooms.EMPTY_ROOM_TIMEOUT_S,
                "calls_enabled": project.calls_enabled,
                "call_ring_timeout": project.call_ring_timeout_s,
                "max_call_duration": project.max_call_duration_s,
                "max_call_video_quality": None,
                "active_rooms": await self._service.count(),
            }
        )

    async def list_rooms(self, ask: Ask) -> Answer:
        """GET /rooms."""
        page, per_page = ask.query.page()
        found, total = await self._service.page(page=page, per_page=per_page)
        rows = [_room_row(room.name, state, self._desk.metadata(room)) for room, state in found]
        return Answer(answers.page_to_json(rows, page=page, per_page=per_page, total=total))

    async def get_room(self, ask: Ask) -> Answer:
        """GET /rooms/{room}."""
        place = self._service.place(ask.path["room"])
        if not self._moderates(ask, place) and ask.asker.identity not in place.parties:
            raise not_moderator()
        state, people = await self._service.state(place)
        metadata = state.metadata if place.room is None else self._desk.metadata(place.room)
        row = _room_row(place.name, state, metadata)
        return Answer({**row, "participants": [_person_row(person) for person in people]})

    async def close_room(self, ask: Ask) -> Answer:
        """DELETE /rooms/{room}."""
        place = self._service.place(ask.path["room"])
        if place.room is None:
            raise Refusal("invalid_state", "This is the room of a call; end the call instead")
        if not ask.asker.trusted and ask.asker.identity != place.room.owner:
            raise Refusal("not_owner", "Only the owner can close the room")
        keys.check_host(ask.asker.key, is_host=True)
        await self._service.close(place, _by(ask))
        return Answer({"ok": True, "message": "Room closed"})

    async def send_data(self, ask: Ask) -> Answer:
        """POST /rooms/{room}/send-data."""
        place = self._service.place(ask.path["room"])
        if not self._moderates(ask, place):
            raise not_moderator()
        data = _data(ask.fields.raw("data"), trusted=ask.asker.trusted)
        await self._service.send(place, data, ask.fields.identities("destination_identities"))
        return Answer({"ok": True})

    async def get_participant(self, ask: Ask) -> Answer:
        """GET /rooms/{room}/participants/{identity}."""
        place = self._service.place(ask.path["room"])
        people = {person.identity: person for person in await self._service.people(place)}
        if not self._moderates(ask, place) and not (
            ask.asker.identity in people or ask.asker.identity in place.parties
        ):
            raise not_moderator()
        person = people.get(ask.path["identity"])
        if person is None:
            raise no_participant()
        return Answer(_person(person))

    async def remove_participant(self, ask: Ask) -> Answer:
        """DELETE /rooms/{room}/participants/{identity}."""
        place = self._service.place(ask.path["room"])
        if not self._moderates(ask, place, ask.path["identity"]):
            raise not_moderator()
        await self._service.remove(place, ask.path["identity"], _by(ask))
        return Answer({"ok": True})

    def _moderates(self, ask: Ask, place: Place, target: str | None = None) -> bool:
        """Whether the asker may moderate the room, and (when one is named) this participant of it.

        Raises: Refusal for a key that may not host, where its identity is host.
        """
        if ask.asker.trusted or place.room is None or ask.asker.identity is None:
            return ask.asker.trusted
        state, identity = self._desk.state(place.room), ask.asker.identity
        keys.check_host(ask.asker.key, is_host=is_host(place.room, state, identity))
        return roles.may_moderate(place.room, state, identity, target)

    def _room_type(self, fields: Fields) -> UTDStreamType:
        if fields.has("service"):
            raise invalid("service is not accepted; send type")
        type = fields.stream_type() or UTDStreamType.AUDIO_ROOM
        if type.is_call:
            raise invalid("type must be live_stream or audio_room; calls are made with POST /calls")
        return type

    def _participant_metadata(self, fields: Fields) -> dict[str, object]:
        device = {
            name: fact
            for name, longest in _DEVICE_FACTS.items()
            if (fact := fields.device_fact(name, longest=longest)) is not None
        }
        image = fields.text("image", longest=2048)
        return {
            **(fields.metadata() or {}),
            **({"image": image} if image is not None else {}),
            "appId": self._project.app_id,
            "_device": device,
        }


def _required_identity(ask: Ask) -> str:
    identity = ask.fields.identity("identity")
    if identity is None:
        raise invalid("identity is required")
    return identity


def _data(value: object, *, trusted: bool) -> bytes:
    if isinstance(value, str):
        text = value
    elif isinstance(value, dict):
        text = json.dumps(value, separators=(",", ":"))
    else:
        raise invalid("data must be a string or an object")
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError:
        raise invalid("data must be UTF-8") from None
    if not 0 < len(data) <= MAX_RELIABLE_BYTES:
        raise invalid(f"data must have 1 to {MAX_RELIABLE_BYTES} bytes")
    message = codec.json_object(data)
    kind = message.get("type") if message is not None else None
    if not trusted and isinstance(kind, str) and kind.startswith("_"):
        raise invalid("a type that begins with '_' is the engine's own")
    return data


def _by(ask: Ask) -> str:
    return ask.asker.identity or "the server"


def _room_row(name: str, state: SfuRoom, metadata: str) -> dict[str, object]:
    return {
        "id": state.sid,
        "room_name": name,
        "participant_count": state.participant_count,
        "max_participants": state.max_participants,
        "started_at": codec.iso(datetime.fromtimestamp(state.started_at, timezone.utc)),
        "metadata": metadata,
    }


def _tracks(person: Participant) -> list[dict[str, object]]:
    return [
        {
            "sid": track.sid,
            "type": track.kind,
            "muted": track.muted,
            **({"width": track.width, "height": track.height} if track.width else {}),
        }
        for track in person.tracks
    ]


def _person_row(person: Participant) -> dict[str, object]:
    return {
        "identity": person.identity,
        "name": person.name,
        "state": person.state,
        "joined_at": person.joined_at,
        "tracks": _tracks(person),
    }


def _person(person: Participant) -> dict[str, object]:
    return {
        **_person_row(person),
        "metadata": person.metadata,
        "permission": {
            "canPublish": bool(person.rights.sources),
            "canSubscribe": person.rights.can_subscribe,
            "canPublishData": person.rights.can_publish_data,
        },
    }
