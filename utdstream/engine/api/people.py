"""The handlers that moderate the participants of a room, its comments and its metadata.

Owns: what is read from a request, which participant it is about, and how the answer is spelled. Runs on the loop
thread. The rules are in `rules/moderation`; the participant must be in the room, or on the way into it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from utdstream._wire import codec
from utdstream.engine.api.acting import FrontDesk
from utdstream.engine.api.request import Answer, Ask, Handler
from utdstream.engine.flows.rooms import Place, RoomService
from utdstream.engine.media.sfu import Participant, Track
from utdstream.engine.rules import moderation
from utdstream.engine.rules.moderation import PermissionWish
from utdstream.engine.rules.refusals import Refusal, invalid, no_participant
from utdstream.engine.rules.room_state import Outcome, RoomState
from utdstream.engine.rules.rooms import MICROPHONE, Room
from utdstream.limits import MAX_ROOM_METADATA_BYTES

_UNSUPPORTED = ("can_publish_sources", "hidden")
_AUDIO, _VIDEO = "audio", "video"

Rule = Callable[[Room, RoomState, str | None, str], Outcome]


class PeopleHandlers:
    """Handlers of the operations on participants, comments and room metadata."""

    def __init__(self, desk: FrontDesk, service: RoomService) -> None:
        self._desk = desk
        self._service = service

    def handlers(self) -> Mapping[str, Handler]:
        """Operation id to handler."""
        return {
            "permit": self.permit,
            "mute": self.mute,
            "set_participant_metadata": self.set_participant_metadata,
            "forbid_stream": self.forbid_stream,
            "resume_stream": self.resume_stream,
            "set_room_metadata": self.set_room_metadata,
            "lock_comments": self.lock_comments,
        }

    async def permit(self, ask: Ask) -> Answer:
        """PUT /rooms/{room}/participants/{identity}/permissions."""
        fields = ask.fields
        for name in _UNSUPPORTED:
            if fields.has(name):
                raise invalid(f"{name} is not supported: seats, stage and roles give the rights to publish")
        names = ("can_publish", "can_subscribe", "can_publish_data")
        wish = PermissionWish(*(fields.flag(name) for name in names))
        if wish == PermissionWish():
            raise invalid(f"one of {', '.join(names)} is required")
        return self._decide(
            ask, lambda room, state, who, whom: moderation.permit(room, state, who, whom, wish)
        )

    async def forbid_stream(self, ask: Ask) -> Answer:
        """PUT /rooms/{room}/participants/{identity}/forbid-stream."""
        return self._decide(ask, moderation.forbid)

    async def resume_stream(self, ask: Ask) -> Answer:
        """PUT /rooms/{room}/participants/{identity}/resume-stream."""
        return self._decide(ask, moderation.resume)

    async def mute(self, ask: Ask) -> Answer:
        """PUT /rooms/{room}/participants/{identity}/mute.

        `audio` and `video` select what is muted, or `track_sid` one track; `muted` false lifts it.
        """
        track_sid = ask.fields.text("track_sid")
        wanted = [name for name in (_AUDIO, _VIDEO) if ask.fields.flag(name)]
        muted = ask.fields.flag("muted") is not False
        if track_sid is None and not wanted:
            raise invalid("audio, video or track_sid is required")
        place, person = await self._person(ask)
        tracks = _selected(person.tracks, wanted, track_sid)
        if place.room is not None and (_AUDIO in wanted or any(t.source == MICROPHONE for t in tracks)):
            self._decide(
                ask,
                lambda room, state, who, whom: moderation.mute_microphone(
                    room, state, who, whom, is_muted=muted
                ),
            )
        if muted:
            await self._service.mute(place, person.identity, [track.sid for track in tracks])
        return Answer({"ok": True, "tracks": [track.sid for track in tracks]})

    async def set_participant_metadata(self, ask: Ask) -> Answer:
        """PUT /rooms/{room}/participants/{identity}/metadata."""
        changes = ask.fields.metadata()
        if changes is None:
            raise invalid("metadata is required")
        place, person = await self._person(ask)
        merged = moderation.merged_metadata(codec.json_object(person.metadata) or {}, changes)
        text = json.dumps(merged, separators=(",", ":"), ensure_ascii=False)
        if len(text.encode()) > MAX_ROOM_METADATA_BYTES:
            raise invalid(f"metadata must have at most {MAX_ROOM_METADATA_BYTES} bytes in all")
        await self._service.set_person_metadata(place, person.identity, text)
        return Answer({"ok": True, "metadata": text})

    async def set_room_metadata(self, ask: Ask) -> Answer:
        """PUT /rooms/{room}/metadata."""
        metadata = ask.fields.metadata(most_bytes=MAX_ROOM_METADATA_BYTES)
        if metadata is None:
            raise invalid("metadata is required")
        outcome = self._desk.moderating(
            ask, lambda room, state, who: moderation.set_metadata(room, state, who, metadata)
        )
        return Answer(outcome.answer)

    async def lock_comments(self, ask: Ask) -> Answer:
        """PUT /rooms/{room}/comments/lock."""
        locked = ask.fields.flag("locked")
        if locked is None:
            raise invalid("locked is required")
        outcome = self._desk.moderating(
            ask, lambda room, state, who: moderation.lock_comments(room, state, who, locked=locked)
        )
        return Answer(outcome.answer)

    def _decide(self, ask: Ask, rule: Rule) -> Answer:
        """What a moderator decides about the participant in the path. Raises: Refusal."""
        target = ask.path["identity"]

        def decide(room: Room, state: RoomState, who: str | None) -> Outcome:
            outcome = rule(room, state, who, target)
            if not self._desk.is_here(room, target):
                raise no_participant()
            return outcome

        return Answer(self._desk.moderating(ask, decide).answer)

    async def _person(self, ask: Ask) -> tuple[Place, Participant]:
        """The participant in the path, for an actor who may moderate; in a call that is the server alone."""
        place = self._service.place(ask.path["room"])
        target = ask.path["identity"]
        if place.room is not None:
            self._desk.moderating(ask, lambda room, state, who: moderation.look_at(room, state, who, target))
        elif not ask.asker.trusted:
            raise Refusal("forbidden", "Only a server with the app secret moderates the room of a call")
        people = await self._service.people(place)
        person = next((person for person in people if person.identity == target), None)
        if person is None:
            raise no_participant()
        return place, person


def _selected(tracks: Sequence[Track], kinds: Sequence[str], sid: str | None) -> list[Track]:
    if sid is None:
        return [track for track in tracks if track.kind in kinds]
    found = [track for track in tracks if track.sid == sid]
    if not found:
        raise Refusal("not_found", "The participant has no such track")
    return found
