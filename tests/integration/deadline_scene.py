"""A door, a house, a room, a stream and an inbox at work, and every call of theirs that takes a `timeout`."""

from __future__ import annotations

import contextlib
import inspect
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from media_rooms import MediaRoom
from people import People
from relay import Relay

import utdstream
from utdstream import (
    Devices,
    UTDSession,
    UTDStreamClient,
    UTDStreamException,
    UTDStreamType,
)
from utdstream.media import EncodedFrame, PcmFrame, RawFrame
from utdstream.synthetic import PatternCamera, ToneMicrophone
from utdstream.testing import LocalStack

PATIENCE_S = 20.0
TIMEOUT_S = 0.25
WATCH_S = 0.005
RINGS = ("accept", "reject", "busy")


def blocking_methods() -> set[str]:
    """Every public method with a `timeout`, by the class that a program meets it in."""
    return {
        method.__qualname__
        for name in utdstream.__all__
        if inspect.isclass(kind := getattr(utdstream, name)) and kind is not UTDSession
        for attribute, method in inspect.getmembers(kind, inspect.isfunction)
        if not attribute.startswith("_") and "timeout" in inspect.signature(method).parameters
    }


class Gate:
    """Where the devices of a scene stop, while it is shut."""

    def __init__(self) -> None:
        self.shut_for: str | None = None
        self.may_pass = threading.Event()
        self.stuck = 0

    def pass_by(self, what: str) -> None:
        if self.shut_for == what:
            self.stuck += 1
            self.may_pass.wait(PATIENCE_S)


class GatedMicrophone(ToneMicrophone):
    """A tone that may hang in `start` or `stop`."""

    def __init__(self, gate: Gate) -> None:
        super().__init__(700)
        self._gate = gate

    def start(self, sink: Callable[[PcmFrame], None]) -> None:
        self._gate.pass_by("start")
        super().start(sink)

    def stop(self) -> None:
        self._gate.pass_by("stop")
        super().stop()


class GatedCamera(PatternCamera):
    """A picture that may hang in `start` or `stop`."""

    def __init__(self, gate: Gate) -> None:
        super().__init__(160, 120, 5)
        self._gate = gate

    def start(self, sink: Callable[[RawFrame | EncodedFrame], None]) -> None:
        self._gate.pass_by("start")
        super().start(sink)

    def stop(self) -> None:
        self._gate.pass_by("stop")
        super().stop()


class Scene:
    """All that a device can be in the middle of, by name. `relay` stands between it and the engine."""

    def __init__(self, stack: LocalStack, people: People, relay: Relay, hall: MediaRoom) -> None:
        self.stack = stack
        self.hall = hall
        self.relay = relay
        self.gate = Gate()
        self._people = people
        self._url = f"http://127.0.0.1:{relay.port}"
        self.objects: dict[str, Any] = {}
        self._set_up()

    def _devices(self, *, camera: bool = False) -> Devices:
        return Devices(GatedMicrophone(self.gate), camera=GatedCamera(self.gate) if camera else None)

    def _client(self, name: str, *, camera: bool = False) -> tuple[str, UTDStreamClient]:
        person = self._people(name, self._devices(camera=camera), base_url=self._url)
        return person.identity, person.client

    def _set_up(self) -> None:
        house = self._people("house", Devices())
        rings = house.inbox()
        self.objects["client"] = self._client("newcomer")[1]
        self.objects["idle"] = self._client("idle")[1].call_session(UTDStreamType.VIDEO_CALL)
        for name in ("talking", "leaving", "disposing"):
            calling = self._client(name, camera=name == "talking")[1].call_session(UTDStreamType.VIDEO_CALL)
            calling.start(callee_identity=house.identity)
            rings.ringing.wait(timeout=PATIENCE_S)
            self.objects[name] = calling
        identity, client = self._client("host")
        self.objects["audio room"] = client.join_audio_room(
            identity=identity, room_name=identity, as_host=True, seat_count=4
        )
        self.objects["audio room"].take_seat(1)
        identity, client = self._client("star", camera=True)
        self.objects["stream"] = client.join_live_stream(identity=identity, room_name=identity, as_host=True)
        self.objects["stream"].go_live()
        self.objects["media room"] = self.hall.join("guest", self._devices())
        self.objects["media room"].set_microphone(True)
        self.objects["other room"] = other = self.hall.make()
        other.where = (self.hall.url, self.hall.token("other"))  # type: ignore[attr-defined]
        identity, client = self._client("callee")
        inbox = self.objects["inbox"] = client.incoming_calls()
        inbox.connected.wait_for(True, timeout=PATIENCE_S)
        for action in RINGS:
            caller = self._people(f"caller-{action}", Devices(), base_url=self.stack.base_url)
            caller.client.call_session(UTDStreamType.AUDIO_CALL).start(callee_identity=identity)
            self.objects[action] = inbox.ringing.wait(timeout=PATIENCE_S)
        self.objects["everything"] = client

    def let_go(self) -> None:
        """The devices hang no longer."""
        self.relay.open()
        self.gate.may_pass.set()
        self.gate.shut_for = None


FAULTS: dict[str, Callable[[Scene], object]] = {
    "the engine stays silent": lambda scene: (scene.relay.go_silent(), scene.relay.shut()),
    "the engine's answers trickle": lambda scene: scene.relay.trickle(),
    "the engine is frozen": lambda scene: scene.stack.frozen("engine"),
    "the media server is frozen": lambda scene: scene.stack.frozen("livekit"),
    "the broker is frozen": lambda scene: scene.stack.frozen("mqtt"),
    "the devices hang in start": lambda scene: setattr(scene.gate, "shut_for", "start"),
    "the devices hang in stop": lambda scene: setattr(scene.gate, "shut_for", "stop"),
}

Call = Callable[[Any, float], object]

ON_ROOM: dict[str, Call] = {
    "send_data": lambda room, t: room.send_data(b"x", timeout=t),
    "stats": lambda room, t: room.stats(timeout=t),
    "snapshot": lambda room, t: room.snapshot(timeout=t),
    "video_frames": lambda room, t: next(room.video_frames(timeout=t), None),
    "set_camera": lambda room, t: room.set_camera(False, timeout=t),
    "set_microphone": lambda room, t: room.set_microphone(False, timeout=t),
}

LINES: dict[str, dict[str, Call]] = {
    "client": {
        "UTDStreamClient.authenticate": lambda client, t: client.authenticate(
            identity=client.identity, timeout=t
        ),
        "UTDStreamClient.join_audio_room": lambda client, t: client.join_audio_room(
            identity=client.identity, room_name=f"{client.identity}-a", as_host=True, timeout=t
        ),
        "UTDStreamClient.join_live_stream": lambda client, t: client.join_live_stream(
            identity=client.identity, room_name=f"{client.identity}-l", as_host=True, timeout=t
        ),
    },
    "idle": {
        "UTDCallSession.start": lambda call, t: call.start(callee_identity="nobody", timeout=t),
        "UTDCallSession.start_any": lambda call, t: call.start_any(
            callee_identities=["nobody", "none"], timeout=t
        ),
        "UTDCallSession.ringing": lambda call, t: call.ringing("call_none", timeout=t),
        "UTDCallSession.accept": lambda call, t: call.accept("call_none", timeout=t),
        "UTDCallSession.reject": lambda call, t: call.reject("call_none", timeout=t),
        "UTDCallSession.busy": lambda call, t: call.busy("call_none", timeout=t),
    },
    "talking": {
        "Watched.wait_for": lambda call, t: call.connected.wait_for(lambda _: False, timeout=t),
        "UTDCallSession.wait_for_answer": lambda call, t: call.wait_for_answer(timeout=t),
        **{f"UTDSession.{name}": call for name, call in ON_ROOM.items()},
        "UTDCallSession.end": lambda call, t: call.end(timeout=t),
    },
    "leaving": {"UTDCallSession.leave": lambda call, t: call.leave(timeout=t)},
    "disposing": {"UTDSession.dispose": lambda call, t: call.dispose(timeout=t)},
    "audio room": {
        "UTDAudioRoomSession.set_microphone": lambda room, t: room.set_microphone(False, timeout=t),
        "SeatHost.get_seats": lambda room, t: room.get_seats(timeout=t),
        "SeatHost.setup_seats": lambda room, t: room.setup_seats(seat_count=5, timeout=t),
        "SeatHost.lock_seat": lambda room, t: room.lock_seat(3, timeout=t),
        "SeatHost.unlock_seat": lambda room, t: room.unlock_seat(3, timeout=t),
        "SeatHost.mute_seat": lambda room, t: room.mute_seat(1, timeout=t),
        "SeatHost.unmute_seat": lambda room, t: room.unmute_seat(1, timeout=t),
        "SeatHost.kick_seat": lambda room, t: room.kick_seat(2, timeout=t),
        "SeatHost.approve_speaker": lambda room, t: room.approve_speaker(1, timeout=t),
        "SeatHost.reject_speaker": lambda room, t: room.reject_speaker(1, timeout=t),
        "SeatHost.invite_to_speak": lambda room, t: room.invite_to_speak("nobody", timeout=t),
        "UTDAudioRoomSession.move_seat": lambda room, t: room.move_seat(2, timeout=t),
        "UTDAudioRoomSession.leave_seat": lambda room, t: room.leave_seat(timeout=t),
        "UTDAudioRoomSession.take_seat": lambda room, t: room.take_seat(0, timeout=t),
        "UTDAudioRoomSession.accept_invitation": lambda room, t: room.accept_invitation(1, timeout=t),
        "UTDAudioRoomSession.decline_invitation": lambda room, t: room.decline_invitation(1, timeout=t),
        "UTDAudioRoomSession.request_to_speak": lambda room, t: room.request_to_speak(timeout=t),
        "UTDAudioRoomSession.cancel_request": lambda room, t: room.cancel_request(timeout=t),
        "RoomSession.leave": lambda room, t: room.leave(timeout=t),
    },
    "stream": {
        "UTDLiveStreamSession.refresh_stage": lambda stream, t: stream.refresh_stage(timeout=t),
        "UTDLiveStreamSession.invite_to_stage": lambda stream, t: stream.invite_to_stage("nobody", timeout=t),
        "UTDLiveStreamSession.remove_from_stage": lambda stream, t: stream.remove_from_stage(
            "nobody", timeout=t
        ),
        "UTDLiveStreamSession.request_stage": lambda stream, t: stream.request_stage(timeout=t),
        "UTDLiveStreamSession.leave_stage": lambda stream, t: stream.leave_stage(timeout=t),
        "UTDLiveStreamSession.go_live": lambda stream, t: stream.go_live(timeout=t),
        "UTDSession.dispose": lambda stream, t: stream.dispose(timeout=t),
    },
    "media room": {
        **{f"UTDRoom.{name}": call for name, call in ON_ROOM.items()},
        "UTDRoom.disconnect": lambda room, t: room.disconnect(timeout=t),
        "UTDRoom.dispose": lambda room, t: room.dispose(timeout=t),
    },
    "other room": {
        "UTDRoom.connect": lambda room, t: room.connect(*room.where, timeout=t),
    },
    "accept": {"IncomingCall.accept": lambda ring, t: ring.accept(timeout=t)},
    "reject": {"IncomingCall.reject": lambda ring, t: ring.reject(timeout=t)},
    "busy": {"IncomingCall.busy": lambda ring, t: ring.busy(timeout=t)},
    "inbox": {
        "Signal.wait": lambda inbox, t: inbox.ringing.wait(timeout=t),
        "IncomingCallInbox.dispose": lambda inbox, t: inbox.dispose(timeout=t),
    },
    "everything": {"UTDStreamClient.dispose": lambda client, t: client.dispose(timeout=t)},
}


@dataclass(frozen=True)
class Measured:
    """One call: when its deadline was, how long after that it came back, and with what."""

    name: str
    until: float
    late_s: float
    came: str
    bare_s: float = 0.0
    """How late a bare thread was that waited beside it, to the same deadline: what the machine adds."""

    @property
    def own_s(self) -> float:
        return self.late_s - self.bare_s

    def __str__(self) -> str:
        late_ms, bare_ms = (round(late_s * 1000) for late_s in (self.late_s, self.bare_s))
        return f"{self.name}: {late_ms} ms late, a bare thread {bare_ms} ms ({self.came})"


class BareWait:
    """A thread that does nothing but wait for a deadline, and says how late it was."""

    def __init__(self, until: float) -> None:
        self._until = until
        self._late: SimpleQueue[float] = SimpleQueue()
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        with contextlib.suppress(Empty):
            SimpleQueue[None]().get(timeout=max(0.0, self._until - time.monotonic()))
        self._late.put(time.monotonic() - self._until)

    def late_s(self) -> float:
        return self._late.get()


class Stalls:
    """How long this machine let a thread wait that had nothing to do but to look at the clock."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, float]] = []

    def watch(self, while_true: Callable[[], bool]) -> None:
        """Blocks while it is true."""
        before = time.monotonic()
        while while_true():
            time.sleep(WATCH_S)
            now = time.monotonic()
            self._seen.append((now, now - before - WATCH_S))
            before = now

    def since(self, then: float, until: float) -> float:
        """The seconds lost between two moments."""
        return sum(lost for at, lost in self._seen if then <= at <= until)


def call_all(scene: Scene, stalls: Stalls) -> list[Measured]:
    """Calls everything, the lines side by side and each in its order."""
    measured: list[Measured] = []

    def walk(line: str) -> None:
        for name, call in LINES[line].items():
            began = time.monotonic()
            bare = BareWait(began + TIMEOUT_S)
            try:
                call(scene.objects[line], TIMEOUT_S)
                came = "returned"
            except UTDStreamException as error:
                came = type(error).__name__
            except BaseException as error:  # noqa: BLE001 - shown by the test
                came = f"UNTYPED {error!r}"
            until = began + TIMEOUT_S
            late_s = time.monotonic() - until
            bare_s = bare.late_s() if late_s > 0 else 0.0
            measured.append(Measured(f"{line}: {name}", until, late_s, came, bare_s))

    def all_of_them() -> None:
        walkers = [
            threading.Thread(target=walk, args=(line,))
            for line in LINES
            if line not in ("inbox", "everything")
        ]
        for walker in walkers:
            walker.start()
        for walker in walkers:
            walker.join()
        walk("inbox")
        walk("everything")

    caller = threading.Thread(target=all_of_them)
    caller.start()
    stalls.watch(caller.is_alive)
    caller.join()
    return measured
