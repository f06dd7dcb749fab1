"""A hundred calls in one process, ended by either side in turn; counts threads, descriptors and memory of its own.

Standard input brings one line of JSON: app_id, app_key, base_url, calls. Prints one line of JSON with the
counts after call 10 and after the last, each the least that was seen in the seconds after the core had let go of
the last room: a request now and then has a thread and a connection of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import re
import sys
import time
from pathlib import Path

from utdstream import Devices, UTDCallStatus, UTDStreamClient, UTDStreamType
from utdstream.synthetic import NullSpeaker, PatternCamera, ToneMicrophone

QUIET_S = 40.0
"""A room that was left is held by the core for up to 20 s, until its last negotiations are given up."""
OF_A_ROOM = "network_thread"
"""One of the five threads that all rooms of a process share and that go with the last of them."""
LOOK_EVERY_S = 0.1
SEEN_FOR_S = 12.0
WARM_UP = 10


def counts() -> dict[str, int]:
    gc.collect()
    until = time.monotonic() + QUIET_S
    while OF_A_ROOM in names_of_threads() and time.monotonic() < until:
        time.sleep(LOOK_EVERY_S)
    least = held()
    until = time.monotonic() + SEEN_FOR_S
    while time.monotonic() < until:
        time.sleep(LOOK_EVERY_S)
        least = {name: min(least[name], now) for name, now in held().items()}
    with contextlib.suppress(OSError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    own = re.findall(r"^(?:RssAnon|VmSwap):\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return least | {"kib": sum(map(int, own))}


def held() -> dict[str, int]:
    return {"threads": len(os.listdir("/proc/self/task")), "descriptors": len(os.listdir("/proc/self/fd"))}


def names_of_threads() -> list[str]:
    names = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # it ended meanwhile
            names.append((task / "comm").read_text().strip())
    return names


def person(settings: dict[str, str], identity: str) -> UTDStreamClient:
    devices = Devices(microphone=ToneMicrophone(), speaker=NullSpeaker(), camera=PatternCamera(160, 120, 10))
    client = UTDStreamClient(
        settings["app_id"], settings["app_key"], base_url=settings["base_url"], devices=devices
    )
    client.authenticate(identity=identity)
    return client


def main() -> None:
    settings = json.loads(sys.stdin.readline())
    result: dict[str, object] = {}
    with person(settings, "door-of-100") as door, person(settings, "house-of-100") as house:
        inbox = house.incoming_calls()
        inbox.connected.wait_for(True)
        for number in range(1, settings["calls"] + 1):
            with door.call_session(UTDStreamType.VIDEO_CALL) as calling:
                calling.start(callee_identity="house-of-100")
                with inbox.ringing.wait(timeout=15).accept() as answering:
                    calling.wait_for_answer(timeout=15)
                    first, other = (calling, answering) if number % 2 else (answering, calling)
                    first.end()
                    other.status.wait_for(UTDCallStatus.ENDED, timeout=15)
            if number == WARM_UP:
                result["warm"] = counts()
        result["after_last"] = counts()
    print(json.dumps(result), flush=True)


main()
