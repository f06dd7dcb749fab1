"""The door of the real doorbell on the real servers: for whom it opens, and what an attacker gets."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import pytest
from bell import Bell, bell, config_of
from facts import eventually
from home_listener import Listener
from mosquitto import Mosquitto
from people import People, Person

from utdstream import DataMessage, Devices, IncomingCall, UTDCallSession, UTDStreamType
from utdstream.testing import LocalStack

pytestmark = pytest.mark.integration
PATIENCE_S = 5.0
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "open_door.py"


class Asker:
    """One side of a call that asks the door to open."""

    def __init__(self, call: UTDCallSession) -> None:
        self.call = call
        self.heard: SimpleQueue[bytes] = SimpleQueue()
        call.messages.subscribe(lambda message: self.heard.put(message.data))

    def message(self, **fields: object) -> bytes:
        """A sound message with a nonce of its own, these fields changed; None takes one out."""
        said = {
            "type": "open_door",
            "call_id": self.call.call_id.value,
            "nonce": secrets.token_hex(16),
            **fields,
        }
        return json.dumps({name: value for name, value in said.items() if value is not None}).encode()

    def code_of(self, message: bytes) -> str:
        """Sends it until it is answered, by the nonce that it carries; the answer's code.

        A message is lost while the data channel opens, and the door may not know its sender in the first seconds.
        Once answered by its name it is sent no more: the second time it is a replay.
        """
        nonce = str(json.loads(message).get("nonce", ""))
        codes: list[str] = []

        def answered() -> bool:
            self.call.send_data(message)
            until = time.monotonic() + PATIENCE_S
            while not codes and (left := until - time.monotonic()) > 0:
                with contextlib.suppress(Empty):
                    answer: dict[str, Any] = json.loads(self.heard.get(timeout=left))
                    assert answer["type"] == "open_door_answer"
                    assert "271828" not in str(answer)
                    if answer.get("nonce", "") == nonce and answer["code"] != "unnamed":
                        codes.append(str(answer["code"]))
            return bool(codes)

        eventually(answered, "the door answers", 3 * PATIENCE_S)
        return codes[0]

    def code(self, **fields: object) -> str:
        """Asks until the door answers; the answer's code."""
        return self.code_of(self.message(**fields))


def call_of(person: Person, door: str) -> UTDCallSession:
    """A call to the door that the door answers."""
    call = person.call(UTDStreamType.AUDIO_CALL)
    call.start(callee_identity=door)
    call.wait_for_answer(timeout=15)
    return call


def pressed(door: Bell, house: Person) -> UTDCallSession:
    """A press that the house answers."""
    rings: SimpleQueue[IncomingCall] = SimpleQueue()
    with house.inbox().ringing.subscribe(rings.put):
        door.press()
        return rings.get(timeout=15).accept()


def test_door_when_a_callee_is_impersonated_stays_shut(
    stack: LocalStack, people: People, tmp_path: Path
) -> None:
    """An attacker under a name that the door answers, but that is no opener, in any spelling of the message."""
    attacker = people("house", devices=Devices())
    config = config_of(stack, tmp_path, "gate-1", doorbell={"callees": [attacker.identity], "media": "audio"})
    with bell(config) as door, call_of(attacker, "gate-1") as call:
        asker = Asker(call)
        assert asker.code() == "not_allowed"
        assert asker.code(pin="271828") == "not_allowed"
        assert asker.code(call_id=None, nonce=None) == "not_allowed"
        assert door.relay.pulses == 0


def test_door_when_everybody_is_answered_opens_for_no_caller(
    stack: LocalStack, people: People, tmp_path: Path
) -> None:
    """`always` lets callers in, not into the house; also those who are openers."""
    stranger, opener = people("stranger", devices=Devices()), people("opener", devices=Devices())
    config = config_of(
        stack,
        tmp_path,
        "gate-2",
        doorbell={"callees": [opener.identity], "auto_answer": "always", "media": "audio"},
        door={"openers": [opener.identity]},
    )
    with bell(config) as door:
        for person in (stranger, opener):
            with call_of(person, "gate-2") as call:
                assert Asker(call).code() == "not_allowed"
            door.wait("ready")
        assert door.relay.pulses == 0


def test_door_when_an_opener_calls_it_opens_by_policy_callees(
    stack: LocalStack, people: People, tmp_path: Path
) -> None:
    """And when a person answers the call, where the door answers none by itself."""
    opener = people("opener", devices=Devices())
    for number, policy in enumerate(("callees", "never"), start=1):
        config = config_of(
            stack,
            tmp_path,
            f"gate-3-{number}",
            doorbell={"callees": [opener.identity], "auto_answer": policy, "media": "audio"},
            door={"openers": [opener.identity]},
        )
        with bell(config) as door, opener.call(UTDStreamType.AUDIO_CALL) as call:
            call.start(callee_identity=f"gate-3-{number}")
            if policy == "never":
                eventually(lambda door=door: door.app.state.waiting, "it rings at the door")
                door.app.command("answer")
            call.wait_for_answer(timeout=15)
            assert Asker(call).code() == "opened"
            assert door.relay.pulses == 1


def test_message_when_old_foreign_or_replayed_opens_nothing_and_says_why(
    stack: LocalStack, people: People, tmp_path: Path
) -> None:
    """In its own call and in the next; a message that the media server gives no sender opens nothing."""
    house = people("house", devices=Devices())
    config = config_of(stack, tmp_path, "gate-4", doorbell={"callees": [house.identity], "media": "audio"})
    with bell(config) as door:
        with pressed(door, house) as call:
            asker = Asker(call)
            assert asker.code() == "opened"
            first = asker.message()
            codes = [asker.code_of(message) for message in (first, first, b'{"type": "open_door"}')]
            assert codes == ["opened", "replayed", "malformed"]
            assert asker.code(call_id="call_000000000000000000000000") == "wrong_call"
            for other in (b"open", b"[" * 400, b'{"type": "chat"}'):
                call.send_data(other)
        door.wait("ready")
        pulses = door.relay.pulses
        with pressed(door, house) as call:
            asker = Asker(call)
            assert asker.code(call_id="call_of_before") == "wrong_call"
            again = json.loads(first) | {"call_id": call.call_id.value}
            for message, code in ((first, "wrong_call"), (json.dumps(again).encode(), "replayed")):
                assert asker.code_of(message) == code
            calls = door.app._calls
            assert calls is not None
            nameless = asker.message()
            calls._message(calls._number, DataMessage(nameless, sender=None))
            answer = json.loads(asker.heard.get(timeout=3 * PATIENCE_S))
            assert (answer["code"], answer["nonce"]) == ("unnamed", json.loads(nameless)["nonce"])
            assert door.relay.pulses == pulses
            assert asker.code_of(nameless) == "opened"


def test_pin_when_wrong_five_times_locks_and_is_in_no_log(
    stack: LocalStack, people: People, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Then the right one is refused too. A changed PIN is taken at once; a lost one keeps the door shut."""
    caplog.set_level(logging.DEBUG)
    house = people("house", devices=Devices())
    pin = tmp_path / "pin"
    pin.write_text("271828\n")
    config = config_of(
        stack,
        tmp_path,
        "gate-5",
        doorbell={"callees": [house.identity], "media": "audio"},
        door={"pin_file": str(pin)},
    )
    with bell(config) as door, pressed(door, house) as call:
        asker = Asker(call)
        assert asker.code() == "pin_required"
        assert asker.code(pin="271828") == "opened"
        pin.write_text("314159\n")
        assert asker.code(pin="271828") == "wrong_pin"
        assert asker.code(pin="314159") == "opened"
        pin.unlink()
        assert asker.code(pin="314159") == "pin_unreadable"
        door.wait("door PIN: ")
        pin.write_text("314159\n")
        pulses = door.relay.pulses
        codes = [asker.code(pin=f"00000{number}") for number in range(5)]
        assert codes == ["wrong_pin"] * 4 + ["locked"]
        assert asker.code(pin="314159") == "locked"
        assert door.relay.pulses == pulses
    for secret in ("271828", "314159", "000003"):
        assert secret not in caplog.text


def test_opening_when_it_happens_is_logged_and_told_to_home_assistant_with_its_reason(
    stack: LocalStack, people: People, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The callee by the call, Home Assistant by its command."""
    caplog.set_level(logging.INFO)
    house = people("house", devices=Devices())
    broker = Mosquitto(tmp_path)
    broker.start()
    listener = Listener(broker.port)
    config = config_of(
        stack,
        tmp_path,
        "gate-6",
        doorbell={"callees": [house.identity], "media": "audio"},
        home_assistant={"enabled": True, "host": "127.0.0.1", "port": broker.port},
    )
    topic = "utdstream/gate-6/event/door"
    try:
        with bell(config) as door:
            listener.wait("utdstream/gate-6/availability", b"online")
            with pressed(door, house) as call:
                assert Asker(call).code() == "opened"
                assert json.loads(listener.wait(topic)) == {
                    "event_type": "opened",
                    "by": house.identity,
                    "why": "answered the door's call",
                    "call_id": call.call_id.value,
                }
                assert f"the door is opened: {house.identity} answered the door's call" in caplog.text
            del listener.newest[topic]
            listener.client.publish("utdstream/gate-6/cmd/open_door", "PRESS", qos=1)
            assert json.loads(listener.wait(topic))["by"] == "Home Assistant"
    finally:
        listener.close()
        broker.stop()


def test_the_documents_program_when_run_lets_the_visitor_in(stack: LocalStack, tmp_path: Path) -> None:
    """As the how-to prints it, against a door that wants a PIN."""
    (tmp_path / "pin").write_text("271828")
    config = config_of(
        stack,
        tmp_path,
        "gate-7",
        doorbell={"callees": ["house"], "media": "audio"},
        door={"pin_file": str(tmp_path / "pin")},
    )
    environment = {
        **os.environ,
        "UTD_BASE_URL": stack.base_url,
        "UTD_APP_ID": stack.app_id,
        "UTD_APP_KEY": stack.app_key,
        "DOOR_PIN": "271828",
    }
    with bell(config) as door:
        with subprocess.Popen(
            [sys.executable, "-u", str(EXAMPLE)], stdout=subprocess.PIPE, text=True, env=environment
        ) as house:
            assert house.stdout is not None
            assert house.stdout.readline() == "waiting for the door\n"
            door.press()
            assert house.stdout.read().splitlines() == ["the door is open", "the door: opened"]
        assert house.returncode == 0
        assert door.relay.pulses == 1
