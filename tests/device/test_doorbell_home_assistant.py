"""The whole doorbell as Home Assistant sees it: on the real servers, with a broker of the house."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from bell import bell, config_of
from facts import eventually
from home_listener import Listener
from mosquitto import Mosquitto
from people import People

from device.camera.synthetic import SyntheticCamera
from utdstream import Devices
from utdstream.testing import LocalStack

pytestmark = pytest.mark.integration


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Listener]:
    """Home Assistant at the broker of the house."""
    broker = Mosquitto(tmp_path)
    broker.start()
    listener = Listener(broker.port)
    yield listener
    listener.close()
    broker.stop()


def test_visitor_when_nobody_answers_is_told_to_home_assistant(
    stack: LocalStack, people: People, home: Listener, tmp_path: Path
) -> None:
    """The ring, and that nobody came with its reason; the button there rings again."""
    house = people("house", devices=Devices())
    rings: list[str] = []
    house.inbox().ringing.subscribe(lambda incoming: (rings.append(incoming.call_id), incoming.reject()))
    config = config_of(
        stack,
        tmp_path,
        "bell-21",
        doorbell={"callees": [house.identity], "media": "audio"},
        home_assistant={"enabled": True, "host": "127.0.0.1", "port": home.port},
    )
    base = "utdstream/bell-21"
    with bell(config) as door:
        home.wait(f"{base}/availability", b"online")
        door.press()
        missed = json.loads(home.wait(f"{base}/event/missed"))
        assert missed == {"event_type": "missed", "reason": "declined"}
        assert json.loads(home.wait(f"{base}/event/doorbell")) == {"event_type": "ring"}
        home.wait(f"{base}/state/call", b"ready")  # a press in a call would be no ring
        home.client.publish(f"{base}/cmd/ring", "PRESS", qos=1)
        eventually(lambda: len(rings) == 2, "the button in Home Assistant rings the house")
    home.wait(f"{base}/availability", b"offline")


def test_picture_when_its_folder_cannot_be_written_reaches_home_assistant_all_the_same(
    stack: LocalStack, people: People, home: Listener, tmp_path: Path
) -> None:
    """A full card costs what needs the card, and nothing else."""
    house = people("house", devices=Devices())
    house.inbox().ringing.subscribe(lambda incoming: incoming.reject())
    (tmp_path / "no folder").write_text("here no picture can be kept")
    config = config_of(
        stack,
        tmp_path,
        "bell-22",
        doorbell={
            "callees": [house.identity],
            "media": "audio",
            "snapshot_folder": str(tmp_path / "no folder"),
        },
        home_assistant={"enabled": True, "host": "127.0.0.1", "port": home.port},
    )
    with bell(config, devices=Devices(camera=SyntheticCamera(320, 240, 15))) as door:
        home.wait("utdstream/bell-22/availability", b"online")
        door.press()
        assert home.wait("utdstream/bell-22/snapshot").startswith(b"\xff\xd8")
