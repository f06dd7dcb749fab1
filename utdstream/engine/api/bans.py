"""The handlers of bans.

Owns: which credentials a ban needs, and the spelling of the answers. Runs on the loop thread. The rules are in
`rules/bans`, the effects in `flows/bans`.
"""

from __future__ import annotations

from collections.abc import Mapping

from utdstream._wire import answers
from utdstream.engine.api.request import Answer, Ask, Handler
from utdstream.engine.flows.bans import BanService
from utdstream.engine.flows.rooms import RoomService
from utdstream.engine.rules import bans, rooms
from utdstream.engine.rules.refusals import Refusal, invalid


class BanHandlers:
    """Handlers of the operations on bans."""

    def __init__(self, service: BanService, room_service: RoomService, app_id: str) -> None:
        self._service = service
        self._rooms = room_service
        self._app_id = app_id

    def handlers(self) -> Mapping[str, Handler]:
        """Operation id to handler."""
        return {"ban": self.ban, "lift_ban": self.lift, "list_bans": self.list}

    async def ban(self, ask: Ask) -> Answer:
        """POST /rooms/ban."""
        identity = _required(ask.fields.identity("identity"))
        reason = ask.fields.text("reason", longest=bans.MAX_REASON)
        duration_s = ask.fields.integer("duration", least=1, most=bans.MAX_DURATION_S)
        room = self._room(ask)
        if room is not None:
            self._check_target(ask, room, identity)
        ban = self._service.ban(
            identity, room, reason=reason, duration_s=duration_s, by=ask.asker.identity or "the server"
        )
        return Answer(bans.row(ban), 201)

    async def lift(self, ask: Ask) -> Answer:
        """DELETE /rooms/ban: the ban of one room, or without `room_name` every ban of the identity.

        It may be one that nobody could have today: a ban in an older database can be lifted.
        """
        identity = _required(ask.fields.name("identity"))
        room = self._room(ask)
        removed = self._service.lift(
            identity, room, ask.asker.identity or "the server", everywhere=room is None
        )
        return Answer({"ok": True, "removed": removed})

    async def list(self, ask: Ask) -> Answer:
        """GET /rooms/bans: with the secret all, with a user token those of the rooms one moderates."""
        page, per_page = ask.query.page()
        wanted = ask.query.text("room_name")
        in_rooms: list[str] | None = None
        if wanted is not None:
            in_rooms = [self._moderated(ask, wanted)]
        elif ask.asker.identity is not None:
            in_rooms = self._service.rooms_moderated_by(ask.asker.identity, ask.asker.key)
        found, total = self._service.page(in_rooms, page=page, per_page=per_page)
        rows = [bans.row(ban) for ban in found]
        return Answer(answers.page_to_json(rows, page=page, per_page=per_page, total=total))

    def _room(self, ask: Ask) -> str | None:
        """The plain name of the room asked about; None: the project. Raises: Refusal."""
        spelling = ask.fields.text("room_name", longest=256)
        if spelling is not None:
            return self._moderated(ask, spelling)
        if not ask.asker.trusted:
            raise Refusal(
                "forbidden", "Only a server with the app secret bans from the whole project; send room_name"
            )
        return None

    def _moderated(self, ask: Ask, spelling: str) -> str:
        """The plain name of a room the asker may moderate; a server may name one that is not there now."""
        name = rooms.room_name(spelling, self._app_id)
        if ask.asker.identity is not None:
            room = self._rooms.place(name).room
            if room is None or not self._service.may_moderate(room, ask.asker.identity):
                raise Refusal("forbidden", "Only the owner, a host or an admin of the room can do this")
            self._service.check_key(room, ask.asker.identity, ask.asker.key)
        return name

    def _check_target(self, ask: Ask, name: str, target: str) -> None:
        room = self._rooms.place(name).room if ask.asker.identity is not None else None
        if room is not None and ask.asker.identity is not None:
            self._service.check_may_ban(room, ask.asker.identity, target)


def _required(identity: str | None) -> str:
    if identity is None:
        raise invalid("identity is required")
    return identity
