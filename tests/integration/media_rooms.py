"""Rooms on the real livekit-server for media tests, with the server's API and ears that know tones."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy
import requests
from livekit import api

from utdstream import CallbackError, ClientConfig, Devices, PcmFrame, RawFrame, UTDRoom
from utdstream._session.base import UTDSession
from utdstream._threads.deadline import Deadline
from utdstream.media import EncodedFrame
from utdstream.models import ConnectionState
from utdstream.synthetic import NullSpeaker, PatternCamera, ToneMicrophone
from utdstream.testing import LocalStack

PROGRAMS = Path(__file__).parent / "programs"
PATIENCE_S = 15.0
GONE_S = 30.0
"""Who left is gone at once; only when its leave was lost with a reset connection, after the server's 21 s."""
WINDOW = 20
_numbers = itertools.count(1)


class MediaRoom:
    """One room on the SFU that ends with the test; `join` makes a UTDRoom in it."""

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack
        self.name = f"media-{next(_numbers)}"
        self.url = stack.livekit_url
        self._made: list[UTDRoom] = []
        self.errors: dict[UTDRoom, list[CallbackError]] = {}

    def __enter__(self) -> Self:
        self.ask("CreateRoom", name=self.name, empty_timeout=60)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for room in self._made:
            room.dispose()
        self.delete()

    # -- people ----------------------------------------------------------------------------------

    def token(self, identity: str, **grants: Any) -> str:
        return (
            api.AccessToken(self._stack.livekit_api_key, self._stack.livekit_api_secret)
            .with_identity(identity)
            .with_grants(api.VideoGrants(room_join=True, room=self.name, **grants))
            .to_jwt()
        )

    def make(
        self, devices: Devices | None = None, *, config: ClientConfig | None = None, **options: Any
    ) -> UTDRoom:
        """A UTDRoom that is disposed with this; what it reports is in `errors[it]`."""
        room = UTDRoom(devices=devices, _config=config, **options)
        self._made.append(room)
        self.errors[room] = []
        room.errors.subscribe(self.errors[room].append)
        return room

    def join(
        self,
        identity: str,
        devices: Devices | None = None,
        *,
        config: ClientConfig | None = None,
        **grants: Any,
    ) -> UTDRoom:
        room = self.make(devices, config=config)
        room.connect(self.url, self.token(identity, **grants))
        return room

    # -- the server's side -----------------------------------------------------------------------

    def ask(self, method: str, **body: Any) -> dict[str, Any]:
        token = (
            api.AccessToken(self._stack.livekit_api_key, self._stack.livekit_api_secret)
            .with_grants(api.VideoGrants(room_create=True, room_admin=True, room=self.name))
            .to_jwt()
        )
        answer = requests.post(
            f"{self.url.replace('ws', 'http', 1)}/twirp/livekit.RoomService/{method}",
            json=body,
            headers={"Authorization": f"Bearer {token}"},
            timeout=10,
        )
        return dict(answer.json())

    def present(self) -> list[str]:
        """Who is in the room, as the SFU sees it."""
        people = self.ask("ListParticipants", room=self.name).get("participants", [])
        return sorted(person["identity"] for person in people)

    def tracks(self, identity: str) -> list[dict[str, Any]]:
        person = self.ask("GetParticipant", room=self.name, identity=identity)
        return list(person.get("tracks", []))

    def permit(self, identity: str, *, can_publish: bool) -> None:
        self.ask(
            "UpdateParticipant",
            room=self.name,
            identity=identity,
            permission={"can_subscribe": True, "can_publish": can_publish, "can_publish_data": True},
        )

    def delete(self) -> None:
        self.ask("DeleteRoom", room=self.name)


def lose_room(session: UTDSession) -> None:
    """The media room of `session` is lost as with a media server that shuts down; it is joined again by itself."""
    life = session.room._media.life
    assert life is not None
    assert life.connection is not None
    connection, room = life.connection, life.connection.room
    assert room is not None

    def end() -> None:
        connection._end("SERVER_SHUTDOWN")
        life.loop.spawn(room.disconnect())

    life.loop.call(end, deadline=Deadline(PATIENCE_S, PATIENCE_S, "losing the room"))
    assert session.connection.value.state is ConnectionState.RECONNECTING


class CountedMicrophone(ToneMicrophone):
    """A tone that counts how often it was opened, and can do something first."""

    def __init__(self, frequency_hz: float = 1000.0, *, before: Callable[[], object] | None = None) -> None:
        super().__init__(frequency_hz)
        self.opened = 0
        self._before = before

    @property
    def running(self) -> bool:
        return self._pacer.started

    def start(self, sink: Callable[[PcmFrame], None]) -> None:
        self.opened += 1
        if self._before is not None:
            self._before()
        super().start(sink)


class CountedSpeaker(NullSpeaker):
    """Silence that counts how often it was opened."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = 0

    @property
    def running(self) -> bool:
        return self._pacer.started

    def start(self, source: Callable[[int], bytes]) -> None:
        self.opened += 1
        super().start(source)


class HandCamera:
    """A camera whose frames the test pushes itself, with `push`, on a thread of its choice."""

    encoded = False

    def __init__(self, width: int = 320, height: int = 240, frames_per_second: int = 15) -> None:
        self.width, self.height, self.frames_per_second = width, height, frames_per_second
        self._pattern = PatternCamera(width, height, frames_per_second)
        self._sink: Callable[[RawFrame | EncodedFrame], None] | None = None
        self._ticks = PatternCamera(width, height, frames_per_second)
        self.threads: set[str] = set()

    def start(self, sink: Callable[[RawFrame | EncodedFrame], None]) -> None:
        self._sink = sink

        def tick(frame: RawFrame | EncodedFrame) -> None:
            self.threads.add(threading.current_thread().name)
            sink(frame)

        self._ticks.start(tick)

    def stop(self) -> None:
        self._ticks.stop()
        self._sink = None

    def push(self, frame: RawFrame | EncodedFrame) -> None:
        assert self._sink is not None
        self._sink(frame)

    def request_key_frame(self) -> None: ...

    def set_bitrate(self, bitrate_bps: int) -> None: ...


def loudest(frames: list[PcmFrame]) -> set[int]:
    """The tones in some sound, rounded to 50 Hz."""
    sound = numpy.frombuffer(b"".join(bytes(frame.data) for frame in frames), dtype=numpy.int16)
    spectrum = numpy.abs(numpy.fft.rfft(sound * numpy.hanning(len(sound)))) / len(sound)
    step_hz = 48_000 / len(sound)
    return {round(bin_ * step_hz / 50) * 50 for bin_ in numpy.nonzero(spectrum > 500)[0].tolist()}


def hear(room: UTDRoom, *tones_hz: int, within_s: float = PATIENCE_S, identity: str | None = None) -> None:
    """Returns when exactly these tones have been heard for 0.2 s."""
    until = time.monotonic() + within_s
    window: list[PcmFrame] = []
    heard: set[int] = set()
    frames = room.audio_frames(identity)
    for frame in frames:
        window.append(frame)
        if len(window) == WINDOW:
            heard = loudest(window)
            window = []
            if heard == set(tones_hz):
                frames.close()  # type: ignore[attr-defined]  # it is a generator
                return
        if time.monotonic() > until:
            break
    raise AssertionError(f"not heard within {within_s:g} s: {tones_hz}, but {heard or 'silence'}")


def run_program(name: str, settings: dict[str, Any]) -> subprocess.Popen[str]:
    """A program of `programs/` with its settings on standard input. Close it with `with`."""
    process = subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "ignore", str(PROGRAMS / name)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(settings) + "\n")
    process.stdin.flush()
    return process
