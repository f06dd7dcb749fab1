"""The rules of the seats of an audio room.

Owns: set-up, take, leave, move, swap, kick, lock, mute. Pure: no I/O. `actor` None is the project's own
server. Every function returns the next state or raises a Refusal, and then nothing changes.

1. A seat has one occupant at most, and a participant one seat at most.
2. The host's seat (0, unless the host's mint says otherwise) is reserved for the owner, as soon as there is one.
3. A locked seat is empty and cannot be taken.
4. With `seat_mode` request only hosts and admins take a seat themselves; other participants ask, or are invited.
5. Another number of seats keeps the seats that both grids have, and empties the others.
6. A mute follows the participant to another seat and through a reconnect, until it is lifted.
7. An admin cannot kick, mute, move or lock out the host.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from utdstream._wire import messages
from utdstream.engine.rules.grants import is_host
from utdstream.engine.rules.refusals import Refusal, invalid
from utdstream.engine.rules.roles import may_moderate, must_moderate
from utdstream.engine.rules.room_state import (
    FREE,
    REQUEST,
    Notice,
    Outcome,
    RoomState,
    SeatState,
    reserved_for,
)
from utdstream.engine.rules.rooms import Room
from utdstream.models import UTDStreamType


@dataclass(frozen=True, slots=True)
class GridWish:
    """What a set-up or a host's mint asks for; None: as it is."""

    count: int | None = None
    mode: str | None = None
    mode_id: str | None = None
    host_seat: int | None = None

    @property
    def is_empty(self) -> bool:
        return self == GridWish()


def must_have_seats(room: Room) -> None:
    """Raises: Refusal for a room without seats."""
    if room.type is not UTDStreamType.AUDIO_ROOM:
        raise Refusal("invalid_state", "A live stream has no seats; it has a stage")


def seed(state: RoomState, wish: GridWish) -> RoomState:
    """The grid after the host's mint: as the mint asks, unless it was set up before."""
    if state.is_set_up or wish.is_empty:
        return state
    return _with_grid(state, wish)


def set_up(room: Room, state: RoomState, actor: str | None, wish: GridWish) -> Outcome:
    """Changes the number of seats, the mode or the layout. The answer is the grid, which the handler adds."""
    must_have_seats(room)
    must_moderate(room, state, actor)
    after = _with_grid(state, wish)
    for seat in state.seats[len(after.seats) :]:
        must_moderate(room, state, actor, seat.identity)
    notices: tuple[Notice, ...] = ()
    if (len(after.seats), after.mode_id) != (len(state.seats), state.mode_id):
        notices = (Notice(messages.MODE_CHANGE, {"mode_id": after.mode_id, "seat_count": len(after.seats)}),)
    return Outcome(after, {}, notices)


def take(room: Room, state: RoomState, actor: str, index: int) -> Outcome:
    """Seats a participant."""
    must_have_seats(room)
    _seat(state, index)
    if state.seat_of(actor) is not None:
        raise Refusal("already_seated", "You are on a seat already")
    must_be_free(room, state, index, actor)
    if state.mode == REQUEST and not may_moderate(room, state, actor):
        raise Refusal("seat_request_required", "Seats are given on request here; ask to speak first")
    return Outcome(seated(state, actor, index), {"ok": True, "seat_index": index})


def leave(room: Room, state: RoomState, actor: str) -> Outcome:
    """Empties the participant's own seat."""
    must_have_seats(room)
    index = _own_seat(state, actor)
    return Outcome(_with_seats(state, {index: SeatState()}), {"ok": True, "seat_index": index})


def move(room: Room, state: RoomState, actor: str, target: int) -> Outcome:
    """Moves a participant to another seat, in one step."""
    must_have_seats(room)
    index = _own_seat(state, actor)
    _seat(state, target)
    answer = {"ok": True, "from": index, "to": target}
    if target == index:
        return Outcome(state, answer)
    must_be_free(room, state, target, actor)
    return Outcome(_with_seats(state, {index: SeatState(), target: SeatState(actor)}), answer)


def swap(room: Room, state: RoomState, actor: str | None, a: int, b: int) -> Outcome:
    """Exchanges the occupants of two seats; one of them may be empty."""
    must_have_seats(room)
    must_moderate(room, state, actor)
    first, second = _seat(state, a), _seat(state, b)
    if a == b:
        raise invalid("seat_a and seat_b must be two different seats")
    for seat in (first, second):
        must_moderate(room, state, actor, seat.identity)
    if first.identity is None and second.identity is None:
        raise Refusal("not_seated", "Both seats are empty")
    if first.locked or second.locked:
        raise Refusal("seat_locked", "One of the seats is locked")
    if actor is not None and not is_host(room, state, actor):
        for index, identity in ((a, second.identity), (b, first.identity)):
            _must_not_be_reserved(room, state, index, identity)
    after = _with_seats(state, {a: second, b: first})
    return Outcome(after, {"ok": True, "seat_a": a, "seat_b": b})


def kick(room: Room, state: RoomState, actor: str | None, index: int) -> Outcome:
    """Empties the seat."""
    must_have_seats(room)
    must_moderate(room, state, actor)
    must_moderate(room, state, actor, _occupant(state, index))
    return Outcome(_with_seats(state, {index: SeatState()}), {"ok": True})


def lock(room: Room, state: RoomState, actor: str | None, index: int) -> Outcome:
    """Empties the seat and locks it. No error when it is locked."""
    _must_moderate_seat(room, state, actor, index)
    return Outcome(_with_seats(state, {index: SeatState(locked=True)}), {"ok": True})


def unlock(room: Room, state: RoomState, actor: str | None, index: int) -> Outcome:
    """Unlocks the seat. No error when it is unlocked."""
    _must_moderate_seat(room, state, actor, index)
    return Outcome(_with_seats(state, {index: replace(state.seats[index], locked=False)}), {"ok": True})


def mute(room: Room, state: RoomState, actor: str | None, index: int) -> Outcome:
    """Mutes the occupant's microphone on the media server, whenever it is seen unmuted."""
    must_have_seats(room)
    must_moderate(room, state, actor)
    identity = _occupant(state, index)
    must_moderate(room, state, actor, identity)
    return Outcome(replace(state, muted=state.muted | {identity}), {"ok": True})


def unmute(room: Room, state: RoomState, actor: str | None, index: int) -> Outcome:
    """Lifts the mute; the occupant's client unmutes (the server does not open a microphone)."""
    must_have_seats(room)
    must_moderate(room, state, actor)
    identity = _occupant(state, index)
    must_moderate(room, state, actor, identity)
    return Outcome(replace(state, muted=state.muted - {identity}), {"ok": True})


# -- for the rules of speakers ---------------------------------------------------------------------


def must_be_free(room: Room, state: RoomState, index: int, identity: str) -> None:
    """Raises: Refusal when this participant cannot have the seat now."""
    seat = _seat(state, index)
    if seat.identity is not None:
        raise Refusal("seat_occupied", "The seat is taken")
    if seat.locked:
        raise Refusal("seat_locked", "The seat is locked")
    _must_not_be_reserved(room, state, index, identity)


def first_free(room: Room, state: RoomState, identity: str) -> int:
    """The first seat this participant can have. Raises: Refusal (`seat_occupied`)."""
    for index, seat in enumerate(state.seats):
        if seat.identity is None and not seat.locked and reserved_for(room, state, index) in (None, identity):
            return index
    raise Refusal("seat_occupied", "No seat is free; unlock or free one first")


def seated(state: RoomState, identity: str, index: int) -> RoomState:
    """The state with a participant on a free seat; their request and invitation are settled by that."""
    return replace(
        _with_seats(state, {index: SeatState(identity)}),
        requests=tuple(asked for asked in state.requests if asked.identity != identity),
        invitations=tuple(asked for asked in state.invitations if asked.target != identity),
    )


def _with_grid(state: RoomState, wish: GridWish) -> RoomState:
    count = len(state.seats) if wish.count is None else wish.count
    host_seat = state.host_seat if wish.host_seat is None else wish.host_seat
    mode = wish.mode or state.mode
    return replace(
        state,
        seats=(*state.seats[:count], *(SeatState() for _ in range(count - len(state.seats)))),
        mode=mode,
        mode_id=wish.mode_id if wish.mode_id is not None else state.mode_id,
        host_seat=host_seat if host_seat < count else 0,
        is_set_up=True,
        requests=() if mode == FREE else state.requests,
        invitations=tuple(
            replace(asked, seat_index=None) if (asked.seat_index or 0) >= count else asked
            for asked in state.invitations
        ),
    )


def _with_seats(state: RoomState, changed: dict[int, SeatState]) -> RoomState:
    return replace(state, seats=tuple(changed.get(index, seat) for index, seat in enumerate(state.seats)))


def _seat(state: RoomState, index: int) -> SeatState:
    if not 0 <= index < len(state.seats):
        raise Refusal(
            "seat_not_found", f"The room has no seat {index}; the last one is {len(state.seats) - 1}"
        )
    return state.seats[index]


def _own_seat(state: RoomState, identity: str) -> int:
    index = state.seat_of(identity)
    if index is None:
        raise Refusal("not_seated", "You are not on a seat")
    return index


def _occupant(state: RoomState, index: int) -> str:
    identity = _seat(state, index).identity
    if identity is None:
        raise Refusal("not_seated", "The seat is empty")
    return identity


def _must_not_be_reserved(room: Room, state: RoomState, index: int, identity: str | None) -> None:
    owner = reserved_for(room, state, index)
    if identity is not None and owner is not None and owner != identity:
        raise Refusal("seat_reserved", "The seat is reserved for the host")


def _must_moderate_seat(room: Room, state: RoomState, actor: str | None, index: int) -> None:
    must_have_seats(room)
    must_moderate(room, state, actor)
    must_moderate(room, state, actor, _seat(state, index).identity)
    must_moderate(room, state, actor, reserved_for(room, state, index))
