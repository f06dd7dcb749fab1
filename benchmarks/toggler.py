"""A device that toggles its microphone as it is told, for `benchmarks.toggles`. A process of its own.

Reads lines of JSON from standard input ({"do": "toggle", "on": true} or {"do": "state"}), and says what became of
each in a line of JSON. The first line is what it joins.
"""

from __future__ import annotations

import json
import os
import sys
import time

from utdstream import Devices, UTDLiveStreamSession, UTDStreamClient, UTDStreamException
from utdstream.synthetic import ToneMicrophone

TOGGLE_S = 12.0


def say(**fact: object) -> None:
    print(json.dumps(fact), flush=True)


def counted(stream: UTDLiveStreamSession) -> dict[str, object]:
    """What it has sent since it connected, as far as it can be asked."""
    try:
        stats = stream.stats(timeout=2)
    except UTDStreamException as error:
        return {"stats": type(error).__name__}
    return {"frames_sent": stats.audio_frames_sent, "bytes_sent": stats.bytes_sent}


def main() -> int:
    wish = json.loads(sys.stdin.readline())
    os.setgroups([])
    os.setgid(wish["group"])  # by which its packets are known
    client = UTDStreamClient(
        wish["app_id"],
        wish["app_key"],
        base_url=wish["base_url"],
        devices=Devices(microphone=ToneMicrophone(700)),
    )
    with client:
        client.authenticate(identity=wish["identity"])
        stream = client.join_live_stream(identity=wish["identity"], room_name=wish["room"], as_host=True)
        stream.go_live(with_video=False)
        say(joined=True)
        for line in sys.stdin:
            told = json.loads(line)
            began = time.monotonic()
            if told["do"] == "state":
                say(
                    on=stream.microphone_on.value,
                    connection=stream.connection.value.state.value,
                    **counted(stream),
                )
                continue
            error = None
            try:
                stream.set_microphone(told["on"], timeout=TOGGLE_S)
            except UTDStreamException as failure:
                error = type(failure).__name__
            say(on=told["on"], began=began, ended=time.monotonic(), error=error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
