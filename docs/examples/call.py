"""The README's twenty lines: call somebody, keep a picture, hang up."""

import os

from utdstream import CallNotAnswered, Devices, UTDStreamClient, UTDStreamType
from utdstream.synthetic import PatternCamera, RecordingSpeaker, ToneMicrophone

devices = Devices(microphone=ToneMicrophone(), speaker=RecordingSpeaker("heard.wav"), camera=PatternCamera())

with UTDStreamClient(
    os.environ["UTD_APP_ID"], os.environ["UTD_APP_KEY"], base_url=os.environ["UTD_BASE_URL"], devices=devices
) as client:
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
