"""A house process that declines every ring and says when it came. `house_process.py <identity>`; the engine by the
environment. It ends when stdin does."""

from __future__ import annotations

import os
import sys
import time

from utdstream import IncomingCall, UTDStreamClient, UTDStreamException


def ring(incoming: IncomingCall) -> None:
    print("ring", incoming.call_id, time.monotonic(), flush=True)
    try:
        incoming.reject()
    except UTDStreamException as error:
        print("error", error, flush=True)


with UTDStreamClient(
    os.environ["UTD_APP_ID"], os.environ["UTD_APP_KEY"], base_url=os.environ["UTD_BASE_URL"]
) as client:
    client.authenticate(identity=sys.argv[1])
    inbox = client.incoming_calls()
    inbox.ringing.subscribe(ring)
    inbox.connected.subscribe(lambda change: print("connected" if change.new else "lost", flush=True))
    inbox.connected.wait_for(True, timeout=10)
    print("listening", flush=True)
    sys.stdin.read()
