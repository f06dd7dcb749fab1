"""One device for several sessions, as if each had its own: the speaker's mix, the camera's votes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import numpy
import pytest
from facts import PATIENCE_S, eventually

from utdstream import DeviceError
from utdstream._livekit.capture import CameraCapture
from utdstream._livekit.devices import SharedSpeaker
from utdstream._livekit.loop import LoopThread, loop_thread
from utdstream._livekit.votes import CameraVotes, Vote
from utdstream._threads.deadline import Deadline
from utdstream.media import EncodedFrame, PcmFormat, RawFrame

MONO = PcmFormat(48_000, 1)


def limit() -> Deadline:
    return Deadline(PATIENCE_S, PATIENCE_S, "the test")


@pytest.fixture
def loop() -> LoopThread:
    """The process's loop."""
    return loop_thread()


# -- a speaker --------------------------------------------------------------------------------------


def sound(value: int) -> bytes:
    """10 ms of one sample value."""
    return numpy.full(480, value, dtype=numpy.int16).tobytes()


class Card:
    """A speaker that is pulled by the test."""

    format = MONO

    def __init__(self) -> None:
        self.log: list[str] = []
        self.pull: Callable[[int], bytes] = lambda _samples: b""
        self.fails = False
        self.stopping, self.may_stop = threading.Event(), threading.Event()
        self.may_stop.set()

    def start(self, source: Callable[[int], bytes]) -> None:
        if self.fails:
            raise OSError("no such card")
        self.log.append("start")
        self.pull = source

    def stop(self) -> None:
        self.stopping.set()
        assert self.may_stop.wait(PATIENCE_S)
        self.log.append("stop")


class Cinema:
    """One card, shared, used from the test's thread."""

    def __init__(self, loop: LoopThread) -> None:
        self._loop = loop
        self.card = Card()
        self._shared = loop.call(lambda: SharedSpeaker(loop, self.card, MONO), deadline=limit())

    def attach(self, source: Callable[[int], bytes]) -> None:
        self._wait_for(lambda: self._shared.attach(source))

    def detach(self, source: Callable[[int], bytes]) -> None:
        self._wait_for(lambda: self._shared.detach(source))

    def begin_to_detach(self, source: Callable[[int], bytes]) -> None:
        self._loop.call(lambda: self._shared.detach(source), deadline=limit())

    def _wait_for(self, act: Callable[[], asyncio.Future[None]]) -> None:
        async def wait() -> None:
            await act()

        self._loop.run(wait, deadline=limit())


@pytest.fixture
def cinema(loop: LoopThread) -> Cinema:
    """A card that nobody uses yet."""
    return Cinema(loop)


def test_speaker_when_two_use_it_is_opened_once_and_mixes(cinema: Cinema) -> None:
    """The first opens, the last closes; a late pull is answered with silence."""
    card = cinema.card
    one, two = (lambda samples: sound(100)), (lambda samples: sound(11))
    cinema.attach(one)
    cinema.attach(two)
    assert card.pull(480) == sound(111)
    cinema.detach(one)
    assert card.pull(480) == sound(11)
    cinema.detach(two)
    assert card.log == ["start", "stop"]
    assert card.pull(480) == bytes(960)
    assert card.pull(0) == card.pull(-1) == b""
    cinema.detach(two)
    assert card.log == ["start", "stop"]


def test_speaker_when_opening_fails_can_be_tried_again(cinema: Cinema) -> None:
    """The one who failed is not among the sources."""
    cinema.card.fails = True
    with pytest.raises(DeviceError, match="no such card"):
        cinema.attach(lambda samples: sound(1))
    cinema.card.fails = False
    cinema.attach(lambda samples: sound(2))
    assert cinema.card.pull(480) == sound(2)


def test_speaker_when_its_close_hangs_plays_for_nobody(cinema: Cinema) -> None:
    """`detach` silences its source before it waits for the device."""
    card = cinema.card

    def source(samples: int) -> bytes:
        return sound(7)

    cinema.attach(source)
    card.may_stop.clear()
    cinema.begin_to_detach(source)
    assert card.stopping.wait(PATIENCE_S)
    assert card.pull(480) == bytes(960)
    card.may_stop.set()
    eventually(lambda: card.log == ["start", "stop"], "it is closed")


# -- a camera ---------------------------------------------------------------------------------------


class Encoder:
    """A camera that may rest; notes what it is told."""

    width, height, frames_per_second, encoded = 320, 240, 30, True

    def __init__(self) -> None:
        self.told: list[object] = []
        self.key_frames = 0
        self.while_told: Callable[[], object] = lambda: None
        self.fails = False

    def start(self, sink: Callable[[RawFrame | EncodedFrame], None]) -> None: ...

    def stop(self) -> None: ...

    def request_key_frame(self) -> None:
        self.key_frames += 1

    def set_bitrate(self, bitrate_bps: int) -> None:
        self._tell(bitrate_bps)

    def set_watched(self, watched: bool) -> None:
        self._tell(watched)

    def _tell(self, what: object) -> None:
        self.told.append(what)
        act, self.while_told = self.while_told, lambda: None
        act()
        if self.fails:
            raise OSError("the encoder is gone")


@pytest.fixture
def encoder() -> Encoder:
    """A camera that nobody uses yet."""
    return Encoder()


class Viewers:
    """One session's use of the camera."""

    def __init__(self, loop: LoopThread, camera: Encoder) -> None:
        self._loop = loop
        self.sent: list[RawFrame | EncodedFrame] = []
        self.camera = loop.call(lambda: CameraCapture(loop, camera), deadline=limit())

    def open(self) -> None:
        self._loop.run(lambda: self.camera.open(self.sent.append), deadline=limit())

    def close(self) -> None:
        self._loop.run(self.camera.close, deadline=limit())


@pytest.fixture
def sessions(loop: LoopThread, encoder: Encoder) -> Iterator[tuple[Viewers, Viewers]]:
    """Two sessions of one camera, both closed."""
    both = Viewers(loop, encoder), Viewers(loop, encoder)
    yield both
    for session in both:
        session.close()


def test_camera_when_one_session_is_watched_does_not_rest(
    encoder: Encoder, sessions: tuple[Viewers, Viewers]
) -> None:
    """A call's picture does not freeze because nobody watches the stream that uses the same camera."""
    call, stream = sessions
    call.open()
    stream.open()
    stream.camera.set_watched(False)
    assert encoder.told == []
    call.camera.set_watched(False)
    assert encoder.told == [False]
    stream.camera.set_watched(True)
    assert encoder.told == [False, True]


def test_camera_when_the_watched_session_leaves_rests(
    encoder: Encoder, sessions: tuple[Viewers, Viewers]
) -> None:
    """Who has gone has no vote; who comes has viewers until it says otherwise."""
    call, stream = sessions
    call.open()
    stream.open()
    stream.camera.set_watched(False)
    call.close()
    assert encoder.told == [False]
    call.open()
    assert encoder.told == [False, True]


def test_camera_when_two_networks_differ_aims_at_the_slower_one_that_is_watched(
    encoder: Encoder, sessions: tuple[Viewers, Viewers]
) -> None:
    """Both get the same access units: more than one of them can carry would be lost there."""
    call, stream = sessions
    call.open()
    stream.open()
    call.camera.set_bitrate(2_000_000)
    stream.camera.set_bitrate(300_000)
    assert encoder.told == [2_000_000, 300_000]
    call.camera.set_bitrate(1_700_000)
    assert encoder.told == [2_000_000, 300_000]
    stream.camera.set_watched(False)
    assert encoder.told[2:] == [1_700_000]
    stream.camera.set_watched(True)
    stream.close()
    assert encoder.told[3:] == [300_000, 1_700_000]


def test_camera_when_it_starts_again_is_told_what_still_holds(
    encoder: Encoder, sessions: tuple[Viewers, Viewers]
) -> None:
    """It begins watched and at its own bitrate; a session that was muted meanwhile asks what it asked before."""
    call, _ = sessions
    call.open()
    call.camera.set_bitrate(300_000)
    call.camera.set_watched(False)
    call.close()
    encoder.told.clear()
    call.open()
    assert encoder.told == [False, 300_000]


def test_camera_when_any_session_needs_a_key_frame_makes_one(
    encoder: Encoder, sessions: tuple[Viewers, Viewers]
) -> None:
    """All sessions get it."""
    for session in sessions:
        session.open()
        session.camera.request_key_frame()
    assert encoder.key_frames == 2


def test_votes_when_one_comes_while_the_camera_is_told_are_told_behind_it(encoder: Encoder) -> None:
    """A camera may deliver a frame, and with it a vote, from inside `set_watched`: the last word comes last."""
    votes, mine, other = CameraVotes(encoder), Vote(), Vote()
    votes.begin()
    votes.join(mine)
    votes.join(other)
    votes.change(other, watched=False)
    encoder.while_told = lambda: votes.change(other, watched=True)
    votes.change(mine, watched=False)
    assert encoder.told == [False, True]


def test_votes_when_threads_change_them_at_once_end_with_what_holds(encoder: Encoder) -> None:
    """The camera's last word is what the votes say, whatever thread was last."""
    votes = CameraVotes(encoder)
    votes.begin()
    mine = [Vote() for _ in range(4)]
    for vote in mine:
        votes.join(vote)

    def change(vote: Vote) -> None:
        for number in range(500):
            votes.change(vote, watched=bool(number % 2), bitrate_bps=1000 + number)

    threads = [threading.Thread(target=change, args=(vote,)) for vote in mine]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert [told for told in encoder.told if isinstance(told, bool)][-1:] in ([], [True])
    assert [told for told in encoder.told if not isinstance(told, bool)][-1] == 1499


def test_votes_when_the_driver_fails_raise_to_who_asked_and_go_on(encoder: Encoder) -> None:
    """The feed that asked reports it; the next vote is told all the same."""
    votes, mine = CameraVotes(encoder), Vote()
    votes.begin()
    votes.join(mine)
    encoder.fails = True
    with pytest.raises(OSError, match="gone"):
        votes.change(mine, watched=False, bitrate_bps=300_000)
    assert encoder.told == [False, 300_000]
    encoder.fails = False
    votes.change(mine, watched=True)
    assert encoder.told == [False, 300_000, True]
