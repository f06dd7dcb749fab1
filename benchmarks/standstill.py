"""How far past its deadline each public call returns while something stands still behind it.

    python -m benchmarks.standstill [--rounds 5] [--json]

The calls, and what stands still, are those of `tests/integration/test_deadlines`: 58 methods; a silent, trickling
or frozen engine, a frozen media server, a frozen broker, devices that hang in start and stop. Nothing is
subtracted for what else this machine does. Bar: the 99th percentile at most 50 ms late.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import sys
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.deadlines import BAR_MS, percentile
from utdstream.testing import LocalStack

TESTS = Path(__file__).parents[1] / "tests"


def measure(rounds: int) -> dict[str, list[tuple[float, str]]]:
    """Milliseconds past the deadline and the call, by what stood still."""
    sys.path += [str(TESTS), str(TESTS / "integration")]
    from deadline_scene import FAULTS, Scene, Stalls, call_all
    from media_rooms import MediaRoom
    from people import People
    from relay import Relay

    late: dict[str, list[tuple[float, str]]] = {}
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
            late.setdefault(name, []).extend((one.late_s * 1000, str(one)) for one in measured)
    return late


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    logging.disable(logging.WARNING)
    late = measure(options.rounds)
    everything = [one for calls in late.values() for one, _ in calls]
    p99 = percentile(everything, 0.99)
    holds = p99 <= BAR_MS
    if options.json:
        by_fault = {
            name: round(percentile([one for one, _ in calls], 0.99), 1) for name, calls in late.items()
        }
        print(
            json.dumps(
                [
                    {
                        "calls": len(everything),
                        "late_p99_ms": round(p99, 1),
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
            f"p99 {p99:.1f} ms (bar {BAR_MS:g}), worst {max(everything):.1f} ms, {len(everything)} calls"
        )
        for name, calls in late.items():
            print(f"     {name}: " + "; ".join(one for _, one in sorted(calls, reverse=True)[:3]))
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
