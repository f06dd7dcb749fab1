"""Which cells there are, and the run of one: what it came to is its outcome."""

from __future__ import annotations

import gc
import os
import time
import traceback
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import media_faults
import other_faults
import server_faults
from ground import Ground
from kinds import Fault
from phases import JUDGED, PHASES, RUN, Course, Failed
from scene import LIMIT_S, Scene

from utdstream.engine.stack.supervisor import StackError

SIXTY: tuple[Fault, ...] = (*media_faults.FAULTS, *server_faults.FAULTS, *other_faults.FAULTS)
SEEDS = (1, 2, 3)
PASS, LATE, FAIL, NOT_APPLICABLE, NOT_RUN = "pass", "late", "fail", "n/a", "not run"


@dataclass(frozen=True)
class Cell:
    """One fault in one phase with one seed."""

    fault: Fault
    phase: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.fault.name}/{self.phase}/{self.seed}"


@dataclass
class Outcome:
    """What came of a cell; `figures` are seconds after the end of the fault, `load` is the machine's then."""

    fault: str
    phase: str
    seed: int
    result: str
    why: str = ""
    figures: dict[str, float] = field(default_factory=dict)
    took_s: float = 0.0
    load: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.fault}/{self.phase}/{self.seed}"


def cells(seeds: Sequence[int] = SEEDS, only: str = "") -> Iterator[Cell]:
    """All cells, one seed after the other: a run that is cut short has seen every fault."""
    for seed in seeds:
        for fault in SIXTY:
            for phase in PHASES:
                cell = Cell(fault, phase, seed)
                if only in cell.name:
                    yield cell


def unrun(cell: Cell, why: str = "") -> Outcome:
    """What a cell has come to before it is run: nothing, or that it does not apply."""
    outcome = Outcome(cell.fault.name, cell.phase, cell.seed, NOT_RUN, why)
    if cell.phase in cell.fault.not_in:
        outcome.result, outcome.why = NOT_APPLICABLE, cell.fault.not_in[cell.phase]
    return outcome


def run(cell: Cell, ground: Ground) -> Outcome:
    """Runs one cell. What it finds is its outcome; it raises nothing."""
    outcome = unrun(cell)
    if outcome.result == NOT_APPLICABLE:
        return outcome
    outcome.result = PASS
    outcome.load = round(os.getloadavg()[0], 1)
    began = time.monotonic()
    try:
        _judge(cell, ground, outcome)
    except StackError as error:  # the machine has too much other work: that says nothing of the cell
        outcome.result = NOT_RUN
        outcome.why = f"a part of the stack did not start: {str(error).partition(';')[0]}"
    except Exception as error:  # noqa: BLE001 - a cell that breaks in another way has failed too
        was_struck = cell.fault.course is not None or "met" in outcome.figures
        outcome.result = FAIL if was_struck else NOT_RUN
        outcome.why = str(error) if isinstance(error, Failed) else f"{type(error).__name__}: {error}"
        if not isinstance(error, Failed):
            traceback.print_exc()
    outcome.took_s = round(time.monotonic() - began, 1)
    gc.collect()  # an error that is kept keeps its connection
    return outcome


def _judge(cell: Cell, ground: Ground, outcome: Outcome) -> None:
    fault = cell.fault
    scene = Scene(ground.faults(), zlib.crc32(cell.name.encode()), kind=fault.kind, devices=fault.devices)
    try:
        if fault.course is not None:
            fault.course(
                scene, cell.phase, lambda what, seconds: outcome.figures.update({what: round(seconds, 2)})
            )
        else:
            assert fault.strike is not None
            lasts_s = scene.random.uniform(*fault.lasts_s)
            RUN[cell.phase](
                Course(
                    scene,
                    fault.strike,
                    lasts_s,
                    must_survive=not fault.may_end,
                    hears=fault.hears,
                    meets=fault.meets,
                    needs_join=fault.needs_join,
                    figures=outcome.figures,
                )
            )
    finally:
        scene.dispose()
    wrong = [
        *scene.door.untyped(),
        *scene.house.untyped(),
        *scene.door.twice_over(),
        *scene.house.twice_over(),
    ]
    if wrong:
        raise Failed("; ".join(wrong))
    if fault.meets and not outcome.figures["met"]:
        outcome.result, outcome.why = NOT_APPLICABLE, "nothing that it could meet is under way then"
        return
    late = [
        f"{name} after {outcome.figures[name]:g} s"
        for name in JUDGED
        if outcome.figures.get(name, 0.0) > LIMIT_S
    ]
    if late:
        outcome.result, outcome.why = LATE, ", ".join(late)
