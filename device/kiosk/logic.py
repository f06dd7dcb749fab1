"""The rules of a kiosk: (state, event) -> (state, actions). Pure: no clock, no thread, no I/O.

Owns: every decision. Standard library and vocabulary only.

1. It rejoins for ever, with growing pauses; a kiosk that was sent away (removed, banned, another device with this
   identity) waits longest.
2. It wants its seat whenever it is in the room without one. A kick is obeyed until the next join; a seat that
   went while the room was lost on the way is no kick.
3. With push-to-talk the microphone is open only while the button is held, and never before the seat is there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from utdstream.backoff import Backoff

JOIN_RETRY = Backoff(first_s=1.0, most_s=30.0)
SEAT_RETRY = Backoff(first_s=1.0, most_s=10.0)
SENT_AWAY_S = 300.0


class KioskPhase(Enum):
    """Where the kiosk is."""

    AWAY = "away"
    JOINING = "joining"
    INSIDE = "inside"


@dataclass(frozen=True, slots=True)
class KioskRules:
    """What the configuration says; `seat` None: it only listens."""

    seat: int | None
    push_to_talk: bool


@dataclass(frozen=True, slots=True)
class KioskState:
    """`seated`: it has its seat; `kicked`: the seat was taken away, and stays so until the next join; `lost`: the
    room was lost while it sat, and nobody has said since that it still does.
    """

    phase: KioskPhase = KioskPhase.AWAY
    failures: int = 0
    seat_failures: int = 0
    seated: bool = False
    kicked: bool = False
    lost: bool = False
    held: bool = False


class KioskEvent(Enum):
    """What happens to a kiosk."""

    BEGIN = "begin"
    JOINED = "joined"
    JOIN_FAILED = "join failed"
    REFUSED = "refused"
    LEFT = "left"
    LOST = "lost"
    RETURNED = "returned"
    SEATED = "seated"
    SEAT_FAILED = "seat failed"
    SEAT_LOST = "seat lost"
    TIME_UP = "time up"
    HELD = "held"
    RELEASED = "released"


class Do(Enum):
    """What is done without a number."""

    JOIN = "join"
    TAKE_SEAT = "take seat"
    MICROPHONE_ON = "microphone on"
    MICROPHONE_OFF = "microphone off"


@dataclass(frozen=True, slots=True)
class Wait:
    """TIME_UP comes after this many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class WaitBetween:
    """TIME_UP comes after a pause between two attempts; chance, which these rules do not know, chooses it."""

    pauses: Backoff
    failures: int


KioskAction = Do | Wait | WaitBetween
Outcome = tuple[KioskState, tuple[KioskAction, ...]]


def step(state: KioskState, event: KioskEvent, rules: KioskRules) -> Outcome:
    """Decides what follows. Every event has an answer in every phase; most change nothing."""
    if event in (KioskEvent.HELD, KioskEvent.RELEASED):
        return _button(state, rules, held=event is KioskEvent.HELD)
    if event in (KioskEvent.BEGIN, KioskEvent.TIME_UP):
        return _go_on(state, rules)
    if state.phase is KioskPhase.JOINING:
        return _joining(state, event, rules)
    if event in (KioskEvent.LEFT, KioskEvent.REFUSED):
        return _away(state, refused=event is KioskEvent.REFUSED)
    if state.phase is KioskPhase.INSIDE:
        return _inside(state, event, rules)
    return state, ()


def _go_on(state: KioskState, rules: KioskRules) -> Outcome:
    if state.phase is KioskPhase.AWAY:
        return replace(state, phase=KioskPhase.JOINING), (Do.JOIN,)
    if state.phase is KioskPhase.INSIDE and _wants_seat(state, rules):
        return state, (Do.TAKE_SEAT,)
    return state, ()


def _wants_seat(state: KioskState, rules: KioskRules) -> bool:
    return rules.seat is not None and not state.seated and not state.kicked


def _joining(state: KioskState, event: KioskEvent, rules: KioskRules) -> Outcome:
    if event is KioskEvent.JOINED:
        inside = KioskState(phase=KioskPhase.INSIDE, held=state.held)
        return inside, (Do.TAKE_SEAT,) if rules.seat is not None else ()
    if event in (KioskEvent.JOIN_FAILED, KioskEvent.REFUSED, KioskEvent.LEFT):
        return _away(state, refused=event is KioskEvent.REFUSED)
    return state, ()


def _away(state: KioskState, *, refused: bool) -> Outcome:
    if state.phase is KioskPhase.AWAY:
        return state, ()
    pause = Wait(SENT_AWAY_S) if refused else WaitBetween(JOIN_RETRY, state.failures)
    return KioskState(failures=state.failures + 1, held=state.held), (pause,)


def _inside(state: KioskState, event: KioskEvent, rules: KioskRules) -> Outcome:
    if event is KioskEvent.SEATED:
        return replace(state, seated=True, lost=False, seat_failures=0), (_microphone(state, rules),)
    if event is KioskEvent.SEAT_FAILED:
        pause = WaitBetween(SEAT_RETRY, state.seat_failures)
        return replace(state, seat_failures=state.seat_failures + 1), (pause,)
    if event is KioskEvent.LOST:
        return replace(state, lost=state.lost or state.seated), ()
    if event is KioskEvent.RETURNED and state.lost:
        return state, (Do.TAKE_SEAT,)
    if event is KioskEvent.SEAT_LOST and state.seated:
        return replace(state, seated=False, kicked=not state.lost), (Do.TAKE_SEAT,) if state.lost else ()
    return state, ()


def _button(state: KioskState, rules: KioskRules, *, held: bool) -> Outcome:
    after = replace(state, held=held)
    if not rules.push_to_talk or not state.seated or held == state.held:
        return after, ()
    return after, (_microphone(after, rules),)


def _microphone(state: KioskState, rules: KioskRules) -> Do:
    return Do.MICROPHONE_ON if state.held or not rules.push_to_talk else Do.MICROPHONE_OFF
