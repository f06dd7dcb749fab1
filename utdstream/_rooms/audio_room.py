"""UTDAudioRoomSession: seats, speakers, listeners.

Owns: what a participant of an audio room can do and sees. Publishing is seat occupancy, decided by the
engine and granted by the media server; nothing here is optimistic. Threads: as `_rooms/session`.
"""

from __future__ import annotations

import contextlib

from utdstream._rooms.changes import Changes
from utdstream._rooms.followed import Followed
from utdstream._rooms.place_wish import sit_again
from utdstream._rooms.seat_host import SeatHost
from utdstream._rooms.session import Joining
from utdstream._session.base import SessionParts
from utdstream._threads.deadline import Deadline
from utdstream._threads.errands import finish_errand
from utdstream._threads.facts import Fact, Occurrences, set_together
from utdstream._wire import codec, messages
from utdstream.errors import PublishRefused, SessionClosed, UTDStreamException
from utdstream.models import (
    SeatGrid,
    SeatInvitation,
    SpeakRequest,
    UTDStreamType,
)
from utdstream.observe import CallbackError, Signal, Watched

_EMPTY = SeatGrid(count=0)


class UTDAudioRoomSession(SeatHost):
    """An audio room: speakers sit on seats and publish, all others listen. Made by `join_audio_room`."""

    def __init__(self, parts: SessionParts, joining: Joining) -> None:
        super().__init__(UTDStreamType.AUDIO_ROOM, parts, joining)
        self._seats = Fact(_EMPTY, self._lane)
        self._seat: Fact[int | None] = Fact(None, self._lane)
        self._speak_requests: Fact[tuple[SpeakRequest, ...]] = Fact((), self._lane)
        self._chat_locked = Fact(False, self._lane)
        self._invitations: Occurrences[SeatInvitation] = Occurrences(self._lane)
        self.seats: Watched[SeatGrid] = self._seats
        """The whole grid, as the engine has it."""
        self.seat: Watched[int | None] = self._seat
        """The own seat's index, None for a listener."""
        self.speak_requests: Watched[tuple[SpeakRequest, ...]] = self._speak_requests
        """The listeners that ask to speak, oldest first."""
        self.chat_locked: Watched[bool] = self._chat_locked
        """Whether the host closed the chat to others."""
        self.invitations: Signal[SeatInvitation] = self._invitations
        """Invitations to speak, for this participant."""
        self._speaking: Deadline | None = None
        """Of the work thread's wait for the grant of a seat."""
        self._claims = Changes(self._turn, self._place_wish.ask)
        self._requests = Changes(self._turn, self._place_wish.ask)
        self._grid = Followed(
            self._seats,
            parse=codec.parse_seat_grid,
            ask=self._rooms.get_seats,
            work=self._work,
            poll_s=self._config.room_poll_s,
            applied=self._seats_changed,
        )
        self._comments: Followed[bool] = Followed(
            self._chat_locked, parse=_parse_lock, ask=None, work=self._work
        )

    # -- the own seat ----------------------------------------------------------------------------

    def take_seat(self, index: int, *, timeout: float | None = None) -> None:
        """Takes a seat and speaks.

        Returns when the media server has granted it and the microphone is published: muted if that was the
        wish (`set_microphone(False)` before), nothing published if there is none.
        Blocks: to the deadline (default 12 s); a seat that was given later is given back.
        Raises: NotFound (no such seat), Conflict (taken, or already seated), PermissionDenied (locked,
        reserved, request mode, banned), DeadlineExceeded, SessionClosed.
        """
        deadline = Deadline(timeout, self._config.set_timeout_s, "take_seat")
        self._check_index("take_seat", index)
        self._require_room("take_seat")
        self._claims.make(
            lambda late: self._rooms.take_seat(index, deadline, late),
            then=lambda: self._speak(deadline, "take_seat", index),
            take_back=self._give_back,
            deadline=deadline,
            doing="take_seat",
        )

    def accept_invitation(self, id: int, *, timeout: float | None = None) -> None:
        """Takes the seat that an invitation offers; returns when `take_seat` would.

        Blocks: to the deadline (default 12 s); a seat that was given later is given back.
        Raises: NotFound when the invitation is stale, else as `take_seat`.
        """
        deadline = Deadline(timeout, self._config.set_timeout_s, "accept_invitation")
        self._require_room("accept_invitation")
        self._claims.make(
            lambda late: self._rooms.accept_invitation(id, deadline, late),
            then=lambda: self._speak(deadline, "accept_invitation", None),
            take_back=self._give_back,
            deadline=deadline,
            doing="accept_invitation",
        )

    def _speak(self, deadline: Deadline, doing: str, index: int | None) -> None:
        """Waits for the grant of the seat, and publishes. Raises: what gives the seat back."""
        self._media.facts.can_publish.wait_until(True, deadline)
        self._publish_microphone(deadline, doing)
        if self.seat.value is None or (index is not None and self.seat.value != index):
            self._grid.refresh(deadline)

    def _publish_microphone(self, deadline: Deadline, doing: str) -> None:
        if not self._try_to_publish(deadline, doing):
            # What was withdrawn was the grant of a seat before: this one's comes.
            self._media.facts.can_publish.wait_until(True, deadline)
            self._try_to_publish(deadline, doing)

    def _try_to_publish(self, deadline: Deadline, doing: str) -> bool:
        """Publishes the microphone; False when that is refused to one who is seated."""
        try:
            self._media.publish(["microphone"], deadline, doing)
        except PublishRefused:
            if not self._is_wanted():  # whoever left it has given the seat back, and the grant with it
                raise SessionClosed(f"{doing}: the room was left meanwhile") from None
            if self.seat.value is None:
                raise
            return False
        return True

    def _give_back(self, deadline: Deadline) -> None:
        """Leaves a seat, which is not asked for again after an interruption."""
        self._place_wish.drop()
        self._media.withdraw()
        self._rooms.leave_seat(deadline)

    def leave_seat(self, *, timeout: float | None = None) -> None:
        """Leaves the seat: the microphone stops at once, and is unpublished when this returns.

        Blocks: to the deadline (default 12 s). Raises: Conflict when not seated, SessionClosed.
        """
        deadline = Deadline(timeout, self._config.set_timeout_s, "leave_seat")
        self._require_room("leave_seat")
        self._place_wish.drop()

        def leave() -> None:
            self._media.withdraw()
            self._claims.give_up(self._rooms.leave_seat, deadline)
            self._media.withdraw(deadline)
            if self.seat.value is not None:
                self._grid.refresh(deadline)

        finish_errand(leave, deadline, "leave_seat", turn=self._turn)

    def move_seat(self, index: int, *, timeout: float | None = None) -> None:
        """Changes seats without a gap in sound.

        Blocks: to the deadline (default 12 s). Raises: Conflict when not seated, else as `take_seat`.
        """
        deadline = Deadline(timeout, self._config.set_timeout_s, "move_seat")
        self._check_index("move_seat", index)
        self._require_room("move_seat")
        before = self.seat.value

        def move_back(deadline: Deadline) -> None:
            if before is not None:
                self._rooms.move_seat(before, deadline)

        def learn() -> None:
            if self.seat.value != index:
                self._grid.refresh(deadline)

        self._claims.make(
            lambda late: self._rooms.move_seat(index, deadline, late),
            then=learn,
            take_back=move_back,
            deadline=deadline,
            doing="move_seat",
        )

    def set_microphone(self, enabled: bool, *, timeout: float | None = None) -> None:
        """Unmutes or mutes. Without a seat, False is remembered for the next seat and True forgets it.

        Blocks: to the deadline (default 12 s).
        Raises: PublishRefused for True without a seat (the wish is kept), else as `UTDRoom.set_microphone`.
        """
        try:
            super().set_microphone(enabled, timeout=timeout)
        except PublishRefused:
            self._media.wishes.change("microphone", muted=False)
            raise

    # -- asking and being asked --------------------------------------------------------------------

    def request_to_speak(self, *, timeout: float | None = None) -> int:
        """Asks the host for a seat (mode request); returns the request's id.

        Blocks: to the deadline (default 12 s). Raises: Conflict when one is pending, PermissionDenied,
        EngineUnreachable, DeadlineExceeded.
        """
        deadline = Deadline(timeout, self._config.set_timeout_s, "request_to_speak")
        return self._requests.make(
            lambda late: self._rooms.request_to_speak(deadline, late),
            take_back=self._rooms.cancel_request,
            deadline=deadline,
            doing="request_to_speak",
        )

    def cancel_request(self, *, timeout: float | None = None) -> None:
        """Takes the own request to speak back.

        Blocks: to the deadline (default 12 s). Raises: NotFound when there is none, EngineUnreachable,
        DeadlineExceeded.
        """
        deadline = Deadline(timeout, self._config.set_timeout_s, "cancel_request")

        def cancel() -> None:
            self._requests.give_up(self._rooms.cancel_request, deadline)

        finish_errand(cancel, deadline, "cancel_request", turn=self._turn)

    def decline_invitation(self, id: int, *, timeout: float | None = None) -> None:
        """Declines an invitation.

        Blocks: to the deadline (default 12 s). Raises: NotFound when it is stale, EngineUnreachable,
        DeadlineExceeded.
        """
        deadline = Deadline(timeout, self._config.set_timeout_s, "decline_invitation")
        self._rooms.decline_invitation(id, deadline)

    # -- inside ------------------------------------------------------------------------------------

    def _require_room(self, doing: str) -> None:
        self._media.require(doing)

    def _begin_life(self) -> None:
        self._place_wish.begin()
        self._grid.forget()
        self._comments.forget()

    def _learn_all(self, deadline: Deadline) -> None:
        if not self._grid.told:
            with contextlib.suppress(UTDStreamException):  # the room works without; the next news tell
                self._grid.refresh(deadline)
            self._grid.poll_until_pushed(self._is_wanted)
        self._check_place(deadline)

    def _check_place(self, deadline: Deadline) -> None:
        """Asks what became of the seat while the room was away."""
        if self._place_wish.index is not None:
            with contextlib.suppress(UTDStreamException):
                self._grid.refresh(deadline)
        if self._place_wish.is_lost(self.seat.value):
            self._work.post(self._sit_again)

    def _is_open(self, deadline: Deadline) -> None:
        self._rooms.get_seats(deadline)

    def _on_metadata(self, metadata: str) -> None:
        self._grid.metadata(messages.parse_metadata(metadata, messages.METADATA_SEATS))
        self._comments.metadata(messages.parse_metadata(metadata, messages.METADATA_COMMENTS))

    def _on_engine_message(self, message: messages.EngineMessage, sender: str | None) -> None:
        super()._on_engine_message(message, sender)
        if message.type in (messages.SEAT_UPDATE, messages.MODE_CHANGE, messages.SPEAKER_REQUEST):
            self._grid.hint(message.fields)
        elif message.type == messages.SPEAKER_INVITATION:
            invitation = codec.parse_invitation(message.fields)
            if invitation is not None and invitation.target_identity == self._actor.identity:
                self._invitations.emit(invitation)

    def _seats_changed(self, grid: SeatGrid) -> None:
        """Writes everything that follows from the grid, alone; and the grid with it, so that they agree."""
        mine = next((seat.index for seat in grid.seats if seat.identity == self._actor.identity), None)
        was_seated = self.seat.value is not None
        self._place_wish.take_news(mine, here=self._room.connected.value)
        set_together((self._seats, grid), (self._seat, mine), (self._speak_requests, grid.requests))
        if was_seated and mine is None:
            self._media.withdraw()
            if self._speaking is not None:
                self._speaking.cut()  # no grant will come: the work thread has better things to do
        elif not was_seated and mine is not None:
            self._work.post(self._speak_if_seated)

    def _speak_if_seated(self) -> None:
        """Work thread: an approval seated us without `take_seat`; the microphone follows."""
        deadline = self._speaking = Deadline.after(self._config.set_timeout_s, "speaking")
        if self.seat.value is None or not self._room.connected.value:
            return
        with contextlib.suppress(UTDStreamException):
            self._media.facts.can_publish.wait_until(True, deadline)
            if self.seat.value is not None:
                self._publish_microphone(deadline, "speaking")

    def _sit_again(self) -> None:
        """Work thread: the seat went while the room was away. Takes it again, else any free one, else tells."""
        deadline = Deadline.after(self._config.set_timeout_s, "taking the seat again")
        refusal = sit_again(
            self._place_wish,
            self.seats.value,
            lambda index: self.take_seat(index, timeout=deadline.remaining()),
        )
        if (
            refusal is not None and self._room.connected.value
        ):  # lost again: the next connection brings us here
            self._place_wish.drop()
            self._parts.report(CallbackError(refusal, "taking the seat again"))

    def _close_facts(self) -> None:
        for fact in (self._seats, self._seat, self._speak_requests, self._chat_locked, self._roles):
            fact.close()
        self._invitations.close()


def _parse_lock(fields: codec.JsonObject) -> bool | None:
    locked = fields.get("locked")
    return locked in (True, 1) if "locked" in fields else None
