"""UTDLiveStreamSession: one host, a stage, any number of viewers.

Owns: what a participant of a live stream can do and sees. Who may publish is decided by the engine and
granted by the media server. Threads: as `_rooms/session`.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from utdstream._rest.rooms import members_of
from utdstream._rooms.changes import Changes
from utdstream._rooms.followed import Followed
from utdstream._rooms.session import GOODBYE_S, Joining, RoomSession
from utdstream._session.base import SessionParts
from utdstream._session.connect import RoomLife
from utdstream._threads.deadline import Deadline
from utdstream._threads.errands import finish_errand
from utdstream._threads.facts import Fact, Occurrences
from utdstream._threads.lanes import Timer
from utdstream._wire import codec, messages
from utdstream.errors import InvalidConfig, UTDStreamException
from utdstream.models import (
    Connection,
    ConnectionState,
    RemoteParticipant,
    UTDStageMember,
    UTDStreamType,
)
from utdstream.observe import CallbackError, Change, Signal, Watched

HOST_RETURN_S = 120.0
"""A host who vanished may come back for this long before the stream counts as over; as a party of a call may."""


@dataclass(frozen=True, slots=True)
class StageRequest:
    """A viewer raises the hand."""

    identity: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """The stream is over; `reason` is ended, host_gone or closed."""

    reason: str


class UTDLiveStreamSession(RoomSession):
    """A live stream: the host and the stage publish, viewers watch. Made by `join_live_stream`.

    A viewer publishes nothing. A viewer that is invited to the stage sees `can_publish` become true and then calls
    `set_microphone(True)` and `set_camera(True)`; leaving or losing the stage stops both.
    """

    def __init__(self, parts: SessionParts, joining: Joining) -> None:
        super().__init__(UTDStreamType.LIVE_STREAM, parts, joining)
        self._stage: Fact[tuple[UTDStageMember, ...]] = Fact((), self._lane)
        self._chat_locked = Fact(False, self._lane)
        self._stage_requests: Occurrences[StageRequest] = Occurrences(self._lane)
        self._ended: Occurrences[StreamEnded] = Occurrences(self._lane)
        self.stage: Watched[tuple[UTDStageMember, ...]] = self._stage
        """The members of the stage, the host first."""
        self.chat_locked: Watched[bool] = self._chat_locked
        """Whether the host closed the chat to others."""
        self.stage_requests: Signal[StageRequest] = self._stage_requests
        """Raised hands, for the host and admins."""
        self.ended: Signal[StreamEnded] = self._ended
        """The stream is over; said once a life, never to the host itself."""
        self._is_live = False
        self._on_stage = False
        self._end_said = False
        self._host_seen = False
        self._host_gone: Timer | None = None
        self._place = Changes(self._turn, self._place_wish.ask)
        self._invitations = Changes(self._turn)
        self._members = Followed(
            self._stage,
            parse=codec.parse_stage,
            ask=self._rooms.get_stage,
            work=self._work,
            poll_s=self._config.room_poll_s,
            applied=self._stage_changed,
        )
        self._comments: Followed[bool] = Followed(
            self._chat_locked,
            parse=lambda fields: fields.get("locked") in (True, 1) if "locked" in fields else None,
            ask=None,
            work=self._work,
        )

    # -- host --------------------------------------------------------------------------------------

    def go_live(self, *, with_video: bool = True, timeout: float | None = None) -> None:
        """Publishes, as the host, the microphone and, with `with_video`, the camera; those that there are.

        Blocks: to the deadline (default 12 s). Raises: PublishRefused for a viewer, DeviceError.
        """
        deadline = Deadline(timeout, self._config.set_timeout_s, "go_live")
        if not self._room.can_publish.value:
            self._media.refuse_publishing("microphone", deadline, "go_live")
        devices = ("microphone", "camera") if with_video else ("microphone",)
        self._media.publish(devices, deadline, "go_live", unmuted=True)
        self._is_live = True

    def invite_to_stage(self, identity: str, *, timeout: float | None = None) -> None:
        """Lets a viewer publish, as host or admin; twice is fine. Returns when `stage` is refreshed.

        Blocks: to the deadline (default 12 s). Raises: NotFound, PermissionDenied, EngineUnreachable,
        DeadlineExceeded.
        """
        deadline = self._about(identity, "invite_to_stage", timeout)
        is_on_stage = any(member.identity == identity for member in self.stage.value)

        def send_off(deadline: Deadline) -> None:
            if not is_on_stage:
                self._rooms.stage("remove", deadline, identity)

        self._invitations.make(
            lambda late: self._rooms.stage("invite", deadline, identity, late),
            then=lambda: self._members.refresh(deadline),
            take_back=send_off,
            deadline=deadline,
            doing="invite_to_stage",
        )

    def remove_from_stage(self, identity: str, *, timeout: float | None = None) -> None:
        """Makes a speaker on stage a viewer again, as host or admin.

        Blocks: to the deadline (default 12 s). Raises: Conflict when not on stage, PermissionDenied,
        EngineUnreachable, DeadlineExceeded.
        """
        deadline = self._about(identity, "remove_from_stage", timeout)

        def remove() -> None:
            self._invitations.give_up(lambda step: self._rooms.stage("remove", step, identity), deadline)
            self._members.refresh(deadline)

        finish_errand(remove, deadline, "remove_from_stage", turn=self._turn)

    def _about(self, identity: str, doing: str, timeout: float | None) -> Deadline:
        deadline = Deadline(timeout, self._config.set_timeout_s, doing)
        if not isinstance(identity, str) or not identity:
            raise InvalidConfig(f"{doing}: identity must be a non-empty text")
        return deadline

    # -- all -----------------------------------------------------------------------------------

    def refresh_stage(self, *, timeout: float | None = None) -> None:
        """Asks the engine for the members of the stage; `stage` holds them.

        Blocks: to the deadline (default 12 s). Raises: NotFound, EngineUnreachable, DeadlineExceeded.
        """
        deadline = Deadline(timeout, self._config.set_timeout_s, "refresh_stage")
        members_of(self._members.refresh(deadline))

    def request_stage(self, *, timeout: float | None = None) -> None:
        """Raises the hand, as a viewer; host and admins are told.

        Blocks: to the deadline (default 12 s). Raises: Conflict when on stage already, PermissionDenied,
        EngineUnreachable, DeadlineExceeded.
        """
        deadline = Deadline(timeout, self._config.set_timeout_s, "request_stage")
        self._place_wish.ask()
        self._rooms.stage("request", deadline)

    def leave_stage(self, *, timeout: float | None = None) -> None:
        """Leaves the stage: camera and microphone stop at once, and are unpublished when this returns.

        Blocks: to the deadline (default 12 s). Raises: Conflict when not on stage, SessionClosed.
        """
        deadline = Deadline(timeout, self._config.set_timeout_s, "leave_stage")
        self._media.require("leave_stage")
        self._place_wish.drop()

        def leave() -> None:
            self._media.withdraw()
            self._place.give_up(lambda step: self._rooms.stage("leave", step), deadline)
            self._media.withdraw(deadline)
            self._members.refresh(deadline)

        finish_errand(leave, deadline, "leave_stage", turn=self._turn)

    # -- inside ------------------------------------------------------------------------------------

    def _give_back(self, deadline: Deadline) -> None:
        self._place_wish.drop()
        if not self._is_host:
            self._media.withdraw()
            self._rooms.stage("leave", deadline)

    def _begin_life(self) -> None:
        self._place_wish.begin()
        self._members.forget()
        self._comments.forget()
        self._end_said = False

    def _learn_all(self, deadline: Deadline) -> None:
        if not self._members.told:
            with contextlib.suppress(UTDStreamException):
                self._members.refresh(deadline)
            self._members.poll_until_pushed(self._is_wanted)
        self._check_place(deadline)

    def _say_goodbye(self, deadline: Deadline) -> None:
        """Tells the others that the host leaves, best effort."""
        if self._is_host and self._is_live and self._room.connected.value:
            self._is_live = False
            with contextlib.suppress(UTDStreamException):
                self._room.send_data(
                    messages.encode(messages.LIVE_ENDED, {}), timeout=min(GOODBYE_S, deadline.remaining())
                )

    def _on_metadata(self, metadata: str) -> None:
        self._members.metadata(messages.parse_metadata(metadata, messages.METADATA_STAGE))
        self._comments.metadata(messages.parse_metadata(metadata, messages.METADATA_COMMENTS))

    def _host(self) -> str | None:
        return next((member.identity for member in self.stage.value if member.role == "host"), None)

    def _may_say(self, kind: str, sender: str) -> bool:
        return kind == messages.LIVE_ENDED and sender == self._host()

    def _on_engine_message(self, message: messages.EngineMessage, sender: str | None) -> None:
        super()._on_engine_message(message, sender)
        if message.type == messages.STAGE_UPDATE:
            self._members.hint(message.fields)
        elif message.type == messages.STAGE_REQUEST:
            identity = codec.text(message.fields.get("identity"))
            if identity is not None:
                self._stage_requests.emit(StageRequest(identity, codec.text(message.fields.get("name"))))
        elif message.type == messages.LIVE_ENDED and sender is not None:  # the host, see `_may_say`
            self._work.post(lambda: self._over("ended"))

    def _is_open(self, deadline: Deadline) -> None:
        self._rooms.get_stage(deadline)

    def _room_closed(self, life: RoomLife) -> None:
        self._over("closed")
        super()._room_closed(life)  # the host is told nothing, but leaves too

    def _over(self, reason: str) -> None:
        """Work thread: the stream has ended: said once, to who is in it, and the room is left."""
        if self._end_said or self._is_host or not self._is_wanted():
            return
        self._end_said = True
        self._ended.emit(StreamEnded(reason))
        self._wanted = False
        self._thrown_out("STREAM_ENDED", self._media.life)

    def _stage_changed(self, members: tuple[UTDStageMember, ...]) -> None:
        """Stops microphone and camera with the loss of the stage, whatever the media server does."""
        was_on_stage, self._on_stage = (
            self._on_stage,
            any(member.identity == self._actor.identity for member in members),
        )
        if was_on_stage and not self._on_stage and not self._is_host:
            self._media.withdraw()
        self._place_wish.take_news(0 if self._on_stage else None, here=self._room.connected.value)

    def _check_place(self, deadline: Deadline) -> None:
        """Asks what became of the place on stage while the room was away."""
        if self._place_wish.index is not None:
            with contextlib.suppress(UTDStreamException):
                self._members.refresh(deadline)
        if self._place_wish.is_lost(0 if self._on_stage else None) and not self._is_host:
            self._work.post(self._raise_hand_again)

    def _raise_hand_again(self) -> None:
        """Work thread: the place on stage went while the room was away: asks for it, or tells why it cannot."""
        self._place_wish.drop()
        try:
            self.request_stage()
        except UTDStreamException as error:
            self._parts.report(CallbackError(error, "asking for the stage again"))

    def _on_people(self, change: Change[tuple[RemoteParticipant, ...]]) -> None:
        super()._on_people(change)
        self._mind_the_host(self._room.connection.value.state)

    def _mind_the_host(self, state: ConnectionState) -> None:
        """Waits for a host that went, as long as this viewer is in the room: out of it, nobody is seen."""
        host = self._host()
        is_here = host is not None and any(
            person.identity == host for person in self._room.remote_participants.value
        )
        self._host_seen = self._host_seen or is_here
        is_missed = self._host_seen and not is_here and state is ConnectionState.CONNECTED
        if self._host_gone is not None and not is_missed:
            self._host_gone.cancel()
            self._host_gone = None
        elif self._host_gone is None and is_missed and not self._is_host:
            self._host_gone = self._work.call_later(HOST_RETURN_S, lambda: self._over("host_gone"))

    def _on_connection(self, change: Change[Connection]) -> None:
        super()._on_connection(change)
        self._mind_the_host(change.new.state)
        if change.new.state is ConnectionState.DISCONNECTED and change.new.reason in (
            "ROOM_DELETED",
            "ROOM_CLOSED",
        ):
            self._work.post(lambda: self._over("closed"))

    def _close_facts(self) -> None:
        for fact in (self._stage, self._chat_locked, self._roles, self._stage_requests, self._ended):
            fact.close()
