"""One end of a call on sound cards: `card_phone.py <identity> <cards> [<callee>]`; says what happens.

The engine comes by the environment (UTD_BASE_URL, UTD_APP_ID, UTD_APP_KEY). It ends when stdin does.
"""

from __future__ import annotations

import os
import sys
import threading

from device.audio.alsa import AlsaMicrophone, AlsaSpeaker
from utdstream import Devices, IncomingCall, UTDCallSession, UTDStreamClient, UTDStreamType

_saying = threading.Lock()


def say(*words: object) -> None:
    with _saying:
        print(*words, flush=True)


def watch(call: UTDCallSession) -> None:
    call.status.subscribe(lambda change: say("status", change.new and change.new.wire))


def main() -> None:
    identity, cards, *callee = sys.argv[1:]
    microphone, speaker = AlsaMicrophone(f"{cards}-microphone"), AlsaSpeaker(f"{cards}-speaker")
    with UTDStreamClient(
        os.environ["UTD_APP_ID"],
        os.environ["UTD_APP_KEY"],
        base_url=os.environ["UTD_BASE_URL"],
        devices=Devices(microphone=microphone, speaker=speaker),
    ) as client:
        client.authenticate(identity=identity)
        if callee:
            call = client.call_session(UTDStreamType.AUDIO_CALL)
            watch(call)
            call.start(callee_identity=callee[0])
            call.wait_for_answer(timeout=30)
        else:
            inbox = client.incoming_calls()

            def answer(incoming: IncomingCall) -> None:
                watch(incoming.accept())
                say("answered")

            inbox.ringing.subscribe(answer)
            inbox.connected.wait_for(True, timeout=10)
            say("listening")
        stop = threading.Event()
        threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
        problem = None
        while not stop.wait(0.02):
            if microphone.problem != problem:
                problem = microphone.problem
                say("problem" if problem else "healed", problem or "")


main()
