"""From the press to the ring, while 5,000 connections without a credential are held against the engine.

    python -m benchmarks.strangers [--presses 100] [--connections 5000] [--json]

They come from ten loopback addresses, one half silent, one half with half of a head, and each that is closed is
made again, 200 a second. The stack may have 1,024 descriptors a process. Door and house are those of
`doorbell`'s bare arm, with a new connection for every request. Bars: every press rings; p99 at most 3 times that
of the quiet run before; the logs grow by less than 1 MB; after it nothing is to be started again.

Measured twice on two shared cores, beside other work (loads of 8 and 15): 100 of 100 rang both times; p99 103 ms
against 93 quiet, and 29 ms against 25; the logs grew by 30 kB, which are the calls. When dropped connections were
left to the collector of cycles, it stopped the engine for 0.9 s at a time.
"""

from __future__ import annotations

import argparse
import json
import queue
import resource
import selectors
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

import requests

from benchmarks.doorbell import Bare, p99
from utdstream.testing import LocalStack

ADDRESSES = tuple(f"127.0.0.{last}" for last in range(2, 12))
DESCRIPTORS = 1024
MADE_A_SECOND, MADE_AGAIN_A_SECOND = 1000, 200
HALF_A_HEAD = b"GET /health HTTP/1.1\r\nHost: x\r\nX-a: "
TIMES_QUIET, LOG_BAR_BYTES = 3.0, 1_000_000


@dataclass(frozen=True)
class Held:
    """What was measured, in milliseconds."""

    presses: int
    rings: int
    connections: int
    opened: int
    quiet_p50_ms: float
    quiet_p99_ms: float
    p50_ms: float
    p99_ms: float
    log_bytes: int
    answers_after: bool

    @property
    def holds(self) -> bool:
        return (
            self.rings == self.presses
            and self.p99_ms <= TIMES_QUIET * self.quiet_p99_ms
            and self.log_bytes < LOG_BAR_BYTES
            and self.answers_after
        )

    def line(self) -> str:
        mark = "ok  " if self.holds else "OVER"
        return (
            f"{mark} {self.rings} rings of {self.presses} presses against {self.connections} strangers "
            f"({self.opened} connections made): p50 {self.p50_ms:.1f} ms, p99 {self.p99_ms:.1f} ms; quiet p50 "
            f"{self.quiet_p50_ms:.1f} ms, p99 {self.quiet_p99_ms:.1f} ms (bar: {TIMES_QUIET:g} times); "
            f"the logs grew by {self.log_bytes} bytes; afterwards the engine "
            f"{'answers' if self.answers_after else 'does not answer'}"
        )


def attack(port: int, connections: int) -> None:
    """Holds so many connections until stdin ends; says when all were made once, and at the end how many in all."""
    watched = selectors.DefaultSelector()
    watched.register(sys.stdin, selectors.EVENT_READ)
    made, held, may_make, then = 0, 0, 0.0, time.monotonic()
    while True:
        now = time.monotonic()
        may_make += (now - then) * (MADE_A_SECOND if made < connections else MADE_AGAIN_A_SECOND)
        then = now
        while held < connections and may_make >= 1:
            line = socket.socket()
            line.bind((ADDRESSES[made % len(ADDRESSES)], 0))
            line.setblocking(False)
            line.connect_ex(("127.0.0.1", port))
            # Half of them speak, as soon as they may: half of a head, and never the rest.
            watched.register(line, selectors.EVENT_READ | (selectors.EVENT_WRITE if made % 2 else 0))
            made, held, may_make = made + 1, held + 1, may_make - 1
            if made == connections:
                print("made", flush=True)
        for key, events in watched.select(0.005):
            if key.fileobj is sys.stdin:
                print(made, flush=True)
                return
            line = key.fileobj  # type: ignore[assignment]
            try:
                if events & selectors.EVENT_WRITE:
                    line.send(HALF_A_HEAD)
                    watched.modify(line, selectors.EVENT_READ)
                elif line.recv(4096):
                    continue
                else:
                    raise ConnectionError("the engine closed it")
            except OSError:
                watched.unregister(line)
                line.close()
                held -= 1


@contextmanager
def attacker(connections: int) -> Iterator[subprocess.Popen[str]]:
    """The attacker's process, before this one's descriptors are few; it begins with a port on its stdin."""
    command = [sys.executable, "-m", "benchmarks.strangers", "--connections", str(connections), "--attack"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        yield process
        process.kill()


def rings(bare: Bare, presses: int) -> list[float]:
    """The delays of the presses that rang, each with connections of its own."""
    delays = []
    for _ in range(presses):
        bare.hang_up()
        try:
            delays.append(bare.ring_ms())
        except (requests.RequestException, queue.Empty) as error:
            print(f"a press did not ring: {error!r}", file=sys.stderr)
    return delays


def log_bytes(stack: LocalStack) -> int:
    return sum(len(stack.logs(part).encode()) for part in ("engine", "livekit", "mqtt"))


def measure(presses: int, connections: int) -> Held:
    with attacker(connections) as enemy:
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        with LocalStack(project={"max_concurrent_rooms": 10_000}, log_level="info") as stack:
            bare = Bare(stack)
            with bare.listening(stack):
                rings(bare, 5)
                quiet = rings(bare, presses)
                before = log_bytes(stack)
                assert enemy.stdin is not None
                assert enemy.stdout is not None
                enemy.stdin.write(f"{urlsplit(stack.base_url).port}\n")
                enemy.stdin.flush()
                assert enemy.stdout.readline() == "made\n"
                delays = rings(bare, presses)
                enemy.stdin.write("\n")
                enemy.stdin.close()
                opened = int(enemy.stdout.readline())
                enemy.wait()
            after = requests.get(f"{stack.base_url}/health", timeout=3).status_code == 200
            grew = log_bytes(stack) - before
    return Held(
        presses, len(delays), connections, opened, statistics.median(quiet), p99(quiet),
        statistics.median(delays), p99(delays), grew, after,
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--presses", type=int, default=100)
    parser.add_argument("--connections", type=int, default=5000)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--attack", action="store_true", help="be the attacker of the port on stdin")
    options = parser.parse_args()
    if options.attack:
        port = sys.stdin.readline()
        if port:
            attack(int(port), options.connections)
        return 0
    found = measure(options.presses, options.connections)
    print(json.dumps(asdict(found) | {"holds": found.holds}, indent=2) if options.json else found.line())
    return 0 if found.holds else 1


if __name__ == "__main__":
    sys.exit(main())
