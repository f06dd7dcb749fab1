"""`Faults` before the real servers: each link, server and answer is broken as a test says, for whom it says."""

from __future__ import annotations

import array
import gc
import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests
from engine_site import person_of
from facts import eventually
from people import People, Person

from utdstream import (
    ConnectionState,
    DeadlineExceeded,
    Devices,
    EngineError,
    EngineUnreachable,
    RateLimited,
    SessionClosed,
    UsageError,
    UTDCallSession,
    UTDStreamType,
)
from utdstream.synthetic import NullSpeaker, ToneMicrophone
from utdstream.testing import Faults, LocalStack
from utdstream.testing._conditions import Link
from utdstream.testing.gate import RequestAnswer
from utdstream.testing.network import why_not

pytestmark = pytest.mark.integration

LOUD = 1000
SILENT_S = 1.0


@pytest.fixture(scope="module")
def faults(programs: None) -> Iterator[Faults]:
    """A relay before a stack of its own; each test leaves all of it running."""
    with Faults(LocalStack(project={"call_ring_timeout_s": 6.0})) as made:
        yield made


@pytest.fixture
def people(faults: Faults) -> Iterator[People]:
    """Clients behind the relay."""
    made = People(faults.stack)
    yield made
    made.close()
    gc.collect()  # an error of a broken answer holds its connection as long as it lives


class Ear(NullSpeaker):
    """Knows when it last played something loud."""

    def __init__(self) -> None:
        super().__init__()
        self.loud_at = 0.0

    def _play(self, pcm: bytes) -> None:
        if pcm and max(array.array("h", pcm)) > LOUD:
            self.loud_at = time.monotonic()

    def is_hearing(self) -> bool:
        """Whether there was sound a moment ago."""
        return time.monotonic() - self.loud_at < SILENT_S


class Talk:
    """A call between two people who hear each other."""

    def __init__(self, people: People) -> None:
        self.ears = Ear(), Ear()
        self._stack = people.stack
        self.door = people("door", Devices(ToneMicrophone(700), self.ears[0]))
        self.house = people("house", Devices(ToneMicrophone(400), self.ears[1]))
        self.calling: UTDCallSession = self.door.call(UTDStreamType.AUDIO_CALL)
        inbox = self.house.inbox()
        self.calling.start(callee_identity=self.house.identity)
        self.answering = inbox.ringing.wait(timeout=10).accept()
        self.calling.wait_for_answer(timeout=10)
        self.both_hear()

    def both_hear(self) -> None:
        began = time.monotonic()
        for ear in self.ears:
            eventually(lambda ear=ear: ear.loud_at > began, "sound arrives", 30.0)

    def door_is_on(self) -> tuple[bool, list[bool], list[bool]]:
        """Whether the door's microphone is on: as the door says, the media server, and what the house was told."""
        tracks = person_of(self._stack, self.calling.call_id.value or "", self.door.identity).get(
            "tracks", []
        )
        told = [
            not publication.muted
            for person in self.answering.room.remote_participants.value
            for publication in person.publications
        ]
        assert isinstance(tracks, list)
        return self.calling.microphone_on.value, [not track.get("muted") for track in tracks], told

    def nobody_hears(self) -> None:
        eventually(lambda: not any(ear.is_hearing() for ear in self.ears), "no sound arrives", 10.0)


def asks(person: Person) -> None:
    """One request to the engine."""
    person.client.authenticate(identity=person.identity)


def test_media_when_its_link_is_cut_for_one_side_stops_and_comes_back(faults: Faults, people: People) -> None:
    """All of it passes the relay: with the link of the door cut nobody hears, the others' links are fine."""
    talk = Talk(people)
    carried = faults.carried("media")
    eventually(lambda: faults.carried("media") > carried + 10_000, "media passes here")
    with faults.cut("media", only="nobody-at-all"):
        talk.both_hear()
    with faults.cut("media", only=talk.door.identity):
        talk.nobody_hears()
        asks(talk.door)
    talk.both_hear()
    talk.calling.end()


@pytest.mark.parametrize("links", [(), ("media",)], ids=["all of it", "media"])
def test_toggles_when_the_link_is_cut_meanwhile_hold_behind_it_at_every_side(
    faults: Faults, people: People, links: tuple[Link, ...]
) -> None:
    """Made before the cut is noticed, and when it is. The unmute that comes behind it is heard."""
    talk = Talk(people)
    with faults.cut(*links, only=talk.door.identity):
        talk.calling.set_microphone(False)
        talk.calling.connection.wait_for(
            lambda now: now.state is ConnectionState.RECONNECTING and not now.is_peer_away, timeout=30
        )
        for on in (True, False):
            talk.calling.set_microphone(on)
    eventually(lambda: talk.door_is_on() == (False, [False], [False]), "all say that it is muted", 30.0)
    assert not talk.ears[1].is_hearing()
    talk.calling.set_microphone(True)
    talk.both_hear()
    eventually(lambda: talk.door_is_on() == (True, [True], [True]), "all say that it is on", 30.0)
    talk.calling.end()


def test_signal_when_it_is_reset_resumes(faults: Faults, people: People) -> None:
    """The call goes on."""
    talk = Talk(people)
    faults.reset("signal", only=talk.door.identity)
    talk.both_hear()
    talk.calling.end()


def test_engine_when_its_link_is_cut_does_not_answer_and_when_refused_is_unreachable(
    faults: Faults, people: People
) -> None:
    """One waits to its deadline, the other is told at once; for one identity alone when that is said."""
    door, house = people("door"), people("house")
    with faults.cut("engine", only=door.identity):
        with pytest.raises(DeadlineExceeded):
            door.client.authenticate(identity=door.identity, timeout=0.5)
        asks(house)
    with faults.refuse("engine"), pytest.raises(EngineUnreachable):
        asks(door)
    asks(door)
    with faults.refuse("engine", only=door.identity):
        with pytest.raises(EngineUnreachable):
            asks(door)
        asks(house)


def test_engine_when_its_link_is_slow_answers_later(faults: Faults, people: People) -> None:
    """There and back."""
    door = people("door")
    with faults.slow("engine", delay_ms=150, jitter_ms=20, loss=0.1):
        began = time.monotonic()
        asks(door)
        assert time.monotonic() - began > 0.26


def test_engine_when_its_connections_are_half_open_is_reached_by_new_ones(
    faults: Faults, people: People
) -> None:
    """The client waits on the old one, as it must: nobody told it; at the end of the fault it is told."""
    door = people("door")
    asks(door)
    with faults.half_open("engine", only=door.identity):
        with pytest.raises(DeadlineExceeded):
            door.client.authenticate(identity=door.identity, timeout=0.5)
        asks(people("house"))
    asks(door)


def test_server_when_frozen_or_killed_is_back_behind_it(faults: Faults, people: People) -> None:
    """A frozen one takes the request and says nothing, a killed one refuses; its new process has its ports."""
    door = people("door")
    with faults.frozen("engine"), pytest.raises(DeadlineExceeded):
        door.client.authenticate(identity=door.identity, timeout=0.5)
    asks(door)
    for away in (faults.killed, faults.stopped):
        with away("engine"):
            with pytest.raises(EngineUnreachable):
                asks(door)
            with pytest.raises(UsageError, match="start it first"), faults.frozen("engine"):
                pass
        asks(door)


def test_requests_when_answered_here_never_reach_the_engine(faults: Faults, people: People) -> None:
    """A mapping is a body with status 200; an answer may say anything, and end in the middle."""
    door = people("door")
    busy = RequestAnswer(429, b"{}", {"Content-Type": "application/json", "Retry-After": "7"})
    with faults.requests.answer("/auth/session", busy), pytest.raises(RateLimited) as limited:
        asks(door)
    assert limited.value.retry_after_s == 7
    for broken in (RequestAnswer(body=b'{"token": "x"}', cut_off_at=5), {"user_token": 7}):
        with faults.requests.answer("/auth/session", broken), pytest.raises((EngineUnreachable, EngineError)):
            asks(door)
    asks(door)


def test_requests_when_held_counted_and_lost_reach_the_engine(faults: Faults, people: People) -> None:
    """Held ones when they may, lost ones at once."""
    door = people("door")
    asked = faults.requests.count("/auth/session")
    with faults.requests.hold_answers("/auth/session", only=door.identity) as held:
        with pytest.raises(DeadlineExceeded):
            door.client.authenticate(identity=door.identity, timeout=0.3)
        assert held.came.is_set()
        held.let_go()
        asks(door)
    with faults.requests.lose_answers("/auth/session"), pytest.raises(EngineUnreachable):
        asks(door)
    assert faults.requests.count("/auth/session") >= asked + 3


def test_faults_when_wrongly_asked_say_what_is_right(faults: Faults, stack: LocalStack) -> None:
    """An unknown link, numbers that are none, media of a stack that ran before, faults that are not entered."""
    with pytest.raises(UsageError, match="engine, mqtt, signal, media"), faults.cut("sugnal"):  # type: ignore[arg-type]
        pass
    with pytest.raises(UsageError, match="0 to 1"), faults.slow("media", loss=1.5):
        pass
    with pytest.raises(UsageError, match="network of their own"):
        faults.network.change_address()
    with pytest.raises(SessionClosed), Faults(stack).cut("media"):
        pass
    with Faults(stack) as late:
        assert requests.get(late.base_url + "/health", timeout=10).status_code == 200
        with pytest.raises(UsageError, match="before it is started"), late.cut("media"):
            pass
    assert stack.is_running("engine"), "a stack that ran before goes on"


ASKS = """
import json, sys, time, urllib.request
for line in sys.stdin:
    url, timeout = json.loads(line)
    try:
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=timeout).read()
        print("answered", flush=True)
    except OSError as error:
        print("nothing", flush=True)
"""


def test_network_when_its_cable_is_pulled_reaches_nobody(programs: None) -> None:
    """A program in a network of its own reaches the stack by a cable, and by nothing else; it may roam."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with ExitStack() as parts:
        faults = parts.enter_context(Faults(LocalStack(open_key=True), with_network=True))
        program = faults.network.popen([sys.executable, "-c", ASKS])
        parts.callback(program.communicate)

        def asked(timeout_s: float) -> bytes:
            assert program.stdin is not None
            assert program.stdout is not None
            program.stdin.write(json.dumps([faults.base_url + "/health", timeout_s]).encode() + b"\n")
            program.stdin.flush()
            return program.stdout.readline().strip()

        assert asked(10) == b"answered"
        with faults.network.unplugged():
            assert asked(0.5) == b"nothing"
        assert asked(10) == b"answered"
        with faults.network.without_route():
            assert asked(0.5) == b"nothing"
        before = faults.network.change_address()
        assert asked(10) == b"answered"
        assert faults.network.change_address() != before
        assert asked(10) == b"answered"
    assert not list(Path("/sys/class/net").glob("utda*")), "the cable is gone with it"
