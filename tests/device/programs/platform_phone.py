"""One end of a call on the core's own sound: `platform_phone.py <identity> <callee>`."""

from __future__ import annotations

import os
import sys

from utdstream import Devices, UTDStreamClient, UTDStreamType
from utdstream.platform_audio import open_platform_audio

identity, callee = sys.argv[1:]
microphone, speaker = open_platform_audio()
with UTDStreamClient(
    os.environ["UTD_APP_ID"],
    os.environ["UTD_APP_KEY"],
    base_url=os.environ["UTD_BASE_URL"],
    devices=Devices(microphone=microphone, speaker=speaker),
) as client:
    client.authenticate(identity=identity)
    with client.call_session(UTDStreamType.AUDIO_CALL) as call:
        call.start(callee_identity=callee)
        call.wait_for_answer(timeout=30)
        print("status active", flush=True)
        sys.stdin.read()
