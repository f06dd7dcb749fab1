"""The life of a 1:1 call as a table: which state may follow which, on what trigger.

Owns: the table. Both ends follow it: the engine's rules decide by it, the SDK's machine is made of it, and
`docs/reference/call-states.md` is generated from it. Data only; imports vocabulary.

1. A terminal state (ended, rejected, busy, missed) is terminal.
"""

from __future__ import annotations

from dataclasses import dataclass

from utdstream.models import UTDCallStatus

S = UTDCallStatus


@dataclass(frozen=True, slots=True)
class Transition:
    """`trigger` leads from any of `sources` to `target`; `meaning` is what the documents say of it."""

    trigger: str
    sources: tuple[UTDCallStatus | None, ...]
    target: UTDCallStatus
    meaning: str


UNANSWERED_STATES = (S.INITIATING, S.RINGING)
OPEN_STATES = (*UNANSWERED_STATES, S.ACTIVE)
FINAL_STATES = (S.ENDED, S.REJECTED, S.BUSY, S.MISSED)

TRANSITIONS: tuple[Transition, ...] = (
    Transition("create", (None,), S.INITIATING, "the caller's call exists on the engine"),
    Transition("ring", (S.INITIATING,), S.RINGING, "the callee's device said that it rings"),
    Transition("answer", UNANSWERED_STATES, S.ACTIVE, "the callee accepted"),
    Transition("reject", UNANSWERED_STATES, S.REJECTED, "the callee refused"),
    Transition(
        "be_busy",
        UNANSWERED_STATES,
        S.BUSY,
        "the callee is on another call, or the ring gave its place to a known caller's",
    ),
    Transition("miss", UNANSWERED_STATES, S.MISSED, "nobody answered within the ring time"),
    Transition("end", OPEN_STATES, S.ENDED, "either side hung up, vanished, or the time was up"),
)


def allowed(source: UTDCallStatus | None, target: UTDCallStatus) -> bool:
    """True when the table leads from `source` (None: no call yet) to `target` in one step."""
    return any(row.target is target and source in row.sources for row in TRANSITIONS)
