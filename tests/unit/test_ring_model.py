"""Every live call rings once, and no other, whatever the network, the engine and the device do."""

from __future__ import annotations

import os

import pytest
from ring_world import World

DELIVERIES = int(os.environ.get("UTD_RING_DELIVERIES", "10000"))
A_RUN = 2_000


@pytest.mark.parametrize("tells_time", [True, False])
def test_rings_when_messages_are_lost_repeated_and_late_are_the_live_calls(tells_time: bool) -> None:
    """Runs of a world in virtual time, each with its seed, against an oracle that saw everything."""
    deliveries = rings = calls = 0
    for seed in range(max(1, DELIVERIES // A_RUN // 2)):
        world = World(seed, tells_time=tells_time)
        world.run(A_RUN)
        deliveries, rings, calls = (
            deliveries + world.deliveries,
            rings + world.counts["rings"],
            calls + len(world.fates),
        )
        assert not world.faults, f"seed {seed}: " + "\n".join(world.faults[:10])
    print(f"{deliveries} deliveries of {calls} calls, {rings} rings")  # noqa: T201 - the long form is read
    assert rings > calls / 4
