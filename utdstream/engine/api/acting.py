"""What the operations on seats, speakers, stage and roles have in common: the actor and the room.

Owns: from a request to a rule at the desk. Runs on the loop thread; nothing here waits.

1. A user token fixes the actor. A trusted server names one, or moderates in its own name.
2. A key that may not host does nothing where its identity is host.
3. An identity that acts for itself (takes a seat, asks for the stage) must have been admitted: a token of this
   room was minted for it. Reading seats and stage takes any user token of the project.
"""

from __future__ import annotations

from collections.abc import Callable

from utdstream.engine.api.fields import LARGEST_NUMBER
from utdstream.engine.api.request import Answer, Ask
from utdstream.engine.flows.room_states import RoomDesk
from utdstream.engine.rules import keys
from utdstream.engine.rules.grants import is_host
from utdstream.engine.rules.refusals import invalid, not_admitted
from utdstream.engine.rules.room_state import Outcome, RoomState
from utdstream.engine.rules.rooms import Room

OwnRule = Callable[[Room, RoomState, str], Outcome]
ModeratorRule = Callable[[Room, RoomState, str | None], Outcome]


class FrontDesk:
    """The rooms' desk as request handlers use it."""

    def __init__(self, desk: RoomDesk) -> None:
        self._desk = desk
        self.people = desk.people

    def room(self, ask: Ask) -> Room:
        """The room in the path. Raises: Refusal."""
        return self._desk.room(ask.path["room"])

    def state(self, room: Room) -> RoomState:
        """The state of the room now."""
        return self._desk.state(room)

    def own(self, ask: Ask, rule: OwnRule) -> Outcome:
        """What an identity does for itself. Raises: Refusal."""
        room = self._acted_on(ask)
        actor = ask.actor()
        if not ask.asker.trusted and not self.is_admitted(room, actor):
            raise not_admitted()
        return self._desk.mutate(room, lambda room, state: rule(room, state, actor), ask.undos)

    def moderating(self, ask: Ask, rule: ModeratorRule, *, field: str = "identity") -> Outcome:
        """What a host, an admin or the server does. Raises: Refusal."""
        room = self._acted_on(ask)
        is_server = ask.asker.trusted and not ask.fields.has(field)
        actor = None if is_server else ask.actor(field)
        return self._desk.mutate(room, lambda room, state: rule(room, state, actor), ask.undos)

    def _acted_on(self, ask: Ask) -> Room:
        """The room in the path, for a key that may act there. Raises: Refusal."""
        room, identity = self.room(ask), ask.asker.identity
        if identity is not None:
            keys.check_host(ask.asker.key, is_host=is_host(room, self.state(room), identity))
        return room

    def is_admitted(self, room: Room, identity: str) -> bool:
        """Whether this identity ever got a token of the room."""
        return identity == room.owner or self.people.presence(room.name, identity) is not None

    def is_here(self, room: Room, identity: str) -> bool:
        """Whether this identity is in the room, or was admitted and is on the way."""
        return self._desk.is_here(room, identity)


def done(outcome: Outcome, **more: object) -> Answer:
    """The answer of a change of a room, with the `rev` of the state that it made (or found right)."""
    return Answer({**outcome.answer, **more, "rev": outcome.state.rev})


def number(ask: Ask, name: str) -> int:
    """A number in the path. Raises: Refusal."""
    text = ask.path[name]
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(LARGEST_NUMBER))):
        raise invalid(f"{name} in the path must be a whole number")
    return int(text)


def required_number(ask: Ask, name: str) -> int:
    """A number in the body. Raises: Refusal."""
    value = ask.fields.integer(name, least=0, most=LARGEST_NUMBER)
    if value is None:
        raise invalid(f"{name} is required")
    return value


def required_identity(ask: Ask, name: str) -> str:
    """An identity in the body. Raises: Refusal."""
    value = ask.fields.identity(name)
    if value is None:
        raise invalid(f"{name} is required")
    return value
