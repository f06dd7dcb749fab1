"""A house process that declines every ring and says when it came. `house_process.py <identity>`; the engine by the
environment. It ends when stdin does."""

from __future__ import annotations

import os
import sys
import time

from utdstream import IncomingCall, UTDStreamClient, UTDStreamException


def say(*words: object) -> None:
    """A line as one piece: two threads must not write into each other's."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def ring(incoming: IncomingCall) -> None:
    say("ring", incoming.call_id, time.monotonic())
    try:
        incoming.reject()
    except UTDStreamException as error:
        say("error", error)


with UTDStreamClient(
    os.environ["UTD_APP_ID"], os.environ["UTD_APP_KEY"], base_url=os.environ["UTD_BASE_URL"]
) as client:
    client.authenticate(identity=sys.argv[1])
    inbox = client.incoming_calls()
    inbox.ringing.subscribe(ring)
    inbox.connected.subscribe(lambda change: say("connected" if change.new else "lost"))
    inbox.connected.wait_for(True, timeout=10)
    say("listening")
    sys.stdin.read()
