"""The life of a call: every transition as a table, and as a drawing."""

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


def call_state_diagram() -> str:
    """The same as a drawing."""
    lines = ["```mermaid", "stateDiagram-v2"]
    for row in states.TRANSITIONS:
        for source in row.sources:
            lines.append(
                f"    {'[*]' if source is None else source.wire} --> {row.target.wire}: {row.trigger}"
            )
    lines += [f"    {state.wire} --> [*]" for state in states.FINAL_STATES]
    return "\n".join([*lines, "```", ""])
