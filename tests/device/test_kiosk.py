"""The kiosk on the real servers: it holds its seat, whatever happens."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from bell import Button, config_of
from facts import eventually
from people import People

from device.config import MachineConfig
from device.kiosk.app import Kiosk
from device.kiosk.logic import SENT_AWAY_S
from device.service import Service
from utdstream import Devices, UTDAudioRoomSession, UTDStreamClient
from utdstream._rooms import session as room_sessions
from utdstream._session import facts as session_facts
from utdstream.engine.rules.rooms import livekit_name
from utdstream.synthetic import NullSpeaker, ToneMicrophone
from utdstream.testing import LocalStack

pytestmark = pytest.mark.integration

STOPPED_S = 2.5
"""Two seconds for the stop, and what two shared cores need to notice."""


class Running:
    """A kiosk and its button."""

    def __init__(self, config: MachineConfig) -> None:
        self.button, self.service = Button(), Service({})
        self.app = Kiosk(config, devices=Devices(ToneMicrophone(), NullSpeaker()), button=self.button)
        self._thread = threading.Thread(target=lambda: self.app.run(self.service), name="kiosk")
        self._thread.start()

    def wait(self, words: str, within_s: float = 20.0) -> None:
        eventually(
            lambda: words in self.service.last_status,
            f"{words!r}, not {self.service.last_status!r}",
            within_s,
        )

    def close(self) -> None:
        self.app.stop()
        self._thread.join(10)
        assert not self._thread.is_alive()


@contextmanager
def kiosk(config: MachineConfig) -> Iterator[Running]:
    made = Running(config)
    try:
        yield made
    finally:
        made.close()


def is_heard(room: UTDAudioRoomSession) -> bool:
    """Whether somebody else's microphone is open."""
    return any(
        not publication.muted
        for person in room.remote_participants.value
        for publication in person.publications
    )


def test_kiosk_when_started_sits_on_its_seat_and_stops_within_two_seconds(
    stack: LocalStack, tmp_path: Path
) -> None:
    """One configuration, one finished kiosk."""
    config = config_of(stack, tmp_path, "kiosk-1", kiosk={"room": "lobby-1", "seat": 2, "host": True})
    with kiosk(config) as running:
        running.wait("in the room lobby-1, on seat 2")
        room = running.app.room
        assert room is not None
        eventually(lambda: room.microphone_on.value, "it is heard")
        begun = time.monotonic()
        running.close()
        assert time.monotonic() - begun < STOPPED_S


def test_microphone_when_push_to_talk_is_open_while_the_button_is_held(
    stack: LocalStack, people: People, tmp_path: Path
) -> None:
    """Another participant sees it open and close."""
    settings = {"room": "lobby-2", "seat": 1, "host": True, "push_to_talk": True}
    with kiosk(config_of(stack, tmp_path, "kiosk-2", kiosk=settings)) as running:
        running.wait("on seat 1")
        listener = people("listener", devices=Devices())
        with listener.client.join_audio_room(identity=listener.identity, room_name="lobby-2") as room:
            assert not is_heard(room)
            running.button.press()
            inside = running.app.room
            assert inside is not None
            eventually(lambda: inside.microphone_on.value, "the kiosk opened it", 10)
            eventually(lambda: is_heard(room), "the other one sees it open", 10)
            assert running.button.release is not None
            running.button.release()
            eventually(lambda: not is_heard(room), "it is closed", 10)


def seated_at(room: UTDAudioRoomSession, index: int) -> str | None:
    """Who sits there, as the engine tells another participant."""
    seats = room.seats.value.seats
    return seats[index].identity if index < len(seats) else None


def test_seat_when_somebody_else_has_it_is_said_and_taken_when_it_is_free(
    stack: LocalStack, people: People, tmp_path: Path
) -> None:
    """Nobody is thrown out; the kiosk asks again."""
    settings = {"room": "lobby-4", "seat": 1}
    guest = people("guest")
    with guest.client.join_audio_room(
        identity=guest.identity, room_name="lobby-4", as_host=True, seat_count=4
    ) as room:
        room.take_seat(1)
        with kiosk(config_of(stack, tmp_path, "kiosk-4", kiosk=settings)) as running:
            running.wait("without a seat (seat 1 is not to be had")
            room.leave_seat()
            running.wait("on seat 1")
            eventually(lambda: seated_at(room, 1) == "kiosk-4", "the host sees it there")


def test_seat_when_the_host_takes_it_away_is_left_until_the_next_join(
    stack: LocalStack, people: People, tmp_path: Path
) -> None:
    """A kick is obeyed and said; after the room was closed and opened the kiosk sits there again."""
    settings = {"room": "lobby-5", "seat": 1}
    host = people("host")
    with (
        host.client.join_audio_room(
            identity=host.identity, room_name="lobby-5", as_host=True, seat_count=4
        ) as room,
        kiosk(config_of(stack, tmp_path, "kiosk-5", kiosk=settings)) as running,
    ):
        running.wait("on seat 1")
        room.kick_seat(1)
        running.wait("without a seat (it was taken away")
        eventually(lambda: seated_at(room, 1) is None, "others see it")
        left = running.app.room
        delete_room(stack, "lobby-5")
        eventually(lambda: running.app.room not in (left, None), "it joins again", 20)
        running.wait("on seat 1")


def test_kiosk_when_another_device_has_its_identity_leaves_it_the_room(
    stack: LocalStack, people: People, tmp_path: Path
) -> None:
    """Two of them would throw each other out for ever."""
    with kiosk(config_of(stack, tmp_path, "kiosk-6", kiosk={"room": "lobby-6", "host": True})) as running:
        running.wait("in the room lobby-6")
        other = UTDStreamClient(stack.app_id, stack.app_key, base_url=stack.base_url, devices=Devices())
        people.keep(other)
        with other.join_audio_room(identity="kiosk-6", room_name="lobby-6") as room:
            running.wait("another device uses the identity kiosk-6")
            assert running.app._limit_at is not None
            assert running.app._limit_at - time.monotonic() > SENT_AWAY_S / 2
            assert room.connected.value


def test_stop_when_the_engine_hangs_takes_two_seconds(tmp_path: Path) -> None:
    """On its seat, and while it joins."""
    with LocalStack() as own:
        config = config_of(own, tmp_path, "kiosk-7", kiosk={"room": "lobby-7", "seat": 1, "host": True})
        with kiosk(config) as seated:
            seated.wait("on seat 1")
            beside = config_of(own, tmp_path, "kiosk-8", kiosk={"room": "lobby-8"})
            with kiosk(beside) as joining, own.frozen("engine"):
                begun = time.monotonic()
                seated.close()
                joining.close()
                assert time.monotonic() - begun < 2 * STOPPED_S


def test_kiosk_when_everything_fails_comes_back_to_its_seat(tmp_path: Path) -> None:
    """The engine absent at boot, killed later, the media server too; as another participant sees it."""
    with LocalStack() as own, contextmanager(lambda: watched_people(own))() as people:
        own.stop("engine")
        config = config_of(own, tmp_path, "kiosk-3", kiosk={"room": "lobby-3", "seat": 1, "host": True})
        with kiosk(config) as running:
            running.wait("waiting for the engine")
            own.start("engine")
            running.wait("on seat 1", 30)
            own.kill("engine")
            own.start("engine")
            guest = people("guest", devices=Devices())
            with guest.client.join_audio_room(identity=guest.identity, room_name="lobby-3") as room:
                eventually(lambda: seated_at(room, 1) == "kiosk-3", "it kept its seat", 30)
                eventually(lambda: is_heard(room), "it is heard", 10)
                own.kill("livekit")
                eventually(lambda: "on seat 1" not in running.service.last_status, "it is out", 40)
                own.start("livekit")
                running.wait("on seat 1", 60)
                eventually(lambda: seated_at(room, 1) == "kiosk-3", "others see it", 30)
                eventually(lambda: is_heard(room), "it is heard again", 30)


def watched_people(stack: LocalStack) -> Iterator[People]:
    made = People(stack)
    try:
        yield made
    finally:
        made.close()


def delete_room(stack: LocalStack, name: str) -> None:
    """As the media server's operator does."""
    from livekit import api

    token = (
        api.AccessToken(stack.livekit_api_key, stack.livekit_api_secret)
        .with_grants(api.VideoGrants(room_create=True))
        .to_jwt()
    )
    answer = requests.post(
        stack.livekit_url.replace("ws", "http", 1) + "/twirp/livekit.RoomService/DeleteRoom",
        json={"room": livekit_name(name, stack.app_id)},
        headers={"Authorization": f"Bearer {token}"},
        timeout=10,
    )
    assert answer.status_code == 200, answer.text


def test_kiosk_when_its_room_is_away_for_long_says_so_and_comes_back_to_its_seat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage is no end: the room is not given up, and nobody reads that the kiosk sits in it."""
    for module in (session_facts, room_sessions):
        monkeypatch.setattr(module, "LONG_AWAY_S", 0.5)
    with LocalStack() as stack:
        config = config_of(stack, tmp_path, "kiosk-9", kiosk={"room": "lobby-9", "seat": 1, "host": True})
        with kiosk(config) as running:
            running.wait("in the room lobby-9, on seat 1")
            room = running.app.room
            assert room is not None
            stack.kill("livekit")
            room.connection.wait_for(lambda connection: connection.comes_back, timeout=20)
            running.wait("was lost on the way: it is joined again by itself")
            stack.start("livekit")
            running.wait("in the room lobby-9, on seat 1", 40)
            assert running.app.room is room, "it was not left"
