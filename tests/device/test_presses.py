"""Two hundred presses are two hundred rings."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path

import pytest
from presses import press_many

from utdstream.testing import LocalStack

COUNT = 200


@pytest.mark.integration
@pytest.mark.slow
def test_presses_when_there_are_200_ring_200_times_none_twice_none_lost(
    programs: None, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Door and house are processes of their own; the last press is the first one after a broker restart."""
    with LocalStack(project={"max_concurrent_rooms": 10_000}) as stack:
        made = press_many(stack, tmp_path, COUNT)
    assert (made.pressed, made.rings, made.different) == (COUNT, COUNT, COUNT)
    ordered = sorted(made.delays_ms)
    p50, p99 = statistics.median(ordered), ordered[int(len(ordered) * 0.99) - 1]
    print(
        f"press to ring p50 {p50:.1f} ms, p99 {p99:.1f} ms, after a broker restart {made.after_restart_ms:.1f} ms"
    )
    record_property("press_to_ring_p50_ms", p50)
    record_property("press_to_ring_p99_ms", p99)
    assert p50 < 5 * 15
    assert p99 < 5 * 60
