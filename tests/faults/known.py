"""The cells that are known to fail, each with what is wrong. It only shrinks: one that passes fails the run."""

from __future__ import annotations

KNOWN: dict[tuple[str, str], str] = {}
"""Fault and phase, and what is wrong; for every seed."""
