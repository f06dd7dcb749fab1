"""The fixtures of the machine's tests."""

from __future__ import annotations

from pulse import cards

__all__ = ["cards"]
