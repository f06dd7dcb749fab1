"""The rules of a doorbell, without a clock, a thread or a network."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from device.doorbell.door import AnsweredBy, DoorRules, OpenRequest, StandingCall, WhyShut
from device.doorbell.logic import (
    Answered,
    AnswerPolicy,
    Call,
    CallGone,
    CallToDoor,
    CallWithdrawn,
    Chime,
    Command,
    DoorbellEvent,
    DoorbellPhase,
    DoorbellRules,
    DoorbellState,
    Ended,
    HangUp,
    IgnoreRequest,
    KeepShut,
    Limit,
    NobodyAnswered,
    NotAnswered,
    OpenDoor,
    PeerAway,
    Pressed,
    Refuse,
    TakeCall,
    Tell,
    TimeUp,
    step,
)

AT_ONCE = DoorbellRules(
    ("anna", "ben"), at_once=True, ring_timeout_s=30, call_limit_s=300, auto_answer=AnswerPolicy.CALLEES
)
IN_TURN = DoorbellRules(
    ("anna", "ben"), at_once=False, ring_timeout_s=30, call_limit_s=300, auto_answer=AnswerPolicy.CALLEES
)
NEVER = DoorbellRules(
    ("anna",), at_once=True, ring_timeout_s=30, call_limit_s=300, auto_answer=AnswerPolicy.NEVER
)
CALLING = DoorbellState(DoorbellPhase.CALLING)
TALKING = DoorbellState(DoorbellPhase.TALKING, call=StandingCall("anna", "c0", AnsweredBy.CALLEE))
NONCE = "0123456789abcdef"
EVENTS: tuple[DoorbellEvent, ...] = (
    Pressed(), Answered("anna"), NotAnswered("busy"), PeerAway(True), PeerAway(False), Ended(), TimeUp(),
    CallToDoor("c1", "anna"),
    CallToDoor("c2", "stranger"), CallWithdrawn("c1"), CallGone("over"),
    OpenRequest("anna", "c1", NONCE), OpenRequest("ben"),
    *Command,
)  # fmt: skip


def test_press_when_at_rest_calls_before_anything_else() -> None:
    """The call is what takes time; chime and picture come beside it."""
    state, actions = step(DoorbellState(), Pressed(), AT_ONCE)
    assert state.phase is DoorbellPhase.CALLING
    assert actions == (Call(("anna", "ben")), Chime(), Tell(), Limit(40.0))


@pytest.mark.parametrize("busy", [CALLING, TALKING])
def test_press_when_a_call_is_on_only_chimes(busy: DoorbellState) -> None:
    """Ten presses are one call."""
    assert step(busy, Pressed(), AT_ONCE) == (busy, (Chime(),))


def test_press_when_the_other_side_of_the_call_is_away_ends_it_and_calls() -> None:
    """A handset with an empty battery silences no bell; one that is back in time is talked to."""
    away, _ = step(TALKING, PeerAway(True), AT_ONCE)
    state, actions = step(away, Pressed(), AT_ONCE)
    assert (state.phase, state.is_peer_away) == (DoorbellPhase.CALLING, False)
    assert actions == (HangUp(), Call(("anna", "ben")), Chime(), Tell(), Limit(40.0))
    back, _ = step(away, PeerAway(False), AT_ONCE)
    assert step(back, Pressed(), AT_ONCE) == (TALKING, (Chime(),))


def test_call_to_the_door_when_its_caller_was_lost_from_a_call_is_answered() -> None:
    """Whoever else calls finds it busy: a stranger ends no call by ringing."""
    away, _ = step(TALKING, PeerAway(True), AT_ONCE)
    assert step(away, CallToDoor("c1", "ben"), AT_ONCE) == (away, (Refuse("c1", busy=True),))
    _, actions = step(away, CallToDoor("c1", "anna"), AT_ONCE)
    assert actions == (HangUp(), Limit(None), TakeCall("c1"), Limit(300))


def test_press_when_not_to_be_disturbed_chimes_and_tells() -> None:
    """Nobody is called; Home Assistant knows."""
    quiet = DoorbellState(do_not_disturb=True)
    assert step(quiet, Pressed(), AT_ONCE) == (quiet, (Chime(), Tell()))


def test_callees_when_called_in_turn_come_one_after_the_other() -> None:
    """Rejected, busy, missed or timed out: the next one rings; after the last nobody answered."""
    state, actions = step(DoorbellState(), Pressed(), IN_TURN)
    assert actions[0] == Call(("anna",))
    state, actions = step(state, NotAnswered("busy"), IN_TURN)
    assert actions[0] == Call(("ben",))
    state, actions = step(state, TimeUp(), IN_TURN)
    assert state == DoorbellState()
    assert actions == (HangUp(), Limit(None), NobodyAnswered("no answer"))


def test_door_when_asked_for_opens_for_the_callee_that_answered_alone() -> None:
    """Not for another, not before the answer, not after the call."""
    asked = OpenRequest("anna", "c0", NONCE)
    assert step(TALKING, asked, AT_ONCE)[1] == (OpenDoor("anna", "answered the door's call", asked),)
    for state, identity in ((TALKING, "ben"), (CALLING, "anna"), (DoorbellState(), "anna")):
        asked = OpenRequest(identity, "c0", NONCE)
        assert step(state, asked, AT_ONCE) == (state, (IgnoreRequest(asked),))


@pytest.mark.parametrize(
    ("policy", "answer", "opens"),
    [
        (AnswerPolicy.CALLEES, None, True),
        (AnswerPolicy.NEVER, Command.ANSWER, True),
        (AnswerPolicy.ALWAYS, None, False),
    ],
)
@pytest.mark.parametrize("is_opener", [True, False])
def test_door_when_a_caller_asks_for_it_opens_for_openers_whom_somebody_let_in(
    policy: AnswerPolicy, answer: Command | None, opens: bool, is_opener: bool
) -> None:
    """A person, or the list of callees; `always` lets nobody in."""
    rules = replace(AT_ONCE, auto_answer=policy, door=DoorRules(openers=("anna",) if is_opener else ()))
    state, _ = step(DoorbellState(), CallToDoor("c7", "anna"), rules)
    if answer is not None:
        state, _ = step(state, answer, rules)
    assert state.phase is DoorbellPhase.TALKING
    _, actions = step(state, OpenRequest("anna", "c7", NONCE), rules)
    assert isinstance(actions[0], OpenDoor) == (opens and is_opener)


def test_message_when_replayed_in_a_later_call_opens_nothing() -> None:
    """Neither as it was, nor with the new call's id in it."""
    asked = OpenRequest("anna", "c0", NONCE)
    state, _ = step(TALKING, asked, AT_ONCE)
    state, _ = step(state, Ended(), AT_ONCE)
    state, _ = step(state, Pressed(), AT_ONCE)
    state, _ = step(state, Answered("anna", "c1"), AT_ONCE)
    for again, refusal in (
        (asked, WhyShut.WRONG_CALL),
        (replace(asked, call_id="c1"), WhyShut.REPLAYED),
    ):
        state, actions = step(state, again, AT_ONCE)
        assert actions == (KeepShut(again, refusal),)
    state, actions = step(state, OpenRequest("anna", "c1", NONCE[::-1]), AT_ONCE)
    assert isinstance(actions[0], OpenDoor)


def test_command_when_it_opens_the_door_says_whose_it_is() -> None:
    """In every state: the owner of this device needs no call."""
    for state in (DoorbellState(), CALLING, TALKING):
        after, actions = step(state, Command.OPEN_DOOR, AT_ONCE)
        assert after == state
        assert actions == (OpenDoor("Home Assistant", "is the owner of this device"),)


def test_call_when_it_lasts_too_long_is_hung_up() -> None:
    """A forgotten call does not keep the bell busy."""
    assert step(TALKING, TimeUp(), AT_ONCE) == (DoorbellState(), (HangUp(), Limit(None)))
    assert step(CALLING, Answered("ben"), AT_ONCE) == (
        DoorbellState(DoorbellPhase.TALKING, call=StandingCall("ben", "", AnsweredBy.CALLEE)),
        (Limit(300),),
    )


@pytest.mark.parametrize(
    ("policy", "identity", "answered"),
    [
        (AnswerPolicy.CALLEES, "anna", True),
        (AnswerPolicy.CALLEES, "stranger", False),
        (AnswerPolicy.ALWAYS, "stranger", True),
        (AnswerPolicy.NEVER, "stranger", False),
    ],
)
def test_call_to_the_door_when_it_comes_is_answered_by_policy(
    policy: AnswerPolicy, identity: str, answered: bool
) -> None:
    """Who may listen at the door is the owner's to say."""
    rules = DoorbellRules(("anna",), at_once=True, ring_timeout_s=30, call_limit_s=300, auto_answer=policy)
    _, actions = step(DoorbellState(), CallToDoor("c1", identity), rules)
    assert actions[0] == (TakeCall("c1") if answered else Refuse("c1", busy=False))


def test_call_to_the_door_when_it_is_in_a_call_is_told_busy() -> None:
    """One call at a time."""
    assert step(TALKING, CallToDoor("c1", "anna"), AT_ONCE)[1] == (Refuse("c1", busy=True),)


def test_call_to_the_door_when_the_policy_is_never_waits_for_the_command() -> None:
    """It rings at the door; `answer` takes it, `hang_up` refuses it, the caller may give up."""
    waiting, actions = step(DoorbellState(), CallToDoor("c1", "anna"), NEVER)
    assert actions == (Chime(),)
    assert step(waiting, Command.ANSWER, NEVER) == (
        DoorbellState(DoorbellPhase.TALKING, call=StandingCall("anna", "c1", AnsweredBy.PERSON)),
        (TakeCall("c1"), Limit(300)),
    )
    assert step(waiting, Command.HANG_UP, NEVER) == (DoorbellState(), (Refuse("c1", busy=False),))
    assert step(waiting, CallWithdrawn("c1"), NEVER) == (DoorbellState(), ())
    assert step(waiting, CallWithdrawn("other"), NEVER) == (waiting, ())


@pytest.mark.parametrize("rules", [AT_ONCE, IN_TURN, NEVER])
def test_every_state_when_anything_happens_has_an_answer_and_a_way_out(rules: DoorbellRules) -> None:
    """All sequences to depth four: no exception, a limit runs while a call is on, time leads to rest."""
    for events in itertools.product(EVENTS, repeat=4):
        state, limited = DoorbellState(), False
        for event in events:
            if isinstance(event, TimeUp) and not limited:
                continue
            before = state
            state, actions = step(before, event, rules)
            for action in actions:
                if isinstance(action, Limit):
                    limited = action.seconds is not None
            assert limited or state.phase is DoorbellPhase.REST, events
            assert sum(isinstance(action, (Call, TakeCall)) for action in actions) <= 1
        for _ in range(4):
            if state.phase is not DoorbellPhase.REST:
                state, _ = step(state, TimeUp(), rules)
        assert state.phase is DoorbellPhase.REST, events
