"""Seats and stage as state machines: whatever is asked for in whatever order, the rules do as the contract says.

The rules of the engine alone, without a server: thousands of long sequences, each cut down to its shortest when it
fails. The contract is `history_model`, which holds the recorded histories of real engines to it too.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from history import Operation
from history_model import RoomModel, room_step
from hypothesis import HealthCheck, settings
from hypothesis import strategies as given
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from utdstream.engine.flows.room_changes import RoomChange, RoomChanges
from utdstream.engine.rules import roles, room_state, seats, speakers, stage, undoing
from utdstream.engine.rules.refusals import Refusal
from utdstream.engine.rules.room_state import Outcome, RoomState
from utdstream.engine.rules.rooms import Room
from utdstream.models import UTDStreamType

OWNER, ADMIN, STRANGER = "owner", "admin", "stranger"
PEOPLE = (OWNER, ADMIN, "anna", "ben", "carl")
"""Who was admitted."""
EXAMPLES = int(os.environ.get("UTD_ROOM_EXAMPLES", "60"))
WITH_LUCK = settings(
    max_examples=EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)

people = given.sampled_from(PEOPLE)
actors = given.sampled_from((*PEOPLE, STRANGER, None))
targets = given.sampled_from((*PEOPLE, STRANGER))
indexes = given.integers(0, 6)
numbers = given.integers(1, 8)


def as_it_was(state: RoomState) -> RoomState:
    """But for what only grows, and for the order on a stage that a member came back to."""
    return replace(state, rev=0, next_id=1, stage=tuple(sorted(state.stage)))


class RoomMachine(RuleBasedStateMachine):
    """A room in the engine's rules, and in the contract's words beside it."""

    type: UTDStreamType

    def __init__(self) -> None:
        super().__init__()
        self.room = Room("room", self.type, OWNER, datetime(2031, 1, 1, tzinfo=timezone.utc))
        self.state = replace(room_state.new_state(self.room), roles={ADMIN: "admin"})
        self.model = self.as_model()
        self.changes = RoomChanges()
        self.done: list[RoomChange] = []
        """What may be withdrawn, unless something newer was decided."""

    def as_model(self) -> RoomModel:
        state = self.state
        return RoomModel(
            owner=OWNER,
            admitted=frozenset(PEOPLE),
            seats=tuple((seat.identity, seat.locked) for seat in state.seats),
            mode=state.mode,
            requests=tuple((asked.id, asked.identity) for asked in state.requests),
            invitations=tuple((asked.id, asked.target, asked.seat_index) for asked in state.invitations),
            last_id=state.next_id - 1,
            stage=state.stage,
            roles=frozenset(state.roles.items()),
            muted=state.muted,
            is_live=self.type is UTDStreamType.LIVE_STREAM,
        )

    def act(
        self, kind: str, actor: str | None, decide: Callable[[Room, RoomState], Outcome], **args: Any
    ) -> None:
        expected = room_step(self.model, Operation("room", kind, actor, args))
        before = self.state
        code = None
        try:
            outcome = decide(self.room, before)
        except Refusal as refusal:
            code = refusal.code
        if code is not None:
            assert code in expected.refusals, f"refused as {code}: {expected}"
            return
        assert not expected.refusals, f"done, and should be refused as {expected.refusals}"
        self.become(outcome.state)
        assert self.model == expected.after

    def become(self, after: RoomState) -> None:
        before, self.state = self.state, after
        self.model = self.as_model()
        change = self.changes.note(self.room, before, after, may_be_undone=True)
        if change is None:
            return
        self.done.append(change)
        undone = undoing.undo(after, change.parts, lambda _: True)
        assert undone is not None
        assert as_it_was(undone.state) == as_it_was(before), (
            "taken back at once, it is as if it had never been"
        )

    @rule(number=given.integers(0, 40), is_here=given.booleans())
    def withdraws(self, number: int, *, is_here: bool) -> None:
        """A request is taken back, some time after it was done."""
        change = self.done.pop(number % len(self.done)) if self.done else None
        if change is None or not change.is_newest:
            return
        outcome = undoing.undo(self.state, change.parts, lambda _: is_here)
        if outcome is None:
            return
        assert is_here or outcome.state.holders() <= self.state.holders(), "nobody who left comes back"
        self.become(outcome.state)

    @rule(who=people)
    def goes_away(self, who: str) -> None:
        """The connection of a participant is lost for good: everything it holds is free."""
        if who == OWNER:
            return
        self.become(roles.gone(self.room, self.state, who).state)
        assert who not in self.state.holders()

    @invariant()
    def holds_together(self) -> None:
        """What is so in every state, whatever the contract says of a step."""
        state = self.state
        sitting = [seat.identity for seat in state.seats if seat.identity is not None]
        assert len(sitting) == len(set(sitting)), "on two seats"
        assert not any(seat.locked and seat.identity for seat in state.seats), "on a locked seat"
        asking = [asked.identity for asked in state.requests]
        assert len(asking) == len(set(asking))
        assert not set(asking) & set(sitting), "asks for what it has"
        assert not {asked.target for asked in state.invitations} & set(sitting)
        assert state.mode == room_state.REQUEST or not state.requests
        numbers = [asked.id for asked in state.requests] + [asked.id for asked in state.invitations]
        assert len(numbers) == len(set(numbers))
        assert all(number < state.next_id for number in numbers)
        assert len(state.stage) == len(set(state.stage))
        assert OWNER not in state.stage
        assert room_state.from_json(room_state.to_json(state)) == state


class AudioRoom(RoomMachine):
    """Seats, requests, invitations."""

    type = UTDStreamType.AUDIO_ROOM

    @rule(who=people, index=indexes)
    def takes(self, who: str, index: int) -> None:
        self.act("take", who, lambda room, state: seats.take(room, state, who, index), index=index)

    @rule(who=people)
    def leaves(self, who: str) -> None:
        self.act("leave", who, lambda room, state: seats.leave(room, state, who))

    @rule(who=people, index=indexes)
    def moves(self, who: str, index: int) -> None:
        self.act("move", who, lambda room, state: seats.move(room, state, who, index), target_seat=index)

    @rule(actor=actors, a=indexes, b=indexes)
    def swaps(self, actor: str | None, a: int, b: int) -> None:
        self.act("swap", actor, lambda room, state: seats.swap(room, state, actor, a, b), seat_a=a, seat_b=b)

    @rule(actor=actors, index=indexes, kind=given.sampled_from(("kick", "lock", "unlock", "mute", "unmute")))
    def moderates(self, actor: str | None, index: int, kind: str) -> None:
        decide = getattr(seats, kind)
        self.act(kind, actor, lambda room, state: decide(room, state, actor, index), index=index)

    @rule(actor=actors, count=given.integers(1, 7), mode=given.sampled_from(room_state.SEAT_MODES))
    def sets_up(self, actor: str | None, count: int, mode: str) -> None:
        wish = seats.GridWish(count, mode)
        self.act(
            "set_up",
            actor,
            lambda room, state: seats.set_up(room, state, actor, wish),
            seat_count=count,
            seat_mode=mode,
        )

    @rule(who=people)
    def asks(self, who: str) -> None:
        self.act("request", who, lambda room, state: speakers.request(room, state, who, name=None, now_ms=0))

    @rule(who=people)
    def withdraws(self, who: str) -> None:
        self.act("cancel", who, lambda room, state: speakers.cancel(room, state, who))

    @rule(actor=actors, number=numbers, kind=given.sampled_from(("approve", "reject")))
    def decides(self, actor: str | None, number: int, kind: str) -> None:
        decide = getattr(speakers, kind)
        self.act(kind, actor, lambda room, state: decide(room, state, actor, number), id=number)

    @rule(actor=actors, whom=targets, seat=given.one_of(given.none(), indexes))
    def invites(self, actor: str | None, whom: str, seat: int | None) -> None:
        self.act(
            "invite",
            actor,
            lambda room, state: speakers.invite(room, state, actor, whom, seat, is_here=whom in PEOPLE),
            target_identity=whom,
            seat_index=seat,
        )

    @rule(who=people, number=numbers, kind=given.sampled_from(("accept", "decline")))
    def answers(self, who: str, number: int, kind: str) -> None:
        decide = getattr(speakers, kind)
        self.act(kind, who, lambda room, state: decide(room, state, who, number), id=number)


class LiveStream(RoomMachine):
    """The stage, and roles."""

    type = UTDStreamType.LIVE_STREAM

    @rule(actor=actors, whom=targets)
    def invites(self, actor: str | None, whom: str) -> None:
        self.act(
            "invite_stage",
            actor,
            lambda room, state: stage.invite(room, state, actor, whom, is_here=whom in PEOPLE),
            target_identity=whom,
        )

    @rule(actor=actors, whom=targets)
    def removes(self, actor: str | None, whom: str) -> None:
        self.act(
            "remove_stage",
            actor,
            lambda room, state: stage.remove(room, state, actor, whom),
            target_identity=whom,
        )

    @rule(who=people)
    def asks(self, who: str) -> None:
        self.act("ask_stage", who, lambda room, state: stage.request(room, state, who, name=None))

    @rule(who=people)
    def leaves(self, who: str) -> None:
        self.act("leave_stage", who, lambda room, state: stage.leave(room, state, who))

    @rule(actor=actors, whom=targets, role=given.sampled_from(roles.CHANGEABLE))
    def changes_role(self, actor: str | None, whom: str, role: str) -> None:
        self.act(
            "change_role",
            actor,
            lambda room, state: roles.change(room, state, actor, whom, role, is_here=whom in PEOPLE),
            target=whom,
            role=role,
        )


TestAudioRoom = AudioRoom.TestCase
TestAudioRoom.settings = WITH_LUCK
TestLiveStream = LiveStream.TestCase
TestLiveStream.settings = WITH_LUCK
