"""Runs every benchmark in turn, each in a process of its own; `make bench`."""

from __future__ import annotations

import subprocess
import sys

SCRIPTS = ("bridge", "connect", "deadlines", "engine", "camera", "doorbell", "idle", "strangers")
"""`leaks` takes an hour and `audio` half of one: each is run by itself."""


def main() -> int:
    worst = 0
    for script in SCRIPTS:
        print(f"{script} ...", file=sys.stderr, flush=True)
        worst = max(worst, subprocess.call([sys.executable, "-m", f"benchmarks.{script}", *sys.argv[1:]]))
    return worst


if __name__ == "__main__":
    sys.exit(main())
