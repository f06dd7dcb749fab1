"""The five phases in which a fault strikes, and what must be true behind it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from scene import CALL_S, LATE_CALL_S, PATIENCE_S, Scene, Side

from utdstream import UTDCallStatus

Strike = Callable[[Scene, Side], AbstractContextManager[object]]
Reached = Callable[[str, float], None]
"""Writes down how many seconds a fact took."""
PHASES = ("idle", "ringing out", "ringing in", "connecting", "active")

MEETS_S = 12.0
"""Longer than an active call waits before it asks the engine."""


class Failed(Exception):
    """What the fault broke for good; the sentence is for the table."""


@dataclass
class Course:
    """How one cell goes: when the fault was over, and how long after it each fact came, in seconds.

    `meets`: the fault holds until it meets something (`MEETS_S` at most). `needs_join`: it waits for a join.
    """

    scene: Scene
    strike: Strike
    lasts_s: float
    must_survive: bool
    hears: bool
    meets: bool = False
    needs_join: bool = False
    figures: dict[str, float] = field(default_factory=dict)
    cleared_at: float = 0.0

    def struck(self, victim: Side, meanwhile: Callable[[], None] | None = None) -> None:
        """The fault, for its time, with what is done in the middle of it."""
        doing = threading.Thread(target=meanwhile) if meanwhile is not None else None
        faults = self.scene.faults
        if doing is not None and self.needs_join:
            doing.start()
            self._until(lambda: bool(faults._streams(("signal",), victim.identity)))
        began, met = time.monotonic(), faults.met
        with self.strike(self.scene, victim):
            if doing is not None and not self.needs_join:
                doing.start()
            time.sleep(max(0.0, self.lasts_s - (time.monotonic() - began)))
            if self.meets:
                self._until(lambda: faults.met > met)
        self.cleared_at = time.monotonic()
        self.figures["met"] = self.scene.faults.met - met
        if doing is not None:
            doing.join(CALL_S + LATE_CALL_S)
            if doing.is_alive():
                raise Failed(f"a call of the SDK hangs: {self.scene.witnesses()}")

    @staticmethod
    def _until(fact: Callable[[], bool]) -> None:
        until = time.monotonic() + MEETS_S
        while not fact() and time.monotonic() < until:
            time.sleep(0.005)

    def within(self, what: str, fact: Callable[[], bool], *, since: float | None = None) -> None:
        """Waits for the fact, and writes down how long after the fault it came."""
        began = since if since is not None else self.cleared_at
        while not fact():
            if time.monotonic() - began > PATIENCE_S:
                raise Failed(f"not {what} within {PATIENCE_S:g} s: {self.scene.witnesses()}")
            time.sleep(0.02)
        self.figures[what] = round(time.monotonic() - began, 2)

    def settles(self) -> bool:
        """Both ends and the engine agree; returns whether the call lives."""
        scene, over = self.scene, False

        def agree() -> bool:
            nonlocal over
            over = scene.is_over_everywhere()
            return over or scene.is_live_everywhere()

        self.within("agreed", agree)
        if over and self.must_survive:
            raise Failed(f"the call was lost: {scene.witnesses()}")
        return not over

    def answered(self) -> None:
        """The house answers, now that nothing is in the way."""
        self.scene.house.accept()
        error = self.scene.house.last_error()
        if error is not None:
            raise Failed(f"accept behind it: {type(error).__name__}: {error}")
        self.within("active", self.scene.is_live_everywhere, since=time.monotonic())

    def concluded(self) -> None:
        """Somebody hangs up, and all three say so."""
        scene = self.scene
        side = scene.random.choice((scene.door, scene.house))
        began = time.monotonic()
        side.end()
        error = side.last_error()
        if error is not None and not scene.is_over_everywhere():
            raise Failed(f"{side.name} cannot end: {type(error).__name__}: {error}")
        self.within("ended", scene.is_over_everywhere, since=began)

    def heard(self) -> None:
        """Sound is back, both ways."""
        if self.hears:
            self.within("heard", lambda: self.scene.both_heard_since(self.cleared_at))


def rings(scene: Scene) -> None:
    """The door calls, and the house hears it."""
    before = len(scene.house.rung)
    scene.door.call(scene.house)
    error = scene.door.last_error()
    if error is not None:
        raise Failed(f"start: {type(error).__name__}: {error}")
    until = time.monotonic() + PATIENCE_S
    while len(scene.house.rung) == before:
        if time.monotonic() > until:
            raise Failed("the house is not rung")
        time.sleep(0.01)


def idle(course: Course) -> None:
    """Nobody is in a call; behind the fault one is made, rings and is answered at once."""
    course.struck(course.scene.house)
    rings(course.scene)
    course.figures["rung"] = round(time.monotonic() - course.cleared_at, 2)
    course.answered()
    course.concluded()


def ringing_out(course: Course) -> None:
    """The caller is struck while it rings; behind it the callee answers."""
    _ringing(course, course.scene.door)


def ringing_in(course: Course) -> None:
    """The callee is struck while it rings; behind it the callee answers."""
    _ringing(course, course.scene.house)


def connecting(course: Course) -> None:
    """The callee answers in the middle of the fault. Was it told that it failed, it may answer again."""
    scene = course.scene
    rings(scene)
    course.struck(scene.house, scene.house.accept)
    error = scene.house.last_error()
    if error is not None:
        course.must_survive = False  # the callee was told, and is free to take it for the end
    if not course.settles():
        return
    if scene.engine_status() is not UTDCallStatus.ACTIVE:
        course.answered()
    course.concluded()


def active(course: Course) -> None:
    """Both are in the call; behind the fault they hear each other again, and one hangs up."""
    scene = course.scene
    rings(scene)
    course.answered()
    if course.hears:
        began = time.monotonic()
        course.within("first heard", lambda: scene.both_heard_since(began), since=began)
    course.struck(scene.door)
    if course.settles():
        course.heard()
        course.concluded()


def _ringing(course: Course, victim: Side) -> None:
    rings(course.scene)
    course.struck(victim)
    if course.settles():
        course.answered()
        course.concluded()


RUN: dict[str, Callable[[Course], None]] = dict(
    zip(PHASES, (idle, ringing_out, ringing_in, connecting, active), strict=True)
)
JUDGED = ("agreed", "ended", "heard", "rung")
"""The figures that have a limit (`LIMIT_S`)."""
