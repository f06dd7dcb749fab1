"""Both ways of sound through the real core, without a room: what goes in comes out, and nothing after the end."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator

import numpy
import pytest
from facts import PATIENCE_S, eventually
from livekit import rtc

from utdstream._livekit import ffi
from utdstream._livekit.audio_path import AudioPath, PublicAudioPath
from utdstream._livekit.direct_audio import DirectAudioPath, audio_path
from utdstream._livekit.feed import Feed
from utdstream._livekit.ffi import MOST_UNANSWERED, DirectCore, DirectSource, DirectStream, open_direct_core
from utdstream._livekit.loop import LoopThread, loop_thread
from utdstream._livekit.playout import Mixer
from utdstream._livekit.remote_sound import RemoteSound
from utdstream._threads.deadline import Deadline
from utdstream.media import Buffer, PcmFormat, PcmFrame
from utdstream.synthetic import ToneMicrophone

MICROPHONE = PcmFormat(48_000, 1)


def limit() -> Deadline:
    return Deadline(PATIENCE_S, PATIENCE_S, "the story")


@pytest.fixture
def loop() -> LoopThread:
    """The process's loop."""
    return loop_thread()


@pytest.fixture(params=["direct", "public"])
def path(request: pytest.FixtureRequest, loop: LoopThread) -> AudioPath:
    """Each of the two ways of sound."""
    chosen = audio_path(loop, direct=request.param == "direct")
    assert isinstance(chosen, DirectAudioPath if request.param == "direct" else PublicAudioPath)
    return chosen


class Track:
    """A track of a tone of 1 kHz that is fed in real time, without a room."""

    def __init__(self, loop: LoopThread, path: AudioPath) -> None:
        self._loop = loop
        self.feed: Feed[PcmFrame] = loop.call(
            lambda: path.microphone_feed(MICROPHONE, loop, lambda _: None), deadline=limit()
        )
        self.track = self.feed.make_track()
        self.feed.open = True
        self.tone = ToneMicrophone(1000)
        self.tone.start(self.feed.sink)

    def close(self) -> None:
        self.tone.stop()
        self._loop.run(self.feed.close, deadline=limit())


@pytest.fixture
def tone(loop: LoopThread, path: AudioPath) -> Iterator[Track]:
    """A tone that plays."""
    track = Track(loop, path)
    yield track
    track.close()


class Ear:
    """Keeps what it hears, and on which threads."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.threads: set[int] = set()

    def push(self, pcm: Buffer) -> None:
        self.frames.append(bytes(pcm))
        self.threads.add(threading.get_ident())


def loudest_hz(frames: list[bytes], pcm: PcmFormat) -> float:
    sound = numpy.frombuffer(b"".join(frames), dtype=numpy.int16)[:: pcm.channels]
    spectrum = numpy.abs(numpy.fft.rfft(sound * numpy.hanning(len(sound))))
    return float(spectrum.argmax() * pcm.sample_rate_hz / len(sound))


@pytest.mark.parametrize("pcm", [PcmFormat(48_000, 1), PcmFormat(16_000, 1), PcmFormat(44_100, 2)])
def test_sound_when_a_stream_is_open_comes_out_in_its_format(
    loop: LoopThread, path: AudioPath, tone: Track, pcm: PcmFormat
) -> None:
    """Ten milliseconds at a time, at the rate and with the channels that were asked for."""
    ear = Ear()
    flow = loop.call(path.open_stream, loop, tone.track, pcm, ear.push, deadline=limit())
    eventually(lambda: len(ear.frames) > 40, "sound comes", PATIENCE_S)
    loop.run(lambda: closed(flow.close), deadline=limit())
    assert {len(frame) for frame in ear.frames} == {pcm.frame_bytes}
    assert abs(loudest_hz(ear.frames[10:40], pcm) - 1000) < 20


async def closed(close: Callable[[], asyncio.Future[None]]) -> None:
    await close()


def test_sound_when_a_stream_is_closed_comes_no_more(loop: LoopThread, path: AudioPath, tone: Track) -> None:
    """From the moment of `close`, though the core goes on for a while."""
    ear = Ear()
    flow = loop.call(path.open_stream, loop, tone.track, MICROPHONE, ear.push, deadline=limit())
    eventually(lambda: ear.frames, "sound comes", PATIENCE_S)
    heard: list[int] = []

    async def close() -> None:
        closing = flow.close()
        heard.append(len(ear.frames))
        await closing

    loop.run(close, deadline=limit())
    after = tone.tone.frames_sent
    eventually(lambda: tone.tone.frames_sent > after + 20, "the tone goes on", PATIENCE_S)
    assert len(ear.frames) <= heard[0] + 1, "at most the one that was on its way"


def test_sound_when_opened_and_closed_many_times_leaves_nothing(
    loop: LoopThread, path: AudioPath, tone: Track
) -> None:
    """No subscription to the core's events, no stream in our table, no frame of the core's."""
    from livekit.rtc._ffi_client import FfiClient

    subscribers = len(FfiClient.instance.queue._subscribers)

    async def turns() -> None:
        for _ in range(30):
            ear = Ear()
            await path.open_stream(loop, tone.track, MICROPHONE, ear.push).close()

    loop.run(turns, deadline=limit())
    eventually(
        lambda: len(FfiClient.instance.queue._subscribers) <= subscribers + 1,  # a frame of the tone waits
        "no subscription is left",
    )
    assert loop.direct_core is not None
    eventually(lambda: not loop.direct_core._receivers, "no stream is left")  # type: ignore[union-attr]  # above
    assert loop.direct_core._early == []


def test_listeners_when_they_hear_one_track_share_one_stream(
    loop: LoopThread, path: AudioPath, tone: Track
) -> None:
    """Ten readers cost the core one stream; it closes with the last of them."""
    opened: list[object] = []

    class Counting:
        def open_stream(self, *arguments: object) -> object:
            opened.append(path.open_stream(*arguments))  # type: ignore[arg-type]  # handed on
            return opened[-1]

    async def story() -> None:
        sound = RemoteSound(loop, Counting())  # type: ignore[arg-type]  # as much of it as is used
        mixers = [Mixer(MICROPHONE) for _ in range(10)]
        listeners = [sound.hear(tone.track, "TR_1", mixer) for mixer in mixers]
        other = sound.hear(tone.track, "TR_1", Mixer(PcmFormat(16_000, 1)))
        assert len(opened) == 2, "one a format"
        until = time.monotonic() + PATIENCE_S
        while not all(any(mixer.pull(480)) for mixer in mixers):
            assert time.monotonic() < until, "all of them hear it"
            await asyncio.sleep(0.02)
        for listener in listeners:
            await listener.close()
        await other.close()
        again = sound.hear(tone.track, "TR_1", mixers[0])
        assert len(opened) == 3, "the last one closed it"
        await again.close()

    loop.run(story, deadline=limit())


# -- the direct way alone ----------------------------------------------------------------------------


@pytest.fixture
def core(loop: LoopThread) -> DirectCore:
    """The core, called directly."""
    assert loop.direct_core is not None
    return loop.direct_core


def make_source(loop: LoopThread) -> rtc.AudioSource:
    return loop.call(
        lambda: rtc.AudioSource(48_000, 1, queue_size_ms=0, loop=loop.asyncio_loop), deadline=limit()
    )


def test_direct_sound_when_it_flows_does_not_pass_the_loop(loop: LoopThread, core: DirectCore) -> None:
    """It comes on threads of the core, also while the loop is held up."""
    path = DirectAudioPath(core)
    tone, ear = Track(loop, path), Ear()
    flow = loop.call(path.open_stream, loop, tone.track, MICROPHONE, ear.push, deadline=limit())
    free = threading.Event()
    loop.post(free.wait, PATIENCE_S)
    eventually(lambda: len(ear.frames) > 20, "sound comes", PATIENCE_S)
    free.set()
    loop.run(lambda: closed(flow.close), deadline=limit())
    tone.close()
    assert loop._thread.ident not in ear.threads


def test_capture_when_the_core_does_not_answer_takes_no_more_than_200_ms(
    loop: LoopThread, core: DirectCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The core's queue has no bound of its own: delay would grow in it."""
    monkeypatch.setattr(DirectSource, "answered", lambda *_: None)
    source = make_source(loop)
    capture = DirectSource(core, source, MICROPHONE, lambda _: None)
    taken = [capture.push(bytes(960)) for _ in range(MOST_UNANSWERED + 5)]
    capture.close()
    assert taken == [True] * MOST_UNANSWERED + [False] * 5


def test_capture_when_closed_while_a_thread_pushes_never_touches_a_source_that_is_gone(
    loop: LoopThread, core: DirectCore, caplog: pytest.LogCaptureFixture
) -> None:
    """The core would say so at the level of an error."""
    for _ in range(20):
        source = make_source(loop)
        answers: list[str] = []
        capture = DirectSource(core, source, MICROPHONE, answers.append)
        begun = threading.Event()

        def push(capture: DirectSource = capture, begun: threading.Event = begun) -> None:
            while capture.push(bytes(960)):
                begun.set()

        pushing = threading.Thread(target=push)
        pushing.start()
        begun.wait(PATIENCE_S)
        capture.close()
        source._ffi_handle.dispose()
        pushing.join(PATIENCE_S)
        assert not pushing.is_alive()
        assert set(answers) <= {""}
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_receiver_when_frames_come_before_its_handle_is_known_gets_them(
    loop: LoopThread, core: DirectCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The core begins before its answer to the request has been read."""
    tone, ear, over = Track(loop, DirectAudioPath(core)), Ear(), threading.Event()
    request = core._client.request

    def slow(asked: object) -> object:
        answer = request(asked)
        eventually(lambda: len(core._early) > 3, "frames come early", PATIENCE_S)
        return answer

    receiver = DirectStream(core, ear.push, over.set)
    with monkeypatch.context() as patched:
        patched.setattr(core._client, "request", slow)
        handle = core.open_stream(tone.track, MICROPHONE, receiver)
    assert len(ear.frames) > 3
    assert core._early == []
    handle.dispose()
    assert over.wait(PATIENCE_S)
    tone.close()


def test_direct_way_when_it_is_another_livekit_is_left_alone_and_said_once(
    loop: LoopThread, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing private is touched; sound takes the public way."""
    monkeypatch.setattr(ffi, "livekit_version", "1.3.0")
    monkeypatch.setattr(ffi, "DirectCore", lambda: pytest.fail("it was touched"))
    assert open_direct_core(loop.asyncio_loop) is None
    (line,) = [record.getMessage() for record in caplog.records if record.name == ffi.__name__]
    assert "made for livekit 1.2.1, and this is 1.3.0" in line
    monkeypatch.setattr(loop, "direct_core", None)
    assert isinstance(audio_path(loop, direct=True), PublicAudioPath)


@pytest.mark.parametrize("fault", ["no such function", "refused", "silent"])
def test_direct_way_when_its_test_fails_is_left_alone_and_said_once(
    loop: LoopThread, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    """A livekit that calls itself the same and is another one inside."""
    monkeypatch.setattr(ffi, "SELF_TEST_S", 0.05)
    if fault == "no such function":
        monkeypatch.setattr(ffi, "FfiRequest", lambda: object())
    elif fault == "refused":
        monkeypatch.setattr(DirectCore, "send", lambda *_: False)
    else:
        monkeypatch.setattr(DirectSource, "answered", lambda *_: None)
    installed = DirectCore._installed
    assert open_direct_core(loop.asyncio_loop) is None
    (line,) = [record.getMessage() for record in caplog.records if record.name == ffi.__name__]
    assert "its test at the start failed" in line
    assert DirectCore._installed is installed, "the core calls what it called before"
