"""What a call leaves behind, by how it ends: threads, descriptors and memory of either side.

    python -m benchmarks.leaks [--calls 200] [--only caller,raw] [--json]

Door and house are a process each (`leak_parties`), in a call with sound and picture both ways. Each arm makes
10 calls to warm up, rests 25 s, is measured, makes its calls, rests, is measured again. Memory is also read
before every fifth call, after malloc gave back what it could: KiB a call is the slope of that by Theil and Sen,
which a few large steps do not move (its interval takes the samples for independent). `answered` ends in the
moment it is answered. The raw arms are the shortest asyncio program that does the same: `raw` leaves as
livekit's examples do, `raw each` unpublishes before it leaves, `raw all unpublish` waits for the other's tracks
to go too, `raw alone` is a caller whom nobody answers. Bars: threads and descriptors +0; memory at most 32 KiB
a call and side. `deleted` and `removed` have no bar for memory: what the core loses of a room that the media
server ends without a word cannot be had back (the raw arm shows how much). Who is `removed` is back at once,
for the engine knows of no end; then the door hangs up.

Measured so over 200 calls each, beside other work, house and door: caller 18 [10, 27] and 16 [1, 31], callee 7
and 9, undisposed 18 and 20, answered 21 and 14, rejected, missed and cancelled at most 1 and 21; raw all
unpublish 2 and 0, raw 13 and 562.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

from livekit import api

from benchmarks.leak_parties import room_of
from utdstream.testing import LocalStack

SDK = ("caller", "callee", "undisposed", "answered", "rejected", "missed", "cancelled", "deleted", "removed")
RAW = ("raw", "raw each", "raw all unpublish", "raw alone", "raw deleted")
WARM_UP = 10
BAR_KIB = 32.0
UNBOUNDED = ("deleted", "removed")
RING_TIMEOUT_S = 1.5


@dataclass(frozen=True)
class Left:
    """What one side of one arm held more after its calls than before; memory in KiB a call."""

    arm: str
    side: str
    calls: int
    failures: int
    threads: int
    descriptors: int
    kib_a_call: float
    low: float
    high: float
    mib: float
    samples: list[tuple[int, int]]

    @property
    def is_raw(self) -> bool:
        return self.arm.startswith("raw")

    @property
    def holds(self) -> bool:
        if self.is_raw:
            return True
        small = self.arm in UNBOUNDED or self.kib_a_call <= BAR_KIB
        return small and self.threads <= 0 and self.descriptors <= 0 and self.failures == 0

    def line(self) -> str:
        mark = "raw " if self.is_raw else "ok  " if self.holds else "OVER"
        return (
            f"{mark} {self.arm:<18}{self.side:<6}{self.calls:>5} calls, {self.failures} failed: "
            f"threads {self.threads:+d}, descriptors {self.descriptors:+d}, "
            f"{self.kib_a_call:6.1f} [{self.low:.1f}, {self.high:.1f}] KiB a call (now {self.mib:.0f} MiB)"
        )


class Process:
    """One side of one arm."""

    def __init__(self, who: str, settings: dict[str, Any]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.leak_parties", who],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.say(json.dumps(settings))
        self.hear()

    def say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def hear(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a side of the calls died with status {self._process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()


@contextmanager
def sides(stack: LocalStack, arm: str) -> Iterator[dict[str, Process]]:
    settings = {
        "ending": arm,
        "app_id": stack.app_id,
        "app_key": stack.app_key,
        "base_url": stack.base_url,
        "livekit_url": stack.livekit_url,
        "livekit_keys": [stack.livekit_api_key, stack.livekit_api_secret],
    }
    with ExitStack() as open_ones:
        parties = {}
        for who in ("house", "door"):
            parties[who] = Process(who, settings)
            open_ones.callback(parties[who].close)
        yield parties


def measure(arm: str, calls: int) -> list[Left]:
    """Runs one arm on servers of its own. Blocks: about a second a call."""
    project = {
        "call_ring_timeout_s": RING_TIMEOUT_S if arm == "missed" else 30.0,
        "max_concurrent_rooms": 10_000,
    }
    with LocalStack(project=project) as stack, sides(stack, arm) as parties:
        if arm.startswith("raw"):
            make_rooms(stack, [room_of(arm, number) for number in range(WARM_UP + calls)])
        make_calls(parties, range(WARM_UP))
        before = ask(parties, "measure")
        failures, samples = make_calls(parties, range(WARM_UP, WARM_UP + calls)), ask(parties, "samples")
        after = ask(parties, "measure")
    slopes = {side: slope([tuple(each) for each in samples[side] if each[0] >= WARM_UP]) for side in parties}
    return [
        Left(
            arm=arm,
            side=side,
            calls=calls,
            failures=failures[side],
            threads=after[side]["threads"] - before[side]["threads"],
            descriptors=after[side]["descriptors"] - before[side]["descriptors"],
            kib_a_call=slopes[side][0],
            low=slopes[side][1],
            high=slopes[side][2],
            mib=after[side]["kib"] / 1024,
            samples=samples[side],
        )
        for side in parties
    ]


def slope(samples: list[tuple[int, int]]) -> tuple[float, float, float]:
    """Returns the median slope between any two samples (Theil and Sen), and its interval of 95 % (Sen's)."""
    slopes = sorted((b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(samples, 2))
    n, count = len(samples), len(slopes)
    half = 1.96 * math.sqrt(n * (n - 1) * (2 * n + 5) / 18) / 2
    low, high = max(0, round(count / 2 - half)), min(count - 1, round(count / 2 + half))
    return statistics.median(slopes), slopes[low], slopes[high]


def make_rooms(stack: LocalStack, names: list[str]) -> None:
    async def make() -> None:
        async with api.LiveKitAPI(
            stack.livekit_url, stack.livekit_api_key, stack.livekit_api_secret
        ) as server:
            for name in names:
                await server.room.create_room(api.CreateRoomRequest(name=name, empty_timeout=24 * 3600))

    asyncio.run(make())


def make_calls(parties: dict[str, Process], numbers: range) -> dict[str, int]:
    """Makes these calls, one after the other; returns on which side how many failed."""
    failures = dict.fromkeys(parties, 0)
    for number in numbers:
        for side, answer in ask(parties, f"call {number}").items():
            if answer is not None:
                failures[side] += 1
                print(f"{side}: {answer}", file=sys.stderr, flush=True)
    return failures


def ask(parties: dict[str, Process], command: str) -> dict[str, Any]:
    for party in parties.values():
        party.say(command)
    return {side: party.hear() for side, party in parties.items()}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--only", help="these arms, separated by commas")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--pairs", help=argparse.SUPPRESS)  # what `make bench` hands to all
    options = parser.parse_args(arguments)
    arms = options.only.split(",") if options.only else (*SDK, *RAW)
    unknown = set(arms) - {*SDK, *RAW}
    if unknown:
        parser.error(f"there is no arm {', '.join(sorted(unknown))}; there are {', '.join((*SDK, *RAW))}")
    results: list[Left] = []
    for arm in arms:
        for left in measure(arm, options.calls):
            results.append(left)
            print(left.line(), file=sys.stderr if options.json else sys.stdout, flush=True)
    if options.json:
        print(json.dumps([asdict(left) | {"holds": left.holds} for left in results], indent=2))
    return 0 if all(left.holds for left in results) else 1


if __name__ == "__main__":
    sys.exit(main())
