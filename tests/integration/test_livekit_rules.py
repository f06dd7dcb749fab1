"""The twelve rules of the native core, each with a test on the real server (and what follows from them).

They are the ways in which the `livekit` package hangs, leaks or ends the process; the SDK keeps its users
from all of them.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from facts import eventually
from h264_camera import H264Camera
from livekit import rtc
from media_rooms import (
    GONE_S,
    CountedMicrophone,
    HandCamera,
    MediaRoom,
    hear,
    run_program,
)

from utdstream import (
    Change,
    Connection,
    ConnectionState,
    DeadlineExceeded,
    DeviceError,
    Devices,
    InvalidConfig,
    PcmFrame,
    PixelFormat,
    RawFrame,
    RoomLost,
    SessionClosed,
    UTDRoom,
)
from utdstream._livekit import (
    capture,
    connection,
    events,
    listening,
    publishing,
    room_end,
    sending_side,
    slot,
    streams,
    subscribing,
    viewers,
)
from utdstream._livekit.loop import loop_thread
from utdstream._session import media_room
from utdstream.media import PcmFormat
from utdstream.synthetic import NullSpeaker, PatternCamera, ToneMicrophone, read_counter
from utdstream.testing import LocalStack

pytestmark = pytest.mark.integration

LIMITS_S = (0.0, 0.002, 0.01, 0.02, 0.03, 0.05, 0.08, 0.0, 0.015, 0.04)
PATIENCE_S = 15.0


@pytest.fixture
def hall(stack: LocalStack) -> Iterator[MediaRoom]:
    """A room on the SFU."""
    with MediaRoom(stack) as room:
        yield room


@pytest.fixture(scope="module")
def given_up(stack: LocalStack) -> Iterator[tuple[subprocess.Popen[str], MediaRoom]]:
    """A process that gives up connects; it runs beside the other tests of this file."""
    with MediaRoom(stack) as room:
        settings = {
            "url": room.url,
            "tokens": [room.token(f"ghost-{number}") for number in range(len(LIMITS_S))],
            "then": room.token("warm"),
            "limits_s": LIMITS_S,
            "alive_s": 17.0,
        }
        with run_program("give_up_connects.py", settings) as process:
            yield process, room
            process.kill()


@pytest.fixture(autouse=True)
def _beside(given_up: object) -> None:
    """Starts that process with the first test."""


def test_rule_1_when_livekit_objects_live_they_are_on_one_loop_thread(hall: MediaRoom) -> None:
    """All rooms of a process share one loop thread, and the loop keeps turning while they work."""
    first, second = hall.join("first", Devices(ToneMicrophone())), hall.join("second")
    first.set_microphone(True)
    hear(second, 1000)
    loops = [thread for thread in threading.enumerate() if thread.name == "utdstream-loop"]
    assert len(loops) == 1
    lag = threading.Event()
    loop_thread().post(lag.set)
    assert lag.wait(0.5), "the loop answers at once"


def belongs_to_the_loop() -> list[type]:
    """Every class of the media core whose objects are touched on the loop only."""
    return [
        connection.RoomConnection,
        events.RoomEvents,
        publishing.Publisher,
        slot.Slot,
        sending_side.SendingSide,
        capture.Capture,
        viewers.ViewerWatch,
        room_end.RoomEnd,
        listening.Listening,
        subscribing.Subscriber,
        streams.Stream,
    ]


def test_rule_1_when_it_belongs_to_the_loop_it_is_touched_there_alone(
    hall: MediaRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A room's life through every public method: no method of the core's objects runs on another thread."""
    elsewhere: set[tuple[str, str]] = set()

    def noted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **named: Any) -> Any:
            thread = threading.current_thread().name
            if thread != "utdstream-loop":
                elsewhere.add((name, thread))
            return function(*arguments, **named)

        return run

    for kind in belongs_to_the_loop():
        for name, member in list(vars(kind).items()):
            if isinstance(member, property) and member.fget is not None:
                monkeypatch.setattr(kind, name, property(noted(f"{kind.__name__}.{name}", member.fget)))
            elif inspect.isfunction(member):
                monkeypatch.setattr(kind, name, noted(f"{kind.__name__}.{name}", member))
    door = hall.join("door", Devices(ToneMicrophone(), NullSpeaker(), PatternCamera(320, 240, 15)))
    house = hall.join("house", Devices(ToneMicrophone(), NullSpeaker()))
    for room in (door, house):
        room.set_microphone(True)
    door.set_camera(True)
    hear(house, 1000)
    next(house.video_frames(timeout=PATIENCE_S))
    house.snapshot()
    house.send_data(b"hello")
    assert door.stats().audio_frames_sent > 0
    door.set_camera(False)
    door.set_microphone(False)
    house.disconnect()
    door.dispose()
    assert elsewhere == set()


def test_rule_3_when_the_room_is_deleted_a_publish_fails_at_once(hall: MediaRoom) -> None:
    """The core would wait for ever for its answer; `set_microphone` raises a typed error within a second."""
    microphone = CountedMicrophone(before=hall.delete)
    room = hall.join("door", Devices(microphone))
    began = time.monotonic()
    with pytest.raises((RoomLost, SessionClosed)) as lost:
        room.set_microphone(True)
    assert time.monotonic() - began < 5.0
    assert "room" in str(lost.value)
    eventually(lambda: not microphone.running, "the microphone is closed")


@pytest.mark.parametrize(
    ("request_name", "ask"),
    [
        ("publish_track", lambda room: room.set_microphone(True)),
        ("publish_data", lambda room: room.send_data(b"hello")),
    ],
)
def test_rule_3_when_the_core_knows_an_end_before_it_tells_it_is_the_rooms_end(
    hall: MediaRoom, monkeypatch: pytest.MonkeyPatch, request_name: str, ask: Callable[[UTDRoom], None]
) -> None:
    """A request fails with "engine is closed" while `disconnected` is still on its way."""

    async def closed(*_: object, **__: object) -> None:
        hall.delete()  # the loop stands still meanwhile: it cannot have heard of it
        raise RuntimeError("engine is closed")

    room = hall.join("door", Devices(ToneMicrophone()))
    monkeypatch.setattr(rtc.LocalParticipant, request_name, closed)
    with pytest.raises(RoomLost, match="ROOM_DELETED"):
        ask(room)


def test_rule_3_when_the_room_is_left_a_publish_fails_at_once(hall: MediaRoom) -> None:
    """`disconnect` from another thread does not wait for the publish, and the publish is told."""
    opening, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        opening.set()
        go_on.wait(PATIENCE_S)

    microphone = CountedMicrophone(before=slow)
    room = hall.join("door", Devices(microphone))
    outcome: list[BaseException] = []

    def publish() -> None:
        try:
            room.set_microphone(True)
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            outcome.append(error)

    publishing = threading.Thread(target=publish)
    publishing.start()
    assert opening.wait(PATIENCE_S)
    leaving = threading.Thread(target=room.disconnect)
    leaving.start()
    go_on.set()
    leaving.join(PATIENCE_S)
    publishing.join(PATIENCE_S)
    assert [type(error) for error in outcome] in ([RoomLost], [SessionClosed])
    eventually(lambda: not microphone.running, "the microphone is closed")
    eventually(lambda: "door" not in hall.present(), "the SFU saw it go")


def test_rule_4_when_connecting_each_makes_a_new_native_room(hall: MediaRoom) -> None:
    """The same UTDRoom joins three times; the core never sees a room twice."""
    room = hall.make(Devices(ToneMicrophone(700)))
    listener = hall.join("listener")
    natives = []
    for _ in range(3):
        room.connect(hall.url, hall.token("again"))
        natives.append(room.room)
        room.set_microphone(True)
        hear(listener, 700)
        room.disconnect()
        listener.remote_participants.wait_for((), timeout=PATIENCE_S)
    assert len({id(native) for native in natives}) == 3


def test_rule_5_connected_is_true_when_connect_returns(hall: MediaRoom) -> None:
    """The core's `connected` event never comes; the return of `connect` is the event."""
    room = hall.make()
    states: list[ConnectionState] = []
    room.connection.subscribe(lambda change: states.append(change.new.state))
    room.connect(hall.url, hall.token("door"))
    assert room.connected.value
    assert room.connection.value.state is ConnectionState.CONNECTED
    assert room.can_publish.value
    assert room.local_participant is not None
    assert room.local_participant.identity == "door"
    eventually(lambda: len(states) == 2, "both changes were told")
    assert states == [ConnectionState.CONNECTING, ConnectionState.CONNECTED]


def test_rule_6_when_permission_is_revoked_the_device_is_unpublished_and_stopped(hall: MediaRoom) -> None:
    """The core would go on encoding; a new grant publishes again by itself."""
    microphone = CountedMicrophone(700)
    speaker, listener = hall.join("speaker", Devices(microphone)), hall.join("listener")
    speaker.set_microphone(True)
    hear(listener, 700)
    hall.permit("speaker", can_publish=False)
    speaker.can_publish.wait_for(False, timeout=PATIENCE_S)
    speaker.microphone_on.wait_for(False, timeout=PATIENCE_S)
    eventually(lambda: not microphone.running, "the microphone is closed", PATIENCE_S)
    eventually(lambda: hall.tracks("speaker") == [], "the SFU has no track of it", PATIENCE_S)
    room = speaker.local_participant
    eventually(lambda: speaker.local_participant.publications == (), f"nor the snapshot {room}")  # type: ignore[union-attr]
    hall.permit("speaker", can_publish=True)
    speaker.microphone_on.wait_for(True, timeout=PATIENCE_S)
    hear(listener, 700)
    assert microphone.opened == 2


def test_rule_7_when_the_room_ends_video_iteration_ends(hall: MediaRoom) -> None:
    """A native stream never ends by itself; `video_frames()` ends when the room is left or deleted."""
    camera = hall.join("camera", Devices(camera=PatternCamera(320, 240, 15)))
    camera.set_camera(True)
    for end in (lambda viewer: viewer.disconnect(), lambda viewer: hall.delete()):
        viewer = hall.join("viewer")
        frames = viewer.video_frames(timeout=PATIENCE_S)
        next(frames)
        end(viewer)
        began = time.monotonic()
        for _ in frames:
            pass
        assert time.monotonic() - began < 5.0


def test_rule_7_when_the_next_track_comes_video_iteration_goes_on(hall: MediaRoom) -> None:
    """When the camera goes the step runs into its deadline; a camera that comes back is seen again."""
    camera = hall.join("camera", Devices(camera=PatternCamera(320, 240, 15)))
    camera.set_camera(True)
    viewer = hall.join("viewer")
    frames = viewer.video_frames(timeout=1.0)
    next(frames)
    camera.disconnect()
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="camera"):
        for _ in frames:
            pass
    assert time.monotonic() - began < 10.0
    frames = viewer.video_frames(timeout=PATIENCE_S)
    camera.connect(hall.url, hall.token("camera"))
    camera.set_camera(True)
    assert next(frames).width == 320


BAD_SOUND = {
    "too short": PcmFrame(bytes(958), 48_000, 1, 0),
    "too long": PcmFrame(bytes(9600), 48_000, 1, 0),
    "empty": PcmFrame(b"", 48_000, 1, 0),
    "of another rate": PcmFrame(bytes(320), 16_000, 1, 0),
    "of two channels": PcmFrame(bytes(1920), 48_000, 2, 0),
    "no bytes": PcmFrame("silence", 48_000, 1, 0),  # type: ignore[arg-type]  # what the test is about
}


class OneBadMicrophone:
    """Delivers one frame that is not what its format promises, between good ones."""

    def __init__(self, bad: PcmFrame) -> None:
        self.format = PcmFormat(48_000, 1)
        self._tone = ToneMicrophone(700)
        self._bad = bad
        self.raised = 0

    def start(self, sink) -> None:  # type: ignore[no-untyped-def]
        numbers = itertools.count()

        def both(frame: PcmFrame) -> None:
            if next(numbers) % 10 == 9:
                try:
                    sink(self._bad)
                except Exception:  # noqa: BLE001 - the sink must not raise into a driver
                    self.raised += 1
            sink(frame)

        self._tone.start(both)

    def stop(self) -> None:
        self._tone.stop()


@pytest.mark.parametrize("what", BAD_SOUND)
def test_rule_8_when_a_sound_frame_is_bad_it_is_refused_before_the_core(hall: MediaRoom, what: str) -> None:
    """It would end the process; it is dropped, counted, reported once, and the good ones are heard."""
    microphone = OneBadMicrophone(BAD_SOUND[what])
    speaker, listener = hall.join("speaker", Devices(microphone)), hall.join("listener")
    speaker.set_microphone(True)
    hear(listener, 700)
    eventually(lambda: speaker.stats().audio_frames_dropped >= 2, "the bad ones are counted")
    assert speaker.stats().audio_frames_sent > 10
    assert [error.source for error in hall.errors[speaker]] == ["microphone"]
    assert isinstance(hall.errors[speaker][0].error, (InvalidConfig, TypeError))
    assert microphone.raised == 0


I420_BYTES = PixelFormat.I420.size_bytes(320, 240)
BAD_PICTURES = {
    "too few bytes": RawFrame(bytes(I420_BYTES - 1), 320, 240, PixelFormat.I420, 1),
    "too many bytes": RawFrame(bytes(I420_BYTES + 64), 320, 240, PixelFormat.I420, 1),
    "none": RawFrame(b"", 320, 240, PixelFormat.I420, 1),
    "another size": RawFrame(PatternCamera(640, 480).picture(0).data, 640, 480, PixelFormat.I420, 1),
    "another layout": RawFrame(bytes(I420_BYTES), 320, 240, PixelFormat.RGBA, 1),
    "half turned": RawFrame(bytes(I420_BYTES), 320, 240, PixelFormat.I420, 1, rotation=45),
    "no picture at all": RawFrame(None, 320, 240, PixelFormat.I420, 1),  # type: ignore[arg-type]
    "negative": RawFrame(bytes(I420_BYTES), -320, -240, PixelFormat.I420, 1),
}


def test_rule_8_when_a_picture_is_bad_it_is_refused_before_the_core(hall: MediaRoom) -> None:
    """It would end the process; each is dropped and counted, the first is reported, good ones are seen."""
    camera = HandCamera()
    sender, viewer = hall.join("sender", Devices(camera=camera)), hall.join("viewer")
    sender.set_camera(True)
    frames = viewer.video_frames(timeout=PATIENCE_S)
    next(frames)
    for what, picture in BAD_PICTURES.items():
        before = sender.stats().video_frames_dropped
        camera.push(picture)
        assert sender.stats().video_frames_dropped == before + 1, what
    next(frames)
    next(frames)
    eventually(lambda: hall.errors[sender], "the first is reported")
    assert [error.source for error in hall.errors[sender]] == ["camera"]
    assert isinstance(hall.errors[sender][0].error, InvalidConfig)
    assert "320x240" in str(hall.errors[sender][0].error)


def test_rule_9_when_streams_are_open_the_exit_is_orderly(hall: MediaRoom) -> None:
    """A script that just ends exits with 0, three times of three, without a word of a panic."""
    for run in range(3):
        settings = {"url": hall.url, "tokens": [hall.token(f"{run}-{number}") for number in range(3)]}
        with run_program("exit_with_streams.py", settings) as process:
            output, errors = process.communicate(timeout=60)
        assert output == "flowing\n", errors
        assert process.returncode == 0, errors
        assert "panic" not in errors.lower()
        assert "Traceback" not in errors
    eventually(lambda: hall.present() == [], "nobody is left in the room", GONE_S)


def test_rule_10_when_pictures_go_into_the_core_it_is_on_the_cameras_own_thread(
    hall: MediaRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Capture is a plain call that copies: no picture crosses the loop."""
    from livekit import rtc

    threads: set[str] = set()
    capture = rtc.VideoSource.capture_frame

    def watched(self: rtc.VideoSource, *arguments: object, **options: object) -> None:
        threads.add(threading.current_thread().name)
        capture(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(rtc.VideoSource, "capture_frame", watched)
    camera = HandCamera()
    sender, viewer = hall.join("sender", Devices(camera=camera)), hall.join("viewer")
    sender.set_camera(True)
    next(viewer.video_frames(timeout=PATIENCE_S))
    assert threads == camera.threads == {"utd-camera"}


def test_rule_11_when_the_room_is_not_connected_no_track_is_made(
    hall: MediaRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A track without a live room builds a factory of its own (three native threads)."""
    from livekit import rtc

    connected: list[bool] = []
    sender = hall.make(Devices(ToneMicrophone(), camera=PatternCamera(320, 240, 15)))
    for kind, name in (
        (rtc.LocalAudioTrack, "create_audio_track"),
        (rtc.LocalVideoTrack, "create_video_track"),
    ):
        create = getattr(kind, name)

        def watched(*arguments: object, create=create) -> object:  # type: ignore[no-untyped-def]
            connected.append(sender.room is not None and sender.room.isconnected())
            return create(*arguments)

        monkeypatch.setattr(kind, name, staticmethod(watched))
    sender.connect(hall.url, hall.token("sender"))
    sender.set_microphone(True)
    sender.set_camera(True)
    assert connected == [True, True]


def next_counter(frames: Iterator[RawFrame]) -> int:
    """The number in the next picture that is clear enough (the first ones of a new encoder are not)."""
    for frame, _ in zip(frames, range(60), strict=False):
        if (counter := read_counter(frame)) is not None:
            return counter
    raise AssertionError("60 pictures, and none is readable")


def test_rule_12_when_a_viewer_is_slow_it_gets_the_newest_picture_and_queues_none(hall: MediaRoom) -> None:
    """While it looks away pictures are replaced, not kept."""
    camera = PatternCamera(320, 240, 30)
    sender, viewer = hall.join("sender", Devices(camera=camera)), hall.join("viewer")
    sender.set_camera(True)
    frames = viewer.video_frames(timeout=PATIENCE_S)
    first = next_counter(frames)
    eventually(lambda: camera.frames_sent > first + 60, "two seconds of pictures have gone by")
    newest = next_counter(frames)
    assert newest > first + 45, "the newest, not the next"


def test_rule_12_when_a_callback_is_blocked_the_pictures_go_on(hall: MediaRoom) -> None:
    """User code never runs on the loop, so nothing a callback does can stop or leak frames."""
    sender = hall.join("sender", Devices(camera=PatternCamera(320, 240, 15)))
    viewer = hall.make()
    blocked, free = threading.Event(), threading.Event()

    def block(_: object) -> None:
        blocked.set()
        free.wait(PATIENCE_S)

    viewer.events.subscribe(block)
    viewer.connect(hall.url, hall.token("viewer"))
    sender.set_camera(True)
    assert blocked.wait(PATIENCE_S)
    try:
        frames = viewer.video_frames(timeout=PATIENCE_S)
        for _ in range(20):
            next(frames)
    finally:
        free.set()


def test_h264_camera_when_published_is_seen_and_its_feedback_is_passed_on(hall: MediaRoom) -> None:
    """Access units go out as they are; key-frame requests and the bitrate come back to the encoder."""
    camera = H264Camera(320, 240, 30)
    sender, viewer = hall.join("sender", Devices(camera=camera)), hall.join("viewer")
    sender.set_camera(True)
    frames = viewer.video_frames(timeout=PATIENCE_S)
    read = [read_counter(next(frames)) for _ in range(20)]
    seen = [number for number in read if number is not None]
    assert len(seen) == 20
    assert seen == sorted(seen)
    assert camera.key_frame_requests >= 1
    assert camera.key_frames_sent >= 2, "one for the viewer who came later"
    eventually(lambda: camera.bitrates, "the estimate reached the encoder", PATIENCE_S)
    assert all(bitrate > 0 for bitrate in camera.bitrates)


def test_microphone_and_camera_when_both_are_on_are_published_one_after_the_other(
    hall: MediaRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two at once may be negotiated wrongly: an H.264 camera as VP8, which nobody can decode."""
    under_way, most = 0, 0
    publish_track = rtc.LocalParticipant.publish_track

    async def counted(self: rtc.LocalParticipant, *arguments: Any) -> rtc.LocalTrackPublication:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.05)  # the other one has all the time to come in between
        try:
            return await publish_track(self, *arguments)
        finally:
            under_way -= 1

    monkeypatch.setattr(rtc.LocalParticipant, "publish_track", counted)
    door = hall.join("door", Devices(microphone=ToneMicrophone(), camera=PatternCamera(320, 240, 15)))
    both = [threading.Thread(target=on, args=(True,)) for on in (door.set_microphone, door.set_camera)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(PATIENCE_S)
    assert door.microphone_on.value
    assert door.camera_on.value
    assert most == 1


def test_h264_camera_when_unmuted_resumes_with_a_key_frame(hall: MediaRoom) -> None:
    """Muted: the device stops and nothing is sent. Unmuted: seen again at once, not at the next IDR."""
    camera = H264Camera(320, 240, 30, key_frame_every=100_000)
    sender, viewer = hall.join("sender", Devices(camera=camera)), hall.join("viewer")
    sender.set_camera(True)
    frames = viewer.video_frames(timeout=PATIENCE_S)
    next(frames)
    sender.set_camera(False)
    assert not sender.camera_on.value
    sent = camera.frames_sent
    viewer.remote_participants.wait_for(lambda people: people[0].publications[0].muted, timeout=PATIENCE_S)
    assert camera.frames_sent == sent
    keys = camera.key_frames_sent
    sender.set_camera(True)
    assert sender.camera_on.value
    began = time.monotonic()
    counter = None
    while camera.key_frames_sent == keys or counter is None or counter > 60:  # the pattern starts again at 0
        counter = read_counter(next(frames))
        assert time.monotonic() - began < 5.0


def test_rule_2_when_a_connect_is_given_up_before_it_began_it_joins_nothing(
    hall: MediaRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no time at all the loop learns of it before the join's first step: still nobody is left behind."""
    from utdstream._livekit import joining

    end = media_room.MediaRoom.end

    def late(self: media_room.MediaRoom, *arguments: object) -> None:
        barrier = threading.Event()
        for _ in range(5 if threading.current_thread() is threading.main_thread() else 0):
            loop_thread().post(barrier.set)
            barrier.wait(PATIENCE_S)
            barrier.clear()
        end(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(media_room.MediaRoom, "end", late)
    for number in range(10):
        room = hall.make()
        with pytest.raises(DeadlineExceeded):
            room.connect(hall.url, hall.token(f"ghost-{number}"), timeout=0.0)
    eventually(lambda: joining.under_way() == 0, "no join is under way", PATIENCE_S)
    eventually(lambda: hall.present() == [], "nobody is left", GONE_S)


def test_rule_2_when_its_first_messages_still_come_a_room_is_not_left(
    hall: MediaRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket closed with unread messages is reset, and the leave lost with it: a ghost for 21 s."""
    from utdstream._livekit import joining

    joined: list[float] = []
    left: list[float] = []
    connect, disconnect = rtc.Room.connect, rtc.Room.disconnect

    async def noted_connect(self: rtc.Room, *arguments: Any) -> None:
        await connect(self, *arguments)
        joined.append(time.monotonic())

    async def noted_disconnect(self: rtc.Room) -> None:
        left.append(time.monotonic())
        await disconnect(self)

    monkeypatch.setattr(rtc.Room, "connect", noted_connect)
    monkeypatch.setattr(rtc.Room, "disconnect", noted_disconnect)
    hall.join("door").disconnect()
    with pytest.raises(DeadlineExceeded):
        hall.make().connect(hall.url, hall.token("late"), timeout=0.005)
    eventually(lambda: len(left) == len(joined) and joining.under_way() == 0, "both are over", PATIENCE_S)
    assert joined
    for came, went in zip(joined, left, strict=True):
        assert went - came > connection.SETTLE_S - 0.01


@pytest.mark.parametrize("after_s", [0.0, 0.01, 0.03, 0.06])
def test_rule_2_when_a_connect_is_interrupted_it_is_undone(hall: MediaRoom, after_s: float) -> None:
    """Control-C while joining: nobody is left on the SFU, and the object can connect again."""
    room = hall.make()
    ident = threading.main_thread().ident
    assert ident is not None

    def interrupt(change: Change[Connection]) -> None:
        if change.new.state is ConnectionState.CONNECTING:
            time.sleep(after_s)
            signal.pthread_kill(ident, signal.SIGINT)

    def join() -> None:
        room.connect(hall.url, hall.token("door"))
        threading.Event().wait(PATIENCE_S)  # it was joined before the interrupt came

    with room.connection.subscribe(interrupt), pytest.raises(KeyboardInterrupt):
        join()
    eventually(lambda: room.connection.value.state is not ConnectionState.CONNECTING, "it is taken back")
    room.disconnect()
    eventually(lambda: hall.present() == [], "nobody is left", GONE_S)
    room.connect(hall.url, hall.token("door"))
    assert hall.present() == ["door"]


def test_reconnect_when_the_signal_was_lost_keeps_sound_and_mute(hall: MediaRoom) -> None:
    """SIGNAL_RECONNECT and FULL_RECONNECT: sound again by itself, and what was muted stays muted."""
    from livekit import rtc

    camera = PatternCamera(320, 240, 15)
    sender, viewer = hall.join("sender", Devices(ToneMicrophone(700), camera=camera)), hall.join("viewer")
    sender.set_microphone(True)
    sender.set_camera(True)
    sender.set_camera(False)
    hear(viewer, 700)
    for scenario in (
        rtc.SimulateScenarioKind.SIMULATE_SIGNAL_RECONNECT,
        rtc.SimulateScenarioKind.SIMULATE_FULL_RECONNECT,
    ):
        states: list[ConnectionState] = []
        with sender.connection.subscribe(lambda change: states.append(change.new.state)):  # noqa: B023
            simulate(sender, scenario)
            eventually(lambda: states[-1:] == [ConnectionState.CONNECTED], "reconnected", PATIENCE_S)  # noqa: B023
        assert ConnectionState.RECONNECTING in states
        hear(viewer, 700)
        assert sender.microphone_on.value
        assert not sender.camera_on.value
        viewer.remote_participants.wait_for(
            lambda people: (
                len(people) == 1
                and {(track.kind, track.muted) for track in people[0].publications}
                == {("audio", False), ("video", True)}
            ),
            timeout=PATIENCE_S,
        )
    sender.set_camera(True)
    frames = viewer.video_frames(timeout=PATIENCE_S)
    assert next_counter(frames) >= 0


def test_reconnect_when_it_is_the_viewers_keeps_pictures_and_sound_coming(hall: MediaRoom) -> None:
    """After a full reconnect of the one who looks and listens, the same iterators go on.

    A subscription asked for between `reconnecting` and `reconnected` never reaches the server.
    """
    from livekit import rtc

    sender = hall.join("sender", Devices(ToneMicrophone(700), camera=PatternCamera(320, 240, 15)))
    viewer = hall.join("viewer", Devices(speaker=NullSpeaker()))
    sender.set_microphone(True)
    sender.set_camera(True)
    frames = viewer.video_frames(timeout=PATIENCE_S)
    next(frames)
    simulate(viewer, rtc.SimulateScenarioKind.SIMULATE_FULL_RECONNECT)
    viewer.connected.wait_for(False, timeout=PATIENCE_S)
    viewer.connected.wait_for(True, timeout=PATIENCE_S)
    for _ in range(10):
        next(frames)
    hear(viewer, 700)


def simulate(room: UTDRoom, scenario: object) -> None:
    """Breaks the connection of `room` in one of LiveKit's ways; returns when it was asked for."""
    loop = loop_thread()

    async def ask() -> None:
        native = room.room
        assert native is not None
        await asyncio.wait({asyncio.ensure_future(native.simulate_scenario(scenario))}, timeout=5.0)  # type: ignore[arg-type]

    from utdstream._threads.deadline import Deadline

    loop.run(ask, deadline=Deadline(PATIENCE_S, PATIENCE_S, "simulate"))


def test_camera_when_it_never_delivers_is_a_device_error(hall: MediaRoom) -> None:
    """Viewers would see black: the first picture comes before the track, or there is no track."""

    class Dead(HandCamera):
        def start(self, sink) -> None:  # type: ignore[no-untyped-def]
            self._sink = sink

    room = hall.join("sender", Devices(camera=Dead()))
    with pytest.raises(DeviceError, match="no frame"):
        room.set_camera(True)
    assert hall.tracks("sender") == []
    assert not room.camera_on.value


def test_rule_2_when_a_connect_is_given_up_it_is_never_cancelled(
    given_up: tuple[subprocess.Popen[str], MediaRoom],
) -> None:
    """A cancelled connect ends the process 15 s later; ours lives on, and nobody is left on the SFU."""
    process, room = given_up
    assert process.stdout is not None
    gave_up = process.stdout.readline().split()
    assert gave_up[:2] == ["gave", "up"], process.stderr.read() if process.stderr else ""
    assert int(gave_up[2]) >= 5
    eventually(lambda: room.present() == [], "no ghost stays on the SFU", GONE_S)
    assert process.stdout.readline() == "alive\n"
    assert process.wait(30) == 0
    assert room.present() == []
