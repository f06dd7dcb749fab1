"""Signs in and says what of the media core is there when it has settled. Standard input: one line of JSON.

Prints one line of JSON: whether livekit is loaded, and the nice values of the threads that came with it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time

from utdstream import ClientConfig, UTDStreamClient

WITHIN_S = 20.0


def names() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


settings = json.loads(sys.stdin.readline())
before = set(os.listdir("/proc/self/task"))
config = ClientConfig(preload=settings["preload"])
with UTDStreamClient(
    settings["app_id"], settings["app_key"], base_url=settings["base_url"], config=config
) as client:
    client.authenticate(identity="early")
    client.authenticate(identity="early")
    until = time.monotonic() + WITHIN_S
    while settings["preload"] and time.monotonic() < until:
        if "utdstream-loop" in names() and "utdstream-warm-up" not in names():
            break
        time.sleep(0.01)
    nice = {
        os.getpriority(os.PRIO_PROCESS, int(task)) for task in set(os.listdir("/proc/self/task")) - before
    }
    told = {"livekit": "livekit" in sys.modules, "loop": "utdstream-loop" in names(), "nice": sorted(nice)}
print(json.dumps(told), flush=True)
