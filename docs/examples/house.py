"""A house: answers every call, keeps a picture of the visitor. Ctrl-C ends it."""

import sys
import threading

from utdstream import CallCancelled, Devices, IncomingCall, UTDStreamClient, UTDStreamException
from utdstream.synthetic import PatternCamera, RecordingSpeaker, ToneMicrophone

devices = Devices(
    microphone=ToneMicrophone(700), speaker=RecordingSpeaker("door.wav"), camera=PatternCamera(320, 240)
)


def on_ring(incoming: IncomingCall) -> None:
    print(incoming.caller_name or incoming.caller_identity, "rings")
    try:
        call = incoming.accept()  # a callback may block: it has its own thread
        call.snapshot("visitor.png")
        print("visitor.png is the visitor")
        call.status.wait_for(lambda status: status is not None and status.is_terminal, timeout=3600)
        print("the call is over")
        call.dispose()
    except UTDStreamException as error:
        print("no call:", error)


def on_cancel(cancelled: CallCancelled) -> None:
    print("it stopped ringing:", cancelled.reason)


try:
    with UTDStreamClient.from_environment(devices=devices) as client:
        client.authenticate(identity="house", name="House")
        inbox = client.incoming_calls()
        inbox.ringing.subscribe(on_ring)
        inbox.cancelled.subscribe(on_cancel)
        inbox.connected.wait_for(True)
        print("waiting for the door", flush=True)
        threading.Event().wait()
except UTDStreamException as error:
    sys.exit(str(error))  # one sentence: what was found, what to do
except KeyboardInterrupt:
    print("the house is closed")
