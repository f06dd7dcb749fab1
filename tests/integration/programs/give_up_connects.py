"""Connects that are given up at many points of a join; then the process lives on, longer than the core waits.

Standard input brings one line of JSON: url, tokens (one a time limit), limits_s, alive_s, and a token to join
with afterwards (then). It prints `gave up <n>`, and after `alive_s` seconds `alive`.
"""

from __future__ import annotations

import json
import sys
import time

from utdstream import DeadlineExceeded, UTDRoom


def main() -> None:
    settings = json.loads(sys.stdin.readline())
    gave_up = 0
    with UTDRoom() as warm:
        warm.connect(settings["url"], settings["then"])
    rooms = []
    for limit_s, token in zip(settings["limits_s"], settings["tokens"], strict=True):
        room = UTDRoom()
        rooms.append(room)
        try:
            room.connect(settings["url"], token, timeout=limit_s)
        except DeadlineExceeded:
            gave_up += 1
        else:
            room.disconnect()
    print("gave up", gave_up, flush=True)
    until = time.monotonic() + settings["alive_s"]
    while time.monotonic() < until:
        time.sleep(0.05)
    rooms[0].connect(settings["url"], settings["tokens"][0])
    print("alive", flush=True)


main()
