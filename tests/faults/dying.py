"""The device's process dies in every phase: what is left agrees, and a new process of the same identity works."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from phases import Failed, Reached
from scene import CALL_S, PATIENCE_S, Scene, Side

from utdstream import UTDCallStatus
from utdstream._wire import routes
from utdstream.engine.stack.supervisor import StackError

PROGRAM = Path(__file__).with_name("device_process.py")
S = UTDCallStatus


class Device:
    """The process, and what it has said."""

    def __init__(self, scene: Scene, identity: str) -> None:
        stack = scene.faults.stack
        self.identity = identity
        self.said: list[dict[str, object]] = []
        self._changed = threading.Condition()
        self._process = subprocess.Popen(
            [sys.executable, str(PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self.order(app_id=stack.app_id, app_key=stack.app_key, base_url=stack.base_url, identity=identity)
        try:
            self.until("ready")
        except Failed as error:  # the machine has too much other work
            self.close()
            raise StackError(str(error)) from error

    def order(self, **what: object) -> None:
        """Says something to it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what).encode() + b"\n")
        self._process.stdin.flush()

    def until(self, word: str) -> str:
        """Waits until it has said that; returns what."""
        until = time.monotonic() + PATIENCE_S
        with self._changed:
            while True:
                for said in self.said:
                    if word in said:
                        return str(said[word])
                    if "failed" in said:
                        raise Failed(f"the device: {said['failed']}")
                if not self._changed.wait(until - time.monotonic()):
                    raise Failed(f"the device has not said {word!r}, but {self.said}")

    def die(self, how: signal.Signals) -> None:
        """Gets that signal, and ends."""
        self._process.send_signal(how)
        try:
            self._process.wait(CALL_S)
        except subprocess.TimeoutExpired:
            raise Failed(f"the process does not end after {how.name}") from None

    def close(self) -> None:
        """Nothing of it is left."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._reader.join(5)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self.said.append(json.loads(line))
                self._changed.notify_all()


def dies(how: signal.Signals) -> Callable[[Scene, str, Reached], None]:
    """Returns the course of a cell: the device is the caller in the phases of the caller, else the callee."""

    def course(scene: Scene, phase: str, reached: Reached) -> None:
        with ExitStack() as parts:
            is_caller = phase in ("ringing out", "active")
            other = scene.house if is_caller else scene.door
            device = Device(scene, f"device-{other.identity}")
            parts.callback(device.close)
            call_id = _bring_to(scene, phase, device, other)
            device.die(how)
            if call_id is not None:
                _is_over(
                    scene, call_id, other, reached, by_itself=how is signal.SIGTERM and phase != "ringing in"
                )
            again = Device(scene, device.identity)
            parts.callback(again.close)
            began = time.monotonic()
            scene.door.do("start", lambda: _call(scene.door, again.identity))
            error = scene.door.last_error()
            if error is not None:
                raise Failed(f"start behind it: {type(error).__name__}: {error}")
            again.until("rung")
            reached("rung", time.monotonic() - began)
            again.order(accept=True)
            again.until("accepted")
            scene.door.end()

    return course


def _bring_to(scene: Scene, phase: str, device: Device, other: Side) -> str | None:
    """The phase, with the device on its side of it; returns the call."""
    if phase == "idle":
        return None
    if phase in ("ringing out", "active"):
        device.order(call=other.identity)
        call_id = device.until("called")
        until = time.monotonic() + PATIENCE_S
        while not other.rung:
            if time.monotonic() > until:
                raise Failed("the house is not rung")
            time.sleep(0.01)
        if phase == "active":
            other.accept()
            if other.last_error() is not None:
                raise Failed(f"accept: {other.last_error()}")
        return call_id
    other.do("start", lambda: _call(other, device.identity))
    if other.last_error() is not None:
        raise Failed(f"start: {other.last_error()}")
    call_id = device.until("rung")
    if phase == "connecting":
        device.order(accept=True)
        until = time.monotonic() + PATIENCE_S
        while _status(scene, call_id) is not S.ACTIVE:  # the room is joined after that
            if time.monotonic() > until:
                raise Failed("the accept does not reach the engine")
    return call_id


def _status(scene: Scene, call_id: str) -> UTDCallStatus:
    return S(str(scene.faults.stack._ask("GET", f"{routes.CALLS}/{call_id}", None)["status"]))


def _call(side: Side, callee: str) -> None:
    session = side.session = side.client.call_session(side.scene.kind)
    session.start(callee_identity=callee, timeout=CALL_S)


def _is_over(scene: Scene, call_id: str, other: Side, reached: Reached, *, by_itself: bool) -> None:
    """A process that was asked to end has hung up; behind one that was killed the other side does."""
    began = time.monotonic()
    if not by_itself:
        other.end()

    def is_over() -> bool:
        if not _status(scene, call_id).is_terminal:
            return False
        if other.session is not None:
            return other.status is not None and other.status.is_terminal
        return not by_itself or call_id in other.cancelled

    while not is_over():
        if time.monotonic() - began > PATIENCE_S:
            raise Failed(f"the call goes on: {scene.witnesses()}")
        time.sleep(0.02)
    reached("ended", time.monotonic() - began)
