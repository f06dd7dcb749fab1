"""A door: press Enter, and the house rings. `q` and Enter ends it."""

import os
import sys

from utdstream import CallNotAnswered, Conflict, Devices, UTDStreamClient, UTDStreamException, UTDStreamType
from utdstream.synthetic import NullSpeaker, PatternCamera, ToneMicrophone

TALK_S = float(os.environ.get("TALK_S", "60"))

devices = Devices(microphone=ToneMicrophone(1000), speaker=NullSpeaker(), camera=PatternCamera())


def ring_the_house(client: UTDStreamClient) -> None:
    with client.call_session(UTDStreamType.VIDEO_CALL) as call:
        try:
            call.start(callee_identity="house", callee_name="House")
            call.wait_for_answer(timeout=40)
        except Conflict:
            print("the house is on another call")
        except CallNotAnswered as error:
            print("nobody answered:", error.status.wire)
        else:
            print("talking")
            try:
                call.status.wait_for(lambda status: status is not None and status.is_terminal, timeout=TALK_S)
            except TimeoutError:
                print("time is up")
            call.end()


try:
    with UTDStreamClient.from_environment(devices=devices) as client:
        client.authenticate(identity="door", name="Front door")
        while input("press Enter to ring: ") != "q":
            ring_the_house(client)
except UTDStreamException as error:
    sys.exit(str(error))  # one sentence: what was found, what to do
