"""The kiosk as a program: one queue, one worker, the rules of `logic.py`, the SDK's audio room.

Owns: `Kiosk`. Threads: the main one is the worker and never waits for a network; `utd-room` joins, takes seats and
turns the microphone; buttons and callbacks only put events into the queue.
"""

from __future__ import annotations

import functools
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from device import registry
from device.config import MachineConfig
from device.kiosk import logic
from device.kiosk.logic import Do, Event, Phase, Rules, State, Wait
from device.link import Link
from device.service import Heart, Service
from device.trigger.port import Button
from utdstream import (
    Change,
    Connection,
    ConnectionState,
    Devices,
    PermissionDenied,
    UTDAudioRoomSession,
    UTDStreamException,
)

_log = logging.getLogger(__name__)

WORKER_PATIENCE_S = 10.0
STOP_S = 2.0
SENT_AWAY = {
    "DUPLICATE_IDENTITY": "another device uses the identity {identity}; give each its own",
    "REMOVED": "the host removed {identity}",
    "PARTICIPANT_REMOVED": "the host removed {identity}",
    "BANNED": "{identity} is banned from it",
}
"""Why a kiosk stays out for long, by the reason of the connection (LiveKit's and the SDK's names)."""


class Kiosk:
    """One kiosk. `devices` and `button` instead of the configured ones, for tests and other boards."""

    def __init__(
        self, config: MachineConfig, *, devices: Devices | None = None, button: Button | None = None
    ) -> None:
        self._config = config
        self._rules = Rules(seat=config.kiosk.seat, push_to_talk=config.kiosk.push_to_talk)
        self._queue: queue.SimpleQueue[tuple[UTDAudioRoomSession | None, Event] | None] = queue.SimpleQueue()
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._heart = Heart(WORKER_PATIENCE_S)
        self.state = State()
        self._given = (devices, button)
        self._devices = Devices()
        self._buttons: list[Button] = []
        self._problems: dict[str, str] = {}
        self._reason = ""
        self._limit_at: float | None = None
        self._link: Link | None = None
        self.room: UTDAudioRoomSession | None = None
        self._service: Service | None = None
        self._stopping = threading.Event()

    def press(self) -> None:
        """The button is held."""
        self._queue.put((None, Event.HELD))

    def release(self) -> None:
        """The button is let go."""
        self._queue.put((None, Event.RELEASED))

    def stop(self) -> None:
        """Ends `run`."""
        self._stopping.set()
        self._queue.put(None)

    def run(self, service: Service) -> int:
        """Works until `stop`. The exit status."""
        self._service = service
        service.watch("the kiosk's worker", self._heart.alive)
        worker = threading.Thread(target=self._do_work, name="utd-room", daemon=True)
        worker.start()
        try:
            self._devices = self._open()
            self._link = Link(self._config, self._devices, changed=self._begin)
            self._link.start(service)
            while not self._stopping.is_set():
                self._turn()
        finally:
            self._close(worker)
        return 0

    def _begin(self) -> None:
        link = self._link
        if link is not None and link.problem is None:
            self._queue.put((None, Event.BEGIN))

    def _turn(self) -> None:
        left_s = 1.0 if self._limit_at is None else min(1.0, max(0.0, self._limit_at - time.monotonic()))
        try:
            item = self._queue.get(timeout=left_s)
        except queue.Empty:
            item = None
        self._heart.busy()
        try:
            if self._limit_at is not None and time.monotonic() >= self._limit_at:
                self._limit_at = None
                self._step(Event.TIME_UP)
            if item is not None:
                room, event = item
                if room is None or room is self.room:  # what a room of the past still says is thrown away
                    self._step(event)
            self._show()
        except Exception:  # noqa: BLE001 - the worker's outermost frame
            _log.exception("an event could not be handled; the kiosk goes on")
        finally:
            self._heart.idle()

    def _step(self, event: Event) -> None:
        self.state, actions = logic.step(self.state, event, self._rules)
        for action in actions:
            match action:
                case Wait(seconds):
                    self._limit_at = time.monotonic() + seconds
                case Do.JOIN:
                    self._work.put(self._join)
                case Do.TAKE_SEAT:
                    self._work.put(self._take_seat)
                case Do.MICROPHONE_ON:
                    self._work.put(functools.partial(self._microphone, on=True))
                case Do.MICROPHONE_OFF:
                    self._work.put(functools.partial(self._microphone, on=False))

    # -- `utd-room`

    def _do_work(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                work()
            except Exception:  # noqa: BLE001 - the thread's outermost frame
                _log.exception("the kiosk's room failed; it goes on")

    def _join(self) -> None:
        old, self.room = self.room, None
        if old is not None:
            old.dispose()
        settings, link = self._config.kiosk, self._link
        assert link is not None
        try:
            room = link.client().join_audio_room(
                identity=self._config.device.identity,
                name=self._config.device.name,
                room_name=settings.room,
                as_host=settings.host,
                seat_count=settings.seat_count if settings.host else None,
            )
        except PermissionDenied as error:
            self._reason = f"the room {settings.room} refuses this kiosk: {error.message}"
            self._queue.put((None, Event.REFUSED))
        except UTDStreamException as error:
            self._reason = f"waiting for the room {settings.room}: {error.message}"
            self._queue.put((None, Event.JOIN_FAILED))
        else:
            self.room = room
            room.connection.subscribe(functools.partial(self._connection, room))
            room.seat.subscribe(functools.partial(self._seat, room))
            self._reason = ""
            self._queue.put((room, Event.JOINED))

    def _connection(self, room: UTDAudioRoomSession, change: Change[Connection]) -> None:
        if change.new.state is not ConnectionState.DISCONNECTED or room is not self.room:
            return
        reason = change.new.reason or "ended"
        words = SENT_AWAY.get(reason, reason).format(identity=self._config.device.identity)
        self._reason = f"the room {self._config.kiosk.room} was left: {words}"
        self._queue.put((room, Event.REFUSED if reason in SENT_AWAY else Event.LEFT))

    def _seat(self, room: UTDAudioRoomSession, change: Change[int | None]) -> None:
        if change.new is None and change.old is not None:
            self._queue.put((room, Event.SEAT_LOST))

    def _take_seat(self) -> None:
        room, seat = self.room, self._config.kiosk.seat
        if room is None or seat is None:
            return
        try:
            if room.seat.value != seat:
                if self._rules.push_to_talk:
                    room.set_microphone(False)
                room.take_seat(seat)
        except UTDStreamException as error:
            self._reason = f"seat {seat} is not to be had: {error.message}"
            self._queue.put((room, Event.SEAT_FAILED))
        else:
            self._queue.put((room, Event.SEATED))
            if room.seat.value is None:  # taken away while we sat down, and said before we said that we sit
                self._queue.put((room, Event.SEAT_LOST))

    def _microphone(self, *, on: bool) -> None:
        room = self.room
        if room is None:
            return
        try:
            room.set_microphone(on)
        except UTDStreamException as error:
            _log.warning("the microphone could not be turned %s: %s", "on" if on else "off", error)

    # -- devices, status, end

    def _open(self) -> Devices:
        given, button = self._given
        if given is None:
            microphone, speaker = self._try("sound", lambda: registry.open_audio(self._config)) or (
                None,
                None,
            )
            given = Devices(microphone, speaker)
        for each in [button] if button is not None else registry.make_buttons(self._config):
            self._buttons.append(each)
            self._try("button", functools.partial(each.start, self.press, self.release))
        return given

    def _try(self, what: str, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except UTDStreamException as error:
            self._problems[what] = error.message
            _log.warning("%s: %s", what, error)
            return None

    @property
    def status(self) -> str:
        """The state in plain words."""
        missing = dict(self._problems)
        for name, device in (("microphone", self._devices.microphone), ("speaker", self._devices.speaker)):
            problem = getattr(device, "problem", None)
            if problem:
                missing[name] = str(problem)
        link, state, settings = self._link, self.state, self._config.kiosk
        if link is not None and link.problem:
            words = link.problem
        elif state.phase is Phase.INSIDE:
            words = f"in the room {settings.room}"
            if settings.seat is not None:
                words += f", {self._seat_words(state, settings.seat)}"
        else:
            words = self._reason or f"joining the room {settings.room}"
        return "; ".join([words, *(f"{name}: {problem}" for name, problem in missing.items())])

    def _seat_words(self, state: State, seat: int) -> str:
        if state.seated:
            return f"on seat {seat}"
        if state.kicked:
            return "without a seat (it was taken away, and is asked for again after the next join)"
        return f"without a seat ({self._reason or 'it is asked for'})"

    def _show(self) -> None:
        if self._service is not None:
            self._service.status(self.status)

    def _close(self, worker: threading.Thread) -> None:
        for each in self._buttons:
            each.stop()
        until = time.monotonic() + STOP_S
        self._work.put(None)
        closers = [
            close for close in (self.room and self.room.dispose, self._link and self._link.close) if close
        ]
        threads = [threading.Thread(target=close, name="utd-close", daemon=True) for close in closers]
        for thread in threads:
            thread.start()
        for thread in (*threads, worker):
            thread.join(max(0.0, until - time.monotonic()))
