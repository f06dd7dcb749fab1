"""The kiosk as a program: the rules of `logic.py` on the worker of `device.app`, the SDK's audio room.

Owns: `Kiosk`. Threads: those of `device.app`; `utd-room` joins, takes seats and turns the microphone; buttons and
callbacks only put events into the queue.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from device.app import DeviceApp
from device.config import MachineConfig
from device.kiosk import logic
from device.kiosk.logic import Do, KioskEvent, KioskPhase, KioskRules, KioskState, Wait, WaitBetween
from device.link import Link
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
from utdstream.mailbox import Mailbox

_log = logging.getLogger(__name__)

SENT_AWAY = {
    "DUPLICATE_IDENTITY": "another device uses the identity {identity}; give each its own",
    "REMOVED": "the host removed {identity}",
    "PARTICIPANT_REMOVED": "the host removed {identity}",
    "BANNED": "{identity} is banned from it",
}
"""Why a kiosk stays out for long, by the reason of the connection (LiveKit's and the SDK's names)."""
_ON_THE_WAY = {
    ConnectionState.RECONNECTING: KioskEvent.LOST,
    ConnectionState.CONNECTED: KioskEvent.RETURNED,
}


@dataclass(frozen=True, slots=True)
class RoomReport:
    """An event, and the room that says it; None: the button or the link."""

    event: KioskEvent
    room: UTDAudioRoomSession | None = None


class Kiosk(DeviceApp[RoomReport]):
    """One kiosk. `devices` and `button` instead of the configured ones, for tests and other boards."""

    name = "the kiosk"

    def __init__(
        self, config: MachineConfig, *, devices: Devices | None = None, button: Button | None = None
    ) -> None:
        super().__init__(config, devices=devices, button=button)
        self._rules = KioskRules(seat=config.kiosk.seat, push_to_talk=config.kiosk.push_to_talk)
        self._work: Mailbox[Callable[[], None] | None] = Mailbox()
        self._room_thread: threading.Thread | None = None
        self.state = KioskState()
        self._reason = ""
        self.room: UTDAudioRoomSession | None = None

    def press(self) -> None:
        """Takes the button being held."""
        self.put(RoomReport(KioskEvent.HELD))

    def release(self) -> None:
        """Takes the button being let go."""
        self.put(RoomReport(KioskEvent.RELEASED))

    # -- the worker

    def _connect(self) -> Link:
        self._room_thread = threading.Thread(target=self._do_work, name="utd-room", daemon=True)
        self._room_thread.start()
        return Link(self._config, self._devices, changed=self._begin)

    def _begin(self) -> None:
        link = self._link
        if link is not None and link.problem is None:
            self.put(RoomReport(KioskEvent.BEGIN))

    def _handle(self, report: RoomReport) -> None:
        if report.room is None or report.room is self.room:  # what a room of the past still says is dropped
            self._step(report.event)

    def _time_up(self) -> None:
        self._step(KioskEvent.TIME_UP)

    def _step(self, event: KioskEvent) -> None:
        self.state, actions = logic.step(self.state, event, self._rules)
        for action in actions:
            match action:
                case Wait(seconds):
                    self._limit(seconds)
                case WaitBetween(pauses, failures):
                    self._limit(pauses.pause_s(failures))
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
            self.put(RoomReport(KioskEvent.REFUSED))
        except UTDStreamException as error:
            self._reason = f"waiting for the room {settings.room}: {error.message}"
            self.put(RoomReport(KioskEvent.JOIN_FAILED))
        else:
            self.room = room
            room.connection.subscribe(functools.partial(self._connection, room))
            room.seat.subscribe(functools.partial(self._seat, room))
            self._reason = ""
            self.put(RoomReport(KioskEvent.JOINED, room))

    def _connection(self, room: UTDAudioRoomSession, change: Change[Connection]) -> None:
        if change.new.state in _ON_THE_WAY:
            self.put(RoomReport(_ON_THE_WAY[change.new.state], room))
        if not change.new.is_over or room is not self.room:
            return
        reason = change.new.reason or "ended"
        words = SENT_AWAY.get(reason, reason).format(identity=self._config.device.identity)
        self._reason = f"the room {self._config.kiosk.room} was left: {words}"
        self.put(RoomReport(KioskEvent.REFUSED if reason in SENT_AWAY else KioskEvent.LEFT, room))

    def _seat(self, room: UTDAudioRoomSession, change: Change[int | None]) -> None:
        if change.new is None:
            self.put(RoomReport(KioskEvent.SEAT_LOST, room))
        elif change.old is None:  # also one that was lost on the way, and taken again by the SDK
            self.put(RoomReport(KioskEvent.SEATED, room))

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
            self.put(RoomReport(KioskEvent.SEAT_FAILED, room))
        else:
            self.put(RoomReport(KioskEvent.SEATED, room))
            if room.seat.value is None:  # taken away meanwhile, and said before SEATED was
                self.put(RoomReport(KioskEvent.SEAT_LOST, room))

    def _microphone(self, *, on: bool) -> None:
        room = self.room
        if room is None:
            return
        try:
            room.set_microphone(on)
        except UTDStreamException as error:
            _log.warning("the microphone could not be turned %s: %s", "on" if on else "off", error)

    # -- status, end

    def _at_rest(self) -> bool:
        room = self.room
        return room is None or not room.remote_participants.value

    def _state_words(self, link: Link | None) -> str:
        settings, state = self._config.kiosk, self.state
        if link is not None and link.problem:
            return link.problem
        if state.phase is not KioskPhase.INSIDE:
            return self._reason or f"joining the room {settings.room}"
        room = self.room
        if room is not None and room.connection.value.is_away:
            return f"the room {settings.room} was lost on the way: it is joined again by itself"
        words = f"in the room {settings.room}"
        return words if settings.seat is None else f"{words}, {self._seat_words(state, settings.seat)}"

    def _seat_words(self, state: KioskState, seat: int) -> str:
        if state.seated:
            room = self.room
            return f"on seat {seat if room is None or room.seat.value is None else room.seat.value}"
        if state.kicked:
            return "without a seat (it was taken away, and is asked for again after the next join)"
        return f"without a seat ({self._reason or 'it is asked for'})"

    def _closers(self) -> Sequence[Callable[[], object]]:
        self._work.put(None)
        room, thread = self.room, self._room_thread
        return [
            *([room.dispose] if room is not None else []),
            *([thread.join] if thread is not None else []),
        ]
