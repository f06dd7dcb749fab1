"""The fixtures of the machine's tests."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "contract"))

from pulse import cards

__all__ = ["cards"]
