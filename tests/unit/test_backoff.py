"""Pauses between attempts."""

from __future__ import annotations

import random

import pytest

from utdstream.backoff import Backoff


def test_ceiling_when_failures_grow_doubles_to_the_longest() -> None:
    """Exponential, then flat, however long it goes on."""
    backoff = Backoff(0.5, 8.0)
    assert [backoff.ceiling_s(failures) for failures in (0, 1, 2, 3, 4, 5, 10_000)] == [
        0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0
    ]  # fmt: skip


def test_pause_when_seeded_is_spread_over_the_whole_range_below_the_ceiling() -> None:
    """Full jitter: many devices that failed at once do not come back at once."""
    chance = random.Random(7)
    pauses = [Backoff(1.0, 8.0).pause_s(3, chance) for _ in range(1000)]
    assert 0.0 <= min(pauses) < 0.1
    assert 7.9 < max(pauses) <= 8.0
    assert 3.7 < sum(pauses) / len(pauses) < 4.3


@pytest.mark.parametrize(("first_s", "most_s", "factor"), [(0.0, 1.0, 2.0), (2.0, 1.0, 2.0), (1.0, 2.0, 0.5)])
def test_backoff_when_it_does_not_grow_is_refused(first_s: float, most_s: float, factor: float) -> None:
    """A pause of nothing would be a busy loop."""
    with pytest.raises(ValueError, match="grows"):
        Backoff(first_s, most_s, factor)
