"""A house that answers its doorbell and lets the visitor in. `DOOR_PIN` is the door's PIN, if it wants one."""

import json
import os
import secrets
import sys
import time
from queue import Empty, Queue

from utdstream import Devices, IncomingCall, UTDCallSession, UTDStreamClient, UTDStreamException


def open_door(call: UTDCallSession, pin: str | None = None) -> str:
    """Asks the other side of the call for its door. Returns the answer's code: `opened`, or why not."""
    heard: Queue[bytes] = Queue()
    with call.messages.subscribe(lambda message: heard.put(message.data)):
        for _ in range(10):  # a door that has just been answered may not know its caller for some seconds
            asked = {"type": "open_door", "call_id": call.call_id.value, "nonce": secrets.token_hex(16)}
            call.send_data(json.dumps(asked | ({"pin": pin} if pin else {})).encode())
            try:
                answer = json.loads(heard.get(timeout=2))
            except Empty:
                continue
            if answer["code"] == "unnamed":
                time.sleep(0.5)
                continue
            print(answer["message"])
            return str(answer["code"])
    return "no answer"


try:
    with UTDStreamClient.from_environment(devices=Devices()) as client:
        client.authenticate(identity="house", name="House")
        inbox = client.incoming_calls()
        rings: Queue[IncomingCall] = Queue()
        inbox.ringing.subscribe(rings.put)
        inbox.connected.wait_for(True)
        print("waiting for the door", flush=True)
        with rings.get().accept() as call:
            print("the door:", open_door(call, os.environ.get("DOOR_PIN")))
except UTDStreamException as error:
    sys.exit(str(error))  # one sentence: what was found, what to do
