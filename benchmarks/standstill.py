"""How far past its deadline each public call returns while something stands still behind it.

    python -m benchmarks.standstill [--rounds 5] [--json]

The calls, and what stands still, are those of `tests/integration/test_deadlines`: 58 methods; a silent, trickling
or frozen engine, a frozen media server, a frozen broker, devices that hang in start and stop. Beside each call a
bare thread waits for the same deadline: what it is late, the machine adds. Bar: the 99th percentile of what is
beyond that at most 50 ms. Both are told.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from benchmarks.deadlines import BAR_MS, percentile
from utdstream.testing import LocalStack

if TYPE_CHECKING:
    from deadline_scene import Measured

TESTS = Path(__file__).parents[1] / "tests"


def measure(rounds: int) -> dict[str, list[Measured]]:
    """Every call, by what stood still."""
    sys.path += [str(TESTS), str(TESTS / "integration")]
    from deadline_scene import FAULTS, Scene, Stalls, call_all
    from media_rooms import MediaRoom
    from people import People
    from relay import Relay

    late: dict[str, list[Measured]] = {}
    with LocalStack(project={"max_concurrent_rooms": 1000}) as stack:
        engine = urlsplit(stack.base_url)
        assert engine.hostname is not None
        assert engine.port is not None
        for name, fault in [*FAULTS.items()] * rounds:
            people = People(stack)
            with Relay(engine.hostname, engine.port) as relay, MediaRoom(stack) as hall:
                scene = Scene(stack, people, relay, hall)
                try:
                    standing = fault(scene)
                    still = standing if isinstance(standing, contextlib.AbstractContextManager) else None
                    with still or contextlib.nullcontext():
                        measured = call_all(scene, Stalls())
                finally:
                    scene.let_go()
                    people.close()
            late.setdefault(name, []).extend(measured)
    return late


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    logging.disable(logging.WARNING)
    late = measure(options.rounds)
    everything = [one for calls in late.values() for one in calls]
    p99 = percentile([one.own_s * 1000 for one in everything], 0.99)
    all_p99 = percentile([one.late_s * 1000 for one in everything], 0.99)
    bare_p99 = percentile([one.bare_s * 1000 for one in everything], 0.99)
    over = sum(one.own_s * 1000 > BAR_MS for one in everything)
    holds = p99 <= BAR_MS
    if options.json:
        by_fault = {
            name: round(percentile([one.own_s * 1000 for one in calls], 0.99), 1)
            for name, calls in late.items()
        }
        print(
            json.dumps(
                [
                    {
                        "calls": len(everything),
                        "own_p99_ms": round(p99, 1),
                        "over_50_ms": over,
                        "with_the_machine_p99_ms": round(all_p99, 1),
                        "bare_thread_p99_ms": round(bare_p99, 1),
                        "by_fault": by_fault,
                        "holds": holds,
                    }
                ],
                indent=2,
            )
        )
    else:
        print(
            f"{'ok  ' if holds else 'OVER'} past the deadline while something stands still: "
            f"p99 {p99:.1f} ms (bar {BAR_MS:g}) beyond a bare thread's, {over} of {len(everything)} calls over; "
            f"with what the machine adds p99 {all_p99:.1f} ms (a bare thread {bare_p99:.1f})"
        )
        for name, calls in late.items():
            worst = sorted(calls, key=lambda one: one.own_s, reverse=True)[:3]
            print(f"     {name}: " + "; ".join(map(str, worst)))
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
