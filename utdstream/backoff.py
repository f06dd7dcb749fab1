"""How long to wait before the next attempt: exponential, with full jitter.

Owns: `Backoff`, the one way in which this project waits between attempts. Pure but for chance. Standard
library only.

Full jitter (each pause anywhere between nothing and the ceiling) spreads a hundred devices that lost the same
server at the same moment; see "Exponential Backoff And Jitter", Amazon's Architecture Blog, 2015.
"""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses that grow from `first_s` by `factor` after each failure, to `most_s`. All in seconds."""

    first_s: float
    most_s: float
    factor: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.first_s <= self.most_s or self.factor < 1:
            raise ValueError(f"a backoff grows from a positive pause, not {self}")

    def ceiling_s(self, failures: int) -> float:
        """Returns the longest pause after so many failures in a row (0: after the first attempt)."""
        ceiling = self.first_s
        for _ in range(failures):
            ceiling *= self.factor
            if ceiling >= self.most_s:
                return self.most_s
        return ceiling

    def pause_s(self, failures: int, chance: random.Random | None = None) -> float:
        """Returns the pause to take now: anywhere from 0 to the ceiling. `chance` is given by tests."""
        return (chance.uniform if chance is not None else random.uniform)(0.0, self.ceiling_s(failures))
