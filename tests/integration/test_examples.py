"""The programs of the pages run, as they are, against the real servers."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from authority import Authority, TlsDoor

from utdstream import CallCancelled, Devices, UTDStreamClient
from utdstream.synthetic import ToneMicrophone
from utdstream.testing import LocalStack

pytestmark = pytest.mark.integration

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
FROM_ENVIRONMENT = sorted(
    path.name for path in EXAMPLES.glob("*.py") if "from_environment" in path.read_text()
)
"""The programs that are told their engine; the others start one of their own."""
PATIENCE_S = 40


class Program:
    """One example, started in a folder of its own."""

    def __init__(self, name: str, folder: Path, stack: LocalStack, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-u", str(EXAMPLES / name)],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={
                **os.environ,
                "UTD_BASE_URL": stack.base_url,
                "UTD_APP_ID": stack.app_id,
                "UTD_APP_KEY": stack.app_key,
                **environment,
            },
        )
        self.said = ""

    def until(self, words: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line
            if words in line:
                return
        raise AssertionError(f"it ended without saying {words!r}:\n{self.said}")

    def enter(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def ended(self) -> int:
        rest, _ = self.process.communicate(timeout=PATIENCE_S)
        self.said += rest
        return self.process.returncode


@pytest.fixture
def encrypted(stack: LocalStack, authority: Authority) -> Iterator[str]:
    """The stack's engine behind a certificate of an authority that the programs do not know."""
    with TlsDoor(urlsplit(stack.base_url).port or 0, authority.issue()) as door:
        yield f"https://localhost:{door.port}"


@pytest.mark.parametrize("name", FROM_ENVIRONMENT)
def test_program_when_what_it_is_given_is_wrong_ends_with_one_sentence(
    stack: LocalStack, encrypted: str, tmp_path: Path, name: str
) -> None:
    """What a beginner meets first: no traceback, and what to do."""
    faults = (
        ({"UTD_APP_KEY": ""}, "there is no UTD_APP_KEY"),
        ({"UTD_APP_KEY": "wrong"}, "Invalid credentials"),
        ({"UTD_BASE_URL": "http://127.0.0.1:9"}, "127.0.0.1:9 failed: it cannot be reached"),
        ({"UTD_BASE_URL": "127.0.0.1:8080"}, "base_url must look like"),
        ({"UTD_BASE_URL": encrypted, "SSL_CERT_FILE": ""}, "or UTD_CA_FILE"),
        ({"UTD_CA_FILE": str(tmp_path / "nowhere.pem")}, "no such file or directory"),
    )
    started = [(Program(name, tmp_path, stack, **wrong), sentence) for wrong, sentence in faults]
    for program, sentence in started:
        assert program.ended() == 1, program.said
        assert sentence in program.said
        assert program.said.count("\n") == 1, program.said


@pytest.fixture
def house(stack: LocalStack, tmp_path: Path) -> Iterator[Program]:
    """The house of the tutorial, waiting for calls in `tmp_path/house`."""
    folder = tmp_path / "house"
    folder.mkdir()
    running = Program("house.py", folder, stack)
    running.until("waiting for the door")
    yield running
    running.process.send_signal(signal.SIGINT)
    running.ended()


def test_the_tutorials_door_and_house_talk_when_enter_is_pressed(
    stack: LocalStack, house: Program, tmp_path: Path
) -> None:
    """Twice in a row, and the visitor's picture is kept."""
    door = Program("door.py", tmp_path, stack, TALK_S="1.5")
    for _ in range(2):
        door.enter("")
        house.until("rings")
        house.until("visitor.png is the visitor")
        house.until("the call is over")
    door.enter("q")
    assert door.ended() == 0, door.said
    assert door.said.count("talking") == 2
    assert (tmp_path / "house" / "visitor.png").read_bytes().startswith(b"\x89PNG")
    assert "Traceback" not in door.said + house.said


def test_the_readmes_program_keeps_sound_and_picture_when_the_house_answers(
    stack: LocalStack, house: Program, tmp_path: Path
) -> None:
    """Its states are those of a good call."""
    script = Program("call.py", tmp_path, stack)
    assert script.ended() == 0, script.said
    assert script.said.split() == ["initiating", "active", "ended"]
    assert (tmp_path / "house.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "heard.wav").stat().st_size > 4_800


def test_kiosk_example_when_run_sits_down_and_hears_the_speakers(stack: LocalStack, tmp_path: Path) -> None:
    """Somebody else takes a seat, and the kiosk counts the sound."""
    kiosk = Program("kiosk.py", tmp_path, stack, LISTEN_S="3")
    kiosk.until("kiosk")
    devices = Devices(microphone=ToneMicrophone())
    with UTDStreamClient(stack.app_id, stack.app_key, base_url=stack.base_url, devices=devices) as client:
        client.join_audio_room(identity="visitor", room_name="lobby").take_seat(1)
        kiosk.until("visitor")
        assert kiosk.ended() == 0, kiosk.said
    assert float(kiosk.said.split("heard ")[1].split()[0]) > 0.5
    assert (tmp_path / "lobby.wav").stat().st_size > 4_800


def test_streamer_example_when_a_hand_is_raised_lets_it_on_stage(stack: LocalStack, tmp_path: Path) -> None:
    """A viewer raises the hand, is invited by the script's callback, and may publish."""
    streamer = Program("streamer.py", tmp_path, stack, LIVE_S="3")
    streamer.until("live")
    with UTDStreamClient(stack.app_id, stack.app_key, base_url=stack.base_url) as client:
        viewer = client.join_live_stream(identity="viewer", room_name="show")
        assert viewer.snapshot().startswith(b"\x89PNG")
        viewer.request_stage()
        viewer.can_publish.wait_for(True, timeout=PATIENCE_S)
        assert streamer.ended() == 0, streamer.said
    assert "viewer raises the hand" in streamer.said


def test_ctrl_c_hangs_up_when_the_readmes_program_waits_for_an_answer(
    stack: LocalStack, tmp_path: Path
) -> None:
    """A program that ends leaves no call behind: `with` ends it."""
    cancelled: queue.SimpleQueue[CallCancelled] = queue.SimpleQueue()
    with UTDStreamClient(stack.app_id, stack.app_key, base_url=stack.base_url) as client:
        client.authenticate(identity="house")
        with client.incoming_calls() as inbox:
            inbox.cancelled.subscribe(cancelled.put)
            caller = Program("call.py", tmp_path, stack)
            incoming = inbox.ringing.wait(timeout=PATIENCE_S)
            caller.process.send_signal(signal.SIGINT)
            assert cancelled.get(timeout=PATIENCE_S).call_id == incoming.call_id
    assert caller.ended() != 0


def test_link_cut_example_when_run_keeps_its_call(programs: None, tmp_path: Path) -> None:
    """It starts servers of its own."""
    run = subprocess.run(
        [sys.executable, str(EXAMPLES / "link_cut.py")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert run.stdout.split("\n")[-2:] == ["the call went on", ""], run.stderr
