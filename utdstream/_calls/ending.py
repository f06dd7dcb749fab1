"""Tells the engine that a call is over, with patience.

Owns: `end_on_engine` and `end_in_background`. A lost cause is what the engine's own watch over the room is for.
"""

from __future__ import annotations

import logging
import time

from utdstream._rest.api import EngineApi
from utdstream._threads.deadline import Deadline
from utdstream.backoff import Backoff
from utdstream.errors import EngineUnreachable, UTDStreamException

_log = logging.getLogger(__name__)

END_TIMEOUT_S = 8.0
END_ATTEMPTS = 6
BETWEEN_ENDS = Backoff(first_s=0.5, most_s=5.0)
"""Some 6 s of pauses in all, 12.5 s at most: an engine that restarts is back by then."""


def end_on_engine(api: EngineApi, call_id: str) -> None:
    """Ends the call on the engine; again while it does not answer. Never raises.

    Blocks: a minute at most, so on a thread that is not waited for.
    """
    for attempt in range(END_ATTEMPTS):
        if attempt:
            time.sleep(BETWEEN_ENDS.pause_s(attempt - 1))
        try:
            api.call_action(call_id, "end", Deadline.after(END_TIMEOUT_S, "end"))
        except EngineUnreachable as error:
            _log.info("ending call %s failed, trying again: %s", call_id, error)
        except UTDStreamException as error:
            _log.debug("ending call %s: %s", call_id, error)
            return
        else:
            return


def end_in_background(api: EngineApi, call_id: str) -> None:
    """Ends the call likewise, on a thread of its own. Does not block."""
    api.detached(lambda: end_on_engine(api, call_id))
