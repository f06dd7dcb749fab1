"""A device as a process of its own: settings and orders as JSON lines in, what came of them as JSON lines out.

SIGTERM ends it as a service manager's would: `with` disposes the client.
"""

from __future__ import annotations

import json
import signal
import sys
from contextlib import suppress

from utdstream import Devices, IncomingCall, UTDStreamClient, UTDStreamException, UTDStreamType
from utdstream.synthetic import NullSpeaker, ToneMicrophone


def say(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    """One order a line until the input ends."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    settings = json.loads(sys.stdin.readline())
    identity = settings.pop("identity")
    with UTDStreamClient(**settings, devices=Devices(ToneMicrophone(700), NullSpeaker())) as client:
        client.authenticate(identity=identity)
        inbox = client.incoming_calls()
        rung: list[IncomingCall] = []

        def ring(incoming: IncomingCall) -> None:
            rung.append(incoming)
            say(rung=incoming.call_id)

        inbox.ringing.subscribe(ring)
        inbox.connected.wait_for(True, timeout=30)
        session = client.call_session(UTDStreamType.AUDIO_CALL)
        say(ready=True)
        for line in sys.stdin:
            order = json.loads(line)
            try:
                if "call" in order:
                    say(called=session.start(callee_identity=order["call"]).call_id)
                else:
                    session = rung[-1].accept()
                    say(accepted=session.call_id.value)
            except UTDStreamException as error:
                say(failed=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
