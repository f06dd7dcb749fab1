"""The cells that are known to fail, each with what is wrong. It only shrinks: one that passes fails the run."""

from __future__ import annotations

_HELD = (
    "an accept that was told to have failed holds the call for some 12 s: active at the engine, for nobody"
)
KNOWN: dict[tuple[str, str], str] = {
    ("wrong types and unknown words in answers", "connecting"): _HELD,
    ("429, with and without Retry-After", "connecting"): _HELD,
}
"""Fault and phase, and what is wrong; for every seed."""
