"""Live streams on the real servers: one host, a stage, viewers who never publish."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests
from between import Between
from facts import eventually, until_heard
from media_rooms import lose_room
from people import People, small_devices

from utdstream import (
    Conflict,
    DeadlineExceeded,
    Devices,
    PermissionDenied,
    PublishRefused,
    StageRequest,
    UTDLiveStreamSession,
    UTDStreamClient,
)
from utdstream._wire import routes
from utdstream.synthetic import (
    NullSpeaker,
    PatternCamera,
    RecordingSpeaker,
    ToneMicrophone,
    read_counter,
)

pytestmark = pytest.mark.integration

PROGRAMS = Path(__file__).parent / "programs"

_numbers = itertools.count(1)


class Show:
    """One live stream and the people who join it."""

    def __init__(self, people: People) -> None:
        self._people = people
        self.stack = people.stack
        self.name = f"show-{next(_numbers)}-{id(people) % 9973}"
        self._clients: list[UTDStreamClient] = []

    def join(
        self,
        identity: str,
        *,
        devices: Devices | None = None,
        as_host: bool = False,
        base_url: str | None = None,
    ) -> UTDLiveStreamSession:
        stack = self._people.stack
        client = UTDStreamClient(stack.app_id, stack.app_key, base_url=base_url or stack.base_url)
        self._clients.append(client)
        return client.join_live_stream(
            identity=f"{identity}-{self.name}",
            room_name=self.name,
            as_host=as_host,
            devices=devices or small_devices(),
        )

    def close(self) -> None:
        for client in self._clients:
            client.dispose()


@pytest.fixture
def show(people: People) -> Iterator[Show]:
    """A live stream of its own."""
    made = Show(people)
    yield made
    made.close()


def identity_of(session: UTDLiveStreamSession) -> str:
    assert session.local_participant is not None
    return session.local_participant.identity


def on_stage(session: UTDLiveStreamSession) -> list[str]:
    return [member.identity for member in session.stage.value]


def test_host_when_live_is_seen_and_heard(show: Show) -> None:
    """`go_live` publishes both; a viewer sees the picture and hears the tone."""
    host = show.join("host", as_host=True)
    viewer = show.join("viewer", devices=Devices(speaker=NullSpeaker()))
    host.go_live()
    assert host.microphone_on.value
    assert host.camera_on.value
    assert viewer.snapshot().startswith(b"\x89PNG")
    assert any(any(frame.data) for frame in itertools.islice(viewer.audio_frames(), 500))
    viewer.stage.wait_for(lambda stage: [m.role for m in stage] == ["host"], timeout=5)


def test_host_when_live_without_video_leaves_the_camera_alone(show: Show) -> None:
    """`with_video=False` leaves the camera alone."""
    host = show.join("host", as_host=True)
    host.go_live(with_video=False)
    assert host.microphone_on.value
    assert not host.camera_on.value


def test_viewer_when_publishing_is_refused(show: Show) -> None:
    """Neither by `go_live` nor by the switches."""
    show.join("host", as_host=True)
    viewer = show.join("viewer")
    with pytest.raises(PublishRefused):
        viewer.go_live()
    with pytest.raises(PublishRefused):
        viewer.set_camera(True)
    with pytest.raises(PublishRefused):
        viewer.set_microphone(True)


def test_viewer_when_on_stage_publishes_until_it_steps_down(show: Show) -> None:
    """Raised hand, invitation, publishing, stepping down."""
    host = show.join("host", as_host=True)
    viewer = show.join("viewer")
    hands: list[StageRequest] = []
    host.stage_requests.subscribe(hands.append)
    viewer.request_stage()
    eventually(lambda: [hand.identity for hand in hands] == [identity_of(viewer)], "the hand was seen")
    host.invite_to_stage(hands[0].identity)
    host.invite_to_stage(hands[0].identity)
    assert on_stage(host) == [identity_of(host), identity_of(viewer)]
    viewer.can_publish.wait_for(True, timeout=5)
    viewer.set_microphone(True)
    viewer.set_camera(True)
    assert host.snapshot(identity=identity_of(viewer)).startswith(b"\x89PNG")
    viewer.leave_stage()
    assert not viewer.microphone_on.value
    assert not viewer.camera_on.value
    viewer.can_publish.wait_for(False, timeout=5)
    host.stage.wait_for(lambda stage: len(stage) == 1, timeout=5)
    with pytest.raises(Conflict):
        viewer.leave_stage()


def test_stream_when_left_from_the_stage_and_joined_again_at_once_is_watched(show: Show) -> None:
    """Who says good-bye gives the place on stage back."""
    host = show.join("host", as_host=True)
    guest = show.join("guest")
    host.invite_to_stage(identity_of(guest))
    guest.stage.wait_for(lambda stage: len(stage) == 2, timeout=5)
    guest.leave()
    again = show.join("guest")
    assert on_stage(again) == [identity_of(host)]
    assert not again.can_publish.value


def test_guest_when_removed_from_stage_stops_camera_and_microphone(show: Show) -> None:
    """The host takes the stage away; both devices stop within a second or so."""
    host = show.join("host", as_host=True)
    viewer = show.join("viewer")
    host.invite_to_stage(identity_of(viewer))
    viewer.can_publish.wait_for(True, timeout=5)
    viewer.set_microphone(True)
    viewer.set_camera(True)
    host.remove_from_stage(identity_of(viewer))
    viewer.microphone_on.wait_for(False, timeout=5)
    viewer.camera_on.wait_for(False, timeout=5)
    viewer.stage.wait_for(lambda stage: len(stage) == 1, timeout=5)


def test_stage_when_lost_with_the_room_is_asked_for_again(show: Show, between: Between) -> None:
    """The engine gave the place away: the host sees the hand again, once, and decides."""
    host = show.join("host", as_host=True)
    guest = show.join("guest", base_url=between.url)
    hands: list[StageRequest] = []
    host.stage_requests.subscribe(hands.append)
    host.invite_to_stage(identity_of(guest))
    guest.can_publish.wait_for(True, timeout=5)
    guest.set_microphone(True)
    guest.stage.wait_for(lambda stage: len(stage) == 2, timeout=5)
    minting = between.hold_requests("/token")
    lose_room(guest)
    assert minting.came.wait(10)
    host.remove_from_stage(identity_of(guest))  # as the engine does with somebody who is away
    minting.let_go()
    guest.connected.wait_for(True, timeout=15)
    eventually(lambda: hands, "the hand is raised", 15)
    assert not guest.microphone_on.value
    host.invite_to_stage(identity_of(guest))
    guest.can_publish.wait_for(True, timeout=5)
    guest.set_microphone(True)
    assert [hand.identity for hand in hands] == [identity_of(guest)]


def test_viewer_when_running_the_stage_is_refused(show: Show) -> None:
    """Host actions by a viewer are refused."""
    host = show.join("host", as_host=True)
    viewer = show.join("viewer")
    with pytest.raises(PermissionDenied):
        viewer.invite_to_stage(identity_of(viewer))
    with pytest.raises(PermissionDenied):
        viewer.remove_from_stage(identity_of(host))


def test_host_when_there_is_one_already_is_a_viewer(show: Show) -> None:
    """The engine grants host to the owner only, whatever is claimed."""
    show.join("host", as_host=True)
    pretender = show.join("pretender", as_host=True)
    assert not pretender.can_publish.value


class Audience:
    """Viewers who listen, in a process of their own: forty streams of sound are too many for one loop."""

    def __init__(self, people: People, show: str, names: list[str]) -> None:
        stack = people.stack
        self._process = subprocess.Popen(
            [sys.executable, str(PROGRAMS / "stage_viewers.py"), show, *names],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "UTD_BASE_URL": stack.base_url,
                "UTD_APP_ID": stack.app_id,
                "UTD_APP_KEY": stack.app_key,
            },
        )

    def joined(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "joined\n"

    def ask(self, wanted: dict[str, object]) -> None:
        """All of them are told what to wait for; `answer` waits."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(wanted) + "\n")
        self._process.stdin.flush()

    def answer(self) -> None:
        """It is as they were asked, and none of them may publish."""
        assert self._process.stdout is not None
        assert json.loads(self._process.stdout.readline() or '"they ended"') is False

    def close(self) -> None:
        with self._process:  # closes its pipes, which ends it, and waits
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                assert self._process.wait(20) == 0
            finally:
                self._process.kill()


def test_viewers_when_the_stage_changes_see_and_hear_exactly_the_stage(show: Show, people: People) -> None:
    """Host, three co-publishers, ten viewers who listen, one of whom looks: all see the same stage."""
    camera = PatternCamera(160, 120, 10)
    host = show.join("host", as_host=True, devices=Devices(microphone=ToneMicrophone(300), camera=camera))
    host.go_live()
    co_publishers = [
        show.join(f"guest-{number}", devices=Devices(microphone=ToneMicrophone(500 + 200 * number)))
        for number in range(3)
    ]
    speaker = RecordingSpeaker(keep_s=1.0)
    looker = show.join("looker", devices=Devices(speaker=speaker))
    with ExitStack() as cleaning:
        audiences = []
        for names in (
            ["viewer-1", "viewer-2", "viewer-3", "viewer-4"],
            [f"viewer-{n}" for n in range(5, 10)],
        ):
            audiences.append(Audience(people, show.name, names))
            cleaning.callback(audiences[-1].close)
        for audience in audiences:
            audience.joined()

        def everybody(wanted: dict[str, object]) -> None:
            for audience in audiences:
                audience.ask(wanted)
            for audience in audiences:
                audience.answer()

        def everybody_sees(expected: list[UTDLiveStreamSession]) -> None:
            names = [identity_of(session) for session in expected]
            for session in (host, *co_publishers, looker):
                session.stage.wait_for(
                    lambda stage: [member.identity for member in stage] == names, timeout=20
                )
            everybody({"sees": names})

        for session in co_publishers:
            session.request_stage()
            host.invite_to_stage(identity_of(session))
            session.can_publish.wait_for(True, timeout=10)
            session.set_microphone(True)
        everybody_sees([host, *co_publishers])
        pictures = [read_counter(frame) for frame in itertools.islice(looker.video_frames(timeout=20), 5)]
        assert len([counter for counter in pictures if counter is not None]) >= 3
        eventually(lambda: any(speaker.pcm[-9600:]), "the looker hears", within_s=20)
        everybody({"hears": True})
        host.remove_from_stage(identity_of(co_publishers[1]))
        everybody_sees([host, co_publishers[0], co_publishers[2]])
        co_publishers[2].leave_stage()
        everybody_sees([host, co_publishers[0]])
        co_publishers[1].microphone_on.wait_for(False, timeout=10)
        assert not looker.can_publish.value


def test_stream_when_the_host_leaves_ends_for_viewers(show: Show) -> None:
    """A leaving host says so; viewers are told once and leave."""
    host = show.join("host", as_host=True)
    viewer = show.join("viewer", devices=Devices())
    host.go_live(with_video=False)
    viewer.stage.wait_for(lambda stage: len(stage) == 1, timeout=5)
    ends: list[str] = []
    viewer.ended.subscribe(lambda end: ends.append(end.reason))
    host.leave()
    viewer.connected.wait_for(False, timeout=10)
    eventually(lambda: ends == ["ended"], f"told once, was {ends}")


def test_stream_when_closed_by_the_server_is_left_before_it_is_ended(show: Show, people: People) -> None:
    """The notice is believed because the engine, asked, says so too; the sessions leave by themselves."""
    host = show.join("host", as_host=True, devices=Devices())
    viewer = show.join("viewer", devices=Devices())
    ends: list[str] = []
    viewer.ended.subscribe(lambda end: ends.append(end.reason))
    until_heard(viewer.messages, lambda: host.send_data(b"are you there?"))
    until_heard(host.messages, lambda: viewer.send_data(b"are you there?"))
    stack = people.stack
    closed = requests.delete(
        f"{stack.base_url}/api/v1/rooms/{show.name}",
        headers={"X-App-Id": stack.app_id, "X-App-Secret": stack.app_secret},
        timeout=15,
    )
    assert closed.status_code == 200
    for session, reason in ((viewer, "STREAM_ENDED"), (host, "ROOM_CLOSED")):
        session.connected.wait_for(False, timeout=5)
        assert session.connection.value.reason == reason
    eventually(lambda: ends == ["closed"], f"told once, was {ends}")


def test_end_of_a_stream_when_forged_by_a_viewer_ends_nothing(show: Show) -> None:
    """Only the host can say that it is over."""
    show.join("host", as_host=True)
    liar, viewer = show.join("liar", devices=Devices()), show.join("viewer", devices=Devices())
    seen: list[object] = []
    viewer.messages.subscribe(seen.append)
    liar.send_data(b'{"type":"_live_ended"}')
    liar.send_data(b"an ordinary message")
    eventually(lambda: len(seen) == 1, "the ordinary message arrived")
    assert viewer.connected.value


@pytest.mark.parametrize("word", ["_removed", "_banned"])
def test_viewer_when_told_to_go_by_one_who_has_just_come_in_stays(show: Show, word: str) -> None:
    """For seconds nobody is told who it is that sends: whoever has to go, the media server removes."""
    show.join("host", as_host=True)
    viewer = show.join("viewer", devices=Devices())
    seen: list[object] = []
    viewer.messages.subscribe(seen.append)
    liar = show.join("liar", devices=Devices())
    liar.send_data(json.dumps({"type": word, "reason": "removed"}).encode())
    liar.send_data(b"an ordinary message")
    eventually(lambda: len(seen) == 1, "the ordinary message arrived")
    with pytest.raises(DeadlineExceeded):
        viewer.connected.wait_for(False, timeout=1.0)


def test_viewer_when_the_host_removes_it_is_told_so(show: Show) -> None:
    """It is the media server's word that counts, and the notice before it that says why."""
    host, viewer = show.join("host", as_host=True), show.join("viewer", devices=Devices())
    secret = {"X-App-Id": show.stack.app_id, "X-App-Secret": show.stack.app_secret}
    path = routes.participant(show.name, f"viewer-{show.name}")
    assert requests.delete(show.stack.base_url + path, headers=secret, timeout=10).status_code == 200
    viewer.connected.wait_for(False, timeout=10)
    assert viewer.connection.value.reason == "REMOVED"
    assert host.connected.value
