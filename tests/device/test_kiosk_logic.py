"""The rules of a kiosk, without a clock, a thread or a network."""

from __future__ import annotations

import itertools

import pytest

from device.kiosk.logic import BANNED_S, PAUSES_S, Do, Event, Phase, Rules, State, Wait, step

SEATED = Rules(seat=1, push_to_talk=False)
RADIO = Rules(seat=1, push_to_talk=True)
LISTENER = Rules(seat=None, push_to_talk=False)


def follow(rules: Rules, *events: Event) -> tuple[State, list[object]]:
    state, done = State(), []
    for event in events:
        state, actions = step(state, event, rules)
        done += actions
    return state, done


def test_kiosk_when_it_begins_joins_and_takes_its_seat() -> None:
    """And opens the microphone."""
    state, done = follow(SEATED, Event.BEGIN, Event.JOINED, Event.SEATED)
    assert done == [Do.JOIN, Do.TAKE_SEAT, Do.MICROPHONE_ON]
    assert (state.phase, state.seated) == (Phase.INSIDE, True)


def test_listener_when_inside_wants_no_seat() -> None:
    """A kiosk that only plays."""
    assert follow(LISTENER, Event.BEGIN, Event.JOINED)[1] == [Do.JOIN]


def test_join_when_it_fails_is_tried_for_ever_with_growing_pauses() -> None:
    """Until it works; then the pauses begin anew."""
    state, pauses = State(), []
    for _ in range(10):
        state, _ = step(state, Event.TIME_UP, SEATED)
        state, actions = step(state, Event.JOIN_FAILED, SEATED)
        pauses += [action.seconds for action in actions if isinstance(action, Wait)]
    assert pauses == [*PAUSES_S, *[PAUSES_S[-1]] * 4]
    assert follow(SEATED, Event.BEGIN, Event.REFUSED)[1][-1] == Wait(BANNED_S)


def test_kiosk_when_it_is_sent_away_stays_out_for_long() -> None:
    """Removed, banned, or another device with its identity: not the pauses of an outage."""
    state, done = follow(SEATED, Event.BEGIN, Event.JOINED, Event.SEATED, Event.REFUSED)
    assert done[-1] == Wait(BANNED_S)
    assert step(state, Event.TIME_UP, SEATED)[1] == (Do.JOIN,)


def test_seat_when_somebody_else_has_it_is_asked_for_again() -> None:
    """Politely: with growing pauses."""
    state, done = follow(SEATED, Event.BEGIN, Event.JOINED, Event.SEAT_FAILED)
    assert done[-1] == Wait(1.0)
    assert step(state, Event.TIME_UP, SEATED)[1] == (Do.TAKE_SEAT,)


def test_seat_when_taken_away_is_not_taken_back_before_the_next_join() -> None:
    """A kick is obeyed."""
    state, _ = follow(SEATED, Event.BEGIN, Event.JOINED, Event.SEATED, Event.SEAT_LOST)
    assert step(state, Event.TIME_UP, SEATED)[1] == ()
    state, _ = step(state, Event.LEFT, SEATED)
    state, _ = step(state, Event.TIME_UP, SEATED)
    assert step(state, Event.JOINED, SEATED)[1] == (Do.TAKE_SEAT,)


def test_microphone_when_push_to_talk_is_open_only_while_held() -> None:
    """Never before the seat is there, and not by a press of before."""
    state, done = follow(RADIO, Event.HELD, Event.RELEASED, Event.BEGIN, Event.JOINED, Event.SEATED)
    assert done[-1] is Do.MICROPHONE_OFF
    state, actions = step(state, Event.HELD, RADIO)
    assert actions == (Do.MICROPHONE_ON,)
    assert step(state, Event.RELEASED, RADIO)[1] == (Do.MICROPHONE_OFF,)
    assert step(state, Event.HELD, RADIO)[1] == ()


@pytest.mark.parametrize("rules", [SEATED, RADIO, LISTENER])
def test_every_state_when_anything_happens_has_an_answer_and_a_way_back(rules: Rules) -> None:
    """All sequences to depth five: no exception, and whoever is away has a clock running or is joining."""
    for events in itertools.product(Event, repeat=5):
        state, waiting = State(), True
        for event in events:
            if event is Event.TIME_UP:
                waiting = False
            state, actions = step(state, event, rules)
            waiting = waiting or any(isinstance(action, Wait) for action in actions)
            assert state.phase is not Phase.AWAY or waiting, events
            assert not (state.seated and state.phase is not Phase.INSIDE)
