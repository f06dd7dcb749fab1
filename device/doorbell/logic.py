"""The rules of a doorbell: (state, event) -> (state, actions). Pure: no clock, no thread, no I/O.

Owns: every decision but those about the door, which are `door.py`'s. Standard library and vocabulary only.

1. A press always chimes. It calls only from REST: while a call rings or stands, a press starts no other. A call
   whose other side is away (its battery, its network) silences no bell: a press ends it and calls, and so does
   that other side when it calls the door again.
2. `do_not_disturb`: a press chimes and is told, and starts no call.
3. The door opens for the peer of the call as `door.py` judges, and for commands of this device's owner (Home
   Assistant), who needs no PIN.
4. The door answers a call by itself when the policy says so; while the door is in a call it is busy. With
   the policy `never` a callee's call rings at the door until the command `answer`, or until the caller gives up.
5. Every state but REST has a time limit of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum

from device.doorbell.door import (
    AnsweredBy,
    DoorMemory,
    DoorRules,
    Opened,
    OpenRequest,
    StandingCall,
    WhyShut,
    judge,
)


class DoorbellPhase(Enum):
    """What the doorbell is doing."""

    REST = "ready"
    CALLING = "calling"
    TALKING = "in a call"


class AnswerPolicy(Enum):
    """The callers that the door answers by itself."""

    NEVER = "never"
    CALLEES = "callees"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class DoorbellRules:
    """What the configuration says."""

    callees: tuple[str, ...]
    at_once: bool
    ring_timeout_s: float
    call_limit_s: float
    auto_answer: AnswerPolicy
    door: DoorRules = field(default_factory=DoorRules)


@dataclass(frozen=True, slots=True)
class DoorbellState:
    """`turn` is the place in the list of the callee that rings now; `call` is the call that stands.

    `is_peer_away`: the other side of the call was lost on the way, and is waited for.
    `waiting` is the call to the door that rings here, `caller` its caller.
    """

    phase: DoorbellPhase = DoorbellPhase.REST
    turn: int = 0
    call: StandingCall | None = None
    is_peer_away: bool = False
    do_not_disturb: bool = False
    waiting: str | None = None
    caller: str | None = None
    door: DoorMemory = field(default_factory=DoorMemory)

    @property
    def peer(self) -> str | None:
        """The other side of the call that stands."""
        return None if self.call is None else self.call.peer


# -- events


@dataclass(frozen=True, slots=True)
class Pressed:
    """The button."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A callee answered this call of the door."""

    identity: str
    call_id: str = ""


@dataclass(frozen=True, slots=True)
class NotAnswered:
    """The call that rang is over, or could not be made; `reason` is a word for people."""

    reason: str


@dataclass(frozen=True, slots=True)
class PeerAway:
    """The other side of the call was lost on the way, or is back."""

    is_away: bool


@dataclass(frozen=True, slots=True)
class Ended:
    """The call that was answered is over."""


@dataclass(frozen=True, slots=True)
class TimeUp:
    """The time limit of the present phase has passed."""


@dataclass(frozen=True, slots=True)
class CallToDoor:
    """A caller calls the door."""

    call_id: str
    identity: str


@dataclass(frozen=True, slots=True)
class CallWithdrawn:
    """A call to the door rings no more."""

    call_id: str


@dataclass(frozen=True, slots=True)
class CallGone:
    """A call to the door that was to be answered could not be."""

    reason: str


class Command(Enum):
    """What the owner of this device may say: Home Assistant, the command line."""

    OPEN_DOOR = "open_door"
    HANG_UP = "hang_up"
    ANSWER = "answer"
    RING = "ring"
    DO_NOT_DISTURB_ON = "do_not_disturb_on"
    DO_NOT_DISTURB_OFF = "do_not_disturb_off"


CallEvent = Answered | NotAnswered | PeerAway | Ended | CallGone | OpenRequest
DoorbellEvent = Pressed | CallEvent | TimeUp | CallToDoor | CallWithdrawn | Command


# -- actions


@dataclass(frozen=True, slots=True)
class Chime:
    """Play the chime."""


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell of the press: a picture is taken, Home Assistant hears of it."""


@dataclass(frozen=True, slots=True)
class Call:
    """Ring these: one, or all at once."""

    callees: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TakeCall:
    """Take this call to the door."""

    call_id: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """Tell this caller that the door is busy, or does not take calls."""

    call_id: str
    busy: bool


@dataclass(frozen=True, slots=True)
class HangUp:
    """End the present call."""


@dataclass(frozen=True, slots=True)
class OpenDoor:
    """Pulse the relay, and say for whom and why. `request` is to be answered; None for a command."""

    by: str
    why: str
    request: OpenRequest | None = None


@dataclass(frozen=True, slots=True)
class KeepShut:
    """Answer the request: the door stays shut."""

    request: OpenRequest
    refusal: WhyShut


@dataclass(frozen=True, slots=True)
class IgnoreRequest:
    """Log that somebody asked who is no party of a call."""

    request: OpenRequest


@dataclass(frozen=True, slots=True)
class Limit:
    """TimeUp comes after this long; None: the limit is lifted."""

    seconds: float | None


@dataclass(frozen=True, slots=True)
class NobodyAnswered:
    """The announcement, and the state for people."""

    reason: str


DoorAction = OpenDoor | KeepShut | IgnoreRequest
DoorbellAction = Chime | Tell | Call | TakeCall | Refuse | HangUp | DoorAction | Limit | NobodyAnswered
Outcome = tuple[DoorbellState, tuple[DoorbellAction, ...]]

CALL_SLACK_S = 10.0
"""The call's own time-out says why; this limit is behind it."""


def step(state: DoorbellState, event: DoorbellEvent, rules: DoorbellRules) -> Outcome:
    """Decides what follows. Every event has an answer in every phase; most change nothing."""
    if isinstance(event, Command):
        return _command(state, event, rules)
    if isinstance(event, Pressed):
        return _pressed(state, rules)
    if isinstance(event, CallToDoor):
        return _called(state, event, rules)
    if isinstance(event, CallWithdrawn):
        gone = event.call_id == state.waiting
        return (replace(state, waiting=None, caller=None), ()) if gone else (state, ())
    if isinstance(event, OpenRequest):
        return _asked_for_the_door(state, event, rules)
    if isinstance(event, TimeUp):
        return _time_up(state, rules)
    if isinstance(event, Answered) and state.phase is DoorbellPhase.CALLING:
        call = StandingCall(event.identity, event.call_id, AnsweredBy.CALLEE)
        return _talking(state, call), (Limit(rules.call_limit_s),)
    if isinstance(event, NotAnswered) and state.phase is DoorbellPhase.CALLING:
        return _not_answered(state, event.reason, rules)
    if isinstance(event, PeerAway) and state.phase is DoorbellPhase.TALKING:
        return replace(state, is_peer_away=event.is_away), ()
    if isinstance(event, (Ended, CallGone)) and state.phase is not DoorbellPhase.REST:
        return _rest(state), (Limit(None),)
    return state, ()


def _pressed(state: DoorbellState, rules: DoorbellRules) -> Outcome:
    if state.is_peer_away and rules.callees and not state.do_not_disturb:
        after, actions = _pressed(_rest(state), rules)
        return after, (HangUp(), *actions)
    if state.phase is not DoorbellPhase.REST:
        return state, (Chime(),)
    if state.do_not_disturb or not rules.callees:
        return state, (Chime(), Tell())
    # the call first: it is what takes time; chime and picture are for people beside it
    return replace(state, phase=DoorbellPhase.CALLING, turn=0), (
        Call(_turn(0, rules)),
        Chime(),
        Tell(),
        Limit(rules.ring_timeout_s + CALL_SLACK_S),
    )


def _turn(turn: int, rules: DoorbellRules) -> tuple[str, ...]:
    return rules.callees if rules.at_once else (rules.callees[turn],)


def _not_answered(state: DoorbellState, reason: str, rules: DoorbellRules) -> Outcome:
    following = state.turn + 1
    if not rules.at_once and following < len(rules.callees):
        return replace(state, turn=following), (
            Call(_turn(following, rules)),
            Limit(rules.ring_timeout_s + CALL_SLACK_S),
        )
    return _rest(state), (Limit(None), NobodyAnswered(reason))


def _called(state: DoorbellState, event: CallToDoor, rules: DoorbellRules) -> Outcome:
    if state.is_peer_away and event.identity == state.peer:
        after, actions = _called(_rest(state), event, rules)
        return after, (HangUp(), Limit(None), *actions)
    if state.phase is not DoorbellPhase.REST or state.waiting is not None:
        return state, (Refuse(event.call_id, busy=True),)
    policy = rules.auto_answer
    if policy is AnswerPolicy.NEVER and event.identity in rules.callees:
        return replace(state, waiting=event.call_id, caller=event.identity), (Chime(),)
    welcome = policy is AnswerPolicy.ALWAYS or (
        policy is AnswerPolicy.CALLEES and event.identity in rules.callees
    )
    if not welcome:
        return state, (Refuse(event.call_id, busy=False),)
    answered_by = AnsweredBy.CALLEES if policy is AnswerPolicy.CALLEES else AnsweredBy.ALWAYS
    return _answer(state, StandingCall(event.identity, event.call_id, answered_by), rules)


def _answer(state: DoorbellState, call: StandingCall, rules: DoorbellRules) -> Outcome:
    talking = replace(_talking(state, call), waiting=None, caller=None)
    return talking, (TakeCall(call.call_id), Limit(rules.call_limit_s))


def _talking(state: DoorbellState, call: StandingCall) -> DoorbellState:
    return replace(
        state,
        phase=DoorbellPhase.TALKING,
        call=call,
        is_peer_away=False,
        door=state.door.for_a_new_call(),
    )


def _asked_for_the_door(state: DoorbellState, request: OpenRequest, rules: DoorbellRules) -> Outcome:
    memory, verdict = judge(state.door, request, state.call, rules.door)
    after = replace(state, door=memory)
    if isinstance(verdict, Opened):
        return after, (OpenDoor(request.identity, verdict.why, request),)
    if verdict is None:
        return after, (IgnoreRequest(request),)
    return after, (KeepShut(request, verdict),)


def _time_up(state: DoorbellState, rules: DoorbellRules) -> Outcome:
    if state.phase is DoorbellPhase.REST:
        return state, ()
    if state.phase is DoorbellPhase.CALLING:
        after, actions = _not_answered(state, "no answer", rules)
        return after, (HangUp(), *actions)
    return _rest(state), (HangUp(), Limit(None))


def _command(state: DoorbellState, command: Command, rules: DoorbellRules) -> Outcome:
    if command is Command.OPEN_DOOR:
        return state, (OpenDoor("Home Assistant", "is the owner of this device"),)
    if command is Command.RING:
        return _pressed(state, rules)
    if command is Command.ANSWER and state.waiting is not None and state.phase is DoorbellPhase.REST:
        return _answer(state, StandingCall(state.caller or "", state.waiting, AnsweredBy.PERSON), rules)
    if command is Command.HANG_UP and state.waiting is not None:
        refused = Refuse(state.waiting, busy=False)
        return replace(state, waiting=None, caller=None), (refused,)
    if command is Command.HANG_UP and state.phase is not DoorbellPhase.REST:
        return _rest(state), (HangUp(), Limit(None))
    if command is Command.DO_NOT_DISTURB_ON:
        return replace(state, do_not_disturb=True), ()
    if command is Command.DO_NOT_DISTURB_OFF:
        return replace(state, do_not_disturb=False), ()
    return state, ()


def _rest(state: DoorbellState) -> DoorbellState:
    return DoorbellState(
        do_not_disturb=state.do_not_disturb, waiting=state.waiting, caller=state.caller, door=state.door
    )
