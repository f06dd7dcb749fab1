"""Own media on its way in: what never crosses the FFI."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from facts import eventually

from utdstream import CallbackError, DeviceError, EncodedFrame, InvalidConfig, PixelFormat, RawFrame
from utdstream._livekit.direct_audio import audio_path
from utdstream._livekit.feed import Feed
from utdstream._livekit.ffi import MOST_UNANSWERED
from utdstream._livekit.h264 import nal_units
from utdstream._livekit.loop import loop_thread
from utdstream._livekit.properties import PictureFormat
from utdstream._livekit.sources import EncodedCameraFeed, RawCameraFeed
from utdstream._threads.deadline import Deadline
from utdstream.media import PcmFormat, PcmFrame

START = b"\x00\x00\x00\x01"
SPS, PPS, IDR, DELTA = (bytes([kind]) + b"payload" for kind in (0x67, 0x68, 0x65, 0x41))


PICTURE = PictureFormat(320, 240, 30, encoded=True, may_rest=False)


def units_of(data: bytes) -> list[int]:
    return [kind for kind, _, _ in nal_units(data)]


# -- feeds, with the native core ---------------------------------------------------------------------


class FakeEncoder:
    """What a feed needs of an encoded camera."""

    def __init__(self) -> None:
        self.key_frame_requests = 0
        self.bitrates: list[int] = []
        self.fails = False

    def request_key_frame(self) -> None:
        self.key_frame_requests += 1
        if self.fails:
            raise OSError("the encoder is gone")

    def set_bitrate(self, bitrate_bps: int) -> None:
        self.bitrates.append(bitrate_bps)
        if self.fails:
            raise OSError("the encoder is gone")


class NativeTwin:
    """Stands where the native source stands: keeps what would have been sent."""

    def __init__(self) -> None:
        self.sent: list[object] = []
        self.accepts = True
        self.fails = False
        self.bitrate_bps = 0

    def capture_frame(self, frame: object) -> bool:
        if self.fails:
            raise AssertionError
        self.sent.append(frame)
        return self.accepts

    def take_feedback(self) -> object:
        rate = SimpleNamespace(target_bitrate_bps=self.bitrate_bps) if self.bitrate_bps else None
        return SimpleNamespace(keyframe_requested=False, rate_control=rate)

    async def aclose(self) -> None: ...


@pytest.fixture
def reports() -> list[CallbackError]:
    """What the feed reported."""
    return []


@pytest.fixture
def encoded(reports: list[CallbackError]) -> Iterator[tuple[EncodedCameraFeed, FakeEncoder, NativeTwin]]:
    """An open feed of an encoded camera whose native end keeps the access units."""
    camera, native = FakeEncoder(), NativeTwin()
    loop = loop_thread()

    def make() -> EncodedCameraFeed:
        feed = EncodedCameraFeed(PICTURE, camera, loop, reports.append, make_source=lambda *_: native)  # type: ignore[arg-type]  # the twin
        feed.open = True
        return feed

    feed = loop.call(make, deadline=Deadline(5, 5, "make"))
    yield feed, camera, native
    loop.run(feed.close, deadline=Deadline(5, 5, "close"))


def unit(*nals: bytes, width: int = 320, height: int = 240, codec: str = "h264") -> EncodedFrame:
    return EncodedFrame(b"".join(START + nal for nal in nals), width, height, codec, False, 1)


def kinds(native: NativeTwin) -> list[list[int]]:
    return [units_of(frame.data) for frame in native.sent]  # type: ignore[attr-defined]


def test_encoded_feed_when_it_begins_sends_nothing_before_a_key_frame(
    encoded: tuple[EncodedCameraFeed, FakeEncoder, NativeTwin],
) -> None:
    """Deltas are dropped, counted, and a key frame is asked for; it needs its parameter sets too."""
    feed, camera, native = encoded
    feed.sink(unit(DELTA))
    feed.sink(unit(IDR))
    assert (feed.dropped, native.sent, camera.key_frame_requests) == (2, [], 1)
    feed.sink(unit(SPS, PPS, IDR))
    feed.sink(unit(DELTA))
    assert kinds(native) == [[7, 8, 5], [1]]
    assert feed.sent == 2


def test_encoded_feed_when_an_idr_comes_without_parameter_sets_adds_them(
    encoded: tuple[EncodedCameraFeed, FakeEncoder, NativeTwin],
) -> None:
    """Viewers who join later can decode; what the camera claims about the frame is not believed."""
    feed, _, native = encoded
    feed.sink(unit(SPS, PPS, IDR))
    feed.sink(unit(IDR))
    assert kinds(native) == [[7, 8, 5], [7, 8, 5]]
    from livekit import rtc

    assert {frame.frame_type for frame in native.sent} == {rtc.EncodedFrameType.ENCODED_FRAME_KEY}  # type: ignore[attr-defined]


def test_encoded_feed_when_the_core_refuses_a_unit_starts_over_from_a_key_frame(
    encoded: tuple[EncodedCameraFeed, FakeEncoder, NativeTwin],
) -> None:
    """One lost access unit spoils the picture until the next key frame: it is asked for at once."""
    feed, camera, native = encoded
    feed.sink(unit(SPS, PPS, IDR))
    native.accepts = False
    feed.sink(unit(DELTA))
    native.accepts = True
    feed.sink(unit(DELTA))
    feed.sink(unit(IDR))
    assert kinds(native) == [[7, 8, 5], [1], [7, 8, 5]]
    assert camera.key_frame_requests >= 1


def test_encoded_feed_when_it_is_closed_and_opened_never_resumes_in_mid_chain(
    encoded: tuple[EncodedCameraFeed, FakeEncoder, NativeTwin],
) -> None:
    """Muted for one frame is muted until the next key frame."""
    feed, _, native = encoded
    feed.sink(unit(SPS, PPS, IDR))
    feed.open = False
    feed.sink(unit(DELTA))
    feed.open = True
    feed.sink(unit(DELTA))
    assert kinds(native) == [[7, 8, 5]]


@pytest.mark.parametrize(
    "bad",
    [
        unit(SPS, PPS, IDR, codec="vp8"),
        EncodedFrame(b"", 320, 240, "h264", True, 1),
        EncodedFrame(b"no start code at all", 320, 240, "h264", True, 1),
        EncodedFrame("text", 320, 240, "h264", True, 1),  # type: ignore[arg-type]
        unit(SPS, PPS, IDR, width=0),
        unit(SPS, PPS, IDR, width=640, height=480),
        unit(SPS, PPS, IDR, height=-240),
        RawFrame(bytes(115_200), 320, 240, PixelFormat.I420, 1),
    ],
)
def test_encoded_feed_when_a_unit_is_bad_refuses_it(
    encoded: tuple[EncodedCameraFeed, FakeEncoder, NativeTwin],
    reports: list[CallbackError],
    bad: EncodedFrame | RawFrame,
) -> None:
    """It never reaches the core, it is counted, and it is reported once."""
    feed, _, native = encoded
    feed.sink(bad)
    feed.sink(bad)
    assert native.sent == []
    assert feed.dropped == 2
    assert len(reports) == 1
    assert isinstance(reports[0].error, (InvalidConfig, TypeError))


def test_encoded_feed_when_the_driver_fails_goes_on(
    encoded: tuple[EncodedCameraFeed, FakeEncoder, NativeTwin], reports: list[CallbackError]
) -> None:
    """A key frame that cannot be made is a DeviceError on `errors`, not the end of the pictures."""
    feed, camera, native = encoded
    camera.fails = True
    feed.sink(unit(DELTA))
    feed.sink(unit(SPS, PPS, IDR))
    assert kinds(native) == [[7, 8, 5]]
    assert (feed.sent, feed.dropped) == (1, 1)
    assert isinstance(reports[0].error, DeviceError)


def test_encoded_feed_when_the_network_changes_tells_the_camera_once(
    encoded: tuple[EncodedCameraFeed, FakeEncoder, NativeTwin], reports: list[CallbackError]
) -> None:
    """Each new bitrate, not each frame; a driver that cannot is reported, and its frames are sent all the same."""
    feed, camera, native = encoded
    for bitrate_bps in (0, 800_000, 800_000, 500_000):
        native.bitrate_bps = bitrate_bps
        feed.sink(unit(SPS, PPS, IDR))
    assert camera.bitrates == [800_000, 500_000]
    camera.fails, native.bitrate_bps = True, 900_000
    feed.sink(unit(DELTA))
    assert (feed.sent, feed.dropped) == (5, 0)
    assert isinstance(reports[0].error, DeviceError)


def test_encoded_feed_when_the_core_raises_starts_over_from_a_key_frame(
    encoded: tuple[EncodedCameraFeed, FakeEncoder, NativeTwin],
) -> None:
    """The unit is lost all the same: what refers to it is not sent, and each unit is counted once."""
    feed, camera, native = encoded
    feed.sink(unit(SPS, PPS, IDR))
    native.fails = True
    feed.sink(unit(DELTA))
    native.fails = False
    feed.sink(unit(DELTA))
    feed.sink(unit(IDR))
    assert kinds(native) == [[7, 8, 5], [7, 8, 5]]
    assert camera.key_frame_requests == 1
    assert (feed.sent, feed.dropped) == (2, 2)


def test_encoded_feed_when_a_unit_was_refused_starts_over_from_a_key_frame(
    encoded: tuple[EncodedCameraFeed, FakeEncoder, NativeTwin],
) -> None:
    """A unit of another size, in mid-chain: the deltas behind it would be decoded against a picture never sent."""
    feed, camera, native = encoded
    feed.sink(unit(SPS, PPS, IDR))
    feed.sink(unit(DELTA, width=640))
    feed.sink(unit(DELTA))
    assert kinds(native) == [[7, 8, 5]]
    assert camera.key_frame_requests == 1
    feed.sink(unit(IDR))
    assert kinds(native) == [[7, 8, 5], [7, 8, 5]]


@pytest.fixture(params=["direct", "public"])
def microphone(request: pytest.FixtureRequest, reports: list[CallbackError]) -> Iterator[Feed[PcmFrame]]:
    """A microphone's way into the core: each of the two there are."""
    loop = loop_thread()
    path = audio_path(loop, direct=request.param == "direct")
    feed = loop.call(
        lambda: path.microphone_feed(PcmFormat(48_000, 1), loop, reports.append),
        deadline=Deadline(5, 5, "make"),
    )
    yield feed
    loop.run(feed.close, deadline=Deadline(5, 5, "close"))


SOUND = PcmFrame(bytes(960), 48_000, 1, 0)


def test_microphone_feed_when_muted_drops_and_counts(microphone: Feed[PcmFrame]) -> None:
    """Nothing waits for the unmute."""
    for _ in range(5):
        microphone.sink(SOUND)
    assert (microphone.dropped, microphone.sent) == (5, 0)


def test_microphone_feed_when_open_sends_every_frame(
    microphone: Feed[PcmFrame], reports: list[CallbackError]
) -> None:
    """None is lost at an easy pace, and the core refuses none."""
    microphone.open = True
    for number in range(20):
        microphone.sink(SOUND)
        eventually(lambda number=number: microphone.sent == number + 1, "it was sent")
    assert (microphone.dropped, reports) == (0, [])


def test_microphone_feed_when_a_frame_has_another_size_drops_it_and_says_so_once(
    microphone: Feed[PcmFrame], reports: list[CallbackError]
) -> None:
    """It never reaches the core, whichever way the sound takes."""
    microphone.open = True
    for pcm in (bytes(958), bytes(1920), b""):
        microphone.sink(PcmFrame(pcm, 48_000, 1, 0))
    assert (microphone.sent, microphone.dropped) == (0, 3)
    assert [type(report.error) for report in reports] == [InvalidConfig]


def test_microphone_feed_when_closed_takes_no_frame_and_says_nothing(
    microphone: Feed[PcmFrame], reports: list[CallbackError]
) -> None:
    """The device's last frame comes late as a rule: the core's source is gone then."""
    microphone.open = True
    loop_thread().run(microphone.close, deadline=Deadline(5, 5, "close"))
    microphone.open = True
    microphone.sink(SOUND)
    assert (microphone.sent, reports) == (0, [])


@contextlib.contextmanager
def busy_loop() -> Iterator[None]:
    """The SDK's loop hangs in the body."""
    busy, free = threading.Event(), threading.Event()

    def block() -> None:
        busy.set()
        free.wait(5)

    loop_thread().post(block)
    assert busy.wait(5)
    try:
        yield
    finally:
        free.set()


@pytest.mark.parametrize("microphone", ["public"], indirect=True)
def test_public_feed_when_the_loop_is_busy_keeps_sixty_ms(microphone: Feed[PcmFrame]) -> None:
    """The oldest frames go, and each is counted: delay cannot grow."""
    microphone.open = True
    with busy_loop():
        for _ in range(30):
            microphone.sink(SOUND)
    eventually(lambda: microphone.sent + microphone.dropped == 30, "all are accounted for")
    assert microphone.sent == 6


@pytest.mark.parametrize("microphone", ["direct"], indirect=True)
def test_direct_feed_when_the_loop_is_busy_sends_all_the_same(microphone: Feed[PcmFrame]) -> None:
    """Sound does not pass the loop."""
    microphone.open = True
    with busy_loop():
        for _ in range(MOST_UNANSWERED):
            microphone.sink(SOUND)
        assert (microphone.sent, microphone.dropped) == (MOST_UNANSWERED, 0)


def test_camera_feed_when_a_buffer_is_not_contiguous_refuses_it(reports: list[CallbackError]) -> None:
    """Every second byte of something: it would be read past its end."""
    loop = loop_thread()
    feed = loop.call(lambda: RawCameraFeed(PICTURE, loop, reports.append), deadline=Deadline(5, 5, "make"))
    feed.open = True
    holes = memoryview(bytes(2 * 115_200))[::2]
    feed.sink(RawFrame(holes, 320, 240, PixelFormat.I420, 1))
    assert (feed.sent, feed.dropped) == (0, 1)
    assert len(reports) == 1
    loop.run(feed.close, deadline=Deadline(5, 5, "close"))
