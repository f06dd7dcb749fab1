"""A device that toggles its microphone as it is told, for `benchmarks.toggles`. A process of its own.

Reads lines of JSON from standard input ({"do": "toggle", "on": true} or {"do": "state"}), and says what became of
each in a line of JSON. The first line is what it joins.
"""

from __future__ import annotations

import json
import sys
import time

from utdstream import Devices, UTDStreamClient, UTDStreamException
from utdstream.synthetic import ToneMicrophone

TOGGLE_S = 12.0


def say(**fact: object) -> None:
    print(json.dumps(fact), flush=True)


def main() -> int:
    wish = json.loads(sys.stdin.readline())
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
        states: list[tuple[float, str]] = []
        stream.connection.subscribe(lambda change: states.append((time.monotonic(), change.new.state.value)))
        stream.microphone_on.subscribe(
            lambda change: states.append((time.monotonic(), "on" if change.new else "off"))
        )
        say(joined=True)
        for line in sys.stdin:
            told = json.loads(line)
            began = time.monotonic()
            if told["do"] == "state":
                say(on=stream.microphone_on.value, history=[states.pop(0) for _ in range(len(states))])
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
