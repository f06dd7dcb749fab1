"""The rules of a kiosk, without a clock, a thread or a network."""

from __future__ import annotations

import itertools

import pytest

from device.kiosk.logic import (
    JOIN_RETRY,
    SEAT_RETRY,
    SENT_AWAY_S,
    Do,
    KioskEvent,
    KioskPhase,
    KioskRules,
    KioskState,
    Wait,
    WaitBetween,
    step,
)

SEATED = KioskRules(seat=1, push_to_talk=False)
RADIO = KioskRules(seat=1, push_to_talk=True)
LISTENER = KioskRules(seat=None, push_to_talk=False)


def follow(rules: KioskRules, *events: KioskEvent) -> tuple[KioskState, list[object]]:
    state, done = KioskState(), []
    for event in events:
        state, actions = step(state, event, rules)
        done += actions
    return state, done


def test_kiosk_when_it_begins_joins_and_takes_its_seat() -> None:
    """And opens the microphone."""
    state, done = follow(SEATED, KioskEvent.BEGIN, KioskEvent.JOINED, KioskEvent.SEATED)
    assert done == [Do.JOIN, Do.TAKE_SEAT, Do.MICROPHONE_ON]
    assert (state.phase, state.seated) == (KioskPhase.INSIDE, True)


def test_listener_when_inside_wants_no_seat() -> None:
    """A kiosk that only plays."""
    assert follow(LISTENER, KioskEvent.BEGIN, KioskEvent.JOINED)[1] == [Do.JOIN]


def test_join_when_it_fails_is_tried_for_ever_with_growing_pauses() -> None:
    """Until it works; then the pauses begin anew."""
    state, pauses = KioskState(), list[object]()
    for _ in range(10):
        state, _ = step(state, KioskEvent.TIME_UP, SEATED)
        state, actions = step(state, KioskEvent.JOIN_FAILED, SEATED)
        pauses += actions
    assert pauses == [WaitBetween(JOIN_RETRY, failures) for failures in range(10)]
    assert follow(SEATED, KioskEvent.BEGIN, KioskEvent.REFUSED)[1][-1] == Wait(SENT_AWAY_S)


def test_kiosk_when_it_is_sent_away_stays_out_for_long() -> None:
    """Removed, banned, or another device with its identity: not the pauses of an outage."""
    state, done = follow(SEATED, KioskEvent.BEGIN, KioskEvent.JOINED, KioskEvent.SEATED, KioskEvent.REFUSED)
    assert done[-1] == Wait(SENT_AWAY_S)
    assert step(state, KioskEvent.TIME_UP, SEATED)[1] == (Do.JOIN,)


def test_seat_when_somebody_else_has_it_is_asked_for_again() -> None:
    """Politely: with growing pauses."""
    state, done = follow(SEATED, KioskEvent.BEGIN, KioskEvent.JOINED, KioskEvent.SEAT_FAILED)
    assert done[-1] == WaitBetween(SEAT_RETRY, 0)
    assert step(state, KioskEvent.TIME_UP, SEATED)[1] == (Do.TAKE_SEAT,)


def test_seat_when_taken_away_is_not_taken_back_before_the_next_join() -> None:
    """A kick is obeyed."""
    state, _ = follow(SEATED, KioskEvent.BEGIN, KioskEvent.JOINED, KioskEvent.SEATED, KioskEvent.SEAT_LOST)
    assert step(state, KioskEvent.TIME_UP, SEATED)[1] == ()
    state, _ = step(state, KioskEvent.LEFT, SEATED)
    state, _ = step(state, KioskEvent.TIME_UP, SEATED)
    assert step(state, KioskEvent.JOINED, SEATED)[1] == (Do.TAKE_SEAT,)


def test_seat_when_it_went_while_the_room_was_lost_is_taken_again() -> None:
    """That was no kick: whichever is told first, that the room is back or that the seat is gone."""
    inside = (KioskEvent.BEGIN, KioskEvent.JOINED, KioskEvent.SEATED, KioskEvent.LOST)
    assert follow(SEATED, *inside, KioskEvent.SEAT_LOST)[1][-1] is Do.TAKE_SEAT
    state, done = follow(SEATED, *inside, KioskEvent.RETURNED, KioskEvent.SEAT_LOST)
    assert done[-2:] == [Do.TAKE_SEAT, Do.TAKE_SEAT]
    assert step(state, KioskEvent.SEAT_FAILED, SEATED)[1] == (WaitBetween(SEAT_RETRY, 0),)


def test_kick_when_the_room_is_lost_afterwards_is_still_obeyed() -> None:
    """A short loss of the link is no way around the host; one that comes later than the return is a kick again."""
    kicked = (KioskEvent.BEGIN, KioskEvent.JOINED, KioskEvent.SEATED, KioskEvent.SEAT_LOST)
    assert follow(SEATED, *kicked, KioskEvent.LOST, KioskEvent.RETURNED)[1][-1] is Do.MICROPHONE_ON
    returned = (*kicked[:3], KioskEvent.LOST, KioskEvent.RETURNED, KioskEvent.SEATED, KioskEvent.SEAT_LOST)
    assert follow(SEATED, *returned)[0].kicked


def test_microphone_when_push_to_talk_is_open_only_while_held() -> None:
    """Never before the seat is there, and not by a press of before."""
    state, done = follow(
        RADIO, KioskEvent.HELD, KioskEvent.RELEASED, KioskEvent.BEGIN, KioskEvent.JOINED, KioskEvent.SEATED
    )
    assert done[-1] is Do.MICROPHONE_OFF
    state, actions = step(state, KioskEvent.HELD, RADIO)
    assert actions == (Do.MICROPHONE_ON,)
    assert step(state, KioskEvent.RELEASED, RADIO)[1] == (Do.MICROPHONE_OFF,)
    assert step(state, KioskEvent.HELD, RADIO)[1] == ()


@pytest.mark.parametrize("rules", [SEATED, RADIO, LISTENER])
def test_every_state_when_anything_happens_has_an_answer_and_a_way_back(rules: KioskRules) -> None:
    """All sequences to depth five: no exception, and whoever is away has a clock running or is joining."""
    for events in itertools.product(KioskEvent, repeat=5):
        state, waiting = KioskState(), True
        for event in events:
            if event is KioskEvent.TIME_UP:
                waiting = False
            state, actions = step(state, event, rules)
            waiting = waiting or any(isinstance(action, (Wait, WaitBetween)) for action in actions)
            assert state.phase is not KioskPhase.AWAY or waiting, events
            assert not (state.seated and state.phase is not KioskPhase.INSIDE)
