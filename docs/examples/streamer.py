"""A streamer: goes live with camera and microphone, and lets the first hand that is raised on stage."""

import os
import sys

from utdstream import Devices, StageRequest, UTDStreamClient, UTDStreamException
from utdstream.synthetic import PatternCamera, ToneMicrophone

LIVE_S = float(os.environ.get("LIVE_S", "60"))

devices = Devices(microphone=ToneMicrophone(1000), camera=PatternCamera(640, 480, 15))

try:
    with (
        UTDStreamClient.from_environment(devices=devices) as client,
        client.join_live_stream(identity="host", room_name="show", as_host=True) as live,
    ):

        def on_hand(hand: StageRequest) -> None:
            print(hand.identity, "raises the hand")
            live.invite_to_stage(hand.identity)  # a callback may block: it has its own thread

        live.stage_requests.subscribe(on_hand)
        live.stage.subscribe(lambda change: print("on stage:", [member.identity for member in change.new]))
        live.go_live()
        print("live")
        try:
            live.connected.wait_for(False, timeout=LIVE_S)
        except TimeoutError:
            print("time is up")
except UTDStreamException as error:
    sys.exit(str(error))  # one sentence: what was found, what to do
