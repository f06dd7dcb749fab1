"""The life of a call: every state, every target."""

from __future__ import annotations

import contextlib
import itertools

import pytest

from utdstream._calls.states import CallMachine
from utdstream._wire.call_states import FINAL_STATES, OPEN_STATES, TRANSITIONS, allowed
from utdstream.errors import InvalidCallTransition
from utdstream.models import UTDCallStatus

S = UTDCallStatus
STATES: list[UTDCallStatus | None] = [None, *UTDCallStatus]
LEGAL = {
    (None, S.INITIATING),
    (S.INITIATING, S.RINGING),
    *itertools.product((S.INITIATING, S.RINGING), (S.ACTIVE, S.REJECTED, S.BUSY, S.MISSED)),
    *itertools.product((S.INITIATING, S.RINGING, S.ACTIVE), (S.ENDED,)),
}
"""The engine's rule, written down a second time."""


@pytest.mark.parametrize("target", list(UTDCallStatus))
@pytest.mark.parametrize("source", STATES)
def test_move_when_made_from_any_state_does_what_the_table_says(
    source: UTDCallStatus | None, target: UTDCallStatus
) -> None:
    """A legal move moves, the same state is no move, an illegal one raises and changes nothing."""
    machine = CallMachine(source)
    assert machine.status is source
    assert allowed(source, target) is ((source, target) in LEGAL)
    if source is target:
        assert machine.move_to(target) is False
    elif (source, target) in LEGAL:
        assert machine.move_to(target) is True
        assert machine.status is target
    else:
        with pytest.raises(InvalidCallTransition):
            machine.move_to(target)
        assert machine.status is source


def test_table_when_read_covers_every_state_and_keeps_final_states_final() -> None:
    """Each state can be reached, none is left once it is final."""
    assert {row.target for row in TRANSITIONS} == set(UTDCallStatus)
    assert set(OPEN_STATES) | set(FINAL_STATES) == set(UTDCallStatus)
    assert all(status.is_terminal for status in FINAL_STATES)
    assert not any(source in FINAL_STATES for row in TRANSITIONS for source in row.sources)
    assert len({row.trigger for row in TRANSITIONS}) == len(TRANSITIONS)


def test_sequences_when_walked_to_depth_four_end_only_in_legal_states() -> None:
    """All sequences of targets: the machine is where the last legal move led."""
    for targets in itertools.product(UTDCallStatus, repeat=4):
        machine, expected = CallMachine(), None
        for target in targets:
            if (expected, target) in LEGAL:
                expected = target
            with contextlib.suppress(InvalidCallTransition):
                machine.move_to(target)
            assert machine.status is expected


def test_machine_when_two_are_made_share_nothing() -> None:
    """One machine, one call."""
    one, other = CallMachine(), CallMachine()
    one.move_to(S.INITIATING)
    assert other.status is None
