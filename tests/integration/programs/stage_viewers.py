"""Viewers of a live stream who listen, all in this process; told by stdin what to wait for.

    stage_viewers.py SHOW NAME [NAME ...]

Each line is one JSON object: {"sees": [identity, ...]} waits until every viewer sees exactly this stage,
{"hears": true} until every viewer hears something. Each is answered by a line: whether one of them may publish.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import ExitStack

from utdstream import Devices, UTDLiveStreamSession, UTDStreamClient
from utdstream.synthetic import RecordingSpeaker

PATIENCE_S = 40.0


def hears(speaker: RecordingSpeaker) -> None:
    until = time.monotonic() + PATIENCE_S
    while not any(speaker.pcm[-9600:]):
        assert time.monotonic() < until, "nothing is heard"
        time.sleep(0.05)


def sees(viewer: UTDLiveStreamSession, names: list[str]) -> None:
    viewer.stage.wait_for(lambda stage: [member.identity for member in stage] == names, timeout=PATIENCE_S)


def main() -> None:
    show, *names = sys.argv[1:]
    with ExitStack() as cleaning:
        speakers = [RecordingSpeaker(keep_s=1.0) for _ in names]
        viewers = []
        for name, speaker in zip(names, speakers, strict=True):
            client = UTDStreamClient(
                os.environ["UTD_APP_ID"], os.environ["UTD_APP_KEY"], base_url=os.environ["UTD_BASE_URL"]
            )
            cleaning.callback(client.dispose)
            viewers.append(
                client.join_live_stream(
                    identity=f"{name}-{show}", room_name=show, devices=Devices(speaker=speaker)
                )
            )
        print("joined", flush=True)
        for line in sys.stdin:
            wanted = json.loads(line)
            for viewer in viewers if "sees" in wanted else []:
                sees(viewer, wanted["sees"])
            for speaker in speakers if "hears" in wanted else []:
                hears(speaker)
            print(json.dumps(any(viewer.can_publish.value for viewer in viewers)), flush=True)


if __name__ == "__main__":
    main()
