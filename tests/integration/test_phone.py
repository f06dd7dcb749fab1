"""`utdstream call` and `utdstream answer`: exit statuses, files and JSON, between two real processes."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import wave
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy
import pytest
from engine_site import Site
from facts import eventually

from utdstream._command.demo.measure import tone_hz
from utdstream._wire import routes
from utdstream.testing import LocalStack

pytestmark = pytest.mark.integration

_numbers = itertools.count(1)
PATIENCE_S = 40
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(stack: LocalStack) -> Iterator[Start]:
    """Starts a `utdstream` command on the shared stack; what still runs at the end is killed."""
    running: list[subprocess.Popen[str]] = []

    def start_one(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "utdstream.cli", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "UTD_BASE_URL": stack.base_url,
                "UTD_APP_ID": stack.app_id,
                "UTD_APP_KEY": stack.app_key,
                **environment,
            },
        )
        running.append(process)
        return process

    yield start_one
    for process in running:
        process.kill()
        process.communicate()


def listening(process: subprocess.Popen[str], *, on: str = "stderr") -> subprocess.Popen[str]:
    """Returns when the answering side waits for calls."""
    stream = process.stderr if on == "stderr" else process.stdout
    assert stream is not None
    assert "waiting for calls" in stream.readline()
    return process


def someone() -> str:
    return f"phone-{next(_numbers)}"


def heard_hz(path: Path) -> float | None:
    """The tone in the second half of a recording."""
    with wave.open(str(path), "rb") as file:
        assert file.getframerate() == 48_000
        samples = numpy.frombuffer(file.readframes(file.getnframes()), numpy.int16)
    return tone_hz(samples[len(samples) // 2 :])


def test_both_sides_end_with_0_and_a_picture_is_kept_when_the_call_is_answered(
    start: Start, tmp_path: Path
) -> None:
    """Picture and JSON of one video call."""
    door, house = someone(), someone()
    picture = tmp_path / "seen.png"
    answering = listening(
        start(
            *("answer", "--identity", house, "--once", "--auto", "--ring", "1", "--json"),
            *("--snapshot", str(picture), "--microphone", "none", "--camera", "none"),
        )
    )
    calling = start(
        *("call", house, "--identity", door, "--name", "Front door", "--video", "--seconds", "2", "--json")
    )
    said, errors = calling.communicate(timeout=PATIENCE_S)
    assert calling.returncode == 0, errors
    facts = json.loads(said)
    assert facts["answered"] is True
    assert facts["statuses"] == ["initiating", "ringing", "active", "ended"]
    assert 1.9 <= facts["seconds"] <= 3.0
    said, errors = answering.communicate(timeout=PATIENCE_S)
    assert answering.returncode == 0, errors
    assert "Front door is calling (video_call)" in errors
    answered = json.loads(said)
    assert answered["call_id"] == facts["call_id"]
    assert answered["statuses"] == ["ringing", "active", "ended"]
    assert answered["snapshot"] == str(picture)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_other_sides_tone_is_in_the_file_when_it_is_recorded(start: Start, tmp_path: Path) -> None:
    """A sound call; the default microphone is a tone of 1000 Hz."""
    house, sound = someone(), tmp_path / "heard.wav"
    answering = listening(
        start("answer", "--identity", house, "--once", "--auto", "--ring", "1"), on="stdout"
    )
    calling = start(
        *("call", house, "--identity", someone(), "--seconds", "2", "--microphone", "none"),
        *("--record", str(sound)),
    )
    said, errors = calling.communicate(timeout=PATIENCE_S)
    assert calling.returncode == 0, errors
    assert said.splitlines()[:-1] == ["initiating", "ringing", "active", "ended"]
    said, errors = answering.communicate(timeout=PATIENCE_S)
    assert answering.returncode == 0, errors
    tone = heard_hz(sound)
    assert tone is not None
    assert abs(tone - 1000) < 5


@pytest.mark.parametrize(("how", "status"), [("--reject", "rejected"), ("--busy", "busy")])
def test_both_sides_end_with_3_when_the_call_is_refused(start: Start, how: str, status: str) -> None:
    """A script tells "nobody answered" from "it did not work"."""
    house = someone()
    answering = listening(start("answer", "--identity", house, "--once", how, "--json"))
    calling = start("call", house, "--identity", someone(), "--json")
    said, errors = calling.communicate(timeout=PATIENCE_S)
    assert calling.returncode == 3, errors
    assert json.loads(said)["status"] == status
    said, errors = answering.communicate(timeout=PATIENCE_S)
    assert answering.returncode == 3, errors
    assert json.loads(said)["status"] == status


def test_the_caller_ends_with_3_when_nobody_is_there(start: Start) -> None:
    """`--patience` is how long it rings."""
    calling = start("call", someone(), "--identity", someone(), "--patience", "0.5", "--json")
    said, errors = calling.communicate(timeout=PATIENCE_S)
    assert calling.returncode == 3, errors
    facts = json.loads(said)
    assert facts["answered"] is False
    assert facts["status"] == "ended"


def test_the_answering_side_ends_with_3_when_nobody_calls(start: Start) -> None:
    """`--wait` is how long it waits."""
    answering = start("answer", "--identity", someone(), "--auto", "--wait", "0.3")
    _, errors = answering.communicate(timeout=PATIENCE_S)
    assert answering.returncode == 3
    assert "no call came" in errors


def test_the_other_side_hears_the_hang_up_when_the_caller_gets_sigterm(start: Start) -> None:
    """SIGTERM and Ctrl-C hang up in good order: 143 and 130."""
    for number, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        house = someone()
        answering = listening(start("answer", "--identity", house, "--once", "--auto", "--json"))
        calling = start("call", house, "--identity", someone())
        assert calling.stdout is not None
        while calling.stdout.readline().strip() != "active":
            assert calling.poll() is None
        calling.send_signal(number)
        said, errors = answering.communicate(timeout=PATIENCE_S)
        # 3 when the hang-up came while the house was still joining the room.
        assert answering.returncode in (0, 3), errors
        assert json.loads(said)["statuses"] == ["ringing", "active", "ended"]
        calling.communicate(timeout=PATIENCE_S)
        assert calling.returncode == status


def test_the_caller_ends_with_4_and_the_reason_when_the_other_side_is_lost(start: Start) -> None:
    """Its process was killed, or its network went away: nobody hung up."""
    house = someone()
    answering = listening(start("answer", "--identity", house, "--once", "--auto", "--json"))
    calling = start("call", house, "--identity", someone(), "--json")
    for process in (calling, answering):
        assert process.stderr is not None
        while process.stderr.readline().strip() != "active":
            assert process.poll() is None
    answering.kill()
    said, errors = calling.communicate(timeout=PATIENCE_S)
    assert (calling.returncode, json.loads(said)["cut_off"]) == (4, "the other side was lost"), errors


@pytest.mark.parametrize("whose", ["door", "house"])
def test_a_side_ends_with_4_and_the_reason_when_its_key_is_revoked_in_the_call(
    start: Start, closed: LocalStack, site: Site, tmp_path: Path, whose: str
) -> None:
    """A script tells a call that was cut off from one that somebody ended; the other side was hung up on."""
    names = {"door": someone(), "house": someone()}
    base = {"UTD_BASE_URL": closed.base_url, "UTD_APP_ID": closed.app_id}
    house, door = ({**base, "UTD_APP_KEY": closed.issue_key(names[who])} for who in ("house", "door"))
    picture = tmp_path / "seen.png"
    answering = listening(
        start(
            *("answer", "--identity", names["house"], "--once", "--auto", "--json"),
            *("--snapshot", str(picture)),
            **house,
        )
    )
    calling = start("call", names["house"], "--identity", names["door"], "--video", "--json", **door)
    eventually(picture.exists, "they see each other", PATIENCE_S)
    rows = site.server().ask("GET", f"{routes.KEYS}?per_page=100").json()["data"]
    key_id = next(row["key_id"] for row in rows if row["identity"] == names[whose])
    assert site.server().ask("DELETE", routes.key(key_id)).status_code == 200
    ends = {}
    for who, process in (("door", calling), ("house", answering)):
        said, errors = process.communicate(timeout=PATIENCE_S)
        ends[who] = json.loads(said)["cut_off"]
        assert process.returncode == (4 if who == whose else 0)
        assert ("the call was cut off: This app key was revoked" in errors) is (who == whose)
    assert str(ends.pop(whose)).startswith("This app key was revoked")
    assert list(ends.values()) == [None]


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        (("--microphone", "no-such.wav"), {}, "no-such.wav"),
        ((), {"UTD_APP_KEY": ""}, "there is no app key"),
        ((), {"UTD_APP_ID": ""}, "there is no app id"),
        ((), {"UTD_APP_KEY": "wrong"}, "Invalid credentials"),
        ((), {"UTD_BASE_URL": "http://127.0.0.1:9"}, "127.0.0.1:9"),
        (("--app-key-file", "no-such-key"), {}, "no-such-key"),
    ],
)
def test_one_sentence_and_1_when_it_cannot_work(
    start: Start, arguments: tuple[str, ...], environment: dict[str, str], sentence: str
) -> None:
    """No traceback, no key."""
    calling = start("call", someone(), "--identity", someone(), *arguments, **environment)
    said, errors = calling.communicate(timeout=PATIENCE_S)
    assert calling.returncode == 1
    assert said == ""
    assert sentence in errors
    assert errors.startswith("utdstream: ")
    assert len(errors.splitlines()) == 1


def test_it_refuses_to_ask_when_there_is_no_terminal(start: Start) -> None:
    """A service that waits for an answer at a terminal would wait for ever."""
    answering = start("answer", "--identity", someone())
    _, errors = answering.communicate(timeout=PATIENCE_S)
    assert answering.returncode == 1
    assert "--auto" in errors
