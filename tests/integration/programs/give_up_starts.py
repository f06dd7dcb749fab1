"""Fifty calls given up at random points up to 1 s, then one that works; says what is left 20 s later.

Standard input brings one line of JSON: app_id, app_key, app_secret, base_url. Prints one line of JSON.
Half of the points lie in the first 150 ms, where a call is being set up.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time

import requests

from utdstream import Devices, UTDCallSession, UTDStreamClient, UTDStreamException, UTDStreamType
from utdstream.synthetic import NullSpeaker, PatternCamera, ToneMicrophone

POINTS = 50
QUIET_S = 20.0
MARGIN_S = 0.25


def main() -> None:
    settings = json.loads(sys.stdin.readline())
    devices = Devices(microphone=ToneMicrophone(), speaker=NullSpeaker(), camera=PatternCamera(320, 240, 15))
    dice = random.Random(int(settings.get("seed", 1)))
    outcomes: dict[str, int] = {}
    late: list[float] = []
    with UTDStreamClient(
        settings["app_id"], settings["app_key"], base_url=settings["base_url"], devices=devices
    ) as client:
        client.authenticate(identity="giver-up")
        for point in range(POINTS):
            after_s = dice.uniform(0.0, 0.15) if point % 2 else dice.uniform(0.0, 1.0)
            session = client.call_session(UTDStreamType.VIDEO_CALL)
            outcome = give_up(session, point % 3, after_s, late)
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
            session.dispose()
        session = client.call_session(UTDStreamType.VIDEO_CALL)
        began = time.monotonic()
        status = session.start(callee_identity="nobody-home").status.value
        next_call_s = time.monotonic() - began
        session.end()
        time.sleep(QUIET_S)  # the core would end this process 15 s after a cancelled connect
        server = {"X-App-Id": settings["app_id"], "X-App-Secret": settings["app_secret"]}
        ask = settings["base_url"] + "/api/v1"
        open_calls = requests.get(
            f"{ask}/calls?status=initiating,ringing,active&identity=giver-up", headers=server, timeout=10
        ).json()["pagination"]["total"]
        rooms = requests.get(f"{ask}/rooms?per_page=100", headers=server, timeout=10).json()["data"]
        print(
            json.dumps(
                {
                    "outcomes": outcomes,
                    "late": late,
                    "next_call": status,
                    "next_call_s": next_call_s,
                    "open_calls": open_calls,
                    "people_in_call_rooms": sum(
                        row["participant_count"] for row in rooms if row["room_name"].startswith("call_")
                    ),
                }
            ),
            flush=True,
        )


def give_up(session: UTDCallSession, how: int, after_s: float, late: list[float]) -> str:
    """By its deadline, by `end` or by `dispose` from another thread."""
    timeout = after_s if how == 0 else None
    stop = session.end if how == 1 else session.dispose
    timer = threading.Timer(after_s, stop)
    if how != 0:
        timer.start()
    began = time.monotonic()
    try:
        session.start(callee_identity="nobody-home", timeout=timeout)
        outcome = "started"
    except UTDStreamException as error:
        outcome = type(error).__name__
    over_s = time.monotonic() - began - after_s
    if over_s > MARGIN_S:
        late.append(over_s)
    if how != 0:
        timer.join()
    return outcome


main()
