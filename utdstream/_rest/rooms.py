"""The engine's room families as blocking calls: seats, speakers, stage.

Owns: which body goes where, and what of an answer is read. Any thread. Must not know sessions or media.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from utdstream._rest.api import EngineApi
from utdstream._threads.deadline import Deadline
from utdstream._wire import codec, routes
from utdstream.errors import EngineUnreachable
from utdstream.models import UTDStageMember

Late = Callable[[codec.JsonObject], None]


class RoomApi:
    """Blocking calls about one room, as the identity that is signed in."""

    def __init__(self, api: EngineApi, room_name: str) -> None:
        self._api = api
        self._room = room_name

    # -- seats -----------------------------------------------------------------------------------

    def setup_seats(self, deadline: Deadline, **settings: object) -> codec.JsonObject:
        """Sets the grid up; the engine's raw answer."""
        body = {key: value for key, value in settings.items() if value is not None}
        return self._decide(routes.seats_action(self._room, "setup"), deadline, body)

    def get_seats(self, deadline: Deadline) -> codec.JsonObject:
        """Returns the grid as the engine sees it now, raw."""
        return self._api.privileged("GET", routes.seats(self._room), deadline=deadline, retry=True)

    def take_seat(self, index: int, deadline: Deadline, late: Late | None = None) -> None:
        self._ask("POST", routes.seat_action(self._room, index, "take"), deadline, late=late)

    def seat(self, index: int, action: str, deadline: Deadline) -> None:
        """Does one thing to a seat, as its host: kick, lock, unlock, mute or unmute."""
        self._decide(routes.seat_action(self._room, index, action), deadline)

    def leave_seat(self, deadline: Deadline) -> None:
        self._ask("POST", routes.seats_action(self._room, "leave"), deadline)

    def move_seat(self, index: int, deadline: Deadline, late: Late | None = None) -> None:
        self._ask("POST", routes.seats_action(self._room, "move"), deadline, {"target_seat": index}, late)

    # -- speakers --------------------------------------------------------------------------------

    def request_to_speak(self, deadline: Deadline, late: Late | None = None) -> int:
        """Returns the id of the request."""
        answer = self._ask("POST", routes.speakers(self._room, "request"), deadline, late=late)
        return _number(answer, "request_id", "the request to speak")

    def cancel_request(self, deadline: Deadline) -> None:
        self._ask("DELETE", routes.speakers(self._room, "request"), deadline)

    def answer_request(self, request_id: int, action: str, deadline: Deadline) -> None:
        """Answers a request to speak: approve or reject."""
        self._decide(routes.speaker_request(self._room, request_id, action), deadline)

    def invite_to_speak(self, identity: str, seat_index: int | None, deadline: Deadline) -> int:
        """Returns the id of the invitation."""
        body: dict[str, object] = {"target_identity": identity}
        if seat_index is not None:
            body["seat_index"] = seat_index
        answer = self._decide(routes.speakers(self._room, "invite"), deadline, body)
        return _number(answer, "invitation_id", "the invitation to speak")

    def accept_invitation(
        self, invitation_id: int, deadline: Deadline, late: Late | None = None
    ) -> int | None:
        """Returns the seat, when the engine says which."""
        path = routes.speaker_invitation(self._room, invitation_id, "accept")
        return codec.integer(self._ask("POST", path, deadline, late=late).get("seat_index"))

    def decline_invitation(self, invitation_id: int, deadline: Deadline) -> None:
        self._decide(routes.speaker_invitation(self._room, invitation_id, "decline"), deadline)

    # -- stage -----------------------------------------------------------------------------------

    def get_stage(self, deadline: Deadline) -> codec.JsonObject:
        """Returns the stage as the engine sees it now, raw."""
        return self._api.privileged("GET", routes.stage(self._room), deadline=deadline, retry=True)

    def stage(
        self, action: str, deadline: Deadline, target: str | None = None, late: Late | None = None
    ) -> None:
        """Does one thing to the stage: invite or remove (with a target), request or leave."""
        body = {"target_identity": target} if target is not None else None
        self._ask("POST", routes.stage_action(self._room, action), deadline, body, late)

    # -- how -------------------------------------------------------------------------------------

    def _body(self, more: Mapping[str, object] | None = None) -> dict[str, object]:
        """Names the actor in the body too: generation 1 engines read it there."""
        actor = self._api.actor
        return {"identity": actor.identity if actor is not None else "", **(more or {})}

    def _ask(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        more: Mapping[str, object] | None = None,
        late: Late | None = None,
    ) -> codec.JsonObject:
        """`late` gets an answer that comes after the caller has gone, on a REST thread."""
        return self._api.decisions.ask(method, path, self._body(more), deadline, late=late)

    def _decide(
        self, path: str, deadline: Deadline, more: Mapping[str, object] | None = None
    ) -> codec.JsonObject:
        return self._api.decisions.decide("POST", path, self._body(more), deadline)


def members_of(answer: codec.JsonObject) -> tuple[UTDStageMember, ...]:
    """Returns the stage in an answer. Raises: EngineUnreachable when it holds none."""
    members = codec.parse_stage(answer)
    if members is None:
        raise EngineUnreachable("the engine's answer holds no stage; check that base_url points to an engine")
    return members


def _number(answer: codec.JsonObject, name: str, what: str) -> int:
    number = codec.integer(answer.get(name))
    if number is None:
        raise EngineUnreachable(f"the engine's answer to {what} holds no {name}")
    return number
