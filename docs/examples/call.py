"""The README's twenty lines: call somebody, keep a picture, hang up."""

import sys

from utdstream import CallNotAnswered, Devices, UTDStreamClient, UTDStreamException, UTDStreamType
from utdstream.synthetic import PatternCamera, RecordingSpeaker, ToneMicrophone

devices = Devices(microphone=ToneMicrophone(), speaker=RecordingSpeaker("heard.wav"), camera=PatternCamera())

try:
    with UTDStreamClient.from_environment(devices=devices) as client:
        client.authenticate(identity="door", name="Front door")
        with client.call_session(UTDStreamType.VIDEO_CALL) as call:
            call.status.subscribe(lambda change: print(change.new and change.new.wire))
            call.start(callee_identity="house")  # created, joined, publishing; it rings there now
            try:
                call.wait_for_answer(timeout=30)
            except CallNotAnswered as error:
                print("nobody:", error.status.wire)
            else:
                call.snapshot("house.png")  # the newest frame of the other side
            call.end()
except UTDStreamException as error:
    sys.exit(str(error))  # one sentence: what was found, what to do
