"""A sample of the fault matrix: a quarter of the faults, each in one phase. `make faults` runs all."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from cells import LATE, NOT_APPLICABLE, PASS, SEEDS, SIXTY, Cell, cells, run
from ground import Ground, ground
from left_threads import threads_end
from matrix import RESULTS
from phases import PHASES

EVERY = 4


def sample() -> list[Cell]:
    """Every fourth fault; the phase moves on with it, past those that the fault may not concern.

    Whether something meets a fault of the engine's answers is chance but while the callee answers.
    """
    chosen: list[Cell] = []
    for fault in SIXTY[::EVERY]:
        phases = [phase for phase in PHASES if phase not in fault.not_in]
        if fault.meets and "connecting" in phases:
            phases = ["connecting"]
        if phases:
            chosen.append(Cell(fault, phases[len(chosen) % len(phases)], SEEDS[0]))
    return chosen


@pytest.fixture(scope="module")
def shared(programs: None) -> Iterator[Ground]:
    """A stack behind a relay, for all of these cells; one that a cell broke is replaced."""
    with threads_end(), ground() as made:
        made.faults()
        yield made


@pytest.fixture(autouse=True)
def no_leaked_threads() -> None:
    """A cell may start another stack, whose threads outlive it: they are counted when the last cell is over."""


@pytest.mark.integration
@pytest.mark.parametrize("cell", sample(), ids=lambda cell: cell.name)
def test_call_when_a_fault_strikes_ends_alike_for_both_ends_and_the_engine(
    cell: Cell, shared: Ground
) -> None:
    """Nobody hangs, nobody is told an untyped error. Whether it is within 5 s is for `make faults` to say."""
    outcome = run(cell, shared)
    assert outcome.result in (PASS, LATE), outcome.why


def test_matrix_when_counted_has_sixty_faults_five_phases_and_three_seeds() -> None:
    """Each name once; what is left out says why."""
    assert len({fault.name for fault in SIXTY}) == len(SIXTY) == 60
    assert len(list(cells())) == 60 * 5 * 3
    for fault in SIXTY:
        assert all(fault.not_in.values())
        assert fault.strike or fault.course or len(fault.not_in) == len(PHASES)


def test_published_results_when_read_are_one_whole_run() -> None:
    """Every cell of the matrix as it is, each with what came of it, and none that was left out or failed."""
    published = json.loads(RESULTS.read_text(encoding="utf-8"))
    rows = {f"{row['fault']}/{row['phase']}/{row['seed']}": row["result"] for row in published["cells"]}
    assert rows.keys() == {cell.name for cell in cells()}
    assert set(rows.values()) <= {PASS, LATE, NOT_APPLICABLE}
    assert published["run"]["commit"]
