"""The call machine: the table of `_wire.call_states` as a `transitions` machine; no I/O, no threads.

Owns: one call's state on this device. The only importer of `transitions`, which is reached late, when a machine is
made.

1. An illegal trigger raises and changes nothing.
2. The machine has no callbacks. Whoever fires it holds the session's state lock and calls nothing else.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from utdstream._wire.call_states import FINAL_STATES, TRANSITIONS
from utdstream.errors import InvalidCallTransition
from utdstream.models import UTDCallStatus

if TYPE_CHECKING:
    from transitions import Machine

_TRIGGER_TO: dict[UTDCallStatus, str] = {row.target: row.trigger for row in TRANSITIONS}


class CallMachine:
    """One call's state. Not locked: the session fires it under its own brief lock.

    `at` is where it begins: None for a caller, the engine's state for a callee that joins later.
    """

    _NONE = "none"

    def __init__(self, at: UTDCallStatus | None = None) -> None:
        self.state: str = self._NONE
        self._machine = self._build(at)

    def _build(self, at: UTDCallStatus | None) -> Machine:
        from transitions import Machine

        logger = logging.getLogger("transitions")
        if logger.level == logging.NOTSET:  # it says two lines a state change at INFO
            logger.setLevel(logging.WARNING)
        return Machine(
            model=self,
            states=[self._NONE, *(state.wire for state in UTDCallStatus)],
            transitions=[
                {
                    "trigger": f"do_{row.trigger}",
                    "source": [self._NONE if source is None else source.wire for source in row.sources],
                    "dest": row.target.wire,
                }
                for row in TRANSITIONS
            ],
            initial=self._NONE if at is None else at.wire,
            auto_transitions=False,
            send_event=False,
        )

    @property
    def status(self) -> UTDCallStatus | None:
        return None if self.state == self._NONE else UTDCallStatus(self.state)

    def move_to(self, target: UTDCallStatus) -> bool:
        """Fires the trigger that leads to `target`; False when the call is already there.

        Raises: InvalidCallTransition; the state is then unchanged.
        """
        from transitions import MachineError

        if self.status is target:
            return False
        try:
            self.trigger(f"do_{_TRIGGER_TO[target]}")  # type: ignore[attr-defined]  # added by transitions
        except MachineError as error:
            raise InvalidCallTransition(
                f"a call that is {self.state} cannot become {target.wire}"
                + ("; it is over: start a new one" if self.status in FINAL_STATES else "")
            ) from error
        return True
