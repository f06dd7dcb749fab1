"""The handlers of seats and speakers.

Owns: what is read from a request and how an answer is spelled. Runs on the loop thread; no handler waits
for anything. The rules are in `rules/seats` and `rules/speakers`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from utdstream._wire import codec
from utdstream.engine.api.acting import FrontDesk, done, number, required_identity, required_number
from utdstream.engine.api.request import Answer, Ask, Handler
from utdstream.engine.rules import room_state, room_views, seats, speakers
from utdstream.engine.rules.room_state import SEAT_MODES, Outcome, RoomState
from utdstream.engine.rules.rooms import Room
from utdstream.engine.rules.seats import GridWish
from utdstream.limits import MAX_MODE_ID, MAX_SEATS

_IndexRule = Callable[[Room, RoomState, str | None, int], Outcome]


class SeatHandlers:
    """Handlers of the operations on seats and speakers."""

    def __init__(self, desk: FrontDesk) -> None:
        self._desk = desk

    def handlers(self) -> Mapping[str, Handler]:
        """Operation id to handler."""
        return {
            "get_seats": self.get_seats,
            "set_up_seats": self.set_up_seats,
            "take_seat": self.take_seat,
            "leave_seat": self.leave_seat,
            "move_seat": self.move_seat,
            "swap_seats": self.swap_seats,
            "kick_from_seat": self._on_seat(seats.kick),
            "lock_seat": self._on_seat(seats.lock),
            "unlock_seat": self._on_seat(seats.unlock),
            "mute_seat": self._on_seat(seats.mute),
            "unmute_seat": self._on_seat(seats.unmute),
            "request_to_speak": self.request_to_speak,
            "cancel_request_to_speak": self.cancel_request_to_speak,
            "list_requests_to_speak": self.list_requests_to_speak,
            "approve_speaker": self.approve_speaker,
            "reject_speaker": self.reject_speaker,
            "invite_to_speak": self.invite_to_speak,
            "accept_to_speak": self.accept_to_speak,
            "decline_to_speak": self.decline_to_speak,
        }

    # --- seats

    async def get_seats(self, ask: Ask) -> Answer:
        """GET /rooms/{room}/seats."""
        room = self._desk.room(ask)
        seats.must_have_seats(room)
        return Answer(self._grid(room, self._desk.state(room)))

    async def set_up_seats(self, ask: Ask) -> Answer:
        """POST /rooms/{room}/seats/setup."""
        wish = grid_wish(ask)
        room = self._desk.room(ask)
        outcome = self._desk.moderating(ask, lambda room, state, who: seats.set_up(room, state, who, wish))
        return Answer({"ok": True, **self._grid(room, outcome.state)})

    async def take_seat(self, ask: Ask) -> Answer:
        """POST /rooms/{room}/seats/{index}/take."""
        index = number(ask, "index")
        outcome = self._desk.own(ask, lambda room, state, who: seats.take(room, state, who, index))
        return done(outcome)

    async def leave_seat(self, ask: Ask) -> Answer:
        """POST /rooms/{room}/seats/leave."""
        return done(self._desk.own(ask, seats.leave))

    async def move_seat(self, ask: Ask) -> Answer:
        """POST /rooms/{room}/seats/move."""
        target = required_number(ask, "target_seat")
        outcome = self._desk.own(ask, lambda room, state, who: seats.move(room, state, who, target))
        return done(outcome)

    async def swap_seats(self, ask: Ask) -> Answer:
        """POST /rooms/{room}/seats/swap."""
        a, b = required_number(ask, "seat_a"), required_number(ask, "seat_b")
        outcome = self._desk.moderating(ask, lambda room, state, who: seats.swap(room, state, who, a, b))
        return done(outcome)

    def _on_seat(self, rule: _IndexRule) -> Handler:
        """POST /rooms/{room}/seats/{index}/kick, lock, unlock, mute or unmute."""

        async def handler(ask: Ask) -> Answer:
            index = number(ask, "index")
            outcome = self._desk.moderating(ask, lambda room, state, who: rule(room, state, who, index))
            return done(outcome)

        return handler

    # --- speakers

    async def request_to_speak(self, ask: Ask) -> Answer:
        """POST /rooms/{room}/speakers/request."""
        people, now_ms = self._desk.people, round(time.time() * 1000)

        def rule(room: Room, state: RoomState, who: str) -> Outcome:
            return speakers.request(room, state, who, name=people.name(room.name, who), now_ms=now_ms)

        return done(self._desk.own(ask, rule))

    async def cancel_request_to_speak(self, ask: Ask) -> Answer:
        """DELETE /rooms/{room}/speakers/request."""
        return done(self._desk.own(ask, speakers.cancel))

    async def list_requests_to_speak(self, ask: Ask) -> Answer:
        """GET /rooms/{room}/speakers/requests."""
        room = self._desk.room(ask)
        seats.must_have_seats(room)
        return Answer({"requests": self._grid(room, self._desk.state(room))["requests"]})

    async def approve_speaker(self, ask: Ask) -> Answer:
        """POST /rooms/{room}/speakers/requests/{request_id}/approve."""
        asked = number(ask, "request_id")
        return done(
            self._desk.moderating(ask, lambda room, state, who: speakers.approve(room, state, who, asked))
        )

    async def reject_speaker(self, ask: Ask) -> Answer:
        """POST /rooms/{room}/speakers/requests/{request_id}/reject."""
        asked = number(ask, "request_id")
        return done(
            self._desk.moderating(ask, lambda room, state, who: speakers.reject(room, state, who, asked))
        )

    async def invite_to_speak(self, ask: Ask) -> Answer:
        """POST /rooms/{room}/speakers/invite."""
        target = required_identity(ask, "target_identity")
        index = ask.fields.integer("seat_index", least=0, most=MAX_SEATS - 1)

        def rule(room: Room, state: RoomState, who: str | None) -> Outcome:
            is_here = self._desk.is_here(room, target)
            return speakers.invite(room, state, who, target, index, is_here=is_here)

        return done(self._desk.moderating(ask, rule))

    async def accept_to_speak(self, ask: Ask) -> Answer:
        """POST /rooms/{room}/speakers/invitations/{invitation_id}/accept."""
        asked = number(ask, "invitation_id")
        return done(self._desk.own(ask, lambda room, state, who: speakers.accept(room, state, who, asked)))

    async def decline_to_speak(self, ask: Ask) -> Answer:
        """POST /rooms/{room}/speakers/invitations/{invitation_id}/decline."""
        asked = number(ask, "invitation_id")
        return done(self._desk.own(ask, lambda room, state, who: speakers.decline(room, state, who, asked)))

    def _grid(self, room: Room, state: RoomState) -> dict[str, object]:
        names = self._desk.people.names(room.name, room_views.named(room, state))
        return codec.seat_grid_to_answer(room_state.grid(room, state, names))


def grid_wish(ask: Ask) -> GridWish:
    """What a request says about the grid. Raises: Refusal."""
    return GridWish(
        count=ask.fields.integer("seat_count", least=1, most=MAX_SEATS),
        mode=ask.fields.one_of("seat_mode", SEAT_MODES),
        mode_id=ask.fields.text("mode_id", longest=MAX_MODE_ID),
    )
