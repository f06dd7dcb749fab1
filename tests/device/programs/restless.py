"""A doorbell that may start anew soon after its start, and is always above its limit. `restless.py <config>`."""

from __future__ import annotations

import sys

from device import memory
from device.__main__ import main

memory.YOUNG_S = 0.0
memory.LOOK_S = 0.1
sys.exit(main(["doorbell", "--config", sys.argv[1]]))
