"""The doorbell on the real servers: what a visitor and a house live through."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from bell import bell, config_of
from callee_process import callee_process
from facts import eventually
from people import People, Person

from device.camera.synthetic import SyntheticCamera
from utdstream import (
    CallCancelled,
    CallNotAnswered,
    Conflict,
    DeviceError,
    Devices,
    IncomingCall,
    UTDCallSession,
    UTDCallStatus,
    UTDStreamType,
)
from utdstream.media import PcmFrame
from utdstream.synthetic import NullSpeaker, PatternCamera, ToneMicrophone
from utdstream.testing import LocalStack

pytestmark = pytest.mark.integration
AUDIO = {"media": "audio"}
OVER = (UTDCallStatus.ENDED, UTDCallStatus.REJECTED, UTDCallStatus.MISSED)


class House:
    """Somebody at home."""

    def __init__(
        self, people: People, name: str, react: Callable[[IncomingCall], object] | None = None
    ) -> None:
        self.person: Person = people(name, devices=Devices())
        self.identity = self.person.identity
        self.rings: list[IncomingCall] = []
        self.cancels: list[CallCancelled] = []
        self.calls: list[UTDCallSession] = []

        def ring(incoming: IncomingCall) -> None:
            self.rings.append(incoming)
            made = react(incoming) if react is not None else None
            if isinstance(made, UTDCallSession):
                self.calls.append(made)

        inbox = self.person.inbox()
        inbox.ringing.subscribe(ring)
        inbox.cancelled.subscribe(self.cancels.append)


def accept(incoming: IncomingCall) -> UTDCallSession:
    return incoming.accept()


def test_press_when_answered_is_one_call_until_the_house_hangs_up(
    stack: LocalStack, people: People, tmp_path: Path
) -> None:
    """Ring, talk, hang up; a second press meanwhile is no second call."""
    house = House(people, "house", accept)
    config = config_of(stack, tmp_path, "bell-1", doorbell={"callees": [house.identity]})
    with bell(config) as door:
        door.press()
        door.press()
        door.wait(f"in a call with {house.identity}")
        eventually(lambda: house.calls, "the house is in the call")
        call = house.calls[0]
        assert len(house.rings) == 1
        call.end()
        door.wait("ready")


@pytest.mark.slow
def test_press_when_the_house_of_the_call_is_frozen_calls_anew(
    stack: LocalStack, people: People, tmp_path: Path
) -> None:
    """An empty battery keeps no bell silent: the status says that the house is away, and others are rung."""
    victim = people("victim")
    other = House(people, "other")
    config = config_of(stack, tmp_path, "bell-away", doorbell={"callees": [victim.identity, other.identity]})
    with callee_process(stack, victim.identity) as process, bell(config) as door:
        door.press()
        door.wait(f"in a call with {victim.identity}")
        process.send_signal(signal.SIGSTOP)
        door.wait("who is away", 40)
        rung = len(other.rings)
        door.press()
        eventually(lambda: len(other.rings) > rung, "the other house rings", 15)
        other.rings[-1].accept()
        door.wait(f"in a call with {other.identity}")


def test_press_when_it_comes_leaves_a_picture(stack: LocalStack, people: People, tmp_path: Path) -> None:
    """The newest of the door's own camera, as JPEG; the oldest are forgotten."""
    house = House(people, "house", lambda incoming: incoming.reject())
    pictures = tmp_path / "pictures"
    settings = {"callees": [house.identity], "snapshot_folder": str(pictures), "snapshot_keep": 2, **AUDIO}
    config = config_of(stack, tmp_path, "bell-11", doorbell=settings)
    with bell(config, devices=Devices(camera=SyntheticCamera(320, 240, 15))) as door:
        for count in (1, 2, 3):
            door.press()
            eventually(lambda count=count: len(house.rings) == count, "it rings")
            eventually(
                lambda count=count: len(list(pictures.glob("*.jpg"))) == min(count, 2), "a picture", 10
            )
            eventually(lambda: door.app.state.phase.value == "ready", "it is over", 10)
        newest = max(pictures.glob("*.jpg"))
        assert newest.read_bytes().startswith(b"\xff\xd8")


def test_house_when_it_declines_is_said_and_the_bell_rings_again(
    stack: LocalStack, people: People, tmp_path: Path
) -> None:
    """The next press is a new call."""
    house = House(people, "house", lambda incoming: incoming.reject())
    config = config_of(stack, tmp_path, "bell-2", doorbell={"callees": [house.identity], **AUDIO})
    with bell(config) as door:
        for count in (1, 2):
            door.press()
            eventually(lambda count=count: len(house.rings) == count, "it rings")
            eventually(lambda: door.app.state.phase.value == "ready", "it is over", 10)


def test_houses_when_rung_at_once_have_one_winner(stack: LocalStack, people: People, tmp_path: Path) -> None:
    """The others are told that it was answered elsewhere."""
    quiet = [House(people, "quiet") for _ in range(2)]
    quick = House(people, "quick", accept)
    callees = [house.identity for house in (*quiet, quick)]
    with bell(config_of(stack, tmp_path, "bell-3", doorbell={"callees": callees, **AUDIO})) as door:
        door.press()
        door.wait(f"in a call with {quick.identity}")
        for house in quiet:
            eventually(lambda house=house: house.cancels, "it is told")
            assert house.cancels[0].reason == "answered_elsewhere"


def test_houses_when_rung_in_turn_follow_each_other(
    stack: LocalStack, people: People, tmp_path: Path
) -> None:
    """The second rings when the first declines."""
    first = House(people, "first", lambda incoming: incoming.reject())
    second = House(people, "second", accept)
    settings = {"callees": [first.identity, second.identity], "mode": "in_turn", **AUDIO}
    with bell(config_of(stack, tmp_path, "bell-4", doorbell=settings)) as door:
        door.press()
        door.wait(f"in a call with {second.identity}")
        assert len(first.rings) == 1


def test_house_when_it_does_not_answer_is_given_up(stack: LocalStack, people: People, tmp_path: Path) -> None:
    """After the ring time the phone stops, and the bell is ready."""
    house = House(people, "away")
    settings = {"callees": [house.identity], "ring_timeout_s": 2, **AUDIO}
    with bell(config_of(stack, tmp_path, "bell-5", doorbell=settings)) as door:
        door.press()
        eventually(lambda: house.rings, "it rings")
        eventually(lambda: house.cancels, "it stops ringing", 15)
        door.wait("ready")


def test_bell_when_not_to_be_disturbed_calls_nobody(
    stack: LocalStack, people: People, tmp_path: Path
) -> None:
    """Until it may be again."""
    house = House(people, "asleep", accept)
    settings = {"callees": [house.identity], "do_not_disturb": True, **AUDIO}
    with bell(config_of(stack, tmp_path, "bell-6", doorbell=settings)) as door:
        door.press()
        door.app.command("do_not_disturb_off")
        door.wait("ready")
        eventually(lambda: not door.app.state.do_not_disturb, "it may ring")
        assert house.rings == []
        door.press()
        door.wait("in a call")


def test_callee_when_he_calls_the_door_is_answered_and_a_stranger_refused(
    stack: LocalStack, people: People, tmp_path: Path
) -> None:
    """Looking who is there without a ring: for those who would be called, nobody else."""
    owner, stranger = people("owner", devices=Devices()), people("stranger", devices=Devices())
    with bell(config_of(stack, tmp_path, "bell-7", doorbell={"callees": [owner.identity], **AUDIO})) as door:
        with stranger.call(UTDStreamType.AUDIO_CALL) as call:
            with contextlib.suppress(CallNotAnswered):  # it may be refused while its room is joined
                call.start(callee_identity="bell-7")
            call.status.wait_for(UTDCallStatus.REJECTED, timeout=10)
        with owner.call(UTDStreamType.AUDIO_CALL) as call:
            call.start(callee_identity="bell-7")
            call.wait_for_answer(timeout=10)
            door.wait(f"in a call with {owner.identity}")
        door.wait("ready")


def test_caller_when_the_door_is_in_a_call_is_told_busy(
    stack: LocalStack, people: People, tmp_path: Path
) -> None:
    """One call at a time; the one that stands is not disturbed."""
    house, other = House(people, "house", accept), people("other", devices=Devices())
    settings = {"callees": [house.identity], "auto_answer": "always", **AUDIO}
    with bell(config_of(stack, tmp_path, "bell-16", doorbell=settings)) as door:
        door.press()
        door.wait("in a call")
        with other.call(UTDStreamType.AUDIO_CALL) as call:
            with contextlib.suppress(CallNotAnswered, Conflict):  # it may be refused while its room is joined
                call.start(callee_identity="bell-16")
            call.status.wait_for(UTDCallStatus.BUSY, timeout=10)
        assert f"in a call with {house.identity}" in door.status


class DeadMicrophone(ToneMicrophone):
    """A card that was pulled out."""

    problem = "the card is gone"

    def start(self, sink: Callable[[PcmFrame], None]) -> None:
        raise DeviceError("the card cannot be opened: plug it in")


def test_call_when_the_microphone_is_dead_goes_on_and_says_so(
    stack: LocalStack, people: People, tmp_path: Path
) -> None:
    """The house sees who is there; the status names the device."""
    house = House(people, "house", accept)
    devices = Devices(DeadMicrophone(), NullSpeaker(), PatternCamera(320, 240, 15))
    config = config_of(stack, tmp_path, "bell-17", doorbell={"callees": [house.identity]})
    with bell(config, devices=devices) as door:
        door.press()
        door.wait(f"in a call with {house.identity}; microphone: the card is gone")
        eventually(lambda: house.calls, "the house is in the call", 10)
        assert house.calls[0].snapshot(timeout=10).startswith(b"\x89PNG")


def test_engine_when_absent_at_boot_is_waited_for_and_said(people: People, tmp_path: Path) -> None:
    """READY comes all the same; a press then is a status, not a crash; the engine's return is noticed."""
    with LocalStack() as own:
        config = config_of(own, tmp_path, "bell-8", doorbell={"callees": ["house"], **AUDIO})
        own.stop("engine")
        with bell(config, ready=False) as door:
            door.wait("waiting for the engine")
            door.press()
            eventually(lambda: door.app._last_reason, "the press is answered")
            assert "waiting for the engine" in door.app._last_reason
            own.start("engine")
            door.wait("ready", within_s=25)


def test_broker_when_it_is_away_is_said_but_not_the_moment_of_a_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A start takes its time; what stays away is worth a look."""
    caplog.set_level("INFO")
    with LocalStack() as own:
        config = config_of(own, tmp_path, "bell-16", doorbell={"callees": ["house"], **AUDIO})
        with bell(config) as door:
            eventually(lambda: "listening for incoming calls" in caplog.text, "the broker lets it in")
            assert "message broker" not in caplog.text
            own.kill("mqtt")
            door.wait("there is no connection to the message broker")
            own.start("mqtt")
            eventually(lambda: door.status == "ready", "it is back", 25)


def test_engine_when_down_at_a_press_is_said_and_the_next_press_after_it_rings(tmp_path: Path) -> None:
    """The visitor is not left in silence, the status says why, and nobody has to restart anything."""
    with LocalStack() as own:
        people = People(own)
        try:
            house = House(people, "house", lambda incoming: incoming.reject())
            config = config_of(own, tmp_path, "bell-13", doorbell={"callees": [house.identity], **AUDIO})
            with bell(config) as door:
                own.kill("engine")
                door.press()
                door.wait("waiting for the engine", within_s=25)
                assert door.app.state.phase.value == "ready"
                own.start("engine")
                eventually(lambda: door.status == "ready", "it is back", 25)
                door.press()
                eventually(lambda: house.rings, "it rings", 15)
        finally:
            people.close()


def test_press_when_given_up_at_once_leaves_no_call(
    stack: LocalStack, people: People, tmp_path: Path
) -> None:
    """Hung up before the call was even made: whatever was under way is undone, and the next press rings."""
    house = House(people, "house")
    with bell(config_of(stack, tmp_path, "bell-14", doorbell={"callees": [house.identity], **AUDIO})) as door:
        for _ in range(5):
            door.press()
            door.app.command("hang_up")
        eventually(lambda: len(house.cancels) == len(house.rings), "all that rang stopped", 10)
        eventually(lambda: door.is_idle and names_of("utd-call") == 0, "nothing is left", 10)
        rung = len(house.rings)
        door.press()
        eventually(lambda: len(house.rings) > rung, "the next press rings", 10)


def test_call_to_the_door_when_hung_up_while_it_is_answered_is_over(
    stack: LocalStack, people: People, tmp_path: Path
) -> None:
    """Nobody goes on listening at a door that says it is ready."""
    owner = people("owner", devices=Devices())
    with bell(config_of(stack, tmp_path, "bell-15", doorbell={"callees": [owner.identity], **AUDIO})) as door:
        with owner.call(UTDStreamType.AUDIO_CALL) as call:
            call.start(callee_identity="bell-15")
            eventually(lambda: door.app.state.phase.value == "in a call", "it is answered")
            door.app.command("hang_up")
            call.status.wait_for(lambda now: now in OVER, timeout=10)
        eventually(lambda: names_of("utd-call") == 0, "nothing is left", 10)
        assert door.is_idle


def test_key_when_refused_is_said_plainly(stack: LocalStack, tmp_path: Path) -> None:
    """Nobody has to read a log to find a wrong key, and the key itself is nowhere."""
    config = config_of(stack, tmp_path, "bell-9", doorbell={"callees": ["house"]})
    (tmp_path / "app_key").write_text("wrong-key")
    with bell(config, ready=False) as door:
        door.wait("refuses this device")
        assert "wrong-key" not in door.status


def test_identity_when_refused_is_said_plainly(stack: LocalStack, tmp_path: Path) -> None:
    """A door that has a blank in its identity reads what to write, not that it waits for the engine."""
    config = config_of(stack, tmp_path, "front door", doorbell={"callees": ["house"]})
    with bell(config, ready=False) as door:
        door.wait("refuses this device: identity must not hold blanks; write front-door")


def test_calls_when_the_house_hangs_up_leave_nothing_behind(
    stack: LocalStack, people: People, tmp_path: Path
) -> None:
    """A year of calls: each session is freed, and its threads with it."""
    house = House(people, "house", accept)
    with bell(config_of(stack, tmp_path, "bell-12", doorbell={"callees": [house.identity], **AUDIO})) as door:
        for number in range(1, 6):
            door.press()
            eventually(lambda number=number: len(house.calls) == number, "it is answered", 15)
            door.wait("in a call")
            house.calls[-1].dispose()
            door.wait("ready")
            eventually(lambda: door.is_idle, "the session is gone")
        eventually(lambda: names_of("utdstream-events-audio_call") <= 1, "all are freed", 10)


def names_of(beginning: str) -> int:
    return sum(thread.name.startswith(beginning) for thread in threading.enumerate())


def test_bell_when_stopped_in_a_call_hangs_up_within_two_seconds(
    stack: LocalStack, people: People, tmp_path: Path
) -> None:
    """The house is not left talking to nobody."""
    house = House(people, "house", accept)
    with bell(config_of(stack, tmp_path, "bell-10", doorbell={"callees": [house.identity], **AUDIO})) as door:
        door.press()
        door.wait("in a call")
        begun = time.monotonic()
        door.close()
        assert time.monotonic() - begun < 5 * 2
    eventually(lambda: house.calls[0].status.value is UTDCallStatus.ENDED, "the house knows", 10)
