"""What a program wants of its microphone and camera, through whatever happens to the room meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from facts import eventually
from media_rooms import CountedMicrophone, MediaRoom, hear
from relay import Relay

from utdstream import DeadlineExceeded, Devices, SessionClosed, UTDRoom
from utdstream._session.rejoin import Rejoin
from utdstream._threads.deadline import Deadline
from utdstream._threads.lanes import WorkLane
from utdstream.models import Connection, ConnectionState
from utdstream.synthetic import PatternCamera, ToneMicrophone
from utdstream.testing import LocalStack

pytestmark = pytest.mark.integration

PATIENCE_S = 15.0
NOTICED_S = 60.0
"""The core gives up a silent signal connection after 15 s, and resumes within some seconds more."""


@pytest.fixture
def hall(stack: LocalStack) -> Iterator[MediaRoom]:
    """A room on the SFU."""
    with MediaRoom(stack) as room:
        yield room


class HeldMicrophone(CountedMicrophone):
    """A tone whose `stop` waits for the test."""

    def __init__(self, tone_hz: float = 700) -> None:
        super().__init__(tone_hz)
        self.stopping, self.may_stop = threading.Event(), threading.Event()

    def stop(self) -> None:
        self.stopping.set()
        assert self.may_stop.wait(PATIENCE_S)
        super().stop()


def muted(hall: MediaRoom, identity: str, source: str = "MICROPHONE") -> bool | None:
    """Whether the SFU takes the track of `identity` for muted; None when there is none."""
    tracks = [track for track in hall.tracks(identity) if track.get("source") == source]
    return bool(tracks[0].get("muted", False)) if tracks else None


def in_background(act: threading.Thread) -> threading.Thread:
    act.start()
    return act


# -- calls that give up -----------------------------------------------------------------------------


def test_mute_when_another_threads_mute_runs_out_of_time_stays(hall: MediaRoom) -> None:
    """Who was told "muted" is muted: the one that gave up takes back its own wish alone."""
    microphone = HeldMicrophone()
    talker = hall.join("talker", Devices(microphone))
    talker.set_microphone(True)
    outcomes: list[str] = []

    def first() -> None:
        try:
            talker.set_microphone(False, timeout=0.5)
        except DeadlineExceeded:
            outcomes.append("first gave up")

    def second() -> None:
        talker.set_microphone(False, timeout=4 * PATIENCE_S)
        outcomes.append(f"second returned, on: {talker.microphone_on.value}")

    mutes = [in_background(threading.Thread(target=first))]
    assert microphone.stopping.wait(PATIENCE_S)
    mutes.append(in_background(threading.Thread(target=second)))
    mutes[0].join(PATIENCE_S)
    microphone.may_stop.set()
    mutes[1].join(PATIENCE_S)
    assert outcomes[-1] == "second returned, on: False"
    hear(hall.join("listener"))
    assert muted(hall, "talker") is True
    assert not microphone.running


def test_mute_when_its_call_gave_up_is_taken_back(hall: MediaRoom) -> None:
    """Its caller was told that it failed, so it is on again as soon as the device allows."""
    microphone = HeldMicrophone()
    talker = hall.join("talker", Devices(microphone))
    talker.set_microphone(True)
    with pytest.raises(DeadlineExceeded):
        talker.set_microphone(False, timeout=0.2)
    microphone.may_stop.set()
    talker.microphone_on.wait_for(True, timeout=PATIENCE_S)
    hear(hall.join("listener"), 700)
    assert muted(hall, "talker") is False


# -- a room that is away ----------------------------------------------------------------------------


def by_hand() -> Rejoin:
    """A session that would join the room again, whose own attempts never come."""
    lane = WorkLane("no work")
    lane.close()
    return Rejoin(
        lane,
        "hall",
        enter=lambda _: None,
        is_wanted=lambda: True,
        gave_up=lambda _: None,
        reasons=frozenset({"PARTICIPANT_REMOVED"}),
    )


def lose(hall: MediaRoom, room: UTDRoom, identity: str, *, comes_back: bool = True) -> None:
    """The room is lost; its session would join it again, as those of calls and of rooms with a name do."""
    room._media.rejoin = by_hand() if comes_back else None
    state = ConnectionState.RECONNECTING if comes_back else ConnectionState.DISCONNECTED
    hall.ask("RemoveParticipant", room=hall.name, identity=identity)
    room.connection.wait_for(lambda now: now.state is state, timeout=PATIENCE_S)


def join_again(hall: MediaRoom, room: UTDRoom, identity: str) -> None:
    """What a session does: a fresh token, the wishes as they stand."""
    room._media.join(hall.url, hall.token(identity), Deadline(20.0, 20.0, "joining again"))


def test_mute_when_the_room_is_away_is_met_when_it_is_back(hall: MediaRoom) -> None:
    """Not a moment of it is heard: the track is muted from its publication on."""
    microphone = CountedMicrophone(700)
    talker, listener = hall.join("talker", Devices(microphone)), hall.join("listener")
    talker.set_microphone(True)
    hear(listener, 700)
    lose(hall, talker, "talker")
    opened = microphone.opened
    talker.set_microphone(False)  # returns at once
    join_again(hall, talker, "talker")
    eventually(lambda: muted(hall, "talker") is True, "it is published muted", PATIENCE_S)
    assert microphone.opened == opened
    assert not talker.microphone_on.value
    talker.set_microphone(True)
    hear(listener, 700)


def test_wishes_when_the_room_is_away_are_met_in_their_newest_form(hall: MediaRoom) -> None:
    """A camera wished for and a mute taken back while nobody could see or hear."""
    devices = Devices(CountedMicrophone(700), camera=PatternCamera(320, 240, 15))
    talker, listener = hall.join("talker", devices), hall.join("listener")
    talker.set_microphone(False)
    lose(hall, talker, "talker")
    for enabled in (True, False, True):
        talker.set_microphone(enabled)
    talker.set_camera(True)
    assert (talker.microphone_on.value, talker.camera_on.value) == (False, False)
    join_again(hall, talker, "talker")
    talker.microphone_on.wait_for(True, timeout=PATIENCE_S)
    talker.camera_on.wait_for(True, timeout=PATIENCE_S)
    hear(listener, 700)


def test_wish_when_the_room_does_not_come_back_is_refused_and_not_kept(hall: MediaRoom) -> None:
    """A room of its own, or one that was left: the next connect publishes nothing by itself."""
    microphone = CountedMicrophone(700)
    talker = hall.join("talker", Devices(microphone))
    talker.set_microphone(True)
    lose(hall, talker, "talker", comes_back=False)
    with pytest.raises(SessionClosed):
        talker.set_microphone(True)
    talker.connect(hall.url, hall.token("talker"))
    talker.stats()
    assert hall.tracks("talker") == []
    assert microphone.opened == 1


# -- what the SFU says ------------------------------------------------------------------------------


def test_mute_of_our_own_when_toggled_fast_is_never_taken_for_the_servers(hall: MediaRoom) -> None:
    """What the core echoes late is ours; the newest wish holds, here and at the SFU."""
    talker = hall.join("talker", Devices(ToneMicrophone(700)))
    for _ in range(10):
        talker.set_microphone(True)
        talker.set_microphone(False)
    talker.set_microphone(True)
    listener = hall.join("listener")
    hear(listener, 700)
    assert talker.microphone_on.value
    eventually(lambda: muted(hall, "talker") is False, "the SFU says so", PATIENCE_S)


def test_mute_by_the_server_when_we_unmute_later_is_over(hall: MediaRoom) -> None:
    """Ours and the server's in turn: the newest word holds, whose ever it is."""
    microphone = CountedMicrophone(700)
    talker, listener = hall.join("talker", Devices(microphone)), hall.join("listener")
    for own_first in (False, True):
        talker.set_microphone(True)
        eventually(lambda: muted(hall, "talker") is False, "the SFU has the track", PATIENCE_S)
        (track,) = hall.tracks("talker")
        if own_first:
            talker.set_microphone(False)
            talker.set_microphone(True)
        hall.ask("MutePublishedTrack", room=hall.name, identity="talker", track_sid=track["sid"], muted=True)
        talker.microphone_on.wait_for(False, timeout=PATIENCE_S)
        eventually(lambda: not microphone.running, "the microphone is closed")
        talker.set_microphone(True)
        hear(listener, 700)


@contextmanager
def behind_a_relay(hall: MediaRoom, stack: LocalStack) -> Iterator[tuple[Relay, UTDRoom]]:
    """Somebody with microphone and camera who talks, and whose connection to the SFU is in the test's hands."""
    server = urlsplit(stack.livekit_url)
    assert server.hostname is not None
    assert server.port is not None
    with Relay(server.hostname, server.port) as relay:
        talker = hall.make(Devices(CountedMicrophone(700), camera=PatternCamera(320, 240, 15)))
        talker.connect(f"ws://127.0.0.1:{relay.port}", hall.token("talker"))
        talker.set_microphone(True)
        yield relay, talker
        talker.disconnect()


def test_wishes_when_the_signal_connection_was_half_open_reach_the_server(
    hall: MediaRoom, stack: LocalStack
) -> None:
    """A mute and an unmute were told to nobody: they are told again as soon as somebody listens."""
    with behind_a_relay(hall, stack) as (relay, talker):
        talker.set_camera(False)
        listener = hall.join("listener")
        hear(listener, 700)
        eventually(lambda: muted(hall, "talker", "CAMERA") is True, "the SFU has both", PATIENCE_S)
        states: list[Connection] = []
        talker.connection.subscribe(lambda change: states.append(change.new))
        relay.go_silent()
        talker.set_microphone(False)
        talker.set_camera(True)
        assert (muted(hall, "talker"), muted(hall, "talker", "CAMERA")) == (False, True), "not told"
        eventually(lambda: len(states) > 1, "the core has noticed, and resumed", NOTICED_S)
        eventually(lambda: muted(hall, "talker") is True, "the mute has arrived", PATIENCE_S)
        eventually(lambda: muted(hall, "talker", "CAMERA") is False, "the camera too", PATIENCE_S)
        hear(listener)
        assert len(listener.snapshot(timeout=PATIENCE_S)) > 100
        assert (talker.microphone_on.value, talker.camera_on.value) == (False, True)


def test_wishes_when_the_room_reconnects_stand_and_are_met_behind_it(
    hall: MediaRoom, stack: LocalStack
) -> None:
    """No call waits for a server that cannot be reached; what was wished last is so when it can."""
    with behind_a_relay(hall, stack) as (relay, talker):
        listener = hall.join("listener")
        hear(listener, 700)
        relay.shut()
        relay.go_silent()
        talker.connection.wait_for(lambda now: now.state is ConnectionState.RECONNECTING, timeout=NOTICED_S)
        talker.set_camera(True, timeout=PATIENCE_S)  # never published before: nothing can be so now
        talker.set_microphone(False, timeout=PATIENCE_S)
        assert (talker.microphone_on.value, talker.camera_on.value) == (False, False)
        relay.open()
        talker.connected.wait_for(True, timeout=NOTICED_S)
        talker.camera_on.wait_for(True, timeout=PATIENCE_S)
        eventually(lambda: muted(hall, "talker") is True, "the mute has arrived", PATIENCE_S)
        hear(listener)
        assert len(listener.snapshot(timeout=PATIENCE_S)) > 100
