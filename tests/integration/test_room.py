"""UTDRoom on the real livekit-server: what is downloaded, sent, heard, said, and how it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from facts import eventually
from media_rooms import GONE_S, CountedMicrophone, CountedSpeaker, MediaRoom, hear

from utdstream import (
    ClientConfig,
    DataMessage,
    DeviceError,
    Devices,
    InvalidConfig,
    PublishRefused,
    RemoteParticipant,
    RoomEvent,
    SessionClosed,
    UsageError,
    UTDRoom,
)
from utdstream.synthetic import PatternCamera, RecordingSpeaker, ToneMicrophone
from utdstream.testing import LocalStack

pytestmark = pytest.mark.integration

PATIENCE_S = 15.0


@pytest.fixture
def hall(stack: LocalStack) -> Iterator[MediaRoom]:
    """A room on the SFU."""
    with MediaRoom(stack) as room:
        yield room


def subscribed(room: UTDRoom, kind: str) -> bool | None:
    """Whether the first person's track of this kind is downloaded; None when there is no such track."""
    people: tuple[RemoteParticipant, ...] = room.remote_participants.value
    tracks = [track for person in people for track in person.publications if track.kind == kind]
    return tracks[0].subscribed if tracks else None


# -- what is downloaded ----------------------------------------------------------------------------


def test_video_when_somebody_looks_is_downloaded(hall: MediaRoom) -> None:
    """Nothing before the first viewer, nothing soon after the last; looked at again, it comes again."""
    sender = hall.join("sender", Devices(camera=PatternCamera(320, 240, 15)))
    sender.set_camera(True)
    viewer = hall.join("viewer", config=ClientConfig(video_linger_s=0.2))
    viewer.remote_participants.wait_for(lambda people: bool(people[0].publications), timeout=PATIENCE_S)
    assert viewer.stats().video_frames_received == 0
    assert subscribed(viewer, "video") is False
    for _ in range(2):
        viewer.snapshot(timeout=PATIENCE_S)
        assert subscribed(viewer, "video") is True
        viewer.remote_participants.wait_for(
            lambda people: not people[0].publications[0].subscribed, timeout=PATIENCE_S
        )
    received = viewer.stats().video_frames_received
    sent = sender.stats().video_frames_sent
    eventually(lambda: sender.stats().video_frames_sent > sent + 10, "the camera goes on")
    assert viewer.stats().video_frames_received == received


def test_video_when_looked_at_again_within_the_linger_is_not_let_go(hall: MediaRoom) -> None:
    """A second look soon after the first keeps the download."""
    sender = hall.join("sender", Devices(camera=PatternCamera(320, 240, 15)))
    sender.set_camera(True)
    viewer = hall.join("viewer", config=ClientConfig(video_linger_s=0.3))
    names: list[str] = []
    viewer.events.subscribe(lambda event: names.append(event.name))
    viewer.snapshot(timeout=PATIENCE_S)
    frames = viewer.video_frames(timeout=PATIENCE_S)
    until = time.monotonic() + 1.0
    for _ in frames:
        if time.monotonic() > until:
            break
    assert names.count("track_subscribed") == 1
    assert "track_unsubscribed" not in names


def test_sound_when_somebody_listens_is_downloaded(hall: MediaRoom) -> None:
    """Without a speaker nothing is; `audio_frames()` is a listener."""
    talker, listener = hall.join("talker", Devices(ToneMicrophone(700))), hall.join("listener")
    talker.set_microphone(True)
    listener.remote_participants.wait_for(lambda people: bool(people[0].publications), timeout=PATIENCE_S)
    assert subscribed(listener, "audio") is False
    hear(listener, 700)
    assert subscribed(listener, "audio") is True


def test_auto_subscribe_when_off_brings_only_what_is_asked_for(hall: MediaRoom) -> None:
    """`auto_subscribe=False`: the speaker stays silent, an identity asked for by name is heard."""
    talker = hall.join("talker", Devices(ToneMicrophone(700)))
    talker.set_microphone(True)
    speaker = RecordingSpeaker()
    listener = hall.make(Devices(speaker=speaker))
    listener.connect(hall.url, hall.token("listener"), auto_subscribe=False)
    listener.remote_participants.wait_for(lambda people: bool(people[0].publications), timeout=PATIENCE_S)
    assert subscribed(listener, "audio") is False
    hear(listener, 700, identity="talker")
    assert not any(speaker.pcm[: len(speaker.pcm) // 2])


def test_adaptive_stream_when_off_downloads_everything(hall: MediaRoom) -> None:
    """`adaptive_stream=False` is what other SDKs do."""
    sender = hall.join("sender", Devices(camera=PatternCamera(320, 240, 15)))
    sender.set_camera(True)
    viewer = hall.make(adaptive_stream=False)
    viewer.connect(hall.url, hall.token("viewer"))
    eventually(lambda: subscribed(viewer, "video"), "it is downloaded unasked", PATIENCE_S)
    assert len(viewer.snapshot(timeout=PATIENCE_S)) > 100


def test_iterator_when_given_an_identity_gives_only_that_one(hall: MediaRoom) -> None:
    """Two talk, one is asked for; the mix has both."""
    first = hall.join("first", Devices(ToneMicrophone(700)))
    second = hall.join("second", Devices(ToneMicrophone(1500)))
    first.set_microphone(True)
    second.set_microphone(True)
    listener = hall.join("listener")
    hear(listener, 1500, identity="second")
    hear(listener, 700, 1500)


def test_iterator_when_never_read_downloads_nothing(hall: MediaRoom) -> None:
    """Made, closed or dropped: there is nothing of it to take back. Read once and closed, it is let go."""
    sender = hall.join("sender", Devices(ToneMicrophone(700), camera=PatternCamera(320, 240, 15)))
    sender.set_microphone(True)
    sender.set_camera(True)
    viewer = hall.join("viewer", config=ClientConfig(video_linger_s=0.2))
    viewer.remote_participants.wait_for(lambda people: len(people[0].publications) == 2, timeout=PATIENCE_S)
    names: list[str] = []
    viewer.events.subscribe(lambda event: names.append(event.name))
    closed: tuple[Any, ...] = (viewer.video_frames(), viewer.audio_frames())
    for frames in closed:
        frames.close()
    for _dropped in (viewer.video_frames(), viewer.audio_frames()):
        pass
    viewer.snapshot(timeout=PATIENCE_S)  # behind what those four would have asked for
    eventually(lambda: subscribed(viewer, "video") is False, "the snapshot's track is let go", PATIENCE_S)
    assert subscribed(viewer, "audio") is False
    assert names.count("track_subscribed") == 1


def test_iterator_when_the_room_ends_before_its_first_step_is_empty(hall: MediaRoom) -> None:
    """It was made in a room, so it ends as one that was being read."""
    viewer = hall.join("viewer")
    pictures, sounds = viewer.video_frames(), viewer.audio_frames()
    viewer.disconnect()
    assert not list(pictures)
    assert not list(sounds)


def test_sound_frames_when_there_is_silence_come_on_a_steady_clock(hall: MediaRoom) -> None:
    """10 ms each, 48 kHz mono, all zero while nobody speaks."""
    listener = hall.join("listener")
    began = time.monotonic()
    frames = [frame for frame, _ in zip(listener.audio_frames(), range(50), strict=False)]
    took = time.monotonic() - began
    assert 0.45 < took < 2.5
    assert {(frame.sample_rate_hz, frame.channels, len(frame.data)) for frame in frames} == {(48_000, 1, 960)}
    assert not any(any(bytes(frame.data)) for frame in frames)


def test_sound_iteration_ends_when_the_room_does(hall: MediaRoom) -> None:
    """Left by itself or deleted by a server."""
    for end in (lambda room: room.disconnect(), lambda room: hall.delete()):
        listener = hall.join("listener")
        frames = listener.audio_frames()
        next(frames)
        end(listener)
        for count, _ in enumerate(frames):
            assert count < 500


# -- devices ---------------------------------------------------------------------------------------


def test_device_when_in_two_rooms_is_opened_once_and_closed_at_last(hall: MediaRoom) -> None:
    """The first user opens it, both are heard, the last closes it."""
    microphone, speaker = CountedMicrophone(700), CountedSpeaker()
    devices = Devices(microphone, speaker)
    first, second = hall.join("first", devices), hall.join("second", devices)
    listener = hall.join("listener")
    first.set_microphone(True)
    second.set_microphone(True)
    hear(listener, 700, identity="first")
    hear(listener, 700, identity="second")
    first.disconnect()
    assert microphone.running
    hear(listener, 700, identity="second")
    second.disconnect()
    eventually(lambda: not microphone.running and not speaker.running, "both are closed")
    assert (microphone.opened, speaker.opened) == (1, 1)


def test_speaker_when_shared_by_two_rooms_plays_both_mixed(hall: MediaRoom, stack: LocalStack) -> None:
    """Two rooms, one loudspeaker."""
    import numpy

    speaker = RecordingSpeaker()
    with MediaRoom(stack) as other:
        for place, tone in ((hall, 700), (other, 1500)):
            talker = place.join("talker", Devices(ToneMicrophone(tone)))
            talker.set_microphone(True)
            place.join("listener", Devices(speaker=speaker))

        def both() -> bool:
            sound = numpy.frombuffer(speaker.pcm[-19_200:], dtype=numpy.int16)
            if len(sound) < 9600:
                return False
            spectrum = numpy.abs(numpy.fft.rfft(sound)) / len(sound)
            return bool(spectrum[140] > 500 and spectrum[300] > 500)

        eventually(both, "both tones are played", PATIENCE_S)


def test_microphone_when_muted_is_closed_and_opened_again(hall: MediaRoom) -> None:
    """Muting stops the device too: no privacy light burns for nothing."""
    microphone = CountedMicrophone(700)
    talker, listener = hall.join("talker", Devices(microphone)), hall.join("listener")
    for opened in (1, 2):
        talker.set_microphone(True)
        assert talker.microphone_on.value
        assert microphone.running
        hear(listener, 700)
        talker.set_microphone(False)
        assert not talker.microphone_on.value
        assert not microphone.running
        assert microphone.opened == opened
        hear(listener)


def test_microphone_when_muted_by_the_server_stops_the_device(hall: MediaRoom) -> None:
    """A moderator's mute is obeyed, also on a track that began its life muted."""
    microphone = CountedMicrophone(700)
    talker = hall.join("talker", Devices(microphone))
    talker.set_microphone(False)
    talker.set_microphone(True)
    assert microphone.running
    eventually(lambda: hall.tracks("talker"), "the SFU has the track", PATIENCE_S)
    (track,) = hall.tracks("talker")
    hall.ask("MutePublishedTrack", room=hall.name, identity="talker", track_sid=track["sid"], muted=True)
    talker.microphone_on.wait_for(False, timeout=PATIENCE_S)
    eventually(lambda: not microphone.running, "the microphone is closed")


def test_microphone_when_there_is_no_permission_is_refused_at_once(hall: MediaRoom) -> None:
    """The core would wait for ten seconds; the device is not even opened."""
    microphone = CountedMicrophone()
    viewer = hall.join("viewer", Devices(microphone), can_publish=False)
    assert not viewer.can_publish.value
    began = time.monotonic()
    with pytest.raises(PublishRefused, match="not granted"):
        viewer.set_microphone(True)
    assert time.monotonic() - began < 1.0
    assert microphone.opened == 0
    viewer.set_microphone(False)


def test_microphone_when_the_permission_goes_while_it_opens_is_refused(hall: MediaRoom) -> None:
    """`set_microphone` returns when it is on, so here it raises."""
    revoked = threading.Event()

    def revoke() -> None:
        hall.permit("talker", can_publish=False)
        talker.can_publish.wait_for(False, timeout=PATIENCE_S)
        revoked.set()

    microphone = CountedMicrophone(before=revoke)
    talker = hall.join("talker", Devices(microphone))
    with pytest.raises(PublishRefused):
        talker.set_microphone(True)
    assert revoked.is_set()
    assert not talker.microphone_on.value
    eventually(lambda: not microphone.running, "the microphone is closed")


def test_device_when_not_there_is_a_device_error(hall: MediaRoom) -> None:
    """On needs a device; off is fine without one."""
    room = hall.join("bare")
    with pytest.raises(DeviceError, match="microphone"):
        room.set_microphone(True)
    with pytest.raises(DeviceError, match="camera"):
        room.set_camera(True)
    room.set_microphone(False)
    room.set_camera(False)


def test_device_when_it_fails_to_open_is_a_device_error(hall: MediaRoom) -> None:
    """With the driver's words in it; another try may succeed."""
    tries = []

    def busy_once() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("device or resource busy")

    room = hall.join("talker", Devices(CountedMicrophone(before=busy_once)))
    with pytest.raises(DeviceError, match="resource busy"):
        room.set_microphone(True)
    assert not room.microphone_on.value
    room.set_microphone(True)
    assert room.microphone_on.value


def test_speaker_when_it_fails_to_open_is_reported_and_the_room_goes_on(hall: MediaRoom) -> None:
    """The join succeeds; `errors` says what is missing."""

    class Broken(CountedSpeaker):
        def start(self, source: object) -> None:
            raise OSError("no such card")

    room = hall.join("listener", Devices(speaker=Broken()))
    eventually(lambda: hall.errors[room], "it is reported")
    assert [error.source for error in hall.errors[room]] == ["speaker"]
    assert room.connected.value


class Unplugged:
    """Makes the property `name` of a device raise, as a driver does whose device is gone."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, device: object) -> Any:
        def gone(_: object) -> None:
            raise OSError("unplugged")

        device.__class__ = type("Gone", (type(device),), {self._name: property(gone, lambda *_: None)})
        return device


def test_room_when_a_devices_properties_raise_goes_on_without_it(hall: MediaRoom) -> None:
    """A device that does not say what it is is not there: typed, reported, and no ghost stays in the room."""
    deaf = hall.join("deaf", Devices(ToneMicrophone(700), Unplugged("format")(CountedSpeaker())))
    eventually(lambda: hall.errors[deaf], "it is reported")
    (report,) = hall.errors[deaf]
    assert (report.source, type(report.error)) == ("speaker", DeviceError)
    deaf.set_microphone(True)
    hear(hall.join("listener"), 700)
    blind = hall.join(
        "blind",
        Devices(
            Unplugged("format")(ToneMicrophone(700)), camera=Unplugged("width")(PatternCamera(320, 240, 15))
        ),
    )
    for act in (blind.set_microphone, blind.set_camera):
        with pytest.raises(DeviceError, match="unplugged"):
            act(True)
    assert blind.connected.value
    deaf.disconnect()
    blind.disconnect()
    eventually(lambda: hall.present() == ["listener"], "nobody stays behind", GONE_S)


def test_camera_when_its_stop_hangs_costs_one_thread_and_no_later_room(hall: MediaRoom) -> None:
    """Rooms go on without it, at once and told so; the one that is there when it comes back has its picture."""
    may_stop = threading.Event()

    class Stuck(PatternCamera):
        def stop(self) -> None:
            assert may_stop.wait(4 * PATIENCE_S)
            super().stop()

    devices = Devices(camera=Stuck(320, 240, 15))
    first = hall.join("first", devices)
    first.set_camera(True)
    first.disconnect()
    for number in range(3):
        room = hall.join(f"later-{number}", devices)
        with pytest.raises(DeviceError, match="does not come back"):
            room.set_camera(True)
        room.disconnect()
    assert sum(thread.name == "utd-close-camera" for thread in threading.enumerate()) == 1
    last = hall.join("last", devices)
    with pytest.raises(DeviceError):
        last.set_camera(True)
    may_stop.set()
    last.camera_on.wait_for(True, timeout=PATIENCE_S)
    assert len(hall.join("viewer").snapshot(timeout=PATIENCE_S)) > 100


# -- data and events -------------------------------------------------------------------------------


def test_data_when_sent_reaches_everyone_or_the_ones_named(hall: MediaRoom) -> None:
    """Reliable and lossy, with the sender's name; the sender does not hear itself."""
    first, second, third = (hall.join(name) for name in ("first", "second", "third"))
    heard: dict[str, list[DataMessage]] = {name: [] for name in ("first", "second", "third")}
    for name, room in (("first", first), ("second", second), ("third", third)):
        room.messages.subscribe(heard[name].append)

    def probe() -> bool:  # who joined a moment ago cannot hear yet
        first.send_data(b"probe")
        return bool(heard["second"] and heard["third"])

    eventually(probe, "both can hear", PATIENCE_S)
    first.send_data(b"to all")
    for name in ("second", "third"):
        eventually(lambda name=name: b"to all" in [m.data for m in heard[name]], "it came", PATIENCE_S)
        heard[name][:] = [message for message in heard[name] if message.data != b"probe"]
    first.send_data(b"to third", destination_identities=["third"])
    first.send_data(bytes(15_000))
    first.send_data(b"lossy", reliable=False)
    eventually(lambda: len(heard["third"]) == 4, "all four came", PATIENCE_S)
    eventually(lambda: len(heard["second"]) == 3, "three came", PATIENCE_S)
    reliable = {
        name: [message for message in heard[name] if message.reliable] for name in ("second", "third")
    }
    assert [message.data for message in reliable["second"]] == [b"to all", bytes(15_000)]
    assert reliable["third"][1] == DataMessage(b"to third", "first", None, True)
    for name in ("second", "third"):  # the lossy one goes its own way and may overtake
        assert DataMessage(b"lossy", "first", None, False) in heard[name]
    assert heard["first"] == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"data": "text"}, "bytes"),
        ({"data": bytes(15_001)}, "15000"),
        ({"data": bytes(1_301), "reliable": False}, "1300"),
        ({"data": b"x", "destination_identities": "third"}, "list"),
    ],
)
def test_data_when_it_does_not_fit_is_refused_before_it_is_sent(
    hall: MediaRoom, arguments: dict[str, object], says: str
) -> None:
    """With the limit in the sentence."""
    room = hall.join("first")
    with pytest.raises(InvalidConfig, match=says):
        room.send_data(**arguments)  # type: ignore[arg-type]  # what the test is about


def test_data_when_sent_by_a_server_has_no_sender(hall: MediaRoom) -> None:
    """Sent through the server's API: `sender` is None."""
    room = hall.join("first")
    got: list[DataMessage] = []
    room.messages.subscribe(got.append)

    def say() -> list[DataMessage]:  # again and again: who joined a moment ago cannot hear yet
        hall.ask("SendData", room=hall.name, data="aGVsbG8=", kind="RELIABLE", topic="news")
        return got

    eventually(say, "it came", PATIENCE_S)
    assert (got[0].data, got[0].sender, got[0].topic) == (b"hello", None, "news")


def test_events_when_they_happen_carry_livekits_names_and_plain_values(hall: MediaRoom) -> None:
    """Somebody comes, publishes, mutes, goes: each under the name of LiveKit's own documentation."""
    watcher = hall.join("watcher")
    seen: list[RoomEvent] = []
    watcher.events.subscribe(seen.append)
    talker = hall.join("talker", Devices(ToneMicrophone()))
    talker.set_microphone(True)
    eventually(lambda: any(event.name == "track_published" for event in seen), "published", PATIENCE_S)
    talker.set_microphone(False)
    eventually(lambda: any(event.name == "track_muted" for event in seen), "muted", PATIENCE_S)
    talker.disconnect()
    eventually(lambda: any(event.name == "participant_disconnected" for event in seen), "gone", PATIENCE_S)
    names = [event.name for event in seen]
    story = ["participant_connected", "track_published", "track_muted", "participant_disconnected"]
    assert [name for name in names if name in story] == story
    published = next(event for event in seen if event.name == "track_published")
    assert published.payload["participant"] == "talker"
    assert getattr(published.payload["publication"], "source", None) == "microphone"


def test_event_names_when_compared_are_all_of_the_cores(hall: MediaRoom) -> None:
    """Every event that the installed livekit names is passed on."""
    from typing import get_args

    from livekit.rtc import room as core

    from utdstream._livekit.events import EVENTS

    names = set(get_args(core.EventTypes))
    assert names - set(EVENTS) <= {"connected"}
    assert set(EVENTS) <= names


# -- the end ---------------------------------------------------------------------------------------


def test_room_when_deleted_by_the_server_is_disconnected_with_its_reason(hall: MediaRoom) -> None:
    """Facts say so, devices stop, and the object can join again."""
    microphone = CountedMicrophone()
    room = hall.join("talker", Devices(microphone))
    room.set_microphone(True)
    hall.delete()
    room.connected.wait_for(False, timeout=PATIENCE_S)
    assert room.connection.value.reason == "ROOM_DELETED"
    assert room.remote_participants.value == ()
    assert not room.microphone_on.value
    assert not room.can_publish.value
    eventually(lambda: not microphone.running, "the microphone is closed")
    with pytest.raises(SessionClosed):
        room.set_microphone(True)
    with pytest.raises(SessionClosed):
        room.send_data(b"late")
    hall.ask("CreateRoom", name=hall.name)
    room.connect(hall.url, hall.token("talker"))
    room.set_microphone(True)
    assert room.microphone_on.value


def test_participant_when_removed_or_evicted_is_told_why(hall: MediaRoom) -> None:
    """By a moderator, or by a second device with the same identity."""
    room = hall.join("talker")
    hall.ask("RemoveParticipant", room=hall.name, identity="talker")
    room.connected.wait_for(False, timeout=PATIENCE_S)
    assert room.connection.value.reason == "PARTICIPANT_REMOVED"
    room.connect(hall.url, hall.token("talker"))
    hall.join("talker")
    room.connected.wait_for(False, timeout=PATIENCE_S)
    assert room.connection.value.reason == "DUPLICATE_IDENTITY"


def test_connect_when_done_twice_is_a_usage_error(hall: MediaRoom) -> None:
    """The first stays as it is."""
    room = hall.join("talker")
    with pytest.raises(UsageError, match="already"):
        room.connect(hall.url, hall.token("talker"))
    assert room.connected.value


def test_disconnect_when_done_twice_or_without_a_room_is_nothing(hall: MediaRoom) -> None:
    """Also on an object that never connected."""
    room = hall.make()
    room.disconnect()
    room.connect(hall.url, hall.token("talker"))
    room.disconnect()
    room.disconnect()
    eventually(lambda: hall.present() == [], "nobody is left", PATIENCE_S)


def test_dispose_when_done_twice_is_fine_and_ends_waits(hall: MediaRoom) -> None:
    """Who waits for a fact gets SessionClosed; what comes later is refused."""
    room = hall.join("talker", Devices(ToneMicrophone()))
    outcome: list[BaseException] = []

    def wait() -> None:
        try:
            room.connected.wait_for(False, timeout=PATIENCE_S)
            room.remote_participants.wait_for(lambda people: bool(people), timeout=PATIENCE_S)
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            outcome.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    room.dispose()
    room.dispose()
    room.close()
    waiting.join(PATIENCE_S)
    assert [type(error) for error in outcome] == [SessionClosed]
    with pytest.raises(SessionClosed, match="disposed"):
        room.connect(hall.url, hall.token("talker"))
    eventually(lambda: hall.present() == [], "nobody is left", PATIENCE_S)


def test_dispose_when_called_from_a_callback_does_not_wait_for_itself(hall: MediaRoom) -> None:
    """The room's own events thread may end the room."""
    room = hall.join("talker")
    done = threading.Event()

    def end(_: RoomEvent) -> None:
        room.dispose()
        done.set()

    room.events.subscribe(end)
    hall.join("other")
    assert done.wait(PATIENCE_S)
    assert not room.connected.value
    eventually(lambda: hall.present() == ["other"], "it has gone", PATIENCE_S)


def test_dispose_when_called_from_several_threads_at_once_ends_once(hall: MediaRoom) -> None:
    """With sound and pictures flowing."""
    room = hall.join("talker", Devices(ToneMicrophone(), CountedSpeaker(), PatternCamera(320, 240, 15)))
    room.set_microphone(True)
    room.set_camera(True)
    enders = [threading.Thread(target=room.dispose) for _ in range(5)]
    for ender in enders:
        ender.start()
    for ender in enders:
        ender.join(PATIENCE_S)
    assert not any(ender.is_alive() for ender in enders)
    eventually(lambda: hall.present() == [], "nobody is left", PATIENCE_S)
    assert hall.errors[room] == []


def test_with_statement_when_left_leaves_the_room(hall: MediaRoom) -> None:
    """The end of the block is the end of the room."""
    with UTDRoom() as room:
        room.connect(hall.url, hall.token("talker"))
        assert hall.present() == ["talker"]
    eventually(lambda: hall.present() == [], "nobody is left", PATIENCE_S)
