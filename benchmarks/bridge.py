"""What one blocking call over the bridge costs, against `run_coroutine_threadsafe(...).result()`.

    python -m benchmarks.bridge [--pairs 40] [--json]

Both arms do nothing on the same idle loop. Ours includes its deadline. Bar: 0.6.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time

from benchmarks.pairs import Comparison, compare, report
from utdstream._livekit.loop import loop_thread
from utdstream._threads.deadline import Deadline

CALLS_A_BLOCK = 400
BAR = 0.6


def measure(pairs: int) -> list[Comparison]:
    loop = loop_thread()

    def nothing() -> None:
        return None

    async def nothing_async() -> None:
        return None

    def ours() -> float:
        times = []
        for _ in range(CALLS_A_BLOCK):
            began = time.perf_counter()
            loop.call(nothing, deadline=Deadline(None, 5.0, "nothing"))
            times.append(time.perf_counter() - began)
        return statistics.median(times) * 1000

    def theirs() -> float:
        times = []
        for _ in range(CALLS_A_BLOCK):
            began = time.perf_counter()
            asyncio.run_coroutine_threadsafe(nothing_async(), loop.asyncio_loop).result(5.0)
            times.append(time.perf_counter() - began)
        return statistics.median(times) * 1000

    ours(), theirs()
    return [compare("no-op call over the bridge", ours, theirs, pairs=pairs, bar=BAR)]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    return report(measure(options.pairs), as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
