"""The life of a call: every transition as a table. The drawing of it is in `drawings.py`."""

from __future__ import annotations

from generators.markdown import table
from utdstream._wire import call_states as states


def call_state_table() -> str:
    """Every transition of the calls' table."""
    rows = [
        (
            row.trigger,
            ", ".join("(no call)" if source is None else source.wire for source in row.sources),
            row.target.wire,
            row.meaning,
        )
        for row in states.TRANSITIONS
    ]
    return table(("trigger", "from", "to", "when"), rows)
