"""The handlers of the stage and of roles.

Owns: what is read from a request and how an answer is spelled. Runs on the loop thread. The rules are in
`rules/stage` and `rules/roles`. Listing participants by role alone asks the media server.
"""

from __future__ import annotations

from collections.abc import Mapping

from utdstream._wire import answers, codec
from utdstream.engine.api.acting import FrontDesk, done, required_identity
from utdstream.engine.api.request import Answer, Ask, Handler
from utdstream.engine.flows.rooms import RoomService
from utdstream.engine.media.sfu import Participant
from utdstream.engine.rules import roles, room_views, rooms, stage
from utdstream.engine.rules.refusals import invalid, not_admitted
from utdstream.engine.rules.room_state import Outcome, RoomState
from utdstream.engine.rules.rooms import Room

ATTRIBUTES = ("fr", "frt", "avatar", "cn")


class StageHandlers:
    """Handlers of the operations on the stage and on roles."""

    def __init__(self, desk: FrontDesk, service: RoomService) -> None:
        self._desk = desk
        self._service = service

    def handlers(self) -> Mapping[str, Handler]:
        """Operation id to handler."""
        return {
            "get_stage": self.get_stage,
            "invite_to_stage": self.invite_to_stage,
            "remove_from_stage": self.remove_from_stage,
            "request_stage": self.request_stage,
            "leave_stage": self.leave_stage,
            "change_role": self.change_role,
            "list_by_role": self.list_by_role,
        }

    async def get_stage(self, ask: Ask) -> Answer:
        """GET /rooms/{room}/stage."""
        room = self._desk.room(ask)
        stage.must_have_stage(room)
        state = self._desk.state(room)
        names = self._desk.people.names(room.name, room_views.named(room, state))
        members = codec.stage_to_json(room_views.stage_members(room, state, names))
        return Answer({"members": members, "rev": state.rev})

    async def invite_to_stage(self, ask: Ask) -> Answer:
        """POST /rooms/{room}/stage/invite."""
        target = required_identity(ask, "target_identity")

        def rule(room: Room, state: RoomState, who: str | None) -> Outcome:
            return stage.invite(room, state, who, target, is_here=self._desk.is_here(room, target))

        outcome = self._desk.moderating(ask, rule)
        room = self._desk.room(ask)
        member = {
            "identity": target,
            "name": self._desk.people.name(room.name, target),
            "role": room_views.stage_role(room, outcome.state, target),
        }
        return done(outcome, member=member)

    async def remove_from_stage(self, ask: Ask) -> Answer:
        """POST /rooms/{room}/stage/remove."""
        target = required_identity(ask, "target_identity")
        outcome = self._desk.moderating(ask, lambda room, state, who: stage.remove(room, state, who, target))
        return done(outcome)

    async def request_stage(self, ask: Ask) -> Answer:
        """POST /rooms/{room}/stage/request."""
        people = self._desk.people

        def rule(room: Room, state: RoomState, who: str) -> Outcome:
            return stage.request(room, state, who, name=people.name(room.name, who))

        return done(self._desk.own(ask, rule))

    async def leave_stage(self, ask: Ask) -> Answer:
        """POST /rooms/{room}/stage/leave."""
        return done(self._desk.own(ask, stage.leave))

    async def change_role(self, ask: Ask) -> Answer:
        """PUT /rooms/{room}/participants/{identity}/role."""
        target = ask.path["identity"]
        role = ask.fields.one_of("role", roles.CHANGEABLE)
        if role is None:
            raise invalid(f"role is required: one of {', '.join(roles.CHANGEABLE)}")

        def rule(room: Room, state: RoomState, who: str | None) -> Outcome:
            is_here = self._desk.is_here(room, target)
            return roles.change(room, state, who, target, role, is_here=is_here)

        return done(self._desk.moderating(ask, rule, field="actor_identity"))

    async def list_by_role(self, ask: Ask) -> Answer:
        """GET /rooms/{room}/participants/by-role."""
        page, per_page = ask.query.page()
        role = ask.query.text("role")
        if role is not None and role not in rooms.ROLES:
            raise invalid(f"role must be one of {', '.join(rooms.ROLES)}")
        room = self._desk.room(ask)
        identity = ask.asker.identity
        if identity is not None and not self._desk.is_admitted(room, identity):
            raise not_admitted()
        people = await self._service.people(self._service.place(room.name))
        state = self._desk.state(room)
        rows = [
            _row(person, of_person)
            for person in sorted(people, key=lambda person: (-person.joined_at, person.identity))
            if role
            in (None, of_person := room_views.shown_role(person.metadata, room, state, person.identity))
        ]
        part = rows[(page - 1) * per_page : page * per_page]
        return Answer(answers.page_to_json(part, page=page, per_page=per_page, total=len(rows)))


def _row(person: Participant, role: str) -> dict[str, object]:
    return {
        "identity": person.identity,
        "name": person.name,
        "role": role,
        "attributes": {name: person.attributes.get(name) for name in roles.ATTRIBUTES},
    }
