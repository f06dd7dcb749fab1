"""A callee in a process of its own, to be killed: answers the first ring and stays.

Standard input brings one line of JSON: app_id, app_key, base_url, identity. It prints `ready`, then
`answered`. A line more mutes it; it prints `muted`.
"""

from __future__ import annotations

import json
import sys

from utdstream import Devices, UTDStreamClient
from utdstream.synthetic import ToneMicrophone


def main() -> None:
    settings = json.loads(sys.stdin.readline())
    client = UTDStreamClient(
        settings["app_id"],
        settings["app_key"],
        base_url=settings["base_url"],
        devices=Devices(microphone=ToneMicrophone()),
    )
    client.authenticate(identity=settings["identity"])
    inbox = client.incoming_calls()
    inbox.connected.wait_for(True)
    print("ready", flush=True)
    session = inbox.ringing.wait().accept()
    print("answered", flush=True)
    for _ in sys.stdin:
        session.set_microphone(False)
        print("muted", flush=True)


main()
