"""The kiosk on the real servers: it holds its seat, whatever happens."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from bell import Button, config_of
from facts import eventually
from people import People

from device.config import MachineConfig
from device.kiosk.app import Kiosk
from device.service import Service
from utdstream import Devices
from utdstream.synthetic import NullSpeaker, ToneMicrophone
from utdstream.testing import LocalStack

pytestmark = pytest.mark.integration


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
        assert time.monotonic() - begun < 5 * 2


def test_microphone_when_push_to_talk_is_open_while_the_button_is_held(
    stack: LocalStack, people: People, tmp_path: Path
) -> None:
    """Another participant sees it open and close."""
    settings = {"room": "lobby-2", "seat": 1, "host": True, "push_to_talk": True}
    with kiosk(config_of(stack, tmp_path, "kiosk-2", kiosk=settings)) as running:
        running.wait("on seat 1")
        listener = people("listener", devices=Devices())
        with listener.client.join_audio_room(identity=listener.identity, room_name="lobby-2") as room:

            def is_open() -> bool:
                return any(
                    not publication.muted
                    for person in room.remote_participants.value
                    for publication in person.publications
                )

            assert not is_open()
            running.button.press()
            eventually(is_open, "it is open", 10)
            assert running.button.release is not None
            running.button.release()
            eventually(lambda: not is_open(), "it is closed", 10)


def test_kiosk_when_everything_fails_comes_back_to_its_seat(tmp_path: Path) -> None:
    """The engine absent at boot, killed later, the room closed under it."""
    with LocalStack() as own:
        own.stop("engine")
        config = config_of(own, tmp_path, "kiosk-3", kiosk={"room": "lobby-3", "seat": 1, "host": True})
        with kiosk(config) as running:
            running.wait("waiting for the engine")
            own.start("engine")
            running.wait("on seat 1", 30)
            own.kill("engine")
            own.start("engine")
            running.wait("on seat 1", 30)
            own.kill("livekit")
            eventually(lambda: "on seat 1" not in running.service.last_status, "it is out", 40)
            own.start("livekit")
            running.wait("on seat 1", 60)
