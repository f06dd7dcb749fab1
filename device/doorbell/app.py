"""The doorbell as a program: the rules of `logic.py` on the worker of `device.app`, the SDK's calls.

Owns: `Doorbell`. Threads: those of `device.app`; `utd-connect` signs in for ever; `utd-call` carries one call
(`calls.py`); buttons, MQTT and callbacks only put events into the queue. Adapters are reached through the
registry.

1. A press is turned into `POST /calls` before anything else is done with it.
2. What a call of the past still says carries an old number and is thrown away.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from device import registry
from device.app import DeviceApp
from device.audio.sounds import LocalSounds
from device.camera.port import SnapshotCamera
from device.config import MachineConfig
from device.doorbell import logic, snapshots
from device.doorbell.calls import Calls, Numbered, aside
from device.doorbell.door import DoorRules, OpenRequest, WhyShut
from device.doorbell.logic import AnswerPolicy, Command, DoorbellPhase, DoorbellRules, DoorbellState
from device.link import Link
from device.trigger.port import Button, Relay
from utdstream import Devices, IncomingCall, UTDStreamException, UTDStreamType
from utdstream.platform_audio import PlatformSpeaker

if TYPE_CHECKING:
    from device.home_assistant import HomeAssistant

_log = logging.getLogger(__name__)


class Doorbell(DeviceApp[logic.DoorbellEvent | Numbered]):
    """One doorbell. `devices`, `button` and `relay` instead of the configured ones, for tests and other boards."""

    name = "the doorbell"
    has_camera = True

    def __init__(
        self,
        config: MachineConfig,
        *,
        devices: Devices | None = None,
        button: Button | None = None,
        relay: Relay | None = None,
    ) -> None:
        super().__init__(config, devices=devices, button=button)
        settings = config.doorbell
        self._rules = DoorbellRules(
            callees=settings.callees,
            at_once=settings.mode == "at_once",
            ring_timeout_s=settings.ring_timeout_s,
            call_limit_s=settings.call_limit_s,
            auto_answer=AnswerPolicy(settings.auto_answer),
        )
        self.state = DoorbellState(do_not_disturb=settings.do_not_disturb)
        self._last_reason = ""
        self._relay = relay
        self._sounds: LocalSounds | None = None
        self._home: HomeAssistant | None = None
        self._calls: Calls | None = None

    # -- for the service, buttons, Home Assistant: any thread, never waits

    def press(self) -> None:
        """Takes a press of the button."""
        self.put(logic.Pressed())

    def command(self, word: str) -> None:
        """Takes a command by its word; unknown ones are ignored."""
        try:
            self.put(Command(word))
        except ValueError:
            _log.warning("an unknown command was ignored: %.40s", word)

    # -- the worker

    def _connect(self) -> Link:
        def ringing(incoming: IncomingCall) -> None:
            calls.waiting[incoming.call_id] = incoming
            self.put(logic.CallToDoor(incoming.call_id, incoming.caller_identity))

        def cancelled(call_id: str) -> None:
            calls.waiting.pop(call_id, None)
            self.put(logic.CallWithdrawn(call_id))

        settings = self._config.doorbell
        kind = UTDStreamType.VIDEO_CALL if settings.media == "video" else UTDStreamType.AUDIO_CALL
        link = Link(self._config, self._devices, ringing=ringing, cancelled=cancelled, changed=self.look)
        self._calls = calls = Calls(link, kind, settings.ring_timeout_s, self.put)
        return link

    def _handle(self, event: logic.DoorbellEvent | Numbered) -> None:
        if not isinstance(event, Numbered):
            self._step(event)
        elif self._calls is not None and self._calls.is_present(event.number):
            self._step(event.event)

    def _time_up(self) -> None:
        self._step(logic.TimeUp())

    def _step(self, event: logic.DoorbellEvent) -> None:
        before = self.state
        rules = self._rules
        if isinstance(event, OpenRequest):
            rules = dataclasses.replace(rules, door=self._door_rules())
        self.state, actions = logic.step(before, event, rules)
        calls = self._calls
        assert calls is not None  # the queue is read after `_connect` only
        for action in actions:
            self._perform(action, calls)
        if before.phase is DoorbellPhase.TALKING and self.state.phase is DoorbellPhase.REST:
            calls.hang_up()  # the other side did, mostly: what the session holds is freed
        if self._home is not None and before != self.state:
            self._tell_state(self._home)

    def _perform(self, action: logic.DoorbellAction, calls: Calls) -> None:
        match action:
            case logic.Call(callees):
                calls.call(callees)
            case logic.Chime():
                if self._config.doorbell.chime:
                    self._play(self._config.doorbell.chime_file)
            case logic.Tell():
                self._tell()
            case logic.Limit(seconds):
                self._limit(seconds)
            case logic.HangUp():
                calls.hang_up()
            case logic.TakeCall(call_id):
                calls.answer(call_id)
            case logic.Refuse(call_id, busy):
                calls.refuse(call_id, busy=busy)
            case logic.OpenDoor():
                self._open_door(action, calls)
            case logic.KeepShut(request, refusal):
                _log.warning(
                    "the door stays shut for %s: %s",
                    request.identity or "a sender without a name",
                    refusal.code,
                )
                calls.answer_request(request, refusal.code, refusal.sentence)
            case logic.IgnoreRequest(request):
                _log.warning("the door stays shut for %s, who is in no call with it", request.identity)
            case logic.NobodyAnswered(reason):
                self._last_reason = reason
                _log.info("nobody answered: %s", reason)
                if self._home is not None:
                    self._home.missed(reason)
                if self._config.doorbell.no_answer_file is not None:
                    self._play(self._config.doorbell.no_answer_file)

    def _play(self, path: Path | None) -> None:
        """Plays a WAV, or the built-in chime."""
        sounds = self._sounds
        if sounds is not None:
            self._try("sound", lambda: sounds.play(path))

    def _door_rules(self) -> DoorRules:
        """Reads who may open, and the PIN as it is now: one that was changed, or mended, is taken at once."""
        openers = self._config.door.openers
        try:
            pin = self._config.door_pin
        except UTDStreamException as error:
            self._problems["door PIN"] = error.message
            return DoorRules(openers, pin_unreadable=True)
        self._problems.pop("door PIN", None)
        return DoorRules(openers, pin)

    def _open_door(self, opening: logic.OpenDoor, calls: Calls) -> None:
        call_id = opening.request.call_id if opening.request is not None else None
        if self._relay is None:
            _log.warning("the door cannot be opened: there is no opener, see [door] in %s", self._config.path)
        else:
            self._relay.pulse()
            _log.info("the door is opened: %s %s (call %s)", opening.by, opening.why, call_id or "none")
            if self._home is not None:
                self._home.door_opened(opening.by, opening.why, call_id=call_id)
        if opening.request is not None and self._relay is None:
            calls.answer_request(opening.request, WhyShut.NO_OPENER.code, WhyShut.NO_OPENER.sentence)
        elif opening.request is not None:
            calls.answer_request(opening.request, "opened", "the door is open")

    def _tell(self) -> None:
        if self._home is not None:
            self._home.ring()
        camera = self._devices.camera
        wanted = self._home is not None or self._config.doorbell.snapshot_folder is not None
        if wanted and isinstance(camera, SnapshotCamera):  # a camera of the user's own may give none
            aside(functools.partial(self._snapshot, camera), "the picture of a press")

    def _snapshot(self, camera: SnapshotCamera) -> None:
        picture = camera.snapshot()
        settings = self._config.doorbell
        if self._home is not None:
            self._home.snapshot(picture)  # first: it needs no card, which may be full
        if settings.snapshot_folder is not None:
            snapshots.keep(picture, settings.snapshot_folder, settings.snapshot_keep)

    # -- what else is opened and closed

    def _open(self) -> None:
        """Opens the relay before all else: it lets go what a program before may have left pulled in."""
        if self._relay is None:
            self._relay = self._try("door", lambda: registry.open_relay(self._config))
        super()._open()

    def _adopt(self, devices: Devices) -> Devices:
        if devices.speaker is not None and not isinstance(devices.speaker, PlatformSpeaker):
            self._sounds = LocalSounds(devices.speaker)
            devices = Devices(devices.microphone, self._sounds, devices.camera)
        self._door_rules()  # a PIN that cannot be read is said now, not in front of a shut door
        if self._config.home_assistant.enabled:
            self._home = self._try("Home Assistant", self._open_home)
        return devices

    def _open_home(self) -> HomeAssistant:
        from device.home_assistant import HomeAssistant

        home = HomeAssistant(self._config, self.command)
        home.start()
        self._tell_state(home)
        return home

    def _tell_state(self, home: HomeAssistant) -> None:
        home.call_state(self.state.phase.value)
        home.do_not_disturb(self.state.do_not_disturb)

    def _closers(self) -> Sequence[Callable[[], object]]:
        parts = (self._calls, self._home, self._relay, self._sounds)
        return [each.close for each in parts if each is not None]

    # -- what people see

    def _at_rest(self) -> bool:
        return self.state.phase is DoorbellPhase.REST

    def _state_words(self, link: Link | None) -> str:
        phase, rules = self.state.phase, self._rules
        if phase is DoorbellPhase.CALLING:
            ringing = rules.callees if rules.at_once else (rules.callees[self.state.turn],)
            return "calling " + ", ".join(ringing)
        if phase is DoorbellPhase.TALKING:
            away = ", who is away: the next press calls anew" if self.state.is_peer_away else ""
            return f"in a call with {self.state.peer}{away}"
        if link is not None and link.problem:
            return link.problem
        if self._calls is not None and self._calls.fault:
            return f"ready, but the last press failed: {self._calls.fault}"
        if not rules.callees:
            return "ready, but there is no callee: set [doorbell] callees"
        return "ready, do not disturb" if self.state.do_not_disturb else phase.value
